"""A daemon that shows one small site, and a terminal that runs verbs against it."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from agent.cli import main
from agent.control import Control, NotNowError, Why, open_control
from agent.core.decisions import Because
from agent.core.ledger import Admission, Transaction
from agent.core.register import RegisterEvent
from agent.purchases import PurchaseReader
from agent.status.routes import add_read_routes
from agent.status.view import (
    AlarmView,
    BecauseView,
    DeliveryView,
    LimitView,
    MeterRow,
    MinerRow,
    PreflightView,
    RelayRow,
    SiteView,
    StatusView,
    TransactionRow,
    WindowView,
)

NOW_MS = 1_770_000_000_000
RECORD = b'{"v":1,"i":7,"k":"meter","t":1770000000000000,"s":"site","st":"G","d":{"power_w":5}}'


WINDOW = WindowView(
    start_ms=NOW_MS,
    end_ms=NOW_MS + 3_600_000,
    time_left_s=1800.0,
    purchased_wh=1_000_000,
    used_wh=400_000,
    used_upper_wh=401_000,
    left_wh=600_000,
    transactions=["tx-1"],
)
ALARM = AlarmView(
    code="meter_slow",
    severity="warning",
    source="site",
    words="the meter answers late",
    remedy="look at the cable",
    first_seen_ms=NOW_MS,
    count=2,
)
PREFLIGHT = PreflightView(
    start_ms=NOW_MS + 3_600_000,
    transactions=["tx-2"],
    purchased_wh=900_000,
    controllable_share=0.984,
    stop_s=12.5,
    stop_wh=640,
    least_wh=17_310,
    losable_share=0.62,
    can_comply=True,
    words="the next window can be kept",
)
RELAYS = [
    RelayRow(relay_id="row-1", state="closed", miners=["r1-s01", "r1-s02"], openings_24h=0),
    RelayRow(relay_id="row-2", state="unknown", miners=[], openings_24h=2),
]
DELIVERY = DeliveryView(
    origin="pool.example/edge/a-b/1",
    journal_size=9,
    cosigned_size=7,
    unsent=2,
    last_receipt_ms=None,
    broker="connected",
    words="up to date",
)


LIMITS = [
    LimitView(
        id=name,
        kind=kind,
        source=source,
        power_w=power_w,
        from_ms=None,
        until_ms=until_ms,
        safe_w=0.0,
        words=f"{name} in words",
        is_ruling=name == "tx-1",
    )
    for name, kind, source, power_w, until_ms in (
        ("tx-1", "purchase", "tx-1", 480_000.0, None),
        ("o-7", "dispatch_order", "grid [b]operator", 54_000.0, NOW_MS + 3_600_000),
    )
]


def site(*, is_quiet: bool = False) -> SiteView:
    """A small site in the middle of an hour; a quiet one knows nothing yet."""
    return SiteView(
        status=status(is_quiet=is_quiet),
        miners=[miner()],
        meters=[meter()],
        transactions=purchases(),
        statements=[],
        decisions=[],
    )


def status(*, is_quiet: bool) -> StatusView:
    return StatusView(
        farm="ekibastuz-1",
        agent="edge-1",
        version="0.1.0",
        zone="Asia/Almaty",
        at_ms=NOW_MS,
        started_at_ms=NOW_MS,
        mode="following",
        because=BecauseView(limit="energy", source="tx-1", words="on pace", numbers={"left_wh": 5}),
        power_w=None if is_quiet else 480_123.0,
        power_cap_w=None if is_quiet else 500_000.0,
        planned_w=490_000.0,
        base_load_w=None,
        hashrate_hs=1.5e16,
        miners_total=1,
        miners_hashing=1,
        miners_throttled=0,
        miners_sleeping=0,
        miners_faulty=0,
        board_switches=0,
        mining_restarts=0,
        over_wh=0,
        is_clock_trusted=not is_quiet,
        window=None if is_quiet else WINDOW,
        preflight=None if is_quiet else PREFLIGHT,
        limits=LIMITS,
        relays=[] if is_quiet else RELAYS,
        delivery=DELIVERY,
        alarms=[] if is_quiet else [ALARM],
    )


def miner() -> MinerRow:
    """One whose texts try to steer a terminal."""
    return MinerRow(
        miner_id="r1-s01",
        address="10.1.1.11",
        family="luxos",
        model="S19k [red]Pro",
        mac=None,
        serial=None,
        firmware=None,
        activity="hashing",
        power_w=2801.4,
        power_provenance="metered_psu",
        expected_w=2800.0,
        hashrate_hs=1.2e14,
        profile=None,
        boards_on=3,
        board_count=3,
        target=None,
        stage=None,
        why="full\x1b[2J power",
        fault=None,
        complaints=[],
        pools=[],
        uptime_s=None,
        fan_speeds_rpm=[],
        board_serials=[],
        age_s=0.5,
    )


def meter() -> MeterRow:
    return MeterRow(
        meter_id="site",
        address="10.1.0.10",
        profile="sdm630",
        serial="12345678",
        power_w=480_123.0,
        energy_import_wh=123_456_789,
        quality="G",
        fault=None,
        age_s=0.4,
    )


def purchases() -> list[TransactionRow]:
    return [
        TransactionRow(
            transaction_id=name,
            meter_point="mp-1",
            start_ms=NOW_MS,
            end_ms=end_ms,
            energy_wh=1_000_000,
            allocated_wh=400_001,
            unused_wh=599_999,
            price_kzt_per_kwh="24.5",
            source="single_purchaser",
            status="open",
        )
        for name, end_ms in (("tx-1", NOW_MS + 3_600_000), ("tx-2", None))
    ]


def register_event(event: str, reason: str) -> RegisterEvent:
    return RegisterEvent(
        event=event,
        at_ms=NOW_MS,
        register_wh=123_456,
        offset_wh=-100,
        reason=reason,
        serial="87654321",
        unknown_wh=1500,
    )


class Daemon:
    """Shows one site, refuses the purchase called ``no``, knows one machine and one record."""

    def __init__(self) -> None:
        self.record = RECORD
        self.current: SiteView | None = site()

    def forget(self) -> None:
        """As it is while nothing has been measured and nothing bought."""
        self.current = site(is_quiet=True)

    def view(self) -> SiteView | None:
        return self.current

    def is_healthy(self) -> bool:
        return True

    async def add_transactions(self, candidates: Sequence[Transaction]) -> Sequence[Admission]:
        return [
            Admission(
                transaction_id=one.transaction_id,
                result="refused" if one.transaction_id == "no" else "accepted",
                reason=f"{one.energy_wh} Wh",
            )
            for one in candidates
        ]

    def why(self, miner_id: str) -> Why | None:
        reason = Because(limit="energy", source="tx-1", words="held", numbers={"left_wh": 5})
        known = Why(miner_id=miner_id, words="two boards are off", because=reason)
        return known if miner_id == "r1-s01" else None

    async def accept_register(self, meter_id: str, reason: str) -> RegisterEvent:
        if meter_id != "site":
            raise NotNowError(f"there is no meter {meter_id}")
        return register_event("accepted", reason)

    async def exchange_meter(
        self, meter_id: str, *, old_register_wh: int, new_register_wh: int, reason: str
    ) -> RegisterEvent:
        if old_register_wh < new_register_wh:
            raise NotNowError(f"{meter_id}: read the old register off again")
        return register_event("exchanged", reason)

    async def statements(self, day: date) -> Sequence[Mapping[str, Any]]:
        """Five quarters from 13:45 in the site's zone on, each with one Wh more used."""
        first = datetime.combine(day, time(13, 45), ZoneInfo("Asia/Almaty"))
        first_ms = round(first.timestamp() * 1000)
        return [
            {
                "meter_point": "mp-1",
                "start_ms": first_ms + n * 900_000,
                "end_ms": first_ms + (n + 1) * 900_000,
                "metered_wh": 1000 + n,
                "unknown_wh": 0,
                "allocated_wh": 990 + n,
                "over_wh": 10,
                "purchased_wh": 5000 if n == 4 else 0,
                "unused_wh": 40 if n == 4 else 0,
                "flags": ["split"],
                "order": "end,start,price,id",
            }
            for n in range(5)
        ]

    async def journal_tail(self, count: int, kind: str | None) -> Sequence[bytes]:
        return [] if kind == "alarm" else [RECORD] * min(count, 2)


@dataclass
class Outcome:
    code: int
    out: str
    err: str


class Terminal:
    """Runs verbs in this process and hands back what a shell would see."""

    def __init__(self, capsys: pytest.CaptureFixture[str], socket: Path) -> None:
        self._capsys = capsys
        self.socket = socket

    def run(self, *arguments: str) -> Outcome:
        with pytest.raises(SystemExit) as end:
            main(arguments)
        captured = self._capsys.readouterr()
        assert "Traceback" not in captured.err + captured.out
        return Outcome(code=int(end.value.code or 0), out=captured.out, err=captured.err)

    async def ask(self, *arguments: str) -> Outcome:
        """A verb that talks to the daemon which this test serves."""
        return await asyncio.to_thread(self.run, *arguments, "--socket", str(self.socket))


@pytest.fixture
def terminal(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Terminal:
    """A terminal beside which no daemon runs."""
    return Terminal(capsys, tmp_path / "kwota.sock")


@pytest.fixture
async def daemon(terminal: Terminal) -> AsyncIterator[Daemon]:
    """A daemon that answers the terminal while the test runs."""
    shown = Daemon()
    reader = PurchaseReader(meter_points=("mp-1",), zone=ZoneInfo("Asia/Almaty"))
    control = Control(target=shown, reader=reader, now_ms=lambda: NOW_MS)
    async with open_control(terminal.socket, control, lambda app: add_read_routes(app, shown)):
        yield shown
