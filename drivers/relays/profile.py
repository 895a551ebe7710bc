"""What a relay board is: where its coils are, and how it opens them by itself.

A profile is a file of this folder, ``<name>.toml``. Faults are sentences with file, key and reason.
"""

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from drivers.link.modbus import Timing

Address = Annotated[int, Field(ge=0, le=0xFFFF)]
Word = Annotated[int, Field(ge=0, le=0xFFFF)]
Sentence = Annotated[str, Field(min_length=1)]

_FOLDER = Path(__file__).parent


class RelayProfileError(ValueError):
    """A relay's profile cannot be used; the sentence names the file, the key and the reason."""


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SettingTable(_Strict):
    """A holding register that must hold ``value`` for the watchdog to open the coil.

    ``is_per_channel``: the next register is the next channel's. ``is_optional``: a board that has
    no such register behaves as if it held the value.
    """

    name: Sentence
    address: Address
    value: Word
    is_per_channel: bool = False
    is_optional: bool = False


class WatchdogTable(_Strict):
    """``[watchdog]``: the holding register with the seconds of silence after which coils open."""

    address: Address
    settings: tuple[SettingTable, ...] = ()


class TimingTable(_Strict):
    """``[timing]``, as in drivers.link.modbus."""

    answer_s: Annotated[float, Field(gt=0, le=5)] = 0.8
    quiet_s: Annotated[float, Field(ge=0, le=5)] = 0.7
    gap_s: Annotated[float, Field(ge=0, le=2)] = 0.0


class RelayProfile(_Strict):
    """One kind of board. Channel 1, as printed on it, is the coil ``first_coil``."""

    title: Sentence
    source: Sentence
    revision: Sentence
    unconfirmed: tuple[Sentence, ...] = ()
    coil_count: Annotated[int, Field(ge=1, le=256)]
    first_coil: Address
    write_function: Literal[5, 15] = 5
    timing: TimingTable = TimingTable()
    watchdog: WatchdogTable | None = None

    @model_validator(mode="after")
    def _fits(self) -> "RelayProfile":
        if self.first_coil + self.coil_count > 0x10000:
            raise ValueError("first_coil and coil_count lead beyond the last coil, 65535")
        return self

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
        return Timing(**self.timing.model_dump())


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
    """The profile in a file. Raises RelayProfileError with a line for everything wrong with it."""
    try:
        return RelayProfile.model_validate(tomllib.loads(path.read_text("utf-8")))
    except OSError as error:
        raise RelayProfileError(f"{path}: cannot be read ({error.strerror}).") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RelayProfileError(f"{path}: is not TOML: {error}; mend its spelling.") from error
    except ValidationError as error:
        raise RelayProfileError("\n".join(_sentences(path, error))) from error


def _sentences(path: Path, error: ValidationError) -> Iterator[str]:
    for fault in error.errors():
        key = ".".join(map(str, fault["loc"])) or "the file"
        yield f"{path}: {key}: {fault['msg']}."
