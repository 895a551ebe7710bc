"""What every tick was decided on and what came of it, as records from which it can be done again.

The daemon hands each tick's image of the site through here; what comes back is what the journal
will hold, and the governor decides on that. ``kwota-sim replay`` reads the same records.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import orjson

from agent.core.governor import Outcome
from agent.core.site import Parameters, SiteState
from agent.core.snapshot import Snapshot
from agent.exact import number_text
from agent.frames import Frame, Why, frame_records
from agent.records import NewRecord
from agent.sight import News, Sight

FRAME_EVERY_S = 3600.0
CHECK_DIGITS = 16


def told(outcome: Outcome) -> dict[str, Any]:
    """What a tick's record says about its outcome; the exact numbers as decimal text.

    ``check`` stands for all of it: the decision with its words and commands, and the books.
    """
    decision = outcome.decision
    whole = [decision, outcome.entries, replace(outcome.state.ledger, windows=None)]
    digest = hashlib.sha256(orjson.dumps(whole, default=sorted)).hexdigest()
    return {
        "mode": decision.mode.value,
        "power_cap_w": number_text(decision.power_cap_w),
        "planned_w": number_text(decision.planned_w),
        "check": digest[:CHECK_DIGITS],
    }


class Transcript:
    """The records of one meter point's run. ``lost`` counts what the journal had no room for.

    Purchases change the state between ticks and have records of their own: whoever takes one in
    says so with ``admitted``. Any other change of the state is caught by a whole frame, and so is a
    tick that was begun and never told, because something in it went wrong.
    """

    def __init__(self, *, lost: Callable[[], int], is_full: Callable[[], bool]) -> None:
        self._lost = lost
        self._is_full = is_full
        self._seen_lost = 0
        self._sight: Sight | None = None
        self._state: SiteState | None = None
        self._parameters: Parameters | None = None
        self._tick = 0
        self._frame_due_s = 0.0
        self._frame: Frame | None = None
        self._news: News | None = None
        self._is_untold = False

    def admitted(self, before: SiteState, after: SiteState) -> None:
        """The state was changed by purchases that have their records."""
        if self._state is before:
            self._state = after

    def see(self, raw: Snapshot, state: SiteState, parameters: Parameters) -> Snapshot:
        """What the governor is given at this tick, which is what the journal will hold."""
        why = self._why(raw, state, parameters)
        if self._sight is None or not self._sight.fits(raw):
            self._sight = Sight.opened(raw)
        sight = self._sight
        sight.take_stages(raw)
        self._tick += 1
        self._frame = None
        self._is_untold = True
        if why is not None and not self._is_full():
            self._seen_lost = self._lost()
            self._frame_due_s = raw.now_s + FRAME_EVERY_S
            self._frame = Frame(
                tick=self._tick, why=why, state=state, sight=sight.last(), parameters=parameters
            )
        self._parameters = parameters
        self._news = sight.news(raw)
        for record in self._news.readings:
            assert record.taken_at_ms is not None
            sight.take_reading(record.source, record.data, record.taken_at_ms)
        for part in self._news.parts:
            sight.take_part(part, raw.now_ms)
        return sight.snapshot(
            mono_ms=self._news.parts[-1]["mono_ms"],
            now_ms=raw.now_ms,
            is_clock_trusted=raw.is_clock_trusted,
        )

    def records(self, outcome: Outcome, *, suspect: str | None) -> list[NewRecord]:
        """The records of the tick that ``see`` began; ``suspect``: the meter not believed now."""
        assert self._news is not None
        self._is_untold = False
        self._state = outcome.state
        snapshot = outcome.picture.snapshot
        records: list[NewRecord] = []
        if self._frame is not None:
            records += frame_records(self._frame, snapshot.now_ms)
        records += [
            replace(record, state="S") if record.source == suspect else record
            for record in self._news.readings
        ]
        *earlier, last = self._news.parts
        distrust = {} if snapshot.is_clock_trusted else {"is_clock_trusted": False}
        parts: Sequence[dict[str, Any]] = [*earlier, last | distrust | told(outcome)]
        records += [
            NewRecord(
                kind="tick",
                source=outcome.state.ledger.meter_point,
                taken_at_ms=snapshot.now_ms,
                data={"tick": self._tick, **part},
            )
            for part in parts
        ]
        return records

    def _why(self, raw: Snapshot, state: SiteState, parameters: Parameters) -> Why | None:
        """Why this tick needs a frame, if it does."""
        if self._sight is None:
            return Why.START
        if self._is_untold or self._lost() != self._seen_lost:
            return Why.LOSS
        if state is not self._state or parameters is not self._parameters:
            return Why.CHANGE
        if not self._sight.fits(raw):
            return Why.CHANGE
        return Why.HOUR if raw.now_s >= self._frame_due_s else None
