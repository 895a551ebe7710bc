import asyncio
import shutil
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import orjson
import pytest
from blockbuster import BlockBuster

from agent.core.note import parse_checkpoint, parse_note, verified_by
from agent.journal import Journal, open_journal
from agent.keys import LogKey, create_log_key
from agent.records import (
    JournalError,
    JournalFullError,
    NewRecord,
    RecordError,
    parse_record,
)
from agent.siteclock import SiteClock, Stamp
from agent.store import JournalSettings

ORIGIN = "pool.example/edge/farm-1-edge-1/1"
STAMP = Stamp(boottime_ns=5, time_us=1_795_000_000_000_000, quality="S", max_error_us=9)


@pytest.fixture
def key(tmp_path: Path) -> LogKey:
    return create_log_key(tmp_path / "log.key", ORIGIN)


def meter(power_mw: int = 1, **more: object) -> NewRecord:
    return NewRecord(kind="meter", source="site", data={"power_mw": power_mw, **more})


def opened(tmp_path: Path, key: LogKey, **changes: object) -> AbstractAsyncContextManager[Journal]:
    values: dict[str, object] = {"max_bytes": 10_000_000, "version": "0.1.0", **changes}
    settings = JournalSettings(path=tmp_path / "journal.sqlite", **values)  # type: ignore[arg-type]
    return open_journal(settings, key, SiteClock())


async def test_an_append_is_on_the_disk_when_it_returns(tmp_path: Path, key: LogKey) -> None:
    async with opened(tmp_path, key) as journal:
        assert await journal.append([meter(1), meter(2)]) == range(1, 3)
        wal = (tmp_path / "journal.sqlite-wal").read_bytes()
        assert b'"power_mw":2' in wal
        assert journal.size == 3


async def test_every_commit_ends_in_a_checkpoint_that_verifies(tmp_path: Path, key: LogKey) -> None:
    async with opened(tmp_path, key) as journal:
        for number in range(5):
            await journal.append([meter(number)])
        for size in range(1, journal.size + 1):
            checkpoint = await journal.checkpoint_at_or_after(size)
            assert checkpoint is not None
            note = parse_note(checkpoint.note)
            assert verified_by(note, (key.verifier,)) == (key.verifier,)
            assert parse_checkpoint(note.text).size == checkpoint.size == size
        assert await journal.checkpoint_at_or_after(journal.size + 1) is None
        assert [entry.size for entry in await journal.checkpoints_from(3)] == [3, 4, 5, 6]


async def test_the_first_record_says_how_the_agent_started(tmp_path: Path, key: LogKey) -> None:
    stops = []
    for boot in (1, 2):
        async with opened(tmp_path, key) as journal:
            assert journal.boot == boot
            (line,) = await journal.tail(1)
            assert b'"bid":"' in line
            stops.append(parse_record(line).data["previous_stop"])
    assert stops == ["first", "clean"]


async def test_a_restart_continues_the_same_log(tmp_path: Path, key: LogKey) -> None:
    async with opened(tmp_path, key) as journal:
        await journal.append([meter(1)])
        before = await journal.read(0, 10_000)
    async with opened(tmp_path, key) as journal:
        assert (await journal.read(0, 10_000))[:2] == before
        assert await journal.append([meter(2)]) == range(3, 4)
        records = [parse_record(line) for line in await journal.read(0, 10_000)]
    assert [(record.index, record.boot) for record in records] == [(0, 1), (1, 1), (2, 2), (3, 2)]


async def test_patient_appends_share_one_commit_and_an_urgent_one_takes_them_along(
    tmp_path: Path, key: LogKey
) -> None:
    async with opened(tmp_path, key, group_commit_s=5.0) as journal:
        async with asyncio.timeout(2):
            async with asyncio.TaskGroup() as group:
                patient = [
                    group.create_task(journal.append([meter(number)], urgent=False))
                    for number in range(20)
                ]
                await asyncio.sleep(0.1)
                assert not any(task.done() for task in patient)
                ledger = NewRecord(kind="ledger", source="agent", data={"used_wh": 1})
                assert await journal.append([ledger]) == range(21, 22)
        assert [task.result() for task in patient] == [range(at, at + 1) for at in range(1, 21)]
        assert journal.stats.commits == 1
        checkpoint = await journal.checkpoint_at_or_after(2)
        assert checkpoint is not None
        assert checkpoint.size == 22


async def test_a_patient_append_waits_no_longer_than_the_group(tmp_path: Path, key: LogKey) -> None:
    async with opened(tmp_path, key) as journal:
        async with asyncio.timeout(1):
            await journal.append([meter()], urgent=False)


async def test_more_than_one_commit_holds_is_split_between_appends(
    tmp_path: Path, key: LogKey
) -> None:
    async with opened(tmp_path, key, group_commit_s=0.2) as journal:
        ranges = await asyncio.gather(
            *(journal.append([meter(n) for n in range(400)], urgent=False) for _ in range(5))
        )
        assert ranges == [range(at, at + 400) for at in range(1, 2001, 400)]
        assert journal.stats.commits == 3
        with pytest.raises(RecordError, match="more than one commit"):
            await journal.append([meter()] * 1001)


async def test_the_loop_is_never_blocked(tmp_path: Path, key: LogKey) -> None:
    detector = BlockBuster()
    detector.activate()
    try:
        async with opened(tmp_path, key) as journal:
            await journal.append([meter()])
            await journal.tail(3)
    finally:
        detector.deactivate()


@pytest.mark.parametrize(
    ("data", "match"),
    [
        ({"power_w": 1.5}, r"d\.power_w is the float 1\.5"),
        ({"a": [1, {"b": float("nan")}]}, r"d\.a\[1\]\.b is the float nan"),
        ({"a": {"b": 2**63}}, r"d\.a\.b does not fit"),
        ({"a": [1, -(2**63) - 1]}, r"d\.a\[1\] does not fit"),
        ({"a": {1: 2}}, r"d\.a has the key 1"),
        ({"a": b"x"}, r"d\.a is a bytes"),
        ({"a": {1, 2}}, r"d\.a is a set"),
        ({"a": "\ud800"}, "cannot be encoded"),
        ({"a": "x" * 66_000}, "too long"),
    ],
)
async def test_what_has_no_exact_form_is_refused_with_its_place(
    tmp_path: Path, key: LogKey, data: dict[str, object], match: str
) -> None:
    async with opened(tmp_path, key) as journal:
        with pytest.raises(RecordError, match=match):
            await journal.append([meter(), NewRecord(kind="meter", source="site", data=data)])
        assert journal.size == 1
        assert await journal.append([meter()]) == range(1, 2)


async def test_a_sample_keeps_the_time_at_which_it_was_taken(tmp_path: Path, key: LogKey) -> None:
    async with opened(tmp_path, key) as journal:
        await journal.append(
            [
                NewRecord(
                    kind="meter", source="site", data={}, state="S", taken_at_ms=1_795_000_000_123
                )
            ]
        )
        record = parse_record((await journal.tail(1))[0])
    assert (record.time_us, record.state) == (1_795_000_000_123_000, "S")


async def test_records_are_found_by_kind_and_source(tmp_path: Path, key: LogKey) -> None:
    async with opened(tmp_path, key) as journal:
        await journal.append([NewRecord(kind="ledger", source="a", data={"n": 1})])
        await journal.append([NewRecord(kind="ledger", source="b", data={"n": 2})])
        await journal.append([meter(n) for n in range(700)])
        last = await journal.last("ledger")
        assert last is not None
        assert parse_record(last).data == {"n": 2}
        of_a = await journal.last("ledger", "a")
        assert of_a is not None
        assert parse_record(of_a).data == {"n": 1}
        assert await journal.last("gap") is None
        found = [parse_record(line) async for line in journal.records_of(["ledger", "boot"], 1)]
        assert [record.data for record in found] == [{"n": 1}, {"n": 2}]
        assert len([line async for line in journal.records_of(["meter"])]) == 700
        assert [parse_record(line).index for line in await journal.tail(2, "meter")] == [701, 702]


async def test_reading_stops_at_the_limit_but_gives_at_least_one(
    tmp_path: Path, key: LogKey
) -> None:
    async with opened(tmp_path, key) as journal:
        await journal.append([meter(n) for n in range(10)])
        assert len(await journal.read(1, 1)) == 1
        some = await journal.read(1, 500)
        assert 1 < len(some) < 10
        assert sum(len(line) + 1 for line in some) <= 500
        assert await journal.read(11, 500) == []


async def fill(journal: Journal, record: NewRecord, *, urgent: bool) -> None:
    for _ in range(10_000):
        await journal.append([record], urgent=urgent)


async def test_a_full_journal_refuses_readings_first_and_never_breaks(
    tmp_path: Path, key: LogKey
) -> None:
    async with opened(tmp_path, key, max_bytes=600_000) as journal:
        with pytest.raises(JournalFullError, match="no more readings"):
            await fill(journal, meter(1, text="x" * 20_000), urgent=False)
        at_first = journal.size
        with pytest.raises(JournalFullError, match="raise max_bytes"):
            await fill(
                journal,
                NewRecord(kind="decision", source="agent", data={"text": "x" * 20_000}),
                urgent=True,
            )
        assert journal.size > at_first
        written = journal.size
        assert len(await journal.tail(1)) == 1
    async with opened(tmp_path, key, max_bytes=1_200_000) as journal:
        assert await journal.append([meter()], urgent=False) == range(written + 1, written + 2)


async def test_one_append_too_large_for_the_rest_does_not_take_others_with_it(
    tmp_path: Path, key: LogKey
) -> None:
    async with opened(tmp_path, key, max_bytes=200_000, group_commit_s=0.3) as journal:
        big = [meter(1, text="x" * 60_000) for _ in range(4)]
        outcomes = await asyncio.gather(
            journal.append([meter(1)]),
            journal.append(big, urgent=False),
            journal.append([meter(2)]),
            return_exceptions=True,
        )
        assert isinstance(outcomes[1], JournalFullError)
        assert [type(outcome) for outcome in (outcomes[0], outcomes[2])] == [range, range]


async def test_an_error_on_writing_ends_the_journal_and_the_application(
    tmp_path: Path, key: LogKey
) -> None:
    async with opened(tmp_path, key) as journal:
        # The next insert breaks a constraint, which stands for any error but a full disk.
        await journal._ask(
            lambda store: store._connection.execute("INSERT INTO checkpoints VALUES (2, 'x')")
        )
        with pytest.raises(JournalError, match="cannot be written"):
            await journal.append([meter()])
        with pytest.raises(JournalError, match="cannot be written"):
            await journal.append([meter()])
        with pytest.raises(JournalError, match="cannot be written"):
            async with asyncio.timeout(1):
                await journal.run()


async def test_what_the_pool_cosigned_is_written_with_the_next_commit(
    tmp_path: Path, key: LogKey
) -> None:
    async with opened(tmp_path, key) as journal:
        await journal.set_cosigned(1, "a note")
        await journal.append([meter()])
        cut = tmp_path / "cut"
        cut.mkdir()
        for name in ("journal.sqlite", "journal.sqlite-wal"):
            shutil.copy(tmp_path / name, cut)
    async with opened(cut, key) as journal:
        assert (journal.cosigned_size, journal.cosigned_note) == (1, "a note")
        assert await journal.last("boot") == (await journal.tail(2))[0]


async def test_a_stop_without_a_word_is_a_gap_from_the_newest_record_on(
    tmp_path: Path, key: LogKey, schemas
) -> None:
    async with opened(tmp_path, key) as journal:
        await journal.append([meter()])
        cut = tmp_path / "cut"
        cut.mkdir()
        for name in ("journal.sqlite", "journal.sqlite-wal"):
            shutil.copy(tmp_path / name, cut)
        (newest,) = await journal.tail(1)
    async with opened(cut, key) as journal:
        boot, gap = await journal.tail(2)
    assert parse_record(boot).data["previous_stop"] == "unclean"
    at_ms = parse_record(newest).time_us // 1000
    until_ms = parse_record(gap).time_us // 1000
    said = {"event": "stopped", "since_ms": at_ms, "until_ms": until_ms, "reason": "unclean"}
    assert parse_record(gap).data == {**said, "after": 1}
    assert schemas.faults(orjson.loads(gap)) == []
    async with opened(cut, key) as journal:
        assert len(await journal.tail(9, "gap")) == 1  # a stop in order is none


async def test_what_the_pool_cosigned_survives_a_restart(tmp_path: Path, key: LogKey) -> None:
    async with opened(tmp_path, key) as journal:
        await journal.set_cosigned(1, "a note")
        assert (journal.cosigned_size, journal.cosigned_note) == (1, "a note")
    async with opened(tmp_path, key) as journal:
        assert (journal.cosigned_size, journal.cosigned_note) == (1, "a note")


async def test_growth_wakes_those_who_wait_and_acks_are_no_news(
    tmp_path: Path, key: LogKey
) -> None:
    async with opened(tmp_path, key) as journal:
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(journal.wait_beyond(1))
            await asyncio.sleep(0)
            assert not waiting.done()
            await journal.append([NewRecord(kind="ack", source="agent", data={})])
        assert (journal.size, journal.content_size) == (2, 1)
        await journal.append([meter()])
        assert (journal.size, journal.content_size) == (3, 3)


async def test_a_closed_journal_says_so(tmp_path: Path, key: LogKey) -> None:
    async with opened(tmp_path, key) as journal:
        pass
    with pytest.raises(JournalError, match="closed"):
        await journal.append([meter()])
