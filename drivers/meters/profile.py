"""A meter model as data: which registers hold what, in which unit, with which limits.

A profile is one TOML file; the name of the file is the name of the profile. The farm's own
directories are searched before the ones that come with kwota, and a farm's file that takes the name
of a built-in is used and said so. Everything wrong with a file is reported at once: file, key, why.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from drivers.link.modbus import ReadRequest, Timing
from drivers.meters.plan import Layout, Span, compile_plan
from drivers.meters.profile_file import (
    ClockTable,
    IdentityTable,
    ProfileError,
    ProfileFile,
    QuantityTable,
    read_profile_file,
    spans_of,
)
from drivers.meters.quantities import FAST, dimension_of, units_of
from drivers.wire.moment import MomentFormat
from drivers.wire.registers import RegisterType, WordOrder, float_spacing

BUILT_IN_DIRECTORY = Path(__file__).parent
LEAD = ("energy", "power")
SUNSPEC = "sunspec"  # no file: where its registers lie is for the device to say
# More than any meter point ever counts: a register that starts again beyond it never does.
ENERGY_END_WH = 10**15


@dataclass(frozen=True, slots=True, kw_only=True)
class Register:
    """Where a value is. Value in the base unit = register × ``scale``."""

    function: int
    address: int
    kind: RegisterType
    scale: float = 1.0
    sentinels: tuple[int, ...] = ()

    @property
    def end(self) -> int:
        """The address after the last register of the value."""
        return self.address + self.kind.register_count


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Registers that name the meter: a number, or a text where ``kind`` is None.

    ``otherwise`` are registers that are asked for one by one where the meter has not the first.
    """

    function: int
    address: int
    count: int
    kind: RegisterType | None
    is_optional: bool
    otherwise: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """Where the meter's own clock is."""

    function: int
    address: int
    layout: MomentFormat


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A register that must hold one of some values, or this is not the profile's meter."""

    name: str
    register: Register
    accepted: tuple[float, ...]
    remedy: str
    is_optional: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """A transformer's ratio in a register, by which the reader multiplies these quantities."""

    name: str
    register: Register
    quantities: tuple[str, ...]


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
    """A meter model. A quantity is the sum of its registers, in the base unit of its dimension.

    ``plan`` brings what every reading needs, energy and power in one request where the meter allows
    it; ``full_plan`` brings everything. ``modulus_wh`` is where the energy register starts again at
    zero, None where it never does as far as the vendor says: then a lower register is always a
    fault.
    """

    name: str
    path: Path
    is_shadowing_built_in: bool
    title: str
    source: str
    revision: str
    unconfirmed: tuple[str, ...]
    word_order: WordOrder
    refresh_s: float
    is_refresh_stated: bool
    nominal_voltage_v: float
    layout: Layout
    timing: Timing
    display_step_wh: float
    modulus_wh: int | None
    quantities: Mapping[str, tuple[Register, ...]]
    serial: Identity | None
    firmware: Identity | None
    model: Identity | None
    clock: Clock | None
    checks: tuple[Check, ...]
    ratios: tuple[Ratio, ...]
    plan: tuple[Block, ...]
    full_plan: tuple[Block, ...]

    def energy_step_wh(self, energy_wh: int) -> int:
        """The least by which the energy register can rise where it stands now, at least 1 Wh.

        The display's step, or the distance of neighbouring floats where that has become larger:
        a float32 in kWh steps by 1 kWh above 8.39 GWh.
        """
        terms = self.quantities["energy"]
        finest = min(abs(term.scale) for term in terms)
        # Each of several equal registers hides up to its own step, and what they hide adds up; a
        # coarse register with a fine one beside it hides nothing.
        steps_wh = (
            max(self.display_step_wh, _step_wh(term, energy_wh))
            for term in terms
            if abs(term.scale) == finest
        )
        return max(1, math.ceil(sum(steps_wh)))

    @property
    def unfit(self) -> str:
        """Why no purchase may be kept by this profile, as a sentence; empty where one may be."""
        if self.unconfirmed:
            return (
                f"the profile {self.name} rests on what no paper confirms "
                f"({'; '.join(self.unconfirmed)}): compare with the vendor's paper and put a copy "
                "without these lines into a directory of your own."
            )
        if any("energy" in ratio.quantities for ratio in self.ratios):
            return (
                f"the profile {self.name} has the energy multiplied by what stands in the meter, "
                "so that its step is not known beforehand: use a meter that counts primary energy."
            )
        return ""


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
        known = ", ".join(sorted({*paths, SUNSPEC}))
        raise ProfileError(
            f"There is no meter profile {name!r}: choose one of {known}, "
            f"or put {name}.toml into a directory of your own."
        )
    path = paths[name]
    return _profile(path, read_profile_file(path))


def _profile(path: Path, file: ProfileFile) -> MeterProfile:
    fast = {name: table for name in FAST if (table := getattr(file, name)) is not None}
    tables: dict[str, QuantityTable] = fast | file.more
    quantities = {name: _terms(name, table) for name, table in tables.items()}
    layout = file.block.layout
    return MeterProfile(
        name=path.stem,
        path=path,
        is_shadowing_built_in=path.parent != BUILT_IN_DIRECTORY
        and (BUILT_IN_DIRECTORY / path.name).exists(),
        title=file.title,
        source=file.source,
        revision=file.revision,
        unconfirmed=file.unconfirmed,
        word_order=file.word_order,
        refresh_s=file.refresh_s,
        is_refresh_stated=file.is_refresh_stated,
        nominal_voltage_v=file.nominal_voltage_v,
        layout=layout,
        timing=Timing(**file.timing.model_dump()),
        display_step_wh=file.energy.step_wh or 0.0,
        modulus_wh=file.energy.modulus_wh or _type_modulus_wh(quantities["energy"]),
        quantities=quantities,
        serial=_identity(file.serial),
        firmware=_identity(file.firmware),
        model=_identity(file.model),
        clock=_clock(file.clock),
        checks=_checks(file),
        ratios=_ratios(file),
        plan=_blocks(fast, layout),
        full_plan=_blocks(tables, layout),
    )


def _checks(file: ProfileFile) -> tuple[Check, ...]:
    return tuple(
        Check(
            name=table.name,
            register=Register(function=table.function, address=table.address, kind=table.type),
            accepted=table.accepted,
            remedy=table.remedy,
            is_optional=table.is_optional,
        )
        for table in file.checks
    )


def _ratios(file: ProfileFile) -> tuple[Ratio, ...]:
    return tuple(
        Ratio(
            name=table.name,
            register=Register(
                function=table.function,
                address=table.address,
                kind=table.type,
                scale=table.scale,
            ),
            quantities=table.quantities,
        )
        for table in file.ratios
    )


def _terms(name: str, table: QuantityTable) -> tuple[Register, ...]:
    factor = units_of(dimension_of(name) or name)[table.unit] * table.sign
    return tuple(
        Register(
            function=table.function,
            address=term.address,
            kind=term.type,
            scale=term.scale * factor,
            sentinels=table.sentinels,
        )
        for term in (table, *table.plus)
    )


def _identity(table: IdentityTable | None) -> Identity | None:
    if table is None:
        return None
    kind = None if table.type == "text" else table.type
    return Identity(
        function=table.function,
        address=table.address,
        count=(table.count or 1) if kind is None else kind.register_count,
        kind=kind,
        is_optional=table.is_optional,
        otherwise=() if table.otherwise is None else table.otherwise.registers,
    )


def _clock(table: ClockTable | None) -> Clock | None:
    if table is None:
        return None
    return Clock(function=table.function, address=table.address, layout=table.format)


def _blocks(tables: Mapping[str, QuantityTable], layout: Layout) -> tuple[Block, ...]:
    spans: list[Span] = []
    for name, table in tables.items():
        spans.extend(spans_of(name, table))
    return tuple(
        Block(
            function=stretch.function,
            address=stretch.address,
            count=stretch.count,
            quantities=tuple(dict.fromkeys(span.key for span in stretch.spans)),
        )
        for stretch in compile_plan(spans, layout, lead=LEAD)
    )


def _type_modulus_wh(energy: Sequence[Register]) -> int | None:
    """Where a single integer register starts again; a sum of several starts again nowhere."""
    modulus = energy[0].kind.modulus if len(energy) == 1 else None
    if modulus is None:
        return None
    modulus_wh = math.floor(modulus * energy[0].scale)
    return modulus_wh if modulus_wh < ENERGY_END_WH else None


def _step_wh(energy: Register, energy_wh: int) -> float:
    if not energy.kind.is_float:
        return energy.scale
    return float_spacing(energy_wh / energy.scale, energy.kind) * energy.scale
