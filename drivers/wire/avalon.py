"""What Canaan's Avalon machines say, in the units of readings.py.

Keys as recorded from an A1246 and an Avalon Q, with the meanings of Canaan's A10 manual. Nearly
everything stands in one string of ``KEY[values]`` per machine. Hashrates are GH/s there and MH/s
in ``summary``. Three traps: the rates of single boards are averages since the start and do not
fall while the machine sleeps; MPO is a set point and no measurement; a sleeping machine's WORKMODE
is that of its last run.
Never saw a socket, never guesses a value: what is missing or of another kind is a BadReplyError.
"""

import re

from drivers.errors import BadReplyError
from drivers.readings import (
    Activity,
    BoardReading,
    ChipTemperatures,
    MinerFault,
    PoolReading,
    PowerProvenance,
    Profile,
)
from drivers.wire.avalon_report import NUMBER, Report, Version
from drivers.wire.cgminer import Answer, Row

MH, GH, TH = 1e6, 1e9, 1e12
MARGIN = 1.5  # a wrong unit is a factor of 1000
BOARDS_MAX = 16

# Between what the power supply gives to the boards and what it takes, where the firmware does not
# say: 6 to 10 % on the machines of which both are known. An assumption.
_SUPPLY_LOSS = 1.08
_SUPPLY_LOSS_MAX = 1.25
_WORK = re.compile(
    r"\s*Work:\s*In (?P<state>[A-Za-z]+)\s*,\s*Hash Board:\s*(?P<boards>[0-9]{1,3})\b"
)
_RATES = ("MHS 5s", "MHS 30s", "MHS 1m")

# The Avalon Q's work modes: name, number, step, W, TH/s. Eco as recorded, the others from reviews
# and the catalogue. Of the A series no source says what a mode draws.
_Q_MODES = (
    ("eco", 0, -1, 800.0, 55.0),
    ("standard", 1, 0, 1300.0, 80.0),
    ("super", 2, 1, 1674.0, 90.0),
)

_BOARD_WORDS = {"513": "the board is abnormal", "128": "the board is too hot"}
_ACTIVITIES = {"Init": Activity.RAMPING, "Fault": Activity.FAULT}


def board_count_of(report: Report) -> int:
    """How many boards the firmware has found."""
    return _work(report)[1]


def hashrate_of(report: Report) -> float | None:
    """What it hashes now; None where the firmware tells it in ``summary`` only."""
    return report.not_negative("GHSspd") * GH if report.has("GHSspd") else None


def summary_hashrate_of(answer: Answer) -> float:
    """``summary``: the shortest mean that this firmware has."""
    row = answer.row("SUMMARY")
    rate_mhs = _number(row, next((key for key in _RATES if row.has(key)), _RATES[0]))
    if rate_mhs < 0:
        raise BadReplyError("The machine says that its hashrate is negative.", reply=answer.reply)
    return rate_mhs * MH


def believed_hashrate_hs(hashrate_hs: float, nameplate_hashrate_hs: float | None) -> float:
    """This hashrate, if it lies within 0…1.5 × nameplate. Raises BadReplyError."""
    if nameplate_hashrate_hs and hashrate_hs > MARGIN * nameplate_hashrate_hs:
        raise BadReplyError(
            f"The machine says {hashrate_hs / TH:.0f} TH/s, more than 1.5 times its nameplate of "
            f"{nameplate_hashrate_hs / TH:.0f} TH/s: its firmware may use another unit."
        )
    return hashrate_hs


def activity_of(report: Report, hashrate_hs: float) -> Activity:
    """What the machine is doing, the strongest sign first.

    Idle without SoftOFF is a machine that has nothing to do, a pool for instance.
    """
    state, _ = _work(report)
    if state == "Idle":
        is_told = report.has("SoftOFF") and report.number("SoftOFF") != 0
        return Activity.SLEEPING if is_told else Activity.STOPPED
    if state == "Work":
        if hashrate_hs > 0:
            return Activity.HASHING
        return Activity.FAULT if any(report.numbers("ECHU")) else Activity.RAMPING
    if state not in _ACTIVITIES:
        raise BadReplyError(f"The machine is in a state that kwota does not know ({state[:40]}).")
    return _ACTIVITIES[state]


def boards_of(report: Report, hashrate_hs: float, activity: Activity) -> tuple[BoardReading, ...]:
    """Every board. Its rate is its share of what the machine hashes now, by the boards' averages.

    The family has no command for single boards, so each counts as switched on.
    """
    count = board_count_of(report)
    averages = report.numbers("MGHS")[:count]
    if min(averages, default=0.0) < 0:
        raise BadReplyError("The machine says that a hashboard's hashrate is negative.")
    whole = sum(averages)
    hottest = report.numbers("MTmax")
    if not hottest and count == 1:
        hottest = report.numbers("TMax")
    shares = [one / whole for one in averages] if whole > 0 else [1.0 / max(count, 1)] * count
    shares += [0.0] * (count - len(shares))
    return tuple(
        [
            BoardReading(
                board=board,
                is_enabled=True,
                is_ramping=activity is Activity.RAMPING,
                hashrate_hs=hashrate_hs * share,
                temperature_c=_celsius(hottest[board]) if board < len(hottest) else None,
                serial=None,
            )
            for board, share in enumerate(shares)
        ]
    )


def chip_temperatures_of(report: Report) -> tuple[ChipTemperatures, ...]:
    """Mean and hottest by board; 0 is written where nothing was measured."""
    count = board_count_of(report)
    hottest, means = report.numbers("MTmax"), report.numbers("MTavg")
    if not hottest and count == 1:
        hottest, means = report.numbers("TMax"), report.numbers("TAvg")
    found = []
    for board, told in enumerate(hottest[:count]):
        max_c = _celsius(told)
        mean_c = _celsius(means[board]) if board < len(means) else None
        if max_c is not None:
            found.append(ChipTemperatures(board=board, min_c=None, mean_c=mean_c, max_c=max_c))
    return tuple(found)


def power_of(report: Report, hashrate_hs: float) -> tuple[float | None, PowerProvenance]:
    """Watts at the wall where the firmware has them, else the power supply's output and its loss.

    PS holds error, two voltages, current, output W, set voltage and on newer firmware the input W,
    which is believed where it lies a little above the output. A machine that hashes at an output
    of 0 has no wattmeter: its set point is no measurement.
    """
    if report.has("WALLPOWER"):
        return report.not_negative("WALLPOWER"), PowerProvenance.FIRMWARE_ESTIMATE
    supply = report.numbers("PS")
    if len(supply) < 5 or (supply[4] == 0 and hashrate_hs > 0):
        has_limit = power_limit_of(report) is not None
        return None, PowerProvenance.LIMIT_ONLY if has_limit else PowerProvenance.ABSENT
    output_w = supply[4]
    if output_w < 0:
        raise BadReplyError("The machine says that its power is negative.")
    if len(supply) > 6 and output_w < supply[6] <= _SUPPLY_LOSS_MAX * output_w:
        return supply[6], PowerProvenance.FIRMWARE_ESTIMATE
    return output_w * _SUPPLY_LOSS, PowerProvenance.FIRMWARE_ESTIMATE


def believed_power_w(power_w: float | None, nameplate_w: float | None) -> float | None:
    """These watts, if they lie within 0…1.5 × nameplate. Raises BadReplyError."""
    if power_w is not None and nameplate_w is not None and power_w > MARGIN * nameplate_w:
        raise BadReplyError(
            f"The machine says {power_w:.0f} W, more than 1.5 times its nameplate of "
            f"{nameplate_w:.0f} W: its firmware may use another unit."
        )
    return power_w


def power_limit_of(report: Report) -> float | None:
    """MPO, the watts that the firmware steers to; None where it has none or says 0."""
    return (report.not_negative("MPO") if report.has("MPO") else 0.0) or None


def fan_speeds_of(report: Report) -> tuple[int, ...]:
    """RPM of every fan in its order; a fan that stands still is one."""
    keys = [f"Fan{number}" for number in range(1, 9)]
    return tuple([round(report.not_negative(key)) for key in keys if report.has(key)])


def uptime_of(report: Report) -> int | None:
    """Seconds since the mining program started."""
    return round(report.not_negative("Elapsed")) if report.has("Elapsed") else None


def pools_of(answer: Answer) -> tuple[PoolReading, ...]:
    """``pools``, fallbacks included."""
    return tuple(
        [
            PoolReading(
                slot=row.whole("POOL"),
                url=row.text("URL"),
                user=row.text("User"),
                is_active=row.flag("Stratum Active"),
                is_alive=row.text("Status").lower() == "alive",
                accepted=row.whole("Accepted"),
                rejected=row.whole("Rejected"),
            )
            for row in answer.rows("POOLS")
        ]
    )


def profiles_of(version: Version) -> tuple[Profile, ...]:
    """The work modes that a plan may choose: those of the Q, none of the A series."""
    if version.model != "Q":
        return ()
    return tuple(
        [
            Profile(name=name, step=step, power_w=watts, hashrate_hs=ths * TH, is_tuned=True)
            for name, _, step, watts, ths in _Q_MODES
        ]
    )


def profile_of(report: Report, version: Version) -> str | None:
    """The work mode's name; None for a series whose modes are not known."""
    if version.model != "Q" or not report.has("WORKMODE"):
        return None
    mode = report.number("WORKMODE")
    for name, number, *_ in _Q_MODES:
        if mode == number:
            return name
    raise BadReplyError(f"The machine is in a work mode that kwota does not know ({mode:g}).")


def mode_number(name: str) -> int | None:
    """The number behind a work mode's name; None for no such name."""
    return next((number for known, number, *_ in _Q_MODES if known == name), None)


def faults_of(report: Report) -> tuple[MinerFault, ...]:
    """What the machine complains of, with the vendor's key and number as the code."""
    found = [
        MinerFault(
            code=f"ECHU {code:g}",
            words=f"Hashboard {board} reports a fault: "
            f"{_BOARD_WORDS.get(f'{code:g}', 'one that kwota does not know')}.",
        )
        for board, code in enumerate(report.numbers("ECHU"))
        if code
    ]
    found += [
        MinerFault(
            code=f"CRC {count:g}",
            words=f"The data line to hashboard {board} had {count:g} errors: check its plugs.",
        )
        for board, count in enumerate(report.numbers("CRC"))
        if count
    ]
    single = (
        ("ECMM", report.numbers("ECMM"), "The control board reports a fault."),
        ("PS", report.numbers("PS")[:1], "The power supply reports a fault."),
        ("FanErr", report.numbers("FanErr"), "A fan reports a fault."),
    )
    found += [
        MinerFault(code=f"{key} {code:g}", words=words)
        for key, codes, words in single
        for code in codes
        if code
    ]
    return tuple(found)


def _work(report: Report) -> tuple[str, int]:
    match = _WORK.match(report.values.get("SYSTEMSTATU", ""))
    if match is None or int(match["boards"]) > BOARDS_MAX:
        raise BadReplyError(
            "The machine does not say what it is doing, or with how many boards: "
            "its firmware may be a version that kwota does not know."
        )
    return match["state"], int(match["boards"])


def _celsius(value: float) -> float | None:
    """Sensors without power read 0, sensors that are not there -273."""
    return value if value > 0 else None


def _number(row: Row, key: str) -> float:
    """A number, also where the answer is text."""
    value = row.values.get(key)
    return float(value) if isinstance(value, str) and NUMBER.match(value) else row.number(key)
