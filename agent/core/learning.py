"""What confirmations teach about a machine, beyond its family's card.

Slower than the card counts at once, faster only on evidence: the worst of ``OWN_ENOUGH``
confirmations of the machine itself, or of ``KIN_ENOUGH`` of its kin (same family, model and
firmware). Only watts that a power supply has measured prove how fast a machine follows. Watts are
learned upwards only: no number of readings takes the bias out of a machine's own meter.
docs/governor.md has the argument.
"""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import TypeGuard

from agent.core.card import ActuatorCard, Move
from agent.core.decisions import Setpoint, Stage
from agent.core.evolve import replace
from agent.core.fleet import NO_WATTS, Taught, matches, read_back
from agent.core.moves import moves
from agent.core.snapshot import Confirmation, MinerView, PendingCommand
from drivers.readings import MinerIdentity, MinerReading, Profile

OWN_ENOUGH = 59
KIN_ENOUGH = 299
HEADROOM = 1.25
LEAST_S = 3.0
SETTLED_S = 30.0
SETPOINTS_KEPT = 32
_LATE = frozenset({Stage.INEFFECTIVE, Stage.UNKNOWN})


@dataclass(frozen=True, slots=True, kw_only=True)
class Kin:
    """Machines that should behave alike."""

    family: str
    model: str
    firmware: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Confirmations of one move in a row that were in time, and the slowest ever."""

    count: int = 0
    worst_s: float = 0.0


NONE_YET = Evidence()
Times = Mapping[Move, Evidence]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """What one machine has shown. ``judged_s`` is when the last judged command was sent;
    ``settling`` is a confirmed set point whose watts are looked at from ``settled_at_s`` on."""

    kin: Kin
    times: Times = field(default_factory=dict)
    watts: Mapping[Setpoint, float] = field(default_factory=lambda: NO_WATTS)
    judged_s: float = float("-inf")
    settling: Setpoint | None = None
    settled_at_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Experience:
    """All lessons, by machine and by kin, and the cards that differ from their family's."""

    lessons: Mapping[str, Lesson] = field(default_factory=dict)
    kin: Mapping[Kin, Times] = field(default_factory=dict)
    cards: Mapping[str, ActuatorCard] = field(default_factory=dict)

    def card(self, miner_id: str, card: ActuatorCard) -> ActuatorCard:
        """The card that a machine is to be judged by: the family's, or what it has taught us."""
        return self.cards.get(miner_id, card)

    def taught(self, miner_id: str, card: ActuatorCard, before: Taught | None = None) -> Taught:
        """All that a machine is to be judged by; ``card`` is its family's. Where that is what it
        was judged by ``before``, this is returned itself."""
        card = self.cards.get(miner_id, card)
        lesson = self.lessons.get(miner_id)
        seen_w = NO_WATTS if lesson is None else lesson.watts
        if before is not None and before.card is card and before.seen_w is seen_w:
            return before
        return Taught(card=card, seen_w=seen_w)


def learn(
    experience: Experience, views: Sequence[MinerView], cards: Mapping[str, ActuatorCard]
) -> Experience:
    """Take in what has been confirmed, or came to nothing, since the last tick."""
    book: _Book | None = None
    for view in views:
        lesson = experience.lessons.get(view.miner_id)
        if view.identity is None or not _is_news(view, lesson, view.identity):
            continue
        book = book or _Book(experience, cards)
        book.take(view, view.identity)
    return experience if book is None else book.closed()


def learned_s(card_s: float, own: Evidence, kin: Evidence) -> float:
    """Seconds to count with: the card's, unless there is proof of more or enough proof of less.

    With n confirmations the next one is the slowest of all with probability 1 / (n + 1); it is then
    at most the card's time. Both cases weighed, no stop costs more than is counted on average.
    """
    if own.worst_s > card_s:
        return HEADROOM * own.worst_s
    if own.count >= OWN_ENOUGH:
        count, worst_s = own.count, own.worst_s
    elif own.count > 0 and kin.count >= KIN_ENOUGH:
        count, worst_s = kin.count, max(own.worst_s, kin.worst_s)
    else:
        return card_s
    likely_s = HEADROOM * worst_s + max(card_s - worst_s, 0.0) / (count + 1)
    return min(card_s, max(LEAST_S, likely_s))


class _Book:
    """One tick's lessons, written in place; ``closed`` makes an experience of them."""

    def __init__(self, experience: Experience, cards: Mapping[str, ActuatorCard]) -> None:
        self._before = experience
        self._cards = cards
        self._lessons = dict(experience.lessons)
        self._kin = dict(experience.kin)
        self._to_card: set[str] = set()
        self._kin_to_card: set[Kin] = set()

    def take(self, view: MinerView, identity: MinerIdentity) -> None:
        """What one machine's view teaches."""
        lesson = self._lessons.get(view.miner_id)
        if lesson is None or lesson.kin.firmware != identity.firmware:
            # Other firmware, another machine: nothing of it counts any more.
            kin = Kin(family=view.family, model=identity.model, firmware=identity.firmware)
            judged_s = float("-inf") if lesson is None else lesson.judged_s
            lesson = Lesson(kin=kin, judged_s=judged_s)
            self._to_card.add(view.miner_id)
        confirmed, pending = view.confirmed, view.pending
        if confirmed is not None and confirmed.sent_at_s > lesson.judged_s:
            lesson = self._confirmed(view, lesson, confirmed)
        elif _is_late(pending) and pending.sent_at_s > lesson.judged_s:
            lesson = self._failed(view, lesson, pending)
        elif lesson.settling is not None and view.reading is not None:
            lesson = _watched(lesson, lesson.settling, view.reading)
        self._lessons[view.miner_id] = lesson

    def closed(self) -> Experience:
        """The experience with the cards that follow from it."""
        names = set(self._to_card)
        if self._kin_to_card:
            names |= {n for n, one in self._lessons.items() if one.kin in self._kin_to_card}
        cards = dict(self._before.cards)
        for name in names:
            lesson = self._lessons[name]
            family = self._cards[lesson.kin.family]
            card = _carded(family, lesson.times, self._kin.get(lesson.kin, {}))
            cards.pop(name, None)
            if card is not family:
                cards[name] = card
        left = {lesson.kin for lesson in self._lessons.values()}
        kin = {one: times for one, times in self._kin.items() if one in left}
        return Experience(lessons=self._lessons, kin=kin, cards=cards)

    def _confirmed(self, view: MinerView, lesson: Lesson, confirmed: Confirmation) -> Lesson:
        lesson = replace(
            lesson,
            judged_s=confirmed.sent_at_s,
            settling=confirmed.setpoint,
            settled_at_s=confirmed.confirmed_at_s + SETTLED_S,
        )
        family = self._cards[view.family]
        took_s = confirmed.confirmed_at_s - confirmed.sent_at_s
        move = _taught(confirmed, view.profiles)
        if move is None or not (_is_proof(confirmed, move) or took_s > family.seconds(move)):
            return lesson
        counted_s = self._before.card(view.miner_id, family).seconds(move)
        kin = self._kin.get(lesson.kin, {})
        before = kin.get(move, NONE_YET)
        after = _after(before, took_s, counted_s)
        self._kin[lesson.kin] = {**kin, move: after}
        self._to_card.add(view.miner_id)
        if after.worst_s > before.worst_s or after.count in (1, KIN_ENOUGH):
            self._kin_to_card.add(lesson.kin)
        own = _after(lesson.times.get(move, NONE_YET), took_s, counted_s)
        return replace(lesson, times={**lesson.times, move: own})

    def _failed(self, view: MinerView, lesson: Lesson, pending: PendingCommand) -> Lesson:
        """A command that came to nothing in its time was late for all we know. Where that time
        was a learned one, what the kin taught is not believed any more either."""
        late = _timed(moves(pending.origin, pending.setpoint, view.profiles))
        family = self._cards[view.family]
        counted = self._before.card(view.miner_id, family)
        shortened = {move for move in late if counted.seconds(move) < family.seconds(move)}
        if shortened and pending.stage is Stage.INEFFECTIVE:
            self._kin[lesson.kin] = _anew(self._kin.get(lesson.kin, {}), shortened)
            self._kin_to_card.add(lesson.kin)
        self._to_card.add(view.miner_id)
        times = _anew(lesson.times, late)
        return replace(lesson, judged_s=pending.sent_at_s, settling=None, times=times)


def _is_news(view: MinerView, lesson: Lesson | None, identity: MinerIdentity) -> bool:
    judged_s = float("-inf") if lesson is None else lesson.judged_s
    if view.confirmed is not None and view.confirmed.sent_at_s > judged_s:
        return True
    if _is_late(view.pending) and view.pending.sent_at_s > judged_s:
        return True
    if lesson is None:
        return False
    return _has_settled(view, lesson) or lesson.kin.firmware != identity.firmware


def _has_settled(view: MinerView, lesson: Lesson) -> bool:
    """Whether there is a reading of a machine that has stood at its set point for a while."""
    if lesson.settling is None or view.pending is not None or view.reading is None:
        return False
    return view.reading.requested_at_s >= lesson.settled_at_s


def _is_late(pending: PendingCommand | None) -> TypeGuard[PendingCommand]:
    return pending is not None and pending.stage in _LATE


def _watched(lesson: Lesson, settling: Setpoint, reading: MinerReading) -> Lesson:
    """Note the watts of a machine that has settled, if it is still where it was told to be."""
    lesson = replace(lesson, settling=None)
    if reading.power_w is None or not matches(read_back(reading), settling):
        return lesson
    watts = dict(lesson.watts)
    watts[settling] = max(watts.pop(settling, 0.0), reading.power_w)
    if len(watts) > SETPOINTS_KEPT:
        del watts[next(iter(watts))]
    return replace(lesson, watts=watts)


def _taught(confirmed: Confirmation, profiles: Sequence[Profile]) -> Move | None:
    """The one move that a confirmation timed; None where there were several, or none."""
    if confirmed.origin is None:
        return None
    found = _timed(moves(confirmed.origin, confirmed.setpoint, profiles))
    return next(iter(found)) if len(found) == 1 else None


def _timed(found: frozenset[Move]) -> frozenset[Move]:
    """The moves that a card has seconds of its own for."""
    return found - {Move.FIRST_BOARD}


def _is_proof(confirmed: Confirmation, move: Move) -> bool:
    """Whether a confirmation says how fast the watts follow. One board of several proves nothing
    about a stop, which switches all of them."""
    is_partial = move is Move.BOARD_OFF and bool(confirmed.setpoint.boards_on)
    return confirmed.is_measured and not is_partial


def _after(before: Evidence, took_s: float, counted_s: float) -> Evidence:
    worst_s = max(before.worst_s, took_s)
    return Evidence(count=1 if took_s > counted_s else before.count + 1, worst_s=worst_s)


def _anew(times: Times, late: AbstractSet[Move]) -> Times:
    return {
        move: replace(evidence, count=0) if move in late else evidence
        for move, evidence in times.items()
    }


def _carded(family: ActuatorCard, own: Times, kin: Times) -> ActuatorCard:
    """The family's card with what has been learned; itself, where that is nothing."""

    def counted_s(move: Move) -> float:
        return learned_s(family.seconds(move), own.get(move, NONE_YET), kin.get(move, NONE_YET))

    card = replace(
        family,
        board_off_s=counted_s(Move.BOARD_OFF),
        board_on_s=counted_s(Move.BOARD_ON),
        profile_down_s=counted_s(Move.PROFILE_DOWN),
        profile_up_s=counted_s(Move.PROFILE_UP),
        sleep_s=counted_s(Move.SLEEP),
        wake_s=counted_s(Move.WAKE),
    )
    return family if card == family else card
