"""What a stock Antminer's API on TCP 4028 means, and what may be planned with the machine.

The answers are the cgminer API's, broken by some firmwares in the usual ways; ``new_api`` in a
question asks newer firmware for the shape of its web pages.
Never saw a socket, never guesses a value: what is missing or of another kind is a BadReplyError.
"""

import re

import orjson

from drivers.errors import BadReplyError, RefusedError
from drivers.readings import (
    Activity,
    BoardReading,
    ChipTemperatures,
    MinerFault,
    PoolReading,
    Profile,
)
from drivers.wire.antminer_modes import LOW, NORMAL
from drivers.wire.antminer_stats import Stats, stock_type_of
from drivers.wire.cgminer import Answer, Row

TH = 1e12
HASHRATE_MARGIN = 1.5  # a wrong unit is a factor of 1000
POWER_MARGIN = 1.5

RAMP_S = 600.0  # a mode change restarts the mining program; full hashrate takes minutes
_RAMPED_SHARE = 0.9

# No vendor says what the low-power mode draws. Assumed high, so that a plan counts on too little
# saving and not on too much; the hashrate is assumed low for the same reason.
_LOW_POWER_SHARE = 0.85
_LOW_HASH_SHARE = 0.75
# An upper bound for models that are not in the table: no machine since the S17 needs more.
_WORST_J_PER_TH = 45.0

_SERVICE = re.compile(rb"\s*miner power\s*:\s*([0-9]{1,6}(?:\.[0-9]{1,6})?)\s*[wW]?\s*\Z")
_WORDS_MAX = 200

# The vendor's codes as mdk's worker for Antminers lists them.
_FAULTS = (
    (re.compile(r"R:1\Z"), "The hashrate is too low"),
    (re.compile(r"N:1\Z"), "The network or the pool cannot be reached"),
    (re.compile(r"V:1\Z"), "The power supply could not be started"),
    (re.compile(r"P:[12]\Z"), "A temperature is too high or the cooling has failed"),
    (re.compile(r"J[0-9]{1,2}:8\Z"), "A hashboard is missing"),
    (re.compile(r"J[0-9]{1,2}:4\Z"), "A hashboard's memory cannot be read"),
    (re.compile(r"J[0-9]{0,2}:2\Z"), "Chips of a hashboard do not answer"),
)
_FAULT_TYPES = {
    "rate": "The hashrate is too low",
    "network": "The network or the pool cannot be reached",
    "fans": "A fan has failed",
    "temp": "A temperature is too high",
}


def encode_question(command: str, *, is_new_api: bool = False) -> bytes:
    """One question. The flag asks newer firmware for the shape of its web pages."""
    document: dict[str, object] = {"command": command}
    if is_new_api:
        document["new_api"] = True
    return orjson.dumps(document) + b"\n"


def accepted(answer: Answer, command: str) -> Answer:
    """An answer where the machine said yes, also where its STATUS is a table and no list."""
    status = answer.fields.values.get("STATUS")
    if not isinstance(status, dict):
        return answer.accepted(command)
    if status.get("STATUS") in {"S", "I", "W"}:
        return answer
    words = str(status.get("Msg", ""))[:_WORDS_MAX] or "no reason given"
    raise RefusedError(f"The machine refused {command}: {words}.", reply=answer.reply)


def type_of(answer: Answer) -> str:
    """``version``: the type of a stock Antminer; "" for every other machine and firmware."""
    return stock_type_of(answer.row("VERSION"))


def compiled_of(answer: Answer) -> str:
    """``version``: when the mining program was made; the API knows no other version."""
    row = answer.row("VERSION")
    return row.text_or_empty("CompileTime")


def boards_of(
    stats: Stats, board_count: int | None, *, is_ramping: bool
) -> tuple[BoardReading, ...]:
    """Every board that the machine has; one that is not told of hashes nothing.

    The family has no command for single boards, so each counts as switched on.
    """
    chains = {chain.slot: chain for chain in stats.chains if chain.chips or chain.hashrate_hs}
    slots = sorted(set(chains) | set(range(board_count or 0)))
    return tuple(
        [
            BoardReading(
                board=slot,
                is_enabled=True,
                is_ramping=is_ramping,
                hashrate_hs=chains[slot].hashrate_hs if slot in chains else 0.0,
                temperature_c=chains[slot].temperature_c if slot in chains else None,
                serial=chains[slot].serial if slot in chains else None,
            )
            for slot in slots
        ]
    )


def chip_temperatures_of(stats: Stats) -> tuple[ChipTemperatures, ...]:
    """The hottest of the few chips of a board whose temperature the firmware tells."""
    return tuple(
        [
            ChipTemperatures(
                board=chain.slot, min_c=None, mean_c=None, max_c=chain.chip_temperature_c
            )
            for chain in sorted(stats.chains, key=lambda chain: chain.slot)
            if chain.chip_temperature_c is not None
        ]
    )


def believed_hashrate_hs(stats: Stats, nameplate_hs: float | None) -> float:
    """Sum of the boards, if it lies within 0…1.5 × nameplate. Raises BadReplyError."""
    hashrate_hs = sum(chain.hashrate_hs for chain in stats.chains)
    if nameplate_hs and hashrate_hs > HASHRATE_MARGIN * nameplate_hs:
        raise BadReplyError(
            f"The machine says {hashrate_hs / TH:.0f} TH/s, more than 1.5 times its nameplate of "
            f"{nameplate_hs / TH:.0f} TH/s: its firmware may use another unit."
        )
    return hashrate_hs


def believed_power_w(power_w: float, rated_w: float | None) -> float:
    """Watts, if they lie within 0…1.5 × nameplate. Raises BadReplyError."""
    if rated_w is not None and power_w > POWER_MARGIN * rated_w:
        raise BadReplyError(
            f"The machine says {power_w:.0f} W, more than 1.5 times its nameplate of "
            f"{rated_w:.0f} W: its firmware may use another unit."
        )
    return power_w


def likely_nameplate_hs(table_hs: float | None, told_hs: float | None) -> float | None:
    """What the machine tells of its own nameplate, unless the table says that it cannot be."""
    if table_hs is None or told_hs is None:
        return told_hs if table_hs is None else table_hs
    is_likely = 1 / HASHRATE_MARGIN < told_hs / table_hs < HASHRATE_MARGIN
    return told_hs if is_likely else table_hs


def rated_power_w(nameplate_w: float | None, nameplate_hs: float | None) -> float | None:
    """What the whole machine draws: its nameplate, else the worst that its hashrate can cost."""
    if nameplate_w is not None or nameplate_hs is None:
        return nameplate_w
    return nameplate_hs / TH * _WORST_J_PER_TH


def activity_of(
    *, is_asleep: bool | None, hashrate_hs: float, stats: Stats, dark_s: float
) -> Activity:
    """What the machine is doing. What hashes is awake, whatever its configuration says.

    ``is_asleep`` is what the configuration says, None where nobody could ask; ``dark_s`` for how
    long it has hashed nothing though it should.
    """
    if hashrate_hs > 0:
        is_young = stats.elapsed_s is not None and stats.elapsed_s < RAMP_S
        is_short = stats.ideal_hs is not None and hashrate_hs < _RAMPED_SHARE * stats.ideal_hs
        return Activity.RAMPING if is_young and is_short and not is_asleep else Activity.HASHING
    if is_asleep:
        return Activity.SLEEPING
    if is_asleep is None and not stats.chains:
        return Activity.STOPPED
    return Activity.RAMPING if dark_s < RAMP_S else Activity.FAULT


def profiles_of(
    power_w: float | None, hashrate_hs: float | None, low_mode: int | None
) -> tuple[Profile, ...]:
    """The modes that a plan may choose; none where nobody knows what the machine draws."""
    if power_w is None or hashrate_hs is None:
        return ()
    shares = [(LOW, -1, _LOW_POWER_SHARE, _LOW_HASH_SHARE)] if low_mode is not None else []
    return tuple(
        [
            Profile(
                name=name,
                step=step,
                power_w=power_w * power_share,
                hashrate_hs=hashrate_hs * hash_share,
                is_tuned=True,
            )
            for name, step, power_share, hash_share in [*shares, (NORMAL, 0, 1.0, 1.0)]
        ]
    )


def pools_of(answer: Answer) -> tuple[PoolReading, ...]:
    """``pools``, fallbacks included."""
    return tuple(
        [
            PoolReading(
                slot=row.whole("POOL"),
                url=row.text("URL"),
                user=row.text("User"),
                is_active=row.flag_or_no("Stratum Active"),
                is_alive=row.text("Status").lower() == "alive",
                accepted=row.whole("Accepted"),
                rejected=row.whole("Rejected"),
            )
            for row in answer.rows("POOLS")
        ]
    )


def faults_of(answer: Answer) -> tuple[MinerFault, ...]:
    """``summary`` in the newer shape: what its list of checks calls neither good nor unchecked."""
    found = []
    for row in answer.rows("SUMMARY"):
        checks = row.values.get("status")
        for values in checks if isinstance(checks, list) else ():
            check = Row(section="status", values=values if isinstance(values, dict) else {})
            if check.text("status") in {"s", ""}:
                continue
            code = f"{check.text('type')[:40]}:{check.values.get('code', '')}"[:80]
            words = _FAULT_TYPES.get(check.text("type"), "A fault that kwota does not know")
            reason = check.text_or_empty("msg")[:_WORDS_MAX]
            said = f"{words} ({reason})." if reason else f"{words}."
            is_of_rate = check.text("type") == "rate"
            found.append(MinerFault(code=code, words=said, is_of_rate=is_of_rate))
    return tuple(found)


def service_power_w(body: bytes) -> float | None:
    """``/miner_power`` of the service on TCP 6060; None where it has no such page."""
    match = _SERVICE.match(body)
    return None if match is None else float(match[1])


def service_faults(body: bytes) -> tuple[MinerFault, ...]:
    """``/warning`` of the same service; older firmware has no such page either."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return ()
    code = document.get("error_message") if isinstance(document, dict) else None
    if not isinstance(code, str) or code in {"", "None"}:
        return ()
    words = [words for pattern, words in _FAULTS if pattern.match(code)]
    known = words[0] if words else "A fault that kwota does not know"
    return (MinerFault(code=code[:80], words=f"{known}.", is_of_rate=code == "R:1"),)
