"""A site in virtual time, run by the agent's own keeper on a real journal."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, replace
from pathlib import Path

import orjson
import pytest

from agent.accreditation import Accreditation
from agent.actuator import Actuation
from agent.alarmboard import AlarmBoard
from agent.bookkeeper import Bookkeeper
from agent.core.decisions import Stage
from agent.core.ledger import Transaction
from agent.core.limitbook import LimitBook
from agent.core.site import SiteState
from agent.core.snapshot import MeterView, Snapshot
from agent.journal import Journal, open_journal
from agent.keeper import Keeper
from agent.keys import create_log_key
from agent.limitdesk import LimitDesk
from agent.orders import actuation_record
from agent.point import Point, Realm
from agent.recorder import Recorder
from agent.records import NewRecord
from agent.recovery import recover, seeded
from agent.settings_alarms import AlarmSettings
from agent.siteclock import KernelClock, SiteClock
from agent.status.portrait import Facts, Frame
from agent.status.view import DeliveryView
from agent.store import JournalSettings
from simulator.scenario import Scenario
from simulator.virtual.actuator import Actuator
from simulator.virtual.run import prepare
from simulator.virtual.wallclock import START_MS

ORIGIN = "pool.example/edge/farm-1-edge-1/1"
DELIVERY = DeliveryView(
    origin=ORIGIN,
    journal_size=0,
    cosigned_size=0,
    unsent=0,
    last_receipt_ms=None,
    broker="off",
    words="",
)


SILENCE = [{"what": "meter_silent", "at_min": 2.9, "for_s": 15}]


def scenario_of(machines: int, *, share: float = 1.0, faults: Sequence[dict] = SILENCE) -> Scenario:
    """Short windows with a silent meter in the second; the purchases ask for throttling.

    ``share`` is how much of that is bought.
    """
    return Scenario.model_validate(
        {
            "title": "recorded",
            "story": "a run to be done again",
            "minutes": 8,
            "seed": 7,
            "site": {
                "rated_kw": 4.5 * machines,
                "base_load_kw": 2,
                "base_load_wander_kw": 0.2,
                "base_load_max_kw": 4,
                "miner_poll_s": 5.0,
            },
            "machines": [{"family": "luxos", "model": "s21", "count": machines}],
            "series": {"from_min": 0.5, "each_min": 2, "kwh": [0.085 * machines * share] * 3},
            "faults": list(faults),
        }
    )


@dataclass
class Told(Actuator):
    """The virtual hands, which tell the journal every stage as the daemon's do."""

    recorder: Recorder | None = None

    def _reach(self, errand, stage: Stage, words: str) -> None:
        errand.sent_at_s = int(errand.sent_at_s * 1000) / 1000
        super()._reach(errand, stage, words)
        self.recorder.keep(
            [
                actuation_record(
                    Actuation(
                        miner_id=errand.post.unit.miner_id,
                        at_ms=START_MS + round(self.site.agenda.now_s * 1000),
                        sent_at_s=errand.sent_at_s,
                        stage=stage,
                        setpoint=errand.command.setpoint,
                        expected_w=errand.command.expected_w,
                        power_w=None,
                        detail=words,
                        origin=errand.origin,
                        after_s=0.0,
                    )
                )
            ]
        )


class Ground:
    """One virtual farm with its own meter, as the meter point that it becomes at the agent."""

    def __init__(self, name: str, scenario: Scenario, *, is_shadow: bool) -> None:
        self.name, self.meter_id = name, f"meter-{name}"
        brain = prepare(scenario).brain
        self.agenda, self.site, self.polls = brain.site.agenda, brain.site, brain.polls
        self.state = brain.state
        self.parameters = replace(brain.parameters, is_shadow=is_shadow, meter_id=self.meter_id)
        for post in self.polls.posts:
            post.unit.miner_id = f"{name}-{post.unit.miner_id}"
        self.miner_ids = [post.unit.miner_id for post in self.polls.posts]
        self.transactions = [
            Transaction(
                transaction_id=f"{name}-{one.id}",
                meter_point=name,
                start_ms=START_MS + round(one.from_min * 60_000),
                end_ms=START_MS + round(one.to_min * 60_000),
                energy_wh=round(one.kwh * 1000),
                price_kzt_per_kwh="20.5",
                source="single_purchaser",
                received_at_ms=START_MS,
            )
            for one in scenario.all_purchases()
        ]

    def meter_view(self) -> MeterView:
        meter = self.polls.meter_view()
        if meter.reading is not None and meter.reading.meter_id != self.meter_id:
            taken_at_ms = START_MS + round(meter.reading.replied_at_s * 1000)
            self.polls.meter_reading = replace(
                meter.reading, taken_at_ms=taken_at_ms, meter_id=self.meter_id
            )
        return replace(self.polls.meter_view(), meter_id=self.meter_id)


class Recorded:
    """Virtual farms, each a meter point, run by the daemon's own keeper on a real journal."""

    def __init__(
        self, path: Path, scenarios: Mapping[str, Scenario], *, is_shadow: bool = False
    ) -> None:
        self.grounds = [Ground(name, s, is_shadow=is_shadow) for name, s in scenarios.items()]
        self.is_shadow = is_shadow
        self.submitted = 0
        self.path = path
        self._key = create_log_key(path.parent / "log.key", ORIGIN)
        self._clock = SiteClock(
            wall_ns=lambda: START_MS * 1_000_000 + self._now_ns(),
            boottime_ns=self._now_ns,
            kernel=lambda: KernelClock(is_synchronised=True, max_error_us=100),
        )
        for ground in self.grounds:
            ground.site.start()

    def _now_ns(self) -> int:
        return int(self.grounds[0].agenda.now_s * 1e9)

    def snapshot(self) -> Snapshot:
        return Snapshot(
            now_s=self._clock.now_s(),
            now_ms=self._clock.now_ms(),
            is_clock_trusted=self._clock.is_trusted,
            meters=tuple(ground.meter_view() for ground in self.grounds),
            miners=tuple(post.view() for ground in self.grounds for post in ground.polls.posts),
        )

    @asynccontextmanager
    async def boot(self) -> AsyncIterator["Life"]:
        """One life of the daemon; it goes on from what the journal holds."""
        parameters = JournalSettings(path=self.path, max_bytes=200_000_000, version="0.1.0")
        async with open_journal(parameters, self._key, self._clock) as journal:
            recorder = Recorder(journal)
            points = [await self._point(journal, recorder, ground) for ground in self.grounds]
            keeper = Keeper(
                clock=self._clock,
                points=points,
                zone="Asia/Almaty",
                recorder=recorder,
                journal=journal,
                snapshot=self.snapshot,
                facts=lambda: Facts(
                    meters={ground.meter_id: None for ground in self.grounds},
                    details={name: None for ground in self.grounds for name in ground.miner_ids},
                    accreditation=Accreditation(hosts=frozenset()),
                ),
                delivery=lambda: DELIVERY,
                faults=list,
                cap_wh=lambda _at_ms: 10_000_000,
                export=None,
                alarms=AlarmBoard(AlarmSettings()),
                tell=lambda _changes: None,
            )
            async with asyncio.TaskGroup() as group:
                task = group.create_task(recorder.run())
                yield Life(rig=self, keeper=keeper, recorder=recorder)
                await recorder.flush()
                task.cancel()

    async def _point(self, journal: Journal, recorder: Recorder, ground: Ground) -> Point:
        books = await recover(journal, meter_point=ground.name, meter_id=ground.meter_id)
        posts = {post.unit.miner_id: post for post in ground.polls.posts}
        hands = Told(site=ground.site, posts=posts, recorder=recorder)
        now_s, now_ms = self._clock.now_s(), self._clock.now_ms()
        state = SiteState(
            fusion=seeded(ground.state.fusion.traits, books, now_s=now_s, now_ms=now_ms),
            ledger=books.ledger,
            is_recovering=books.ledger.booked_wh is not None,
            quarter=books.quarter,
        )
        ground.polls.start()
        return Point(
            realm=Realm(
                meter_ids=frozenset({ground.meter_id}), miner_ids=frozenset(ground.miner_ids)
            ),
            clock=self._clock,
            parameters=ground.parameters,
            state=state,
            frame=_frame(ground),
            recorder=recorder,
            switch=lambda orders: None,
            submit=self._count if self.is_shadow else hands.submit,
            bookkeeper=Bookkeeper(
                journal=journal,
                recorder=recorder,
                meter_id=ground.meter_id,
                recovered=books,
                state=state,
            ),
            statements=books.statements,
            desk=self._desk(recorder, ground),
        )

    def _desk(self, recorder: Recorder, ground: Ground) -> LimitDesk:
        return LimitDesk(
            meter_point=ground.name,
            clock=self._clock,
            recorder=recorder,
            standing=lambda _now_ms: ground.parameters.limits,
            book=LimitBook(rated_w=ground.parameters.rated_power_w),
            reached=frozenset(),
        )

    def _count(self, commands) -> None:
        self.submitted += len(commands)


@dataclass
class Life:
    """The daemon between two starts."""

    rig: Recorded
    keeper: Keeper
    recorder: Recorder

    @property
    def point(self) -> Point:
        return self.keeper.points[0]

    async def buy(self) -> None:
        bought = [one for ground in self.rig.grounds for one in ground.transactions]
        await self.keeper.add_transactions(bought)

    async def go(self, seconds: int, *, is_durable: bool = False) -> None:
        """``is_durable``: commands that wait for the disk are sent before the next virtual second;
        else their second depends on how fast this computer is."""
        for _ in range(seconds):
            for ground in self.rig.grounds:
                ground.agenda.run_until(ground.agenda.now_s + 1.0)
                ground.site.settle()
            self.keeper.tick()
            await asyncio.sleep(0)
            if is_durable and any(point._outcome.decision.commands for point in self.keeper.points):
                await self._on_disk()

    async def _on_disk(self) -> None:
        done = asyncio.Event()
        marker = NewRecord(kind="clock", source="agent", data={"what": "a second"})
        self.recorder.keep([marker], then=lambda _: done.set())
        await done.wait()


def _frame(ground: Ground) -> Frame:
    return Frame(
        farm="farm-1",
        agent="edge-1",
        version="0.1.0",
        zone="Asia/Almaty",
        started_at_ms=START_MS,
        meter_point=ground.name,
        meter_id=ground.meter_id,
        rated_power_w=ground.parameters.rated_power_w,
        meter_profiles={ground.meter_id: "virtual"},
        addresses=dict.fromkeys([ground.meter_id, *ground.miner_ids], "virtual"),
    )


def records_of(path: Path, kind: str) -> list[dict]:
    with closing(sqlite3.connect(path)) as opened:
        rows = opened.execute("SELECT body FROM records WHERE kind = ? ORDER BY i", (kind,))
        return [orjson.loads(body) for (body,) in rows]


@pytest.fixture(scope="module")
def journal(tmp_path_factory) -> Path:
    """A purchase, throttling, a silent meter, a window's end, and a restart in the second."""
    path = tmp_path_factory.mktemp("recorded") / "journal.sqlite"

    async def record() -> None:
        rig = Recorded(path, {"mp-1": scenario_of(12)})
        async with rig.boot() as life:
            await life.go(10)
            await life.buy()
            await life.go(200)
        async with rig.boot() as life:
            await life.go(90)

    asyncio.run(record())
    return path


@pytest.fixture
def recorded(tmp_path: Path) -> Callable[..., Recorded]:
    """A site whose journal will lie in this test's own directory."""

    def make(machines: int, *, is_shadow: bool = False) -> Recorded:
        scenarios = {"mp-1": scenario_of(machines)}
        return Recorded(tmp_path / "journal.sqlite", scenarios, is_shadow=is_shadow)

    return make


@pytest.fixture(scope="session")
def recorded_points(tmp_path_factory) -> Callable[..., Recorded]:
    """Several such sites as meter points of one agent: ``name=(machines, share, faults)``."""

    def make(folder: str, **points: tuple[int, float, list[dict]]) -> Recorded:
        scenarios = {
            name.replace("_", "-"): scenario_of(machines, share=share, faults=faults)
            for name, (machines, share, faults) in points.items()
        }
        return Recorded(tmp_path_factory.mktemp(folder) / "journal.sqlite", scenarios)

    return make


@pytest.fixture(scope="session")
def records() -> Callable[[Path, str], list[dict]]:
    """Reads all records of a kind out of a journal that is not in use."""
    return records_of
