"""The controller's own numbers on record, and alarms that do not ring at every waver."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.host import HostError, HostFacts
from agent.hostwatch import LOAD_PER_CPU, TEMPERATURE_C, UNSYNCHRONISED, HostWatch, Lamp
from agent.journal import Journal, open_journal
from agent.keys import create_log_key
from agent.recorder import Recorder
from agent.siteclock import KernelClock, SiteClock
from agent.store import JournalSettings

ORIGIN = "pool.example/edge/farm-1-edge-1/1"
CALM = HostFacts(
    load_1min=0.5,
    cpu_count=2,
    memory_total_bytes=1000,
    memory_available_bytes=600,
    process_rss_bytes=100,
    disk_total_bytes=1000,
    disk_free_bytes=500,
    temperature_max_c=51.2,
    uptime_s=12.5,
)


@dataclass
class Box:
    """A controller whose numbers the test sets."""

    journal: Journal
    facts: HostFacts = CALM
    is_synchronised: bool = True
    error: HostError | None = None
    gate: threading.Event = field(default_factory=threading.Event)
    asked: int = 0

    def __post_init__(self) -> None:
        self.gate.set()
        self.recorder = Recorder(self.journal)
        self.watch = HostWatch(
            Path("/nowhere"),
            self.recorder,
            facts=self.answer,
            kernel=lambda: KernelClock(is_synchronised=self.is_synchronised, max_error_us=500),
            answer_s=0.05,
        )

    def answer(self, _: Path) -> HostFacts:
        self.asked += 1
        assert self.gate.wait(5)
        if self.error is not None:
            raise self.error
        return self.facts

    async def sweep(self, times: int = 1, **changes: object) -> set[str]:
        """Some sweeps with other numbers; the codes of the alarms after them."""
        self.facts = replace(self.facts, **changes)
        for _ in range(times):
            await self.watch.sweep()
        return {one.code for one in self.watch.conditions()}


@pytest.fixture
async def box(tmp_path: Path) -> AsyncIterator[Box]:
    key = create_log_key(tmp_path / "log.key", ORIGIN)
    options = JournalSettings(path=tmp_path / "j.sqlite", max_bytes=10_000_000, version="0.1.0")
    async with open_journal(options, key, SiteClock()) as journal:
        yield Box(journal)


async def test_each_sweep_is_a_record_as_its_schema_says(box: Box, schemas) -> None:
    await box.sweep()
    await box.sweep(temperature_max_c=None)
    await box.recorder.flush()
    first, second = (json.loads(line) for line in await box.journal.tail(10, "sweep"))
    assert schemas.faults(first) == schemas.faults(second) == []
    assert first["d"]["temperature_max_mc"] == 51_200
    assert second["d"]["temperature_max_mc"] is None
    assert (first["d"]["load_1min_milli"], first["d"]["uptime_ms"]) == (500, 12_500)


async def test_a_calm_controller_raises_nothing(box: Box) -> None:
    assert await box.sweep(30) == set()


@pytest.mark.parametrize(
    ("code", "bad", "between", "good"),
    [
        ("HOST_HOT", {"temperature_max_c": 81.0}, {"temperature_max_c": 75.0}, {}),
        ("HOST_DISK", {"disk_free_bytes": 40}, {"disk_free_bytes": 80}, {}),
        ("HOST_MEMORY", {"memory_available_bytes": 40}, {"memory_available_bytes": 100}, {}),
        ("HOST_LOAD", {"load_1min": 9.0}, {"load_1min": 6.0}, {}),
    ],
)
async def test_an_alarm_stays_until_things_are_better_than_when_it_was_raised(
    box: Box, code: str, bad: dict, between: dict, good: dict
) -> None:
    assert await box.sweep(10, **between) == set()
    assert await box.sweep(10, **bad) == {code}
    assert await box.sweep(10, **between) == {code}
    calm = {name: getattr(CALM, name) for name in bad} | good
    assert await box.sweep(1, **calm) == set()
    assert await box.sweep(10, **between) == set()


async def test_a_short_peak_of_load_is_nobodys_business(box: Box) -> None:
    for _ in range(5):
        assert await box.sweep(LOAD_PER_CPU.sweeps - 1, load_1min=50.0) == set()
        assert await box.sweep(1, load_1min=0.5) == set()


async def test_a_lost_sensor_neither_raises_nor_clears(box: Box) -> None:
    assert await box.sweep(2, temperature_max_c=90.0) == {"HOST_HOT"}
    assert await box.sweep(5, temperature_max_c=None) == {"HOST_HOT"}


async def test_the_kernels_word_of_its_clock_is_on_record_when_it_changes(
    box: Box, schemas
) -> None:
    await box.sweep(3)
    box.is_synchronised = False
    assert await box.sweep(UNSYNCHRONISED.sweeps - 1) == set()
    assert await box.sweep(1) == {"HOST_CLOCK"}
    box.is_synchronised = True
    assert await box.sweep(2) == set()
    await box.recorder.flush()
    records = [json.loads(line) for line in await box.journal.tail(10, "clock")]
    assert [record["d"]["what"] for record in records] == [
        "synchronised",
        "unsynchronised",
        "synchronised",
    ]
    assert [schemas.faults(record) for record in records] == [[], [], []]


async def test_a_controller_that_hides_its_facts_is_an_alarm_with_the_way_out(box: Box) -> None:
    box.error = HostError("Mount /proc for the agent.")
    assert await box.sweep(2) == {"HOST_UNREADABLE"}
    (condition,) = box.watch.conditions()
    assert condition.words == "Mount /proc for the agent."
    box.error = None
    assert await box.sweep(1) == set()


async def test_a_disk_that_hangs_is_asked_once_and_holds_nothing_up(box: Box) -> None:
    box.gate.clear()
    assert await box.sweep(3) == {"HOST_UNREADABLE"}
    assert box.asked == 1
    box.gate.set()
    await asyncio.sleep(0.05)
    assert await box.sweep(1) == set()


@given(st.lists(st.floats(0, 120), min_size=1, max_size=60))
def test_an_alarm_never_changes_twice_within_its_band(values: list[float]) -> None:
    lamp = Lamp(TEMPERATURE_C)
    for value in values:
        before = lamp.is_lit
        lamp.show(value)
        if lamp.is_lit != before:
            edge: Callable[[float, float], bool] = float.__ge__ if lamp.is_lit else float.__lt__
            limit = TEMPERATURE_C.raise_at if lamp.is_lit else TEMPERATURE_C.clear_at
            assert edge(value, limit)
