"""Who a VNish machine is and what it may be set to: ``/info``, ``/model``, ``/perf-summary``.

Keys of the firmware's own API description (1.2.6 to 1.3.4) as its clients use them, and of answers
that owners have published. Never saw a socket, never guesses a value.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from drivers.errors import BadReplyError
from drivers.readings import Profile
from drivers.wire.cgminer import Row
from drivers.wire.vnish_reply import table_in, tables_in

TH = 1e12
BOARDS_MAX = 16
THROTTLE_SINCE = (1, 3)
PERCENTS = tuple(range(20, 101, 5))
FULL_PERCENT = 100
# The firmware promises so many percent of the hashes. Fans, control board and leakage are not
# throttled and no vendor says how much they are: an assumption.
_UNTHROTTLED_SHARE = 0.08
_WORDS_MAX = 200
_NAMES = ("vnish", "anthill")
_NONE = frozenset({"", "N/A", "n/a"})
_UNITS_HS = {"GH/s": 1e9, "MH/s": 1e6}
_MAC = re.compile(r"[0-9a-f]{2}(?::[0-9a-f]{2}){5}\Z")
_VERSION = re.compile(r"([0-9]{1,4})\.([0-9]{1,4})(?![0-9])")
_DAYS = re.compile(r"([0-9]{1,6}) days?(?:, *|\Z)")
_CLOCK = re.compile(r"([0-9]{1,2}):([0-9]{2})\Z")
_MINUTES = re.compile(r"([0-9]{1,4}) min\Z")
_WATTS = re.compile(r"[1-9][0-9]{2,4}\Z")
_PRETTY = re.compile(r"~ *([0-9]{1,4}(?:\.[0-9]{1,3})?) *TH")


@dataclass(frozen=True, slots=True, kw_only=True)
class Info:
    """Who answers, by ``/info``. ``unit_hs`` is one of the machine's hashrate units in H/s."""

    model: str
    firmware_name: str
    firmware: str
    version: tuple[int, int]
    mac: str
    serial: str
    unit_hs: float
    uptime_s: int | None

    @property
    def is_vnish(self) -> bool:
        """Whether the firmware calls itself by one of its names."""
        return any(name in self.firmware_name.lower() for name in _NAMES)

    @property
    def has_mac(self) -> bool:
        """Whether the machine tells a whole MAC."""
        return _MAC.match(self.mac) is not None

    @property
    def can_throttle(self) -> bool:
        """Whether this version has the dimmer."""
        return self.version >= THROTTLE_SINCE


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """What ``/model`` says of the hardware."""

    name: str
    board_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Factory:
    """What is written into the parts; empty where the firmware could not read it."""

    board_serials: Mapping[int, str]
    power_supply_serial: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """The operating point that the owner chose. ``power_w`` is None for one set by hand.

    ``is_changing`` says that the firmware moves it up and down by itself.
    """

    name: str
    power_w: float | None
    hashrate_hs: float | None
    is_tuned: bool
    is_changing: bool

    @property
    def is_settled(self) -> bool:
        """Whether its watts stand: tuned, or not of the kind that is tuned."""
        return self.is_tuned or self.power_w is None


def info_of(row: Row) -> Info:
    """``/info``."""
    system = table_in(row, "system")
    firmware = row.text("fw_version")
    version = _VERSION.match(firmware)
    if version is None:
        raise BadReplyError("The machine's firmware version cannot be read.")
    unit = row.text("hr_measure") if row.has("hr_measure") else "GH/s"
    if unit not in _UNITS_HS:
        raise BadReplyError(f"The machine counts its hashes in {unit[:20]!r}, which is unknown.")
    return Info(
        model=row.text("miner"),
        firmware_name=row.text("fw_name"),
        firmware=firmware,
        version=(int(version[1]), int(version[2])),
        mac=told_text(table_in(system, "network_status"), "mac").lower().replace("-", ":"),
        serial=told_text(row, "serial"),
        unit_hs=_UNITS_HS[unit],
        uptime_s=uptime_of(told_text(system, "uptime")),
    )


def uptime_of(words: str) -> int | None:
    """Seconds from "10 days, 18:00", "0:06" or "3 min"; None where nothing is told."""
    if not words:
        return None
    days = _DAYS.match(words)
    rest = words[days.end() :] if days else words
    clock, minutes = _CLOCK.match(rest), _MINUTES.match(rest)
    seconds = 86_400 * int(days[1]) if days else 0
    if clock:
        return seconds + 3600 * int(clock[1]) + 60 * int(clock[2])
    if minutes:
        return seconds + 60 * int(minutes[1])
    if days and not rest:
        return seconds
    raise BadReplyError(f"The machine tells its uptime as {words[:40]!r}, which cannot be read.")


def model_of(row: Row) -> Model:
    """``/model``."""
    count = table_in(row, "chain").whole("num_chains")
    if not 1 <= count <= BOARDS_MAX:
        raise BadReplyError(f"The machine says that it has {count} boards.")
    return Model(name=row.text("full_name"), board_count=count)


def factory_of(row: Row) -> Factory:
    """``/chains/factory-info``, which is full of null where nothing could be read."""
    chains = {
        chain.whole("id") - 1: told_text(chain, "serial") for chain in tables_in(row, "chains")
    }
    return Factory(
        board_serials={board: serial for board, serial in chains.items() if serial},
        power_supply_serial=told_text(row, "psu_serial") or None,
    )


def preset_of(row: Row) -> Preset | None:
    """``/perf-summary``: the preset in force, None where the firmware names none."""
    if not row.has("current_preset"):
        return None
    chosen = table_in(row, "current_preset")
    name = chosen.text("name")
    pretty = _PRETTY.search(told_text(chosen, "pretty")[:_WORDS_MAX])
    switcher = table_in(row, "preset_switcher") if row.has("preset_switcher") else None
    return Preset(
        name=name,
        power_w=float(name) if _WATTS.match(name) else None,
        hashrate_hs=float(pretty[1]) * TH if pretty else None,
        is_tuned=told_text(chosen, "status") == "tuned",
        is_changing=switcher is not None and switcher.flag_or_no("enabled"),
    )


def profiles_of(rated_w: float, rated_hs: float, percents: Sequence[int]) -> tuple[Profile, ...]:
    """These percents of a preset, as operating points."""
    return tuple(
        Profile(
            name=percent_name(percent),
            step=(percent - FULL_PERCENT) // 5,
            power_w=rated_w * _watt_share(percent / FULL_PERCENT),
            hashrate_hs=rated_hs * percent / FULL_PERCENT,
            is_tuned=True,
        )
        for percent in percents
    )


def percents_of(info: Info, preset: Preset | None) -> tuple[int, ...]:
    """What a plan may choose: only the whole without the dimmer, or while a preset is not tuned.

    A tuning run decides about the watts for hours, and what throttling does to it is not known.
    """
    is_settled = preset is None or preset.is_settled
    return PERCENTS if info.can_throttle and is_settled else (FULL_PERCENT,)


def percent_of(name: str) -> int | None:
    """The percent behind a profile's name; None where no profile is called so."""
    return next((percent for percent in PERCENTS if percent_name(percent) == name), None)


def percent_name(percent: int) -> str:
    """How a percent is called."""
    return f"{percent}%"


def told_text(row: Row, key: str) -> str:
    """Text, "" where there is none; this firmware writes N/A for what it cannot read."""
    words = row.text_or_empty(key).strip()
    return "" if words in _NONE else words


def _watt_share(share: float) -> float:
    return share + _UNTHROTTLED_SHARE * (1.0 - share)
