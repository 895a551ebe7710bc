"""What VNish's ``/summary`` says, in the units of readings.py.

Keys and states of the firmware's own API description (1.2.6 to 1.3.4) as its clients use them, and
of answers that owners have published. Hashrates are in the unit that ``/info`` names, GH/s for
SHA-256; watts are ``power_consumption``. ``power_usage`` is deprecated and described as something
else, so it is not read. Boards are counted from 1 by the firmware and from 0 here.
Never saw a socket, never guesses a value: what is missing or of another kind is a BadReplyError.
"""

from collections.abc import Sequence

from drivers.errors import BadReplyError
from drivers.readings import (
    Activity,
    BoardReading,
    ChipTemperatures,
    MinerFault,
    PoolReading,
    PowerProvenance,
)
from drivers.wire.cgminer import Row
from drivers.wire.vnish_device import (
    FULL_PERCENT,
    TH,
    Factory,
    Info,
    Model,
    Preset,
    percent_name,
    told_text,
)
from drivers.wire.vnish_reply import table_in, tables_in

MARGIN = 1.5  # a wrong unit is a factor of 1000
_AMOUNT_MAX = 1e8  # of watts, GH/s and MH/s no machine has so many
_WORDS_MAX = 200

_RISING = frozenset({"initializing", "starting", "restarting", "auto-tuning"})
_RESTING = frozenset({"stopped", "shutting-down", "paused"})
_ALIVE = frozenset({"active", "working", "rejecting"})
_FAILED_BOARDS = {
    "failure": "Hashboard {board} has failed{why}.",
    "disconnected": "Hashboard {board} is not connected{why}.",
    "disabled": "Hashboard {board} is switched off in the settings{why}.",
}


def miner_of(row: Row) -> Row:
    """``/summary``: the part about the miner, which is null until the mining program is up."""
    if not row.has("miner"):
        raise BadReplyError(
            "The machine's API is up, but its mining program is not: it may be starting."
        )
    return table_in(row, "miner")


def throttle_of(miner: Row) -> int | None:
    """Percent of the preset that the machine is held at; None where it has no dimmer."""
    status = table_in(miner, "miner_status")
    if not status.has("throttled"):
        return None
    percent = status.whole("throttled")
    if not 1 <= percent <= FULL_PERCENT:
        raise BadReplyError(f"The machine says that it is throttled to {percent} %.")
    return percent


def boards_of(miner: Row, info: Info, model: Model, factory: Factory) -> tuple[BoardReading, ...]:
    """Every board that the machine has; one that is not listed hashes nothing.

    The driver offers no command for single boards, so each counts as switched on; one that is off
    by the settings is among the faults.
    """
    is_rising = _state(miner) in _RISING
    chains = tables_in(miner, "chains")
    rows = {chain.whole("id") - 1: chain for chain in chains}
    if len(rows) != len(chains) or not set(rows) <= set(range(model.board_count)):
        ids = ", ".join(str(board + 1) for board in sorted(rows))
        raise BadReplyError(
            f"The machine has {model.board_count} boards and tells of {len(chains)}: {ids[:40]}."
        )
    readings = []
    for board in range(model.board_count):
        chain = rows.get(board)
        readings.append(
            BoardReading(
                board=board,
                is_enabled=True,
                is_ramping=is_rising
                or (chain is not None and _board_state(chain) == "initializing"),
                hashrate_hs=0.0 if chain is None else _amount(chain, "hashrate_rt") * info.unit_hs,
                temperature_c=None if chain is None else _temperature(chain),
                serial=factory.board_serials.get(board),
            )
        )
    return tuple(readings)


def chip_temperatures_of(miner: Row) -> tuple[ChipTemperatures, ...]:
    """Coldest and hottest chip of each chain; the firmware writes 0 for none."""
    found = []
    for chain in tables_in(miner, "chains"):
        chips = table_in(chain, "chip_temp") if chain.has("chip_temp") else None
        max_c = 0.0 if chips is None else chips.number("max")
        if chips is not None and max_c != 0:
            min_c = chips.number_or_none("min")
            board = chain.whole("id") - 1
            found.append(ChipTemperatures(board=board, min_c=min_c, mean_c=None, max_c=max_c))
    return tuple(sorted(found, key=lambda one: one.board))


def nameplate_of(miner: Row, info: Info) -> float | None:
    """H/s of the model as it left the factory; None while the firmware does not know."""
    return (_amount(miner, "hr_stock") if miner.has("hr_stock") else 0.0) * info.unit_hs or None


def believed_hashrate_hs(
    miner: Row, info: Info, boards: Sequence[BoardReading], nameplate_hs: float | None
) -> float:
    """The whole machine, if it and its boards lie within 0…1.5 × nameplate, else BadReplyError."""
    told_hs = _amount(miner, "hr_realtime") * info.unit_hs
    highest_hs = max(told_hs, sum(board.hashrate_hs for board in boards))
    if nameplate_hs and highest_hs > MARGIN * nameplate_hs:
        raise BadReplyError(
            f"The machine says {highest_hs / TH:.0f} TH/s, more than 1.5 times its nameplate of "
            f"{nameplate_hs / TH:.0f} TH/s: its firmware may use another unit."
        )
    return told_hs


def power_of(
    miner: Row, hashrate_hs: float, rated_w: float | None
) -> tuple[float | None, PowerProvenance]:
    """Watts, metered by the power supply where the firmware says so.

    A machine that hashes on 0 W has no figure at all.
    """
    told_w = _amount(miner, "power_consumption")
    if rated_w and told_w > MARGIN * rated_w:
        raise BadReplyError(
            f"The machine says {told_w:.0f} W, more than 1.5 times the {rated_w:.0f} W that it is "
            "made or set for: its firmware may use another unit."
        )
    if told_w <= 0 < hashrate_hs:
        return None, PowerProvenance.ABSENT
    supply = table_in(miner, "psu") if miner.has("psu") else None
    key = "psu_power_metering"
    if supply is not None and supply.flag_or_no(key):
        return told_w, PowerProvenance.METERED_PSU
    return told_w, PowerProvenance.FIRMWARE_ESTIMATE


def activity_of(miner: Row, hashrate_hs: float) -> Activity:
    """What the machine is doing. A state that is not known raises BadReplyError."""
    state = _state(miner)
    if state in _RESTING:
        return Activity.SLEEPING
    if state in _RISING:
        return Activity.RAMPING
    if state == "failure":
        return Activity.FAULT
    if state != "mining":
        raise BadReplyError(
            f"The machine's state is {state[:40]!r}: "
            "its firmware may be a version that kwota does not know."
        )
    return Activity.HASHING if hashrate_hs > 0 else Activity.STOPPED


def profile_of(miner: Row, activity: Activity) -> str:
    """The percent in force. Nothing says that a stop keeps it: a sleeper shows the whole."""
    percent = throttle_of(miner)
    if percent is None or activity is Activity.SLEEPING:
        return percent_name(FULL_PERCENT)
    return percent_name(percent)


def pools_of(miner: Row) -> tuple[PoolReading, ...]:
    """The owner's pools; the firmware's own, for its fee, are left out."""
    rows = [
        row for row in tables_in(miner, "pools") if told_text(row, "pool_type") in {"", "UserPool"}
    ]
    return tuple(
        [
            PoolReading(
                slot=row.whole("id"),
                url=row.text("url"),
                user=row.text("user"),
                is_active=row.text("status") == "active",
                is_alive=row.text("status") in _ALIVE,
                accepted=row.whole("accepted"),
                rejected=row.whole("rejected"),
            )
            for row in rows
        ]
    )


def fan_speeds_of(miner: Row) -> tuple[int, ...]:
    """RPM of the fans; a machine cooled by a liquid has none."""
    return tuple([fan.whole("rpm") for fan in tables_in(table_in(miner, "cooling"), "fans")])


def faults_of(miner: Row, preset: Preset | None, *, is_restart_due: bool) -> tuple[MinerFault, ...]:
    """What the machine complains of, and what stands in the way of keeping a budget."""
    status, faults = table_in(miner, "miner_status"), []
    if _state(miner) == "failure":
        code = str(status.whole("failure_code")) if status.has("failure_code") else "failure"
        faults.append(MinerFault(code=code, words=f"Mining has failed{_why(status)}."))
    for chain in tables_in(miner, "chains"):
        words = _FAILED_BOARDS.get(_board_state(chain))
        if words is not None:
            board = chain.whole("id")
            said = words.format(board=board, why=_why(table_in(chain, "status")))
            faults.append(MinerFault(code=f"chain-{board}", words=said))
    for fan in tables_in(table_in(miner, "cooling"), "fans"):
        if told_text(fan, "status") == "lost":
            words = f"Fan {fan.whole('id')} has stopped."
            faults.append(MinerFault(code=f"fan-{fan.whole('id')}", words=words))
    if is_restart_due:
        words = "Changed settings wait for a restart of the mining: restart it in the web page."
        faults.append(MinerFault(code="restart-required", words=words))
    if preset is not None and preset.is_changing:
        words = "The machine changes its preset by itself: switch the preset switcher off."
        faults.append(MinerFault(code="preset-switcher", words=words))
    return tuple(faults)


def _state(miner: Row) -> str:
    return table_in(miner, "miner_status").text("miner_state")


def _board_state(chain: Row) -> str:
    return table_in(chain, "status").text("state")


def _why(row: Row) -> str:
    words = told_text(row, "description")[:_WORDS_MAX]
    return f" ({words})" if words else ""


def _temperature(chain: Row) -> float | None:
    """The warmest spot of the board, else its warmest chip; the firmware writes 0 for none."""
    for key in ("pcb_temp", "chip_temp"):
        if chain.has(key):
            temperature_c = table_in(chain, key).number("max")
            if temperature_c != 0:
                return temperature_c
    return None


def _amount(row: Row, key: str) -> float:
    value = row.number(key)
    if not 0 <= value <= _AMOUNT_MAX:
        raise BadReplyError(f"The machine says that its {row.section} {key} is {value:g}.")
    return value
