"""``stats`` of a stock Antminer, in either of its shapes, in the units of readings.py.

The older shape has ``chain_rate1`` and its kin, as recorded from an S19 Pro; newer firmware gives
the shape of its web pages, a list ``chain``, where the question carries ``new_api``. Hashrates are
GH/s unless ``rate_unit`` says otherwise. Numbers come as numbers or as text, by firmware.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from drivers.errors import BadReplyError
from drivers.wire.cgminer import Answer, Row

BOARDS_MAX = 16
FANS_MAX = 16

_UNITS_HS = {"MH": 1e6, "GH": 1e9, "TH": 1e12}
_NUMBER = re.compile(r"\s*([+-]?[0-9]{1,15}(?:\.[0-9]{1,15})?)\s*\Z")
_WATTS = re.compile(r"\s*([0-9]{1,6}(?:\.[0-9]{1,6})?)\s*[wW]?\s*\Z")
_RATE = "chain_rate"
_SLOT = re.compile(r"[0-9]{1,2}\Z")
_POWER_KEYS = ("chain_power", "watt", "power", "Power")
_MODE_KEYS = ("miner-mode", "bitmain-work-mode")
# Firmware of other makers on the same machines answers much alike.
_FOREIGN = ("lux", "vnish", "xminer", "anthill", "hiveon", "bos", "braiins", "epic", "kaonsu")


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """One hashboard by its slot, counted from 0."""

    slot: int
    hashrate_hs: float
    chips: int
    temperature_c: float | None
    chip_temperature_c: float | None
    serial: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """``stats`` in either shape. All is empty or None while the mining program does not run.

    ``power_w`` is None where this firmware does not tell it, ``mode`` where it is not told here.
    """

    type_name: str
    chains: tuple[Chain, ...]
    fan_speeds_rpm: tuple[int, ...]
    elapsed_s: int | None
    ideal_hs: float | None
    power_w: float | None
    mode: int | None


NO_STATS = Stats(
    type_name="",
    chains=(),
    fan_speeds_rpm=(),
    elapsed_s=None,
    ideal_hs=None,
    power_w=None,
    mode=None,
)


def stats_of(answer: Answer) -> Stats:
    """``stats``, whichever shape the firmware answers in."""
    info = answer.fields.values.get("INFO")
    rows = answer.rows("STATS")
    headers = [Row(section="INFO", values=info)] if isinstance(info, dict) else []
    headers += [row for row in rows if row.has("Type")]
    header = headers[0] if headers else Row(section="INFO", values={})
    found = [(row, numbers) for row in rows if (numbers := _numbers(row)) or "chain" in row.values]
    if len(found) > 1:
        raise BadReplyError("The machine's stats stand there twice.", reply=answer.reply)
    row, numbers = found[0] if found else (Row(section="STATS", values={}), [])
    return Stats(
        type_name=stock_type_of(header),
        chains=_listed_chains(row) if "chain" in row.values else _older_chains(row, numbers),
        fan_speeds_rpm=_fan_speeds(row),
        elapsed_s=next((row.whole(key) for key in ("Elapsed", "elapsed") if row.has(key)), None),
        ideal_hs=_ideal_hs(row),
        power_w=_told_power_w(row),
        mode=next((row.whole(key) for key in _MODE_KEYS if row.has(key)), None),
    )


def stock_type_of(row: Row) -> str:
    """The type that a row of ``version`` or ``stats`` tells; "" where it is no stock Antminer."""
    words = " ".join([f"{key} {value}" for key, value in row.values.items()]).lower()
    if any(word in words for word in _FOREIGN):
        return ""
    key = "Type" if row.has("Type") else "type"
    return type_name(row.text(key)) if row.has(key) else ""


def type_name(told: str) -> str:
    """The model without what stands in brackets behind it; "" where it is no Antminer."""
    name = told.partition(" (")[0].strip()
    return name if name.startswith("Antminer ") else ""


def _listed_chains(row: Row) -> tuple[Chain, ...]:
    unit_hs = _unit_hs(row)
    chains = []
    for values in _list(row, "chain", BOARDS_MAX):
        chain = Row(section="chain", values=values if isinstance(values, dict) else {})
        serial = chain.text_or_empty("sn").strip()
        chains.append(
            Chain(
                slot=_slot(chain.whole("index")),
                hashrate_hs=_not_negative(chain, "rate_real") * unit_hs,
                chips=chain.whole("asic_num") if chain.has("asic_num") else 0,
                temperature_c=_warmest(chain.values.get("temp_pcb")),
                chip_temperature_c=_warmest(chain.values.get("temp_chip")),
                serial=serial or None,
            )
        )
    if len({chain.slot for chain in chains}) != len(chains):
        raise BadReplyError("The machine lists a hashboard twice.")
    return tuple(chains)


def _older_chains(row: Row, numbers: Sequence[int]) -> tuple[Chain, ...]:
    return tuple(
        [
            Chain(
                slot=_slot(number - 1),
                hashrate_hs=_not_negative(row, f"chain_rate{number}") * _UNITS_HS["GH"]
                if _has(row, f"chain_rate{number}")
                else 0.0,
                chips=row.whole(f"chain_acn{number}") if row.has(f"chain_acn{number}") else 0,
                temperature_c=_warmest(row.values.get(f"temp_pcb{number}")),
                chip_temperature_c=_warmest(row.values.get(f"temp_chip{number}")),
                serial=None,
            )
            for number in numbers
        ]
    )


def _numbers(row: Row) -> list[int]:
    """Of the chains that the older shape tells of, counted from 1."""
    ends = [key[len(_RATE) :] for key in row.values if key.startswith(_RATE)]
    return sorted({int(end) for end in ends if _SLOT.match(end)})


def _slot(slot: int) -> int:
    if not 0 <= slot < BOARDS_MAX:
        raise BadReplyError(f"The machine tells of a hashboard in slot {slot}.")
    return slot


def _fan_speeds(row: Row) -> tuple[int, ...]:
    if row.has("fan"):
        speeds: Sequence[object] = _list(row, "fan", FANS_MAX)
    else:
        count = row.whole("fan_num") if row.has("fan_num") else 0
        if not 0 <= count <= FANS_MAX:
            raise BadReplyError(f"The machine says that it has {count} fans.")
        speeds = [row.values.get(f"fan{number}") for number in range(1, count + 1)]
    values = [Row(section="fans", values={"speed": speed}) for speed in speeds if speed is not None]
    return tuple([value.whole("speed") for value in values])


def _ideal_hs(row: Row) -> float | None:
    """What the machine itself should hash at its settings; 0 stands for not known."""
    unit_hs = _unit_hs(row)
    for key in ("rate_ideal", "total_rateideal"):
        if row.has(key):
            return _not_negative(row, key) * unit_hs or None
    return None


def _told_power_w(row: Row) -> float | None:
    for key in _POWER_KEYS:
        value = row.values.get(key)
        match = _WATTS.match(value) if isinstance(value, str) else None
        if match is not None:
            return float(match[1])
        if value not in (None, ""):
            return _not_negative(row, key)
    return None


def _unit_hs(row: Row) -> float:
    unit = row.text("rate_unit").partition("/")[0].strip() if row.has("rate_unit") else "GH"
    if unit not in _UNITS_HS:
        raise BadReplyError(f"The machine tells its hashrate in a unit of its own ({unit[:20]}).")
    return _UNITS_HS[unit]


def _warmest(value: object) -> float | None:
    """The highest of several temperatures, as a list or as "45-46-50-51"; 0 stands for none."""
    parts: Sequence[object] = value.split("-") if isinstance(value, str) else ()
    if isinstance(value, list):
        parts = value
    said = [part for part in parts if part is not None and part != ""]
    return max(map(_degrees, said), default=0.0) or None


def _degrees(value: object) -> float:
    if isinstance(value, str) and len(value) < 4 and value.isascii() and value.isdigit():
        return float(value)  # as nearly all are told
    return _number(Row("temperatures", {"c": value}), "c")


def _list(row: Row, key: str, most: int) -> list[object]:
    value = row.values.get(key)
    if not isinstance(value, list) or len(value) > most:
        raise BadReplyError(f"The machine's {key!r} is no list of at most {most}.")
    return value


def _has(row: Row, key: str) -> bool:
    """Whether there is a value; this firmware writes "" for none."""
    return row.values.get(key) not in (None, "")


def _number(row: Row, key: str) -> float:
    """A finite number, also where the firmware writes it as text."""
    value = row.values.get(key)
    match = _NUMBER.match(value) if isinstance(value, str) else None
    return row.number(key) if match is None else float(match[1])


def _not_negative(row: Row, key: str) -> float:
    value = _number(row, key)
    if value < 0:
        raise BadReplyError(f"The machine says that its {key} is negative.")
    return value
