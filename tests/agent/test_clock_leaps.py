"""The wall clock leaps by days: the log goes on in order, says so, and is found sound."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from agent.journal import open_journal
from agent.keys import create_log_key
from agent.records import NewRecord, parse_record
from agent.siteclock import KernelClock, SiteClock
from agent.store import JournalSettings
from agent.verify import Keys, verify

ORIGIN = "pool.example/edge/farm-1-edge-1/1"
NS = 1_000_000_000
START_MS = 1_795_000_000_000
DAY_S = 86_400


@dataclass
class Machine:
    """Both clocks of a machine, set by the test."""

    wall: int = START_MS * 1_000_000
    boot: int = 100 * NS

    def clock(self) -> SiteClock:
        return SiteClock(
            wall_ns=lambda: self.wall,
            boottime_ns=lambda: self.boot,
            kernel=lambda: KernelClock(is_synchronised=True, max_error_us=500),
            settle_s=60,
        )

    def pass_s(self, seconds: int) -> None:
        self.wall += seconds * NS
        self.boot += seconds * NS


@pytest.mark.parametrize("days", [-10, 10, 400])
async def test_a_clock_that_leaps_while_running_and_between_two_starts_keeps_the_log_sound(
    tmp_path: Path, days: int
) -> None:
    key = create_log_key(tmp_path / "log.key", ORIGIN)
    settings = JournalSettings(path=tmp_path / "j.sqlite", max_bytes=10_000_000, version="0")
    machine = Machine()

    async def write(journal) -> None:
        await journal.append([NewRecord(kind="meter", source="site", data={})])

    clock = machine.clock()
    async with open_journal(settings, key, clock) as journal:
        await write(journal)
        machine.wall += days * DAY_S * NS
        step = clock.check()
        assert step is not None
        await journal.append([NewRecord(kind="clock", source="agent", data=step.data)])
        await write(journal)  # by the time from before, which goes on
        machine.pass_s(60)
        adopted = clock.check()
        assert adopted is not None
        await journal.append([NewRecord(kind="clock", source="agent", data=adopted.data)])
        await write(journal)
    machine.wall -= 2 * days * DAY_S * NS
    machine.pass_s(5)
    async with open_journal(settings, key, machine.clock()) as journal:
        await write(journal)
        records = [parse_record(line) for line in await journal.read(0, 10**6)]
    meters = [record for record in records if record.kind == "meter"]
    offsets_s = [(record.time_us // 1000 - START_MS) // 1000 for record in meters]
    assert offsets_s == [0, 0, days * DAY_S + 60, -days * DAY_S + 65]
    assert [record.quality for record in meters][:3] == ["S", "R", "S"]
    assert [record.index for record in records] == list(range(len(records)))
    report = verify(settings.path, Keys(device=key.verifier))
    assert report.is_sound, report.defects
    assert "2 records about the clock." in report.remarks
