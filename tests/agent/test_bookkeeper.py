"""The books on record, with a real journal: what is written is what a restart finds."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from agent.bookkeeper import Bookkeeper, settled
from agent.core.ledger import Ledger, Transaction, admit_all, anchor, book, forget, indexed
from agent.core.meterfusion import hold, resumed
from agent.core.register import RegisterEvent
from agent.core.samples import Fusion, MeterTraits
from agent.core.site import SiteState
from agent.core.statement import Statement, collect
from agent.journal import Journal, open_journal
from agent.keys import LogKey, create_log_key
from agent.recorder import Recorder
from agent.recovery import purchases_on_record, recover, seeded, statements_since
from agent.siteclock import SiteClock
from agent.store import JournalSettings
from agent.testimony import reading_record, statement_record
from drivers.readings import MeterReading

NOW_MS = 1_800_000_000_000
QUARTER_MS = 900_000
TRAITS = MeterTraits(refresh_s=0.5, step_wh=10, power_error_share=0.01, rated_power_w=1e5)


@pytest.fixture
def key(tmp_path: Path) -> LogKey:
    return create_log_key(tmp_path / "log.key", "pool.example/edge/farm-1-edge-1/1")


class Books:
    """A ledger that is kept as the daemon keeps it."""

    def __init__(self, journal: Journal, state: SiteState, bookkeeper: Bookkeeper) -> None:
        self.journal, self.state, self.bookkeeper = journal, state, bookkeeper

    async def buy(self, *purchases: Transaction, now_ms: int = NOW_MS) -> list[str]:
        known = {account.transaction.transaction_id for account in self.state.ledger.accounts}
        names = {one.transaction_id for one in purchases} - known
        remembered = await purchases_on_record(self.journal, names)
        ledger, admissions = admit_all(
            self.state.ledger,
            purchases,
            cap_wh=lambda _: 10**6,
            now_ms=now_ms,
            remembered=remembered,
        )
        self.state = replace(self.state, ledger=ledger)
        durable = self.bookkeeper.keep_purchases(self.state, purchases, admissions)
        await settled([] if durable is None else [durable], "late")
        return [admission.result for admission in admissions]

    def book(self, grown_wh: int, at_ms: int) -> None:
        ledger, entries = book(
            self.state.ledger,
            to_wh=self.state.ledger.booked_wh + grown_wh,
            to_ms=at_ms,
            register_at=lambda _, wh=self.state.ledger.booked_wh: wh + grown_wh // 2,
        )
        statements, quarter = collect(self.state.quarter, entries, ledger)
        self.state = replace(self.state, ledger=ledger, quarter=quarter, statements=statements)
        self.bookkeeper.keep(self.state, entries, is_due=False)
        self.state = replace(self.state, statements=())

    async def settled(self) -> None:
        """Wait until all that was handed over is on the disk."""
        done = asyncio.Event()
        self.bookkeeper._recorder.keep([reading(0, 0)], then=lambda _: done.set())
        await done.wait()

    async def events(self) -> list[str]:
        lines = [line async for line in self.journal.records_of(["ledger"])]
        return [orjson.loads(line)["d"]["event"] for line in lines]


def reading(register_wh: int, at_ms: int, meter_id: str = "other"):
    return reading_record(
        MeterReading(
            meter_id=meter_id,
            requested_at_s=0.0,
            replied_at_s=0.1,
            taken_at_ms=at_ms,
            power_w=0.0,
            energy_import_wh=register_wh,
            voltage_v=None,
            frequency_hz=None,
        )
    )


@asynccontextmanager
async def kept(tmp_path: Path, key: LogKey) -> AsyncIterator[Books]:
    """The books as a start of the daemon finds them."""
    settings = JournalSettings(
        path=tmp_path / "journal.sqlite", max_bytes=10**8, version="1", group_commit_s=0.0
    )
    async with open_journal(settings, key, SiteClock()) as journal:
        recovered = await recover(journal, meter_point="mp-1", meter_id="site")
        recorder = Recorder(journal)
        fusion = seeded(TRAITS, recovered, now_s=1e6, now_ms=NOW_MS + 10**7)
        state = SiteState(fusion=fusion, ledger=recovered.ledger, quarter=recovered.quarter)
        keeper = Bookkeeper(
            journal=journal, recorder=recorder, meter_id="site", recovered=recovered, state=state
        )
        if recovered.ledger.booked_wh is None:
            anchored = anchor(recovered.ledger, at_wh=5000, at_ms=NOW_MS - 1000)
            state = replace(state, ledger=replace(anchored, serial="A", offset_wh=700))
        writing = asyncio.ensure_future(recorder.run())
        try:
            yield Books(journal, state, keeper)
        finally:
            writing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await writing


def bought(number: int, start_min: int = 0, length_min: int = 60, wh: int = 900) -> Transaction:
    return Transaction(
        transaction_id=f"t{number:05}",
        meter_point="mp-1",
        start_ms=NOW_MS + start_min * 60_000,
        end_ms=NOW_MS + (start_min + length_min) * 60_000,
        energy_wh=wh,
        price_kzt_per_kwh="20.5",
        source="single_purchaser",
        received_at_ms=NOW_MS,
    )


def content(ledger: Ledger) -> Ledger:
    """What of a ledger outlives a restart: where a window closed stands in its own record."""
    accounts = tuple(replace(a, closed_at_wh=None) for a in ledger.accounts)
    return replace(ledger, accounts=accounts)


async def test_a_restart_finds_the_books_as_they_were(tmp_path: Path, key: LogKey) -> None:
    async with kept(tmp_path, key) as books:
        await books.buy(*(bought(n, start_min=n % 3 * 10) for n in range(80)))
        for minute in (5, 11, 17, 33, 62):
            books.book(700, NOW_MS + minute * 60_000)
        books.bookkeeper.keep(books.state, (), is_due=True)
        await books.settled()
        old = books.state
    async with kept(tmp_path, key) as books:
        assert content(books.state.ledger) == content(old.ledger)
        assert books.state.quarter == old.quarter
        rows = await statements_since(books.journal, 0, NOW_MS)
        assert [row["start_ms"] for row in rows] == [
            NOW_MS - 1000, *(NOW_MS + n * QUARTER_MS for n in range(4))
        ]  # fmt: skip
        assert sum(row["allocated_wh"] for row in rows) + old.quarter.allocated_wh == (
            old.ledger.allocated_wh
        )


async def test_readings_after_the_last_state_are_booked_in_the_ledgers_own_coordinate(
    tmp_path: Path, key: LogKey
) -> None:
    async with kept(tmp_path, key) as books:
        await books.buy(bought(1))
        books.bookkeeper.keep(books.state, (), is_due=True)
        for register_wh, minute in ((4400, 10), (4500, 20), (3, 21)):
            at_ms = NOW_MS + minute * 60_000
            books.bookkeeper._recorder.keep([reading(register_wh, at_ms, "site")])
        await books.settled()
    async with kept(tmp_path, key) as books:
        assert books.state.ledger.booked_wh == 4500 + 700
        assert books.state.ledger.metered_wh == 200
        assert books.state.quarter.start_ms == NOW_MS + QUARTER_MS


async def test_an_id_stays_taken_for_as_long_as_the_journal_has_it(
    tmp_path: Path, key: LogKey
) -> None:
    later_ms = NOW_MS + 100 * 3_600_000
    async with kept(tmp_path, key) as books:
        await books.buy(bought(1))
        ledger = forget(books.state.ledger, ended_before_ms=later_ms)
        books.state = replace(books.state, ledger=ledger)
        books.bookkeeper.keep(books.state, (), is_due=True)
        await books.settled()
    async with kept(tmp_path, key) as books:
        assert books.state.ledger.accounts == ()
        other = bought(1, start_min=200 * 60)
        assert await books.buy(bought(1), other, bought(2, 200 * 60), now_ms=later_ms) == [
            "unchanged", "refused", "accepted"
        ]  # fmt: skip


async def test_thousands_of_purchases_at_once_are_written_in_commits_that_each_end_with_a_state(
    tmp_path: Path, key: LogKey
) -> None:
    async with kept(tmp_path, key) as books:
        assert set(await books.buy(*(bought(n, n // 80 * 60) for n in range(2500)))) == {"accepted"}
        events = await books.events()
        assert events.count("purchase") == 2500
        places = [at for at, event in enumerate(events) if event == "state"]
        assert places[-1] == len(events) - 1
        assert all(later - earlier <= 401 for earlier, later in zip([-1, *places], places))  # noqa: B905 - one is longer on purpose
    async with kept(tmp_path, key) as books:
        assert len(books.state.ledger.accounts) == 2500


async def test_a_long_time_away_is_told_in_many_commits_and_only_once(
    tmp_path: Path, key: LogKey
) -> None:
    async with kept(tmp_path, key) as books:
        await books.buy(*(bought(n, n // 80 * 60, wh=10) for n in range(1600)))
        books.book(20_000, NOW_MS + 24 * 3_600_000)
        await books.settled()
        events = await books.events()
        assert events.count("closed") == 1600
        assert events[-1] == "state"
        old = books.state
    async with kept(tmp_path, key) as books:
        assert books.state.ledger.allocated_wh == old.ledger.allocated_wh
        books.bookkeeper.keep(books.state, (), is_due=True)
        await books.settled()
        assert (await books.events()).count("closed") == 1600


async def test_a_register_that_was_held_is_held_after_a_restart(
    tmp_path: Path, key: LogKey
) -> None:
    async with kept(tmp_path, key) as books:
        fusion = resumed(TRAITS, register_wh=5000, at_s=10.0)
        low = MeterReading(
            meter_id="site", requested_at_s=11.0, replied_at_s=11.0, taken_at_ms=0, power_w=36e3,
            energy_import_wh=100, voltage_v=None, frequency_hz=None,
        )  # fmt: skip
        event = RegisterEvent(
            event="held", at_ms=NOW_MS, register_wh=100, offset_wh=700, reason="fell", serial="A"
        )
        books.state = replace(books.state, fusion=hold(fusion, low, "fell"), events=(event,))
        books.bookkeeper.keep(books.state, (), is_due=False)
        await books.settled()
        assert (await books.events())[-2:] == ["held", "state"]
    async with kept(tmp_path, key) as books:
        fusion: Fusion = books.state.fusion
        assert (fusion.suspect, fusion.held.register_wh, fusion.doubt.is_blind) == (
            "fell",
            100,
            True,
        )
        assert books.state.ledger.serial == "A"
        assert indexed(books.state.ledger) is books.state.ledger


@pytest.mark.parametrize("quarters_back", [0, 1, 7, 29, 200])
async def test_statements_of_all_points_are_found_however_many_points_there_were(
    tmp_path: Path, key: LogKey, quarters_back: int
) -> None:
    first_ms = NOW_MS // QUARTER_MS * QUARTER_MS - 30 * QUARTER_MS
    names = [f"mp-{n}" for n in range(7)]
    async with kept(tmp_path, key) as books:
        rows = [
            (name, Statement(start_ms=at_ms, end_ms=at_ms + QUARTER_MS, metered_wh=1))
            for at_ms in range(first_ms, first_ms + 30 * QUARTER_MS, QUARTER_MS)
            for name in names
        ]
        await books.journal.append([statement_record(name, one) for name, one in rows])
        since_ms = NOW_MS - quarters_back * QUARTER_MS
        found = await statements_since(books.journal, since_ms, NOW_MS)
    wanted = [(name, one.start_ms) for name, one in rows if one.start_ms >= since_ms]
    assert [(row["meter_point"], row["start_ms"]) for row in found] == wanted
