"""What the page, the JSON API, the metrics and the CLI show: one image of the site per tick.

These models are the contract of ``/api/v1``: a field keeps its name, its unit and its meaning.
``None`` means that there is no such number now, never zero.
"""

from pydantic import BaseModel, ConfigDict


class _View(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class BecauseView(_View):
    """Why: the limit that ruled, its source, words for people, numbers for programs."""

    limit: str
    source: str
    words: str
    numbers: dict[str, int]


class WindowView(_View):
    """The purchases that are open now, taken together until the earliest end."""

    start_ms: int
    end_ms: int
    time_left_s: float
    purchased_wh: int
    used_wh: int
    used_upper_wh: int
    left_wh: int
    transactions: list[str]


class LimitView(_View):
    """One limit that bounds a meter point now or later; of each point's exactly one rules.

    ``power_w`` is what it allows now, or once it begins; ``safe_w`` what it allows after its end.
    Without ``from_ms`` it holds already, without ``until_ms`` for good.
    """

    id: str
    kind: str
    source: str
    power_w: float | None
    from_ms: int | None
    until_ms: int | None
    safe_w: float
    words: str
    is_ruling: bool
    meter_point: str | None = None


class PreflightView(_View):
    """What is known of the next window before it opens, and whether it can be kept.

    ``controllable_share`` is of the watts that may flow now; ``stop_s`` and ``stop_wh`` are until
    everything that obeys is at its floor. ``least_wh`` flows in the window at least. Of all watts
    ``losable_share`` may cease to obey with the purchase still kept.
    """

    start_ms: int
    transactions: list[str]
    purchased_wh: int
    controllable_share: float
    stop_s: float
    stop_wh: int
    least_wh: int
    losable_share: float
    can_comply: bool
    words: str


class RelayRow(_View):
    """One relay and the machines behind it. ``state``: open, closed, unknown.

    ``openings_24h`` is how often the agent told it to open in the last 24 hours, but not before its
    own start.
    """

    relay_id: str
    state: str
    miners: list[str]
    openings_24h: int


class AlarmView(_View):
    """Something a person should know. ``severity`` is ``warning`` or ``critical``.

    ``meter_point`` is null where it is about the agent as a whole.
    """

    code: str
    severity: str
    source: str
    words: str
    remedy: str
    first_seen_ms: int
    count: int
    meter_point: str | None = None


class DeliveryView(_View):
    """How much of the journal the pool has cosigned. ``broker`` is connected, connecting or off."""

    origin: str
    journal_size: int
    cosigned_size: int
    unsent: int
    last_receipt_ms: int | None
    broker: str
    words: str


class PointView(_View):
    """One meter point in the status document: what it decides, and on what."""

    meter_point: str
    meter_id: str
    rated_power_w: float
    at_ms: int
    mode: str
    because: BecauseView
    power_w: float | None
    power_cap_w: float | None
    planned_w: float
    base_load_w: float | None
    hashrate_hs: float
    miners_total: int
    miners_hashing: int
    miners_faulty: int
    over_wh: int
    window: WindowView | None


class StatusView(_View):
    """``/api/v1/status``. ``is_shadow``: what is decided is advice, nothing is sent.

    With several meter points, mode and reason are those of the point that most needs to be looked
    at, ``at_ms`` is the oldest; powers, counts and energies are sums, null where one is not known.
    Energy of one point is none for another: ``meter_points`` has each by itself.
    """

    farm: str
    agent: str
    version: str
    zone: str
    at_ms: int
    started_at_ms: int
    mode: str
    because: BecauseView
    power_w: float | None
    power_cap_w: float | None
    planned_w: float
    base_load_w: float | None
    hashrate_hs: float
    miners_total: int
    miners_hashing: int
    miners_throttled: int
    miners_sleeping: int
    miners_faulty: int
    board_switches: int
    mining_restarts: int
    over_wh: int
    is_clock_trusted: bool
    is_shadow: bool = False
    window: WindowView | None
    preflight: PreflightView | None = None
    limits: list[LimitView]
    relays: list[RelayRow] = []
    delivery: DeliveryView
    alarms: list[AlarmView]
    meter_points: list[PointView] = []


class PoolView(_View):
    """One pool slot of a machine. ``is_accredited`` is null where the policy lists no pools.

    ``accepted`` and ``rejected`` are shares, null where the firmware counts none.
    """

    slot: int
    url: str
    user: str
    is_active: bool
    is_alive: bool
    is_accredited: bool | None
    accepted: int | None
    rejected: int | None


class ChipTemperaturesView(_View):
    """How hot the chips of one board are, in ``/api/v1/miners``."""

    board: int
    min_c: float | None
    mean_c: float | None
    max_c: float


class MinerRow(_View):
    """One machine in ``/api/v1/miners``. ``why`` says why it runs as it does, in one sentence.

    ``why_short`` is the part of it that is the machine's own, without what binds the whole site.
    ``complaints`` are the vendor's codes with our words. They and what follows are from its newest
    full read, minutes old.
    ``moved_from`` is the configuration's address while the machine answers at another one,
    ``pinned_mac`` the configuration's, whether or not the machine answers, and ``rack`` where it
    stands, by the configuration or by its name.
    """

    miner_id: str
    address: str
    family: str
    model: str | None
    mac: str | None
    serial: str | None
    firmware: str | None
    activity: str | None
    power_w: float | None
    power_provenance: str | None
    expected_w: float | None
    hashrate_hs: float | None
    profile: str | None
    boards_on: int | None
    board_count: int | None
    target: str | None
    stage: str | None
    why: str
    fault: str | None
    complaints: list[str]
    pools: list[PoolView]
    uptime_s: int | None
    fan_speeds_rpm: list[int]
    board_serials: list[str]
    age_s: float | None
    meter_point: str | None = None
    moved_from: str | None = None
    rack: str | None = None
    pinned_mac: str | None = None
    chip_temperatures: list[ChipTemperaturesView] = []
    why_short: str | None = None


class MeterRow(_View):
    """One meter in ``/api/v1/meters``. ``meter_point`` is null where it is only read."""

    meter_id: str
    address: str
    profile: str
    serial: str | None
    power_w: float | None
    energy_import_wh: int | None
    quality: str | None
    fault: str | None
    age_s: float | None
    meter_point: str | None = None


class TransactionRow(_View):
    """One purchase in ``/api/v1/transactions``. ``status``: planned, open, exhausted, closed."""

    transaction_id: str
    meter_point: str
    start_ms: int
    end_ms: int | None
    energy_wh: int
    allocated_wh: int
    unused_wh: int
    price_kzt_per_kwh: str
    source: str
    status: str


class StatementRow(_View):
    """A quarter of an hour that is over, in ``/api/v1/statements``, oldest first.

    ``metered_wh + unknown_wh = allocated_wh + over_wh``; ``unknown_wh`` is an upper bound of what
    nobody measured. ``purchased_wh`` and ``unused_wh`` are those of the windows that end in the
    quarter, ``order`` says by what energy was attributed.
    """

    meter_point: str
    start_ms: int
    end_ms: int
    metered_wh: int
    unknown_wh: int
    allocated_wh: int
    over_wh: int
    purchased_wh: int
    unused_wh: int
    flags: list[str]
    order: str


class DecisionRow(_View):
    """One decision in ``/api/v1/decisions``, newest first."""

    at_ms: int
    mode: str
    power_w: float | None
    power_cap_w: float
    planned_w: float
    commands: int
    because: BecauseView
    meter_point: str | None = None


class HistoryRow(_View):
    """One step of the last day in ``/api/v1/history``, oldest first; kept in memory only.

    ``power_w`` is the mean over the step, ``power_cap_w`` the least cap in it. ``used_wh`` and
    ``purchased_wh`` are of the window that was open at its end.
    """

    at_ms: int
    span_s: int
    power_w: float | None
    power_max_w: float | None
    power_cap_w: float | None
    window_start_ms: int | None
    purchased_wh: int | None
    used_wh: int | None
    meter_point: str


class SiteView(_View):
    """Everything above, of the same tick."""

    status: StatusView
    miners: list[MinerRow]
    meters: list[MeterRow]
    transactions: list[TransactionRow]
    statements: list[StatementRow]
    decisions: list[DecisionRow]
    history: list[HistoryRow] = []
