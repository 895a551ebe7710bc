"""A meter model as data: which registers hold what, in which unit, with which limits.

A profile is one TOML file; the name of the file is the name of the profile. The farm's own
directories are searched before the ones that come with kwota, and a farm's file that takes the name
of a built-in is used and said so. Everything wrong with a file is reported at once: file, key, why.
"""

import math
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from drivers.link.modbus import REGISTER_LIMIT, ReadRequest, Timing
from drivers.wire.registers import RegisterType, WordOrder, float_spacing

BUILT_IN_DIRECTORY = Path(__file__).parent

# Factors to the base unit of drivers.readings.
_UNITS = {
    "energy": {"Wh": 1.0, "kWh": 1e3, "MWh": 1e6},
    "power": {"W": 1.0, "kW": 1e3, "MW": 1e6},
    "voltage": {"V": 1.0, "kV": 1e3},
    "frequency": {"Hz": 1.0},
}


class ProfileError(ValueError):
    """A profile cannot be used; the sentence names the file, the key and the reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Register:
    """Where a value is. Value in the base unit = register × ``scale``."""

    function: int
    address: int
    kind: RegisterType
    scale: float
    is_optional: bool

    @property
    def end(self) -> int:
        """The address after the last register of the value."""
        return self.address + self.kind.register_count


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A register that must hold one of some values, or this is not the profile's meter."""

    name: str
    register: Register
    accepted: tuple[float, ...]
    remedy: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One request of the read plan and the quantities that it brings."""

    function: int
    address: int
    count: int
    quantities: tuple[str, ...]

    def request(self, unit: int) -> ReadRequest:
        """This block, asked of a unit."""
        return ReadRequest(
            unit=unit, function=self.function, address=self.address, count=self.count
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterProfile:
    """A meter model. ``plan`` holds energy and power together, in one request where they fit.

    ``modulus_wh`` is where the energy register starts again at zero, None where it never does as
    far as the vendor says: then a lower register is always a fault.
    """

    name: str
    path: Path
    is_shadowing_built_in: bool
    title: str
    source: str
    word_order: WordOrder
    refresh_s: float
    nominal_voltage_v: float
    register_limit: int
    is_even_only: bool
    timing: Timing
    display_step_wh: float
    modulus_wh: int | None
    quantities: dict[str, Register]
    serial: Register | None
    firmware: Register | None
    checks: tuple[Check, ...]
    plan: tuple[Block, ...]

    def energy_step_wh(self, energy_wh: int) -> int:
        """The least by which the energy register can rise where it stands now, at least 1 Wh.

        The display's step, or the distance of neighbouring floats where that has become larger:
        a float32 in kWh steps by 1 kWh above 8.39 GWh.
        """
        energy = self.quantities["energy"]
        step_wh = max(self.display_step_wh, energy.scale)
        if energy.kind.is_float:
            spacing = float_spacing(energy_wh / energy.scale, energy.kind)
            step_wh = max(self.display_step_wh, spacing * energy.scale)
        return max(1, math.ceil(step_wh))


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _RegisterTable(_Strict):
    function: Literal[3, 4]
    address: Annotated[int, Field(ge=0, le=0xFFFF)]
    type: RegisterType
    is_optional: bool = False


class _QuantityTable(_RegisterTable):
    unit: str
    scale: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    step_wh: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    modulus_wh: Annotated[int, Field(gt=0)] | None = None


class _CheckTable(_RegisterTable):
    name: str
    accepted: Annotated[
        tuple[Annotated[float, Field(allow_inf_nan=False)], ...], Field(min_length=1)
    ]
    remedy: str


class _BlockTable(_Strict):
    register_limit: Annotated[int, Field(ge=1, le=REGISTER_LIMIT)]
    is_even_only: bool


class _TimingTable(_Strict):
    answer_s: Annotated[float, Field(gt=0, le=5)] = 0.8
    quiet_s: Annotated[float, Field(ge=0, le=5)] = 0.7
    gap_s: Annotated[float, Field(ge=0, le=2)] = 0.0


class _ProfileFile(_Strict):
    title: str
    source: str
    word_order: WordOrder
    nominal_voltage_v: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    refresh_s: Annotated[float, Field(gt=0, le=60)]
    block: _BlockTable
    timing: _TimingTable = _TimingTable()
    energy: _QuantityTable
    power: _QuantityTable
    voltage: _QuantityTable | None = None
    frequency: _QuantityTable | None = None
    serial: _RegisterTable | None = None
    firmware: _RegisterTable | None = None
    checks: tuple[_CheckTable, ...] = ()


def profile_paths(directories: Sequence[Path]) -> dict[str, Path]:
    """All profiles by name, from the directories in order and the built-in ones last.

    A directory that is missing or cannot be listed raises ProfileError.
    """
    found: dict[str, Path] = {}
    for directory in (*directories, BUILT_IN_DIRECTORY):
        try:
            paths = sorted(path for path in directory.iterdir() if path.suffix == ".toml")
        except OSError as error:
            raise ProfileError(
                f"{directory}: meter profiles cannot be listed ({error.strerror}): "
                "create the directory or remove it from the search path."
            ) from error
        for path in paths:
            found.setdefault(path.stem, path)
    return found


def load_profile(name: str, directories: Sequence[Path] = ()) -> MeterProfile:
    """The profile of that name. Raises ProfileError with everything that is wrong with it."""
    paths = profile_paths(directories)
    if name not in paths:
        raise ProfileError(
            f"There is no meter profile {name!r}: choose one of {', '.join(sorted(paths))}, "
            f"or put {name}.toml into a directory of your own."
        )
    path = paths[name]
    try:
        return _profile(path, _ProfileFile.model_validate(tomllib.loads(path.read_text("utf-8"))))
    except OSError as error:
        raise ProfileError(f"{path}: cannot be read ({error.strerror}).") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ProfileError(f"{path}: is not TOML: {error}.") from error
    except ValidationError as error:
        faults = (
            f"{path}: {'.'.join(map(str, fault['loc']))}: {fault['msg']}"
            for fault in error.errors(include_url=False)
        )
        raise ProfileError("\n".join(faults)) from error


def _profile(path: Path, file: _ProfileFile) -> MeterProfile:
    faults: list[str] = []
    quantities = {
        name: _quantity(name, table, faults)
        for name in _UNITS
        if (table := getattr(file, name)) is not None
    }
    registers = _all_registers(file, quantities)
    for key, register in registers.items():
        faults.extend(f"{key}: {fault}" for fault in _layout_faults(register, file.block))
    for name in ("power", "voltage", "frequency"):
        table = getattr(file, name)
        if table is not None and (table.step_wh, table.modulus_wh) != (None, None):
            faults.append(f"{name}: step_wh and modulus_wh belong to energy only")
    if file.energy.step_wh is None:
        faults.append("energy.step_wh: the register's resolution in Wh is missing")
    if faults:
        raise ProfileError("\n".join(f"{path}: {fault}" for fault in faults))
    return MeterProfile(
        name=path.stem,
        path=path,
        is_shadowing_built_in=path.parent != BUILT_IN_DIRECTORY
        and (BUILT_IN_DIRECTORY / path.name).exists(),
        title=file.title,
        source=file.source,
        word_order=file.word_order,
        refresh_s=file.refresh_s,
        nominal_voltage_v=file.nominal_voltage_v,
        register_limit=file.block.register_limit,
        is_even_only=file.block.is_even_only,
        timing=Timing(**file.timing.model_dump()),
        display_step_wh=file.energy.step_wh or 0.0,
        modulus_wh=file.energy.modulus_wh or _type_modulus_wh(quantities["energy"]),
        quantities=quantities,
        serial=registers.get("serial"),
        firmware=registers.get("firmware"),
        checks=tuple(
            Check(
                name=table.name,
                register=registers[f"checks.{index}"],
                accepted=table.accepted,
                remedy=table.remedy,
            )
            for index, table in enumerate(file.checks)
        ),
        plan=read_plan(quantities, file.block.register_limit, is_even_only=file.block.is_even_only),
    )


def _quantity(name: str, table: _QuantityTable, faults: list[str]) -> Register:
    units = _UNITS[name]
    if table.unit not in units:
        faults.append(f"{name}.unit: {table.unit!r} is not one of {', '.join(units)}")
    if table.is_optional:
        faults.append(f"{name}.is_optional: a quantity is read or left out of the profile")
    return Register(
        function=table.function,
        address=table.address,
        kind=table.type,
        scale=table.scale * units.get(table.unit, 1.0),
        is_optional=False,
    )


def _all_registers(file: _ProfileFile, quantities: dict[str, Register]) -> dict[str, Register]:
    """Every register that the profile names, by its key in the file."""
    tables: dict[str, _RegisterTable | None] = {"serial": file.serial, "firmware": file.firmware}
    tables |= {f"checks.{index}": table for index, table in enumerate(file.checks)}
    plain = {
        key: Register(
            function=table.function,
            address=table.address,
            kind=table.type,
            scale=1.0,
            is_optional=table.is_optional,
        )
        for key, table in tables.items()
        if table is not None
    }
    return quantities | plain


def _layout_faults(register: Register, block: _BlockTable) -> list[str]:
    faults = []
    if register.end > 0x10000:
        faults.append(f"address 0x{register.address:04X} leaves no room for {register.kind}")
    if register.kind.register_count > block.register_limit:
        faults.append(f"type {register.kind} does not fit into block.register_limit")
    # A single register is served as its own type by meters that demand even reads (SDM630 V1.8).
    if block.is_even_only and register.kind.register_count > 1 and register.address % 2:
        faults.append(f"address 0x{register.address:04X} is odd, but block.is_even_only is set")
    return faults


def _type_modulus_wh(energy: Register) -> int | None:
    modulus = energy.kind.modulus
    return None if modulus is None else math.floor(modulus * energy.scale)


def read_plan(
    quantities: dict[str, Register], register_limit: int, *, is_even_only: bool
) -> tuple[Block, ...]:
    """The fewest requests that read all quantities, the one with the energy first.

    Neighbours are joined across holes as long as a request stays within the limit: on TCP a hole
    costs nothing, and one request is one instant.
    """
    blocks: list[tuple[int, int, int, tuple[str, ...]]] = []
    for name, register in sorted(
        quantities.items(), key=lambda item: (item[1].function, item[1].address)
    ):
        end = register.end
        if is_even_only and register.kind.register_count > 1:
            end += (end - register.address) % 2
        if blocks:
            function, start, last, names = blocks[-1]
            if function == register.function and end - start <= register_limit:
                blocks[-1] = (function, start, max(last, end), (*names, name))
                continue
        blocks.append((register.function, register.address, end, (name,)))
    plan = [
        Block(function=function, address=start, count=end - start, quantities=names)
        for function, start, end, names in blocks
    ]
    return tuple(sorted(plan, key=lambda block: "energy" not in block.quantities))
