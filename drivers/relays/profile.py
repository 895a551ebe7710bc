"""What a relay board is: where its coils are, and how it opens them by itself.

A profile is a file of this folder, ``<name>.toml``. Faults are sentences with file, key and reason.
It is read with the standard library alone: the failsafe opens relays too, and leans on little.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, Self

from drivers.link.modbus import Timing

_FOLDER = Path(__file__).parent
_WORD = (0, 0xFFFF)

Bounds = Mapping[str, tuple[float, float]]
Kinds = Mapping[str, type]


class RelayProfileError(ValueError):
    """A relay's profile cannot be used; the sentence names the file, the key and the reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Table:
    """A table whose keys are the fields, each of the type of its default or of ``_kinds``."""

    _bounds: ClassVar[Bounds] = {}
    _kinds: ClassVar[Kinds] = {}

    @classmethod
    def parsed(cls, table: object, key: str) -> Self:
        """The table at ``key``. Raises ValueError with one sentence."""
        if not isinstance(table, dict):
            raise ValueError(f"{key or 'the file'}: is no table")  # noqa: TRY004 - a file's fault
        names = {one.name: one for one in fields(cls)}
        strange = [name for name in table if name not in names]
        if strange:
            raise ValueError(f"{key}{strange[0]}: there is no such key")
        for name, one in names.items():
            if name not in table and one.default is MISSING:
                raise ValueError(f"{key}{name}: is missing")
        return cls(**{name: cls._value(name, item, key + name) for name, item in table.items()})

    @classmethod
    def _value(cls, name: str, item: Any, key: str) -> Any:
        kind = cls._kinds[name]
        if issubclass(kind, _Table):
            if isinstance(item, list) is not (name == "settings"):
                raise ValueError(f"{key}: write [[watchdog.settings]], and any other table once")
            if isinstance(item, list):
                return tuple(kind.parsed(one, f"{key}[{at}].") for at, one in enumerate(item))
            return kind.parsed(item, f"{key}.")
        if kind is tuple:
            if not isinstance(item, list) or not all(isinstance(one, str) for one in item):
                raise ValueError(f"{key}: is {item!r}, not a list of sentences")
            return tuple(item)
        if kind is float and type(item) is int:
            item = float(item)
        if type(item) is not kind or item == "":
            raise ValueError(f"{key}: is {item!r}, not {kind.__name__}")
        if name in cls._bounds:
            number: Any = item
            low, high = cls._bounds[name]
            if not low <= number <= high:
                raise ValueError(f"{key}: is {number}, not {low} to {high}")
        return item


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingTable(_Table):
    """A holding register that must hold ``value`` for the watchdog to open the coil.

    ``is_per_channel``: the next register is the next channel's. ``is_optional``: a board that has
    no such register behaves as if it held the value.
    """

    _bounds: ClassVar[Bounds] = {"address": _WORD, "value": _WORD}
    _kinds: ClassVar[Kinds] = {
        "name": str,
        "address": int,
        "value": int,
        "is_per_channel": bool,
        "is_optional": bool,
    }
    name: str
    address: int
    value: int
    is_per_channel: bool = False
    is_optional: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchdogTable(_Table):
    """``[watchdog]``: the holding register with the seconds of silence after which coils open."""

    _bounds: ClassVar[Bounds] = {"address": _WORD}
    _kinds: ClassVar[Kinds] = {"address": int, "settings": SettingTable}
    address: int
    settings: tuple[SettingTable, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputTable(_Table):
    """``[output]``: channels that are switched by a register, as a meter's own outputs are.

    Each value is absolute: what is written says where the output shall be. The values are those of
    channel 1; the next channel's are ``channel_step`` more. ``status`` are holding registers, high
    word first, whose lowest bit is channel 1.
    """

    _bounds: ClassVar[Bounds] = {
        "command": _WORD,
        "status": _WORD,
        "status_count": (1, 2),
        "on_value": _WORD,
        "off_value": _WORD,
        "channel_step": _WORD,
    }
    _kinds: ClassVar[Kinds] = dict.fromkeys(_bounds, int)
    command: int
    on_value: int
    off_value: int
    status: int
    status_count: int = 1
    channel_step: int = 0

    def value(self, place: int, *, is_on: bool) -> int:
        """What is written to put a channel, counted from 0, to where it shall be."""
        return place * self.channel_step + (self.on_value if is_on else self.off_value)

    def states(self, words: tuple[int, ...], count: int) -> list[bool]:
        """Whether each channel is on, from its status registers."""
        whole = 0
        for word in words:
            whole = whole << 16 | word
        return [bool(whole >> place & 1) for place in range(count)]


@dataclass(frozen=True, slots=True, kw_only=True)
class TimingTable(_Table):
    """``[timing]``, as in drivers.link.modbus."""

    _bounds: ClassVar[Bounds] = {
        "answer_s": (0.01, 5.0),
        "quiet_s": (0.0, 5.0),
        "gap_s": (0.0, 2.0),
    }
    _kinds: ClassVar[Kinds] = {"answer_s": float, "quiet_s": float, "gap_s": float}
    answer_s: float = 0.8
    quiet_s: float = 0.7
    gap_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayProfile(_Table):
    """One kind of board. Channel 1, as printed on it, is the coil ``first_coil``."""

    _bounds: ClassVar[Bounds] = {"coil_count": (1, 256), "first_coil": _WORD}
    _kinds: ClassVar[Kinds] = {
        "title": str,
        "source": str,
        "revision": str,
        "unconfirmed": tuple,
        "coil_count": int,
        "first_coil": int,
        "write_function": int,
        "timing": TimingTable,
        "watchdog": WatchdogTable,
        "output": OutputTable,
    }
    title: str
    source: str
    revision: str
    coil_count: int
    first_coil: int
    unconfirmed: tuple[str, ...] = ()
    write_function: int = 5
    timing: TimingTable = TimingTable()
    watchdog: WatchdogTable | None = None
    output: OutputTable | None = None

    def __post_init__(self) -> None:
        if self.output is not None:
            self._check_output(self.output)
        if self.first_coil + self.coil_count > 0x10000:
            raise ValueError("first_coil: with coil_count it leads beyond the last coil, 65535")
        if self.write_function not in (5, 15):
            raise ValueError(f"write_function: is {self.write_function}, not 5 or 15")

    def _check_output(self, output: OutputTable) -> None:
        values = [
            output.value(place, is_on=is_on)
            for place in range(self.coil_count)
            for is_on in (True, False)
        ]
        if len(set(values)) < len(values) or max(values) > _WORD[1]:
            raise ValueError("output: two states of its channels are written by one value")
        if self.coil_count > 16 * output.status_count:
            raise ValueError("output.status_count: leaves no bit for the last channel")
        if output.status + output.status_count > _WORD[1] + 1:
            raise ValueError("output.status: leads beyond the last register, 65535")

    def coil(self, channel: int) -> int:
        """The coil of a channel. Raises ValueError where the board has no such channel."""
        if not 1 <= channel <= self.coil_count:
            raise ValueError(
                f"{self.title} has the channels 1 to {self.coil_count}, not {channel}: "
                "give the number that is printed on the board."
            )
        return self.first_coil + channel - 1

    @property
    def patience(self) -> Timing:
        """The timing for the link."""
        timing = self.timing
        return Timing(answer_s=timing.answer_s, quiet_s=timing.quiet_s, gap_s=timing.gap_s)


def profile_names() -> list[str]:
    """All profiles there are."""
    return sorted(path.stem for path in _FOLDER.glob("*.toml"))


def load_relay_profile(name: str) -> RelayProfile:
    """A profile by its name. Raises RelayProfileError."""
    if name not in profile_names():
        known = ", ".join(profile_names())
        raise RelayProfileError(f"There is no relay profile {name!r}: write one of {known}.")
    return read_relay_profile(_FOLDER / f"{name}.toml")


def read_relay_profile(path: Path) -> RelayProfile:
    """The profile in a file. Raises RelayProfileError with what is wrong with it."""
    try:
        return RelayProfile.parsed(tomllib.loads(path.read_text("utf-8")), "")
    except OSError as error:
        raise RelayProfileError(f"{path}: cannot be read ({error.strerror}).") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RelayProfileError(f"{path}: is not TOML: {error}; mend its spelling.") from error
    except ValueError as error:
        raise RelayProfileError(f"{path}: {error}.") from error
