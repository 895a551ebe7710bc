"""What the agent gets to see: readings of the meter and of the machines, each at its own time.

Stands in for the polling loop of the daemon: periods, misses, back-off and forgetting who a machine
is are as there. Frozen views are made anew only when something in them has changed.
"""

from dataclasses import dataclass, field
from functools import partial

from agent.core.decisions import Command
from agent.core.snapshot import Confirmation, MeterView, MinerView, PendingCommand
from drivers.readings import (
    Activity,
    BoardReading,
    MeterReading,
    MinerIdentity,
    MinerReading,
    PowerProvenance,
    Profile,
)
from simulator.trajectory import Trajectory
from simulator.virtual.site import Site, Unit

METER_TIMEOUT_S = 1.0
MINER_TIMEOUT_S = 5.0
AWAY_AFTER_MISSES = 3
BACKOFF_LAST_S = 60.0
PROVENANCES = {one.value: one for one in PowerProvenance}


@dataclass(slots=True, kw_only=True)
class MinerPost:
    """A machine's place at the agent: what was read of it, and the command under way.

    ``turn`` counts the commands taken up: what belongs to an older one is out of date.
    """

    unit: Unit
    profiles: tuple[Profile, ...]
    identity: MinerIdentity
    is_identified: bool = False
    reading: MinerReading | None = None
    missed_polls: int = 0
    fault: str | None = None
    pending: PendingCommand | None = None
    confirmed: Confirmation | None = None
    mailbox: Command | None = None
    is_writing: bool = False
    turn: int = 0
    _boards: tuple[BoardReading, ...] = ()
    _activity: Activity = Activity.HASHING
    _still: Trajectory | None = None
    _view: MinerView | None = None

    def read(self, now_s: float, latency_s: float) -> MinerReading:
        """Ask the machine; the answer is what it is now."""
        machine, family = self.unit.machine, self.unit.family
        if self._still is not machine.watts or now_s < machine.steady_from_s:
            self._look_closely(now_s)
        power_w = machine.watts.value(now_s) * (1.0 + machine.bias.reporting + self.unit.misreport)
        provenance = PROVENANCES[family.watts]
        self.reading = MinerReading(
            miner_id=self.unit.miner_id,
            requested_at_s=now_s - latency_s,
            replied_at_s=now_s,
            taken_at_ms=0,
            activity=self._activity,
            hashrate_hs=machine.hashrate_hs.value(now_s),
            power_w=None if provenance is PowerProvenance.ABSENT else round(power_w),
            power_provenance=provenance,
            profile=machine.point.name,
            boards=self._boards,
        )
        return self.reading

    def _look_closely(self, now_s: float) -> None:
        """Boards and activity; while nothing moves they stay what they were."""
        machine = self.unit.machine
        count = len(machine.boards)
        ramping = [machine.is_board_ramping(n, now_s) for n in range(count)]
        hashrate_hs = machine.hashrate_hs.value(now_s)
        self._boards = tuple(
            BoardReading(
                board=n,
                is_enabled=board.is_enabled,
                is_ramping=ramping[n],
                hashrate_hs=hashrate_hs / count,
                temperature_c=None,
                serial=None,
            )
            for n, board in enumerate(machine.boards)
        )
        self._activity = Activity.RAMPING if any(ramping) else Activity.HASHING
        if not machine.is_awake:
            self._activity = Activity.SLEEPING
        # Every change of a machine makes a new trajectory.
        self._still = machine.watts if now_s >= machine.steady_from_s else None

    def view(self) -> MinerView:
        """What the tick sees of it."""
        view = self._view
        if (
            view is None
            or view.reading is not self.reading
            or view.pending is not self.pending
            or view.confirmed is not self.confirmed
            or view.fault is not self.fault
            or (view.identity is None) is self.is_identified
        ):
            family = self.unit.family
            self._view = view = MinerView(
                miner_id=self.unit.miner_id,
                family=family.name,
                identity=self.identity if self.is_identified else None,
                profiles=self.profiles,
                reading=self.reading,
                pending=self.pending,
                fault=self.fault,
                can_switch_boards=family.switches_boards,
                can_sleep=family.sleeps,
                can_select_profile=family.selects_profiles,
                confirmed=self.confirmed,
            )
        return view


@dataclass(slots=True, kw_only=True)
class Polls:
    """Polls everything for ever, while ``is_running``."""

    site: Site
    posts: list[MinerPost]
    is_running: bool = False
    meter_reading: MeterReading | None = None
    meter_missed: int = 0
    meter_fault: str | None = None
    _life: int = field(default=0)

    def start(self) -> None:
        """Begin anew, knowing nothing, as a process that was just started."""
        self.is_running = True
        self._life += 1
        life = self._life
        self.meter_reading, self.meter_missed, self.meter_fault = None, 0, None
        agenda, rng = self.site.agenda, self.site.rng
        agenda.after(0.05 + rng.random() * 0.1, lambda: self._ask_meter(life))
        period_s = self.site.scenario.site.miner_poll_s
        for n, post in enumerate(self.posts):
            post.reading, post.pending, post.mailbox = None, None, None
            post.confirmed = None
            post.is_identified, post.is_writing, post.fault = False, False, None
            post.missed_polls, post.turn = 0, post.turn + 1
            first_s = period_s * (n + rng.random()) / len(self.posts)
            agenda.after(first_s, partial(self._ask_miner, post, life))

    def stop(self) -> None:
        """Stop asking; what was known stays known."""
        self.is_running = False
        self._life += 1

    def resume(self) -> None:
        """Go on after a pause: what was known is old by now."""
        self.is_running = True
        self._life += 1
        life = self._life
        agenda, rng = self.site.agenda, self.site.rng
        agenda.after(0.01, lambda: self._ask_meter(life))
        for post in self.posts:
            wait_s = rng.random()
            agenda.after(wait_s, partial(self._ask_miner, post, life))

    def meter_view(self) -> MeterView:
        """What the tick sees of the meter."""
        return MeterView(
            meter_id=self.site.meter.meter_id,
            reading=self.meter_reading,
            missed_polls=self.meter_missed,
            fault=self.meter_fault,
        )

    def _ask_meter(self, life: int) -> None:
        if life != self._life:
            return
        agenda, rng, trouble = self.site.agenda, self.site.rng, self.site.trouble
        asked_s = agenda.now_s
        latency_s = 0.01 + 0.03 * rng.random() + trouble.slow_s
        if trouble.is_silent:
            latency_s = METER_TIMEOUT_S
            agenda.after(latency_s, lambda: self._miss_meter("the meter does not answer", life))
        elif trouble.is_nan:
            agenda.after(latency_s, lambda: self._miss_meter("the meter answers NaN", life))
        else:
            # The answer holds what the registers showed at some instant on the way.
            sampled_s = latency_s * rng.random()
            agenda.after(sampled_s, lambda: self._sample_meter(asked_s, latency_s, life))
        pause_s = self.site.scenario.meter.poll_s * rng.uniform(0.9, 1.1)
        agenda.at(asked_s + max(pause_s, latency_s + 0.02), lambda: self._ask_meter(life))

    def _miss_meter(self, words: str, life: int) -> None:
        if life == self._life:
            self.meter_missed += 1
            self.meter_fault = words

    def _sample_meter(self, asked_s: float, latency_s: float, life: int) -> None:
        meter = self.site.meter
        reading = MeterReading(
            meter_id=meter.meter_id,
            requested_at_s=asked_s,
            replied_at_s=asked_s + latency_s,
            taken_at_ms=0,
            power_w=meter.power_w,
            energy_import_wh=round(meter.energy_kwh * 1000.0),
            voltage_v=None,
            frequency_hz=None,
        )
        self.site.agenda.at(asked_s + latency_s, lambda: self._take_meter(reading, life))

    def _take_meter(self, reading: MeterReading, life: int) -> None:
        if life == self._life:
            self.meter_reading, self.meter_missed, self.meter_fault = reading, 0, None

    def _ask_miner(self, post: MinerPost, life: int) -> None:
        if life != self._life:
            return
        agenda, rng = self.site.agenda, self.site.rng
        period_s = self.site.scenario.site.miner_poll_s
        if not post.unit.is_away(agenda.now_s):
            post.read(agenda.now_s, 0.03 + 0.1 * rng.random())
            post.is_identified = True
            post.missed_polls, post.fault = 0, None
            agenda.after(period_s * rng.uniform(0.97, 1.03), lambda: self._ask_miner(post, life))
            return
        post.missed_polls += 1
        post.fault = "no answer: it is off, or the network to it is"
        if post.missed_polls >= AWAY_AFTER_MISSES:
            post.is_identified = False
        misses = max(post.missed_polls - AWAY_AFTER_MISSES, 0)
        wait_s = min(period_s * 2.0 ** min(misses, 8), max(BACKOFF_LAST_S, period_s))
        agenda.after(MINER_TIMEOUT_S + wait_s, lambda: self._ask_miner(post, life))


def open_polls(site: Site) -> Polls:
    """Posts for all machines of a site."""
    lists: dict[tuple[str, str], tuple[Profile, ...]] = {}
    posts = []
    for unit in site.units:
        model = unit.machine.model
        key = (unit.family.name, model.name)
        if key not in lists:
            lists[key] = tuple(
                Profile(
                    name=point.name,
                    step=point.step,
                    power_w=float(point.watts),
                    hashrate_hs=point.hashrate_ths * 1e12,
                    is_tuned=True,
                )
                for point in model.profiles
            )
        identity = MinerIdentity(
            family=unit.family.name,
            model=model.name,
            mac=f"02:00:00:00:{unit.index >> 8:02x}:{unit.index & 255:02x}",
            serial=unit.miner_id,
            firmware="virtual",
            board_count=model.boards,
            nameplate_hashrate_hs=model.nameplate_ths * 1e12,
            signs=("version", "config"),
        )
        posts.append(MinerPost(unit=unit, profiles=lists[key], identity=identity))
    return Polls(site=site, posts=posts)
