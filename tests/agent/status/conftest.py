"""A site of sixty machines in the middle of an hour, and a real endpoint that serves it."""

import math
from collections.abc import AsyncIterator

import pytest

from agent.status.server import StatusServer, open_status_server
from agent.status.view import (
    AlarmView,
    BecauseView,
    DecisionRow,
    DeliveryView,
    HistoryRow,
    LimitView,
    MeterRow,
    MinerRow,
    PointView,
    PoolView,
    PreflightView,
    RelayRow,
    SiteView,
    StatementRow,
    StatusView,
    TransactionRow,
    WindowView,
)

START_MS = 1_795_680_000_000
NOW_MS = START_MS + 1_471_000
HASHRATE_HS = 104e12


class StandInSource:
    """Holds what the endpoint shows; a test changes it as a tick would."""

    def __init__(self, view: SiteView | None, *, healthy: bool = True) -> None:
        self.current = view
        self.healthy = healthy

    def view(self) -> SiteView | None:
        return self.current

    def is_healthy(self) -> bool:
        return self.healthy


def because(words: str, limit: str = "purchase", source: str = "tx-2026-1121-14a") -> BecauseView:
    numbers = {"purchased_wh": 1_000_000, "left_wh": 587_250, "time_left_s": 2_129}
    return BecauseView(limit=limit, source=source, words=words, numbers=numbers)


def miner_row(n: int) -> MinerRow:
    rack, shelf = divmod(n, 12)
    activity, boards_on, fault, stage = "hashing", 3, None, "confirmed"
    why = "Runs with all boards: its hashes per watt are among the best of the farm."
    target = "3 boards, 65 TH"
    if n % 9 == 4:
        boards_on, target = 2, "2 boards"
        why = "One board is off since 14:21:07: the cap fell to 182.4 kW."
    if n % 17 == 11:
        activity, boards_on, target = "sleeping", 0, "sleep"
        why = "Sleeps: the cap leaves no room for its floor of 1 150 W."
    if n % 23 == 7:
        activity, why, stage = "ramping", "Wakes since 40 s: the cap rose to 182.4 kW.", "applied"
    if n in {13, 38}:
        fault = "No answer for 42 s: check its network cable and its power."
        why, stage = "Counts with its full draw until it answers.", "unknown"
    power = {0: 12.0, 2: 2_240.0, 3: 3_310.0}[boards_on] + 11 * math.sin(n)
    return MinerRow(
        miner_id=f"r{rack + 1}-s{shelf + 1:02d}",
        address=f"10.1.{rack + 1}.{shelf + 11}",
        family="luxos" if n % 3 else "whatsminer",
        model=None if fault else "Antminer S19j Pro",
        mac=None if fault else f"62:f7:5e:b7:{rack:02x}:{shelf:02x}",
        serial=f"SN{n:06d}",
        firmware="2025.9.3",
        activity=None if n == 38 else activity,
        power_w=None if n == 38 else power,
        power_provenance="firmware_estimate",
        expected_w=power * 1.01,
        hashrate_hs=None if n == 38 else HASHRATE_HS * boards_on / 3,
        profile="65 TH",
        boards_on=None if n == 38 else boards_on,
        board_count=3,
        target=target,
        stage=stage,
        why=why,
        fault=fault,
        complaints=["R:1: the hashrate is low"] if n == 5 else [],
        pools=[] if fault else [pool_view(n)],
        uptime_s=None if fault else 86_400 + n,
        fan_speeds_rpm=[] if fault else [5_000, 5_040],
        board_serials=[] if fault else [f"HB{n:04d}{board}" for board in range(3)],
        age_s=42.0 if fault else 0.4 + n % 7 / 10,
        rack=f"r{rack + 1}",
        pinned_mac=f"62:f7:5e:b7:{rack:02x}:{shelf:02x}",
    )


def pool_view(n: int) -> PoolView:
    return PoolView(
        slot=0,
        url="stratum+tcp://pool.example:3333",
        user=f"farm.r{n}",
        is_active=True,
        is_alive=True,
        is_accredited=None,
        accepted=100 + n,
        rejected=1,
    )


def decision_row(n: int) -> DecisionRow:
    at_ms = NOW_MS - n * 9_000
    cap = 182_400.0 if n < 24 else 196_000.0
    power = cap - 1_900 - 900 * math.sin(n / 2) - (4_000 if n in {24, 25} else 0)
    words = (
        "587.250 kWh of tx-2026-1121-14a are left for 35 min 29 s: that is 182.4 kW with the "
        "reserve kept back."
    )
    return DecisionRow(
        at_ms=at_ms,
        mode="shedding" if n == 24 else "following",
        power_w=power,
        power_cap_w=cap,
        planned_w=cap - 900,
        commands=(3, 0, 1, 0)[n % 4],
        because=because(words),
    )


def alarm_views() -> list[AlarmView]:
    return [
        AlarmView(
            code="MINER_UNREACHABLE",
            severity="warning",
            source="r2-s02, r4-s03",
            words="2 machines do not answer and count with their full draw of 6.6 kW.",
            remedy="Check their network cables and power; see kwota why r2-s02.",
            first_seen_ms=NOW_MS - 42_000,
            count=14,
        ),
        AlarmView(
            code="RELAY_TEST",
            severity="critical",
            source="relay-1",
            words="The relay of feeder 2 has not been proven to open for 34 days.",
            remedy="Run its test in the next pause between windows.",
            first_seen_ms=NOW_MS - 86_400_000,
            count=1,
        ),
    ]


def limit_views() -> list[LimitView]:
    return [
        LimitView(
            id="tx-2026-1121-14a",
            kind="purchase",
            source="tx-2026-1121-14a",
            power_w=182_400.0,
            from_ms=None,
            until_ms=None,
            safe_w=0.0,
            words="587.250 kWh are left for 35 min 29 s.",
            is_ruling=True,
        ),
        LimitView(
            id="o-7",
            kind="dispatch_order",
            source="grid operator",
            power_w=0.0,
            from_ms=NOW_MS + 3_600_000,
            until_ms=NOW_MS + 7_200_000,
            safe_w=1_000_000.0,
            words="The grid operator ordered 0.0 kW at most (order o-7).",
            is_ruling=False,
        ),
    ]


def preflight_view() -> PreflightView:
    return PreflightView(
        start_ms=START_MS + 3_600_000,
        transactions=["tx-2026-1121-15a"],
        purchased_wh=950_000,
        controllable_share=0.9666,
        stop_s=12.5,
        stop_wh=641,
        least_wh=17_310,
        losable_share=0.62,
        can_comply=True,
        words="The next window can be kept: 97% of the watts obey.",
    )


def relay_rows() -> list[RelayRow]:
    return [
        RelayRow(relay_id="feeder-1", state="closed", miners=["r1-s01", "r1-s02"], openings_24h=0),
        RelayRow(relay_id="feeder-2", state="open", miners=["r2-s01"], openings_24h=2),
        RelayRow(relay_id="feeder-3", state="unknown", miners=[], openings_24h=0),
    ]


def status_view() -> StatusView:
    return StatusView(
        farm="ekibastuz-1",
        agent="edge-1",
        version="0.1.0",
        zone="Asia/Almaty",
        at_ms=NOW_MS,
        started_at_ms=NOW_MS - 9 * 86_400_000,
        mode="following",
        because=because(
            "587.250 kWh are left for 35 min 29 s: that is 182.4 kW with the reserve kept back."
        ),
        power_w=180_460.0,
        power_cap_w=182_400.0,
        planned_w=181_500.0,
        base_load_w=4_210.0,
        hashrate_hs=58 * HASHRATE_HS,
        miners_total=60,
        miners_hashing=47,
        miners_throttled=7,
        miners_sleeping=4,
        miners_faulty=2,
        board_switches=1_284,
        mining_restarts=3,
        over_wh=0,
        is_clock_trusted=True,
        window=window_view(),
        preflight=preflight_view(),
        limits=limit_views(),
        relays=relay_rows(),
        delivery=DeliveryView(
            origin="pool.example/edge/ekibastuz-1-edge-1/1",
            journal_size=1_482_113,
            cosigned_size=1_482_090,
            unsent=23,
            last_receipt_ms=NOW_MS - 3_400,
            broker="connected",
            words="The pool has cosigned all but the last 23 records.",
        ),
        alarms=alarm_views(),
        meter_points=[
            point_view("mp-1", 180_460.0, "following"),
            point_view("mp-2", None, "blind"),
        ],
    )


def point_view(name: str, power_w: float | None, mode: str) -> PointView:
    return PointView(
        meter_point=name,
        meter_id=f"meter-{name}",
        rated_power_w=250_000.0,
        at_ms=NOW_MS,
        mode=mode,
        because=because(f"{name} is {mode}"),
        power_w=power_w,
        power_cap_w=182_400.0,
        planned_w=181_500.0,
        base_load_w=4_210.0,
        hashrate_hs=58 * HASHRATE_HS,
        miners_total=60,
        miners_hashing=47,
        miners_faulty=2,
        over_wh=0,
        window=None if power_w is None else window_view(),
    )


def window_view() -> WindowView:
    return WindowView(
        start_ms=START_MS,
        end_ms=START_MS + 3_600_000,
        time_left_s=2_129.0,
        purchased_wh=1_000_000,
        used_wh=412_000,
        used_upper_wh=412_750,
        left_wh=587_250,
        transactions=["tx-2026-1121-14a", "tx-2026-1121-14b"],
    )


def transaction_rows() -> list[TransactionRow]:
    return [
        TransactionRow(
            transaction_id=f"tx-2026-1121-{name}",
            meter_point="mp-1",
            start_ms=START_MS + shift_h * 3_600_000,
            end_ms=START_MS + (shift_h + 1) * 3_600_000,
            energy_wh=energy_wh,
            allocated_wh=used_wh,
            unused_wh=energy_wh - used_wh if status == "closed" else 0,
            price_kzt_per_kwh=price,
            source="korem",
            status=status,
        )
        for name, shift_h, energy_wh, used_wh, price, status in (
            ("14a", 0, 600_000, 412_000, "16.40", "open"),
            ("14b", 0, 400_000, 0, "17.15", "open"),
            ("15a", 1, 950_000, 0, "15.90", "planned"),
            ("13a", -1, 1_000_000, 997_412, "16.10", "closed"),
        )
    ]


def meter_rows() -> list[MeterRow]:
    return [
        MeterRow(
            meter_id="site",
            address="10.1.0.10:502/1",
            profile="sdm630",
            serial="12345678",
            power_w=180_460.0,
            energy_import_wh=48_213_907_412,
            quality="G",
            fault=None,
            age_s=0.4,
        ),
        MeterRow(
            meter_id="feeder-2",
            address="10.1.0.11:502/1",
            profile="sdm630",
            serial=None,
            power_w=None,
            energy_import_wh=None,
            quality=None,
            fault="No answer since the start: check the address and the cable.",
            age_s=None,
        ),
    ]


def history_rows() -> list[HistoryRow]:
    rows = []
    for at_ms in range(NOW_MS // 60_000 * 60_000 - 6 * 3_600_000, NOW_MS - 60_000, 60_000):
        power_w = 170_000.0 + 9_000 * math.sin(at_ms / 2_000_000)
        in_hour_ms = at_ms % 3_600_000
        rows.append(
            HistoryRow(
                at_ms=at_ms,
                span_s=60,
                power_w=power_w,
                power_max_w=power_w + 900,
                power_cap_w=182_400.0,
                window_start_ms=at_ms - in_hour_ms,
                purchased_wh=1_000_000,
                used_wh=int(in_hour_ms / 3_600_000 * 985_000),
                meter_point="mp-1",
            )
        )
    return rows


def statement_rows() -> list[StatementRow]:
    first_ms = START_MS - 24 * 3_600_000
    return [
        StatementRow(
            meter_point="mp-1",
            start_ms=start_ms,
            end_ms=start_ms + 900_000,
            flags=[],
            order="deadline",
            **dict.fromkeys(("metered_wh", "allocated_wh"), 41_000 + n % 5 * 400),
            **dict.fromkeys(("unknown_wh", "over_wh", "purchased_wh", "unused_wh"), 0),
        )
        for n, start_ms in enumerate(range(first_ms, START_MS - 6 * 3_600_000, 900_000))
    ]


def site_view(miners: int = 60) -> SiteView:
    return SiteView(
        status=status_view(),
        miners=[miner_row(n) for n in range(miners)],
        meters=meter_rows(),
        transactions=transaction_rows(),
        statements=statement_rows(),
        decisions=[decision_row(n) for n in range(60)],
        history=history_rows(),
    )


@pytest.fixture
def site() -> SiteView:
    return site_view()


@pytest.fixture
def source(site: SiteView) -> StandInSource:
    return StandInSource(site)


@pytest.fixture
async def server(source: StandInSource) -> AsyncIterator[StatusServer]:
    async with open_status_server(source, "127.0.0.1", 0) as opened:
        yield opened
