"""What ePIC's PowerPlay (UMC OS) says over HTTP, in the units of readings.py.

Keys and states of the vendor's own OpenAPI description ("ePIC UMC API" 1.22.5 to 1.38.3), and the
place of the MAC as other clients read it. Hashrates of boards are MH/s, the nameplate is TH/s.
Never saw a socket, never guesses a value: what is missing or of another kind is a BadReplyError.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import orjson

from drivers.errors import BadReplyError, BusyError, RefusedError
from drivers.readings import (
    Activity,
    BoardReading,
    MinerFault,
    PoolReading,
    PowerProvenance,
    Profile,
)
from drivers.wire.cgminer import Row
from drivers.wire.web_table import amount, part_of, rows_of

MH = 1e6
TH = 1e12
MARGIN = 1.5  # a wrong unit is a factor of 1000
BOARDS_MAX = 16
PROFILE = "preset"
_WORDS_MAX = 200
_FANS = range(1, 17)

# "Idling" is what a stop ends in; whoever is on the way up counts as ramping.
_ACTIVITIES = {
    "Mining": Activity.HASHING,
    "Idling": Activity.SLEEPING,
    "Stopping": Activity.STOPPED,
    "AdjustingClockVoltage": Activity.RAMPING,
    "Initializing": Activity.RAMPING,
    "Loading": Activity.RAMPING,
    "PreInitCooldown": Activity.RAMPING,
    "Rebooting": Activity.RAMPING,
    "SoftRebooting": Activity.RAMPING,
    "Testing": Activity.RAMPING,
    "UpdatingFirmware": Activity.RAMPING,
}
_WATTS_TUNERS = ("PowerTune", "Power")
_BUSY = ("LastCmdStillPending", "SystemUpdateInProgress")

_FAULT_WORDS = {
    "CriticalTempReached": "A temperature was so high that the machine stopped",
    "ShutdownTempReached": "A board was so hot that the machine stopped",
    "ChipShutdownTempReached": "A chip was so hot that the machine stopped",
    "UnableToReachTemp": "The boards do not warm up to where they may start",
    "MinimumFansError": "Too few fans turn",
    "NoHashboardsConnected": "No hashboard is connected",
    "NoHashboardsEnabled": "Every hashboard is switched off",
    "HashboardError": "A hashboard has failed",
    "HashboardInitError": "A hashboard cannot be started",
    "HbChipDetectError": "Chips of a hashboard are missing",
    "ChipDetectError": "Chips of a hashboard are missing",
    "Chainbreak": "The chain of chips of a hashboard is broken",
    "NoSolutions": "The boards find nothing",
    "NoSolutionForHbs": "A hashboard finds nothing",
    "ReachedCutoffVoltage": "The supply voltage is not as it should be",
    "PsuError": "The power supply has failed",
    "PsuStatusError": "The power supply has failed",
    "PsuInitError": "The power supply cannot be started",
    "NoTempSensors": "No temperature can be measured",
    "LicenseError": "The firmware's licence is not accepted",
    "DevfeeError": "The firmware's fee cannot be delivered",
}
_ERRORS = (
    ("Status", "Last Error"),
    ("", "Last License Error"),
    ("", "Last Devfee Error"),
)
_REMARKS = {
    "IdleOnConnectionLost": "Without a pool it idles by itself and starts by itself when the pool "
    "is back, so its power moves without kwota: switch idle on connection lost off.",
    "Scheduler": "It idles by a schedule of its own, so its power moves without kwota: "
    "switch its scheduler off.",
    "Enable Boards On Idle": "It switches all its boards on again when it idles: "
    "switch that setting off, or boards that kwota switched off come back.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """``/capabilities``: what the machine is. ``board_serials`` as listed; "" where unknown."""

    model: str
    serial: str
    board_count: int
    nameplate_hashrate_hs: float | None
    board_serials: tuple[str, ...]
    power_supply_serial: str | None
    is_power_measured: bool


def is_power_play(summary: Row) -> bool:
    """Whether this is the summary of a PowerPlay: its software and its operating state."""
    status = summary.values.get("Status")
    state = status.get("Operating State") if isinstance(status, dict) else None
    return isinstance(state, str) and isinstance(summary.values.get("Software"), str)


def software_of(summary: Row) -> str:
    """The firmware as it names itself."""
    return summary.text("Software")


def state_of(summary: Row) -> str:
    """The vendor's word for what the machine does. Raises BadReplyError for an unknown one."""
    state = part_of(summary, "Status").text("Operating State")
    if state not in _ACTIVITIES:
        raise BadReplyError(
            f"The machine says that it is {state[:_WORDS_MAX]!r}: "
            "its firmware may be a version that kwota does not know."
        )
    return state


def mac_of(network: Row) -> str:
    """The MAC in lower case; "" where this firmware does not tell it."""
    for name in ("dhcp", "static"):
        if isinstance(network.values.get(name), dict):
            part = part_of(network, name)
            return part.text_or_empty("mac_address").lower()
    return ""


def capabilities_of(table: Row) -> Capabilities:
    """``/capabilities``."""
    count = table.whole("Max HBs")
    if not 1 <= count <= BOARDS_MAX:
        raise BadReplyError(f"The machine says that it has {count} boards.")
    power = part_of(table, "Psu Info") if table.has("Psu Info") else None
    return Capabilities(
        model=table.text("Model").strip(),
        serial=_serial_of(table),
        board_count=count,
        nameplate_hashrate_hs=amount(table, "Default Hashrate") * TH or None,
        board_serials=_board_serials_of(table),
        power_supply_serial=None if power is None else _text(power, "PSU Serial") or None,
        is_power_measured=power is None or not power.has("True Power") or power.flag("True Power"),
    )


def boards_of(summary: Row, known: Capabilities) -> tuple[BoardReading, ...]:
    """Every board that the machine has, by index; one without figures hashes nothing.

    Serials are listed without an index: they are given to boards only where each has one.
    """
    state = state_of(summary)
    is_up = _ACTIVITIES[state] in (Activity.HASHING, Activity.RAMPING)
    figures = {row.whole("Index"): row for row in rows_of(summary, "HBs")}
    conditions = {row.whole("Index"): row for row in rows_of(summary, "HBStatus")}
    strange = sorted((set(figures) - set(conditions)) | {n for n in conditions if n < 0})
    if strange or len(conditions) > BOARDS_MAX:
        raise BadReplyError("The machine lists boards that it does not have.")
    serials = known.board_serials if len(known.board_serials) == len(conditions) else ()
    boards = []
    for place, index in enumerate(sorted(conditions)):
        hashrate_hs = _hashrate(figures[index]) if index in figures else 0.0
        is_enabled = conditions[index].flag("Enabled")
        boards.append(
            BoardReading(
                board=index,
                is_enabled=is_enabled,
                is_ramping=is_enabled and is_up and (state != "Mining" or hashrate_hs == 0),
                hashrate_hs=hashrate_hs,
                temperature_c=_temperature(figures.get(index)),
                serial=(serials[place] or None) if serials else None,
            )
        )
    return tuple(boards)


def believed_hashrate_hs(
    boards: Sequence[BoardReading], nameplate_hashrate_hs: float | None
) -> float:
    """Sum of the boards, if it lies within 0…1.5 × nameplate. Raises BadReplyError."""
    hashrate_hs = sum(board.hashrate_hs for board in boards)
    if nameplate_hashrate_hs and hashrate_hs > MARGIN * nameplate_hashrate_hs:
        raise BadReplyError(
            f"The machine says {hashrate_hs / TH:.0f} TH/s, more than 1.5 times its nameplate of "
            f"{nameplate_hashrate_hs / TH:.0f} TH/s: its firmware may use another unit."
        )
    return hashrate_hs


def power_of(
    summary: Row, known: Capabilities, hashrate_hs: float, nameplate_power_w: float | None
) -> tuple[float | None, PowerProvenance]:
    """Watts at the input of the power supply. 0 W while hashing means that it measures none."""
    watts = amount(part_of(summary, "Power Supply Stats"), "Input Power")
    if watts == 0 and hashrate_hs > 0:
        return None, PowerProvenance.ABSENT
    if nameplate_power_w is not None and watts > MARGIN * nameplate_power_w:
        raise BadReplyError(
            f"The machine says {watts:.0f} W, more than 1.5 times its nameplate of "
            f"{nameplate_power_w:.0f} W: its firmware may use another unit."
        )
    if known.is_power_measured:
        return watts, PowerProvenance.METERED_PSU
    return watts, PowerProvenance.FIRMWARE_ESTIMATE


def power_target_of(summary: Row) -> float | None:
    """The watts that the machine itself keeps to: a tuner's target in W, else the preset's."""
    tuners = _running_tuners_of(summary)
    for name in _WATTS_TUNERS:
        if tuners.has(name):
            return amount(part_of(tuners, name), "Target") or None
    preset = part_of(summary, "PresetInfo")
    return (amount(preset, "Target Power") if preset.has("Target Power") else 0.0) or None


def activity_of(summary: Row, boards: Sequence[BoardReading], hashrate_hs: float) -> Activity:
    """What the machine is doing. With every board switched off it is awake and hashes nothing."""
    state = state_of(summary)
    if not any(board.is_enabled for board in boards) and state in ("Mining", "Idling"):
        return Activity.STOPPED
    if state == "Mining" and hashrate_hs == 0:
        has_failed = part_of(summary, "Status").has("Last Error")
        return Activity.FAULT if has_failed else Activity.RAMPING
    return _ACTIVITIES[state]


def profiles_of(
    summary: Row, known: Capabilities, nameplate_power_w: float | None
) -> tuple[Profile, ...]:
    """The one point that it runs at; none where nobody says what that draws."""
    watts = power_target_of(summary) or nameplate_power_w
    if watts is None or known.nameplate_hashrate_hs is None:
        return ()
    hashrate_hs = known.nameplate_hashrate_hs
    whole = Profile(name=PROFILE, step=0, power_w=watts, hashrate_hs=hashrate_hs, is_tuned=True)
    return (whole,)


def pools_of(summary: Row) -> tuple[PoolReading, ...]:
    """Every configured pool. Shares are counted for the session: they stand at the pool in use."""
    stratum, session = part_of(summary, "Stratum"), part_of(summary, "Session")
    active = stratum.whole("Config Id") if stratum.has("Config Id") else 0
    is_connected = stratum.flag("IsPoolConnected")
    pools = []
    for slot, row in enumerate(rows_of(summary, "StratumConfigs")):
        is_active = slot == active
        pools.append(
            PoolReading(
                slot=slot,
                url=row.text("pool"),
                user=row.text("login"),
                is_active=is_active and is_connected,
                is_alive=is_active and is_connected,
                accepted=session.whole("Accepted") if is_active else None,
                rejected=session.whole("Rejected") if is_active else None,
            )
        )
    return tuple(pools)


def fan_speeds_of(summary: Row) -> tuple[int, ...]:
    """RPM of the fans that there are, in the order of their numbers."""
    fans = part_of(summary, "Fans Rpm")
    keys = [f"Fans Speed {number}" for number in _FANS]
    return tuple([fans.whole(key) for key in keys if fans.has(key)])


def uptime_of(summary: Row) -> int:
    """Seconds since the mining program started."""
    return part_of(summary, "Session").whole("Uptime")


def faults_of(summary: Row) -> tuple[MinerFault, ...]:
    """What it complains of, then what moves its power without us."""
    found = []
    for name, key in _ERRORS:
        table = part_of(summary, name) if name else summary
        if table.has(key):
            found.append(_fault_of(table.values[key]))
    for row in rows_of(summary, "HBStatus"):
        if row.flag("Enabled") and not row.flag("Detected"):
            index = row.whole("Index")
            words = f"Hashboard {index} is switched on but not found."
            found.append(MinerFault(code=f"HBStatus {index}", words=words))
    found += [MinerFault(code=key, words=words) for key, words in _remarks_of(summary)]
    if _is_tuning(summary):
        words = "It is tuning itself, so its power moves without kwota until it has finished."
        found.append(MinerFault(code="PerpetualTune", words=words))
    return tuple(found)


def encode_write(param: object, password: str) -> bytes:
    """The body of a write: every one carries the password."""
    return orjson.dumps({"param": param, "password": password})


def require_yes(answer: Row, command: str) -> None:
    """Nothing where the machine said yes. Raises RefusedError, BusyError and BadReplyError."""
    if answer.flag("result"):
        return
    code, detail = _named(answer.values.get("error"))
    words = f"{code}: {detail}" if detail else code or "no reason given"
    if code == "BadPassword":
        raise RefusedError(
            f"The machine refused {command} because of the password: check the password file."
        )
    if code in _BUSY:
        raise BusyError(f"The machine is busy ({words}): try again in a minute.")
    raise RefusedError(f"The machine refused {command}: {words}.")


def _fault_of(error: object) -> MinerFault:
    code, detail = _named(error)
    words = _FAULT_WORDS.get(code, "A fault that kwota does not know")
    return MinerFault(code=code or "error", words=f"{words} ({detail})." if detail else f"{words}.")


def _named(error: object) -> tuple[str, str]:
    """An error's name and what stands with it: a word, or a table of one entry."""
    if isinstance(error, dict) and error:
        name, detail = next(iter(error.items()))
        return name[:_WORDS_MAX], str(detail)[:_WORDS_MAX]
    return (error[:_WORDS_MAX] if isinstance(error, str) else ""), ""


def _remarks_of(summary: Row) -> list[tuple[str, str]]:
    remarks = []
    for key, words in _REMARKS.items():
        if not summary.has(key):
            continue
        is_on = part_of(summary, key).flag("Enable") if key == "Scheduler" else summary.flag(key)
        if is_on:
            remarks.append((key, words))
    return remarks


def _running_tuners_of(summary: Row) -> Row:
    tune = part_of(summary, "PerpetualTune")
    if tune.flag("Running"):
        return part_of(tune, "Algorithm")
    return Row(section="Algorithm", values={})


def _is_tuning(summary: Row) -> bool:
    tuners = _running_tuners_of(summary)
    return any(tuners.has(name) and _is_seeking(tuners, name) for name in tuners.values)


def _is_seeking(tuners: Row, name: str) -> bool:
    tuner = part_of(tuners, name)
    return tuner.has("Optimized") and not tuner.flag("Optimized")


def _serial_of(table: Row) -> str:
    """The machine's own serial where the firmware knows it, else that of its control board."""
    own = _text(table, "Miner Serial Number")
    if own or not table.has("Control Board Version"):
        return own
    return _text(part_of(table, "Control Board Version"), "cpuSerial")


def _board_serials_of(table: Row) -> tuple[str, ...]:
    listed = table.values.get("Board Serial Numbers")
    if not isinstance(listed, list) or len(listed) > BOARDS_MAX:
        raise BadReplyError("The machine's list of board serials is not one.")
    return tuple([serial.strip() if isinstance(serial, str) else "" for serial in listed])


def _text(row: Row, key: str) -> str:
    return row.text_or_empty(key).strip()


def _hashrate(row: Row) -> float:
    """The first figure is MH/s; the second is a share of what is expected."""
    listed = row.values.get("Hashrate")
    first = listed[0] if isinstance(listed, list) and listed else None
    return amount(Row(section="HBs", values={"Hashrate": first}), "Hashrate") * MH


def _temperature(row: Row | None) -> float | None:
    return row.number("Temperature") if row is not None and row.has("Temperature") else None
