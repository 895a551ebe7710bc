"""The file of a meter profile: its keys, and one sentence for everything that is wrong with it.

A sentence names file, key, reason and way out. All faults come at once: what can be understood of a
file is examined although something else in it cannot.
"""

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from drivers.link.modbus import REGISTER_LIMIT
from drivers.meters.plan import ADDRESS_END, Layout, PlanError, Span, compile_plan
from drivers.meters.quantities import FAST, dimension_of, units_of
from drivers.wire.moment import MomentFormat
from drivers.wire.registers import RegisterType, WordOrder

Address = Annotated[int, Field(ge=0, le=0xFFFF)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Pattern = Annotated[int, Field(ge=0, lt=1 << 64)]
Number = Annotated[int | float, Field(allow_inf_nan=False)]
Sentence = Annotated[str, Field(min_length=1)]

_Table = TypeVar("_Table", bound=BaseModel)


class ProfileError(ValueError):
    """A profile cannot be used; the sentence names the file, the key and the reason."""


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TermTable(_Strict):
    """``plus``: registers whose value is added to the quantity's own."""

    address: Address
    type: RegisterType
    scale: Positive = 1.0


class QuantityTable(TermTable):
    """A measured value. It is (register × scale + each of ``plus``) × sign, in ``unit``."""

    function: Literal[3, 4]
    unit: str
    sign: Literal[1, -1] = 1
    sentinels: tuple[Pattern, ...] = ()
    plus: tuple[TermTable, ...] = ()
    step_wh: Positive | None = None
    modulus_wh: Annotated[int, Field(gt=0)] | None = None


class OtherwiseTable(_Strict):
    """``otherwise``: where meters of another paper, which lack the first place, have the number.

    Registers of 16 bits that are read one by one; the most significant comes first.
    """

    registers: Annotated[tuple[Address, ...], Field(min_length=1, max_length=4)]
    source: Sentence


class IdentityTable(_Strict):
    """A register that names the meter; ``count`` is the length of a text in registers."""

    function: Literal[3, 4]
    address: Address
    type: RegisterType | Literal["text"]
    count: Annotated[int, Field(ge=1, le=REGISTER_LIMIT)] | None = None
    is_optional: bool = False
    otherwise: OtherwiseTable | None = None


class ClockTable(_Strict):
    """``[clock]``: the meter's own clock, of a paper of its own; ``format`` as in drivers.wire."""

    function: Literal[3, 4]
    address: Address
    format: MomentFormat
    source: Sentence
    revision: Sentence


class NumberTable(_Strict):
    """A single number that has a name."""

    name: Sentence
    function: Literal[3, 4]
    address: Address
    type: RegisterType


class CheckTable(NumberTable):
    """``[[checks]]``: a setting without which the profile is not true of the meter."""

    accepted: Annotated[tuple[Number, ...], Field(min_length=1)]
    remedy: Sentence
    is_optional: bool = False


class RatioTable(NumberTable):
    """``[[ratios]]``: a transformer's ratio that the meter leaves to its reader to multiply."""

    scale: Positive = 1.0
    quantities: Annotated[tuple[str, ...], Field(min_length=1)]


class BlockTable(_Strict):
    """``[block]``: what the meter accepts in one request."""

    register_limit: Annotated[int, Field(ge=1, le=REGISTER_LIMIT)]
    alignment: Annotated[int, Field(ge=1, le=32)] = 1
    gap_limit: Annotated[int, Field(ge=0, le=REGISTER_LIMIT)] = 0
    holes: tuple[tuple[Address, Address], ...] = ()
    barriers: tuple[Address, ...] = ()

    @property
    def layout(self) -> Layout:
        """The same for the read plan."""
        return Layout(**self.model_dump())


class TimingTable(_Strict):
    """``[timing]``, as in drivers.link.modbus."""

    answer_s: Annotated[float, Field(gt=0, le=5)] = 0.8
    quiet_s: Annotated[float, Field(ge=0, le=5)] = 0.7
    gap_s: Annotated[float, Field(ge=0, le=2)] = 0.0
    unit_gap_s: Annotated[float, Field(ge=0, le=1)] = 0.06


class ProfileFile(_Strict):
    """The whole file."""

    title: Sentence
    source: Sentence
    revision: Sentence
    unconfirmed: tuple[Sentence, ...] = ()
    word_order: WordOrder
    nominal_voltage_v: Positive
    refresh_s: Annotated[float, Field(gt=0, le=60)]
    is_refresh_stated: bool = False
    block: BlockTable
    timing: TimingTable = TimingTable()
    energy: QuantityTable
    power: QuantityTable
    voltage: QuantityTable | None = None
    frequency: QuantityTable | None = None
    more: dict[str, QuantityTable] = {}
    serial: IdentityTable | None = None
    firmware: IdentityTable | None = None
    model: IdentityTable | None = None
    clock: ClockTable | None = None
    checks: tuple[CheckTable, ...] = ()
    ratios: tuple[RatioTable, ...] = ()


def read_profile_file(path: Path) -> ProfileFile:
    """The file as it stands. Raises ProfileError with one line for everything wrong with it."""
    try:
        document = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ProfileError(
            f"{path}: cannot be read ({error.strerror}); mend its rights or take it away."
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ProfileError(f"{path}: is not TOML: {error}; mend its spelling.") from error
    file: ProfileFile | None = None
    faults: list[str] = []
    try:
        file = ProfileFile.model_validate(document)
    except ValidationError as error:
        faults = _sentences(error)
    faults += _Examination(document).faults()
    if file is None or faults:
        raise ProfileError("\n".join(f"{path}: {fault}." for fault in faults))
    return file


def spans_of(key: str, table: QuantityTable) -> tuple[Span, ...]:
    """The registers of a quantity, for the read plan."""
    return tuple(
        Span(
            key=key,
            function=table.function,
            address=term.address,
            count=term.type.register_count,
        )
        for term in (table, *table.plus)
    )


_EXPECTED = {
    "greater_than": "a number above {gt}",
    "greater_than_equal": "a number from {ge} on",
    "less_than": "a number below {lt}",
    "less_than_equal": "a number up to {le}",
    "finite_number": "a finite number",
    "too_short": "at least one",
    "string_too_short": "some words in quotes",
}
_TYPES = {
    "int": "a number",
    "float": "a number",
    "string": "text in quotes",
    "bool": "true or false",
}
_TYPES |= {"model": "a table of keys", "tuple": "a list in square brackets", "dict": "a table"}


def _sentences(error: ValidationError) -> list[str]:
    """One sentence for each thing to mend: not one for each way in which it was not understood."""
    faults = error.errors(include_url=False)
    named = {_key(fault) for fault in faults}
    sentences: dict[str, str] = {}
    for fault in faults:
        key = _key(fault)
        if not any(other.startswith(f"{key}.") for other in named):
            sentences.setdefault(key, _sentence(fault))
    return list(sentences.values())


def _key(fault: ErrorDetails) -> str:
    """The key in the file; the alternatives of a type are not part of it."""
    parts = [str(part) for part in fault["loc"]]
    while parts and (parts[-1] in {"int", "float", "enum"} or "[" in parts[-1]):
        parts.pop()
    return ".".join(parts)


def _sentence(fault: ErrorDetails) -> str:
    key, kind, given = _key(fault), fault["type"], fault["input"]
    if kind == "extra_forbidden":
        return f"{key}: is not a key of a profile; mend its spelling or take it away"
    if kind == "missing":
        return f"{key}: is missing; add it (sdm630.toml shows every key)"
    wanted = _TYPES.get(kind.partition("_")[0]) if kind.endswith(("_type", "_parsing")) else None
    if kind in _EXPECTED:
        wanted = _EXPECTED[kind].format(**fault.get("ctx", {}))
    expected = wanted or fault["msg"].removeprefix("Input should be ")
    return f"{key}: {given!r} cannot be used; write {expected}"


class _Examination:
    """What no single key shows. Tables that are not understood are left to the parser."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._quantities = dict(_understood(_quantity_tables(document), QuantityTable))
        named = {key: document[key] for key in ("serial", "firmware", "model") if key in document}
        self._identities = dict(_understood(named, IdentityTable))
        clocks = {key: document[key] for key in ("clock",) if key in document}
        self._clocks = dict(_understood(clocks, ClockTable))
        self._checks = dict(_understood(_rows(document, "checks"), CheckTable))
        self._ratios = dict(_understood(_rows(document, "ratios"), RatioTable))
        blocks = dict(_understood({"block": document.get("block")}, BlockTable))
        self._block = blocks.get("block")

    def faults(self) -> list[str]:
        return [
            *self._quantity_faults(),
            *self._identity_faults(),
            *self._ratio_faults(),
            *self._place_faults(),
            *self._plan_faults(),
        ]

    def _quantity_faults(self) -> Iterator[str]:
        for key, table in self._quantities.items():
            name = key.removeprefix("more.")
            dimension = dimension_of(name)
            if dimension is None or (key != name and name in FAST):
                yield f"{key}: is no further quantity; choose a name that other profiles use"
                continue
            units = units_of(dimension)
            if table.unit not in units:
                yield f"{key}.unit: {table.unit!r} is not one of {', '.join(units)}; write one"
            if key != "energy" and (table.step_wh, table.modulus_wh) != (None, None):
                yield f"{key}: step_wh and modulus_wh belong to energy only; take them away"
            if dimension == "energy" and table.sign < 0:
                yield f"{key}.sign: a counter has none; name the register of the other direction"
        energy = self._quantities.get("energy")
        if energy is not None and energy.step_wh is None:
            yield "energy.step_wh: the register's resolution in Wh is missing; add it"

    def _identity_faults(self) -> Iterator[str]:
        for key, table in self._identities.items():
            if (table.type == "text") != (table.count is not None):
                yield f"{key}.count: a text, and nothing else, has a length; mend type or count"

    def _ratio_faults(self) -> Iterator[str]:
        names = {key.removeprefix("more.") for key in self._quantities}
        for key, table in self._ratios.items():
            for name in sorted(set(table.quantities) - names):
                yield f"{key}.quantities: {name!r} is no quantity of this file; mend its name"

    def _places(self) -> list[tuple[str, int, int, int]]:
        """Key, function, first address and address after the end of all that the file names."""
        places = [
            (key, span.function, span.address, span.end)
            for key, table in self._quantities.items()
            for span in spans_of(key, table)
        ]
        for key, one in self._identities.items():
            kind = one.type
            count = (one.count or 1) if kind == "text" else kind.register_count
            places.append((key, one.function, one.address, one.address + count))
            others = () if one.otherwise is None else one.otherwise.registers
            places += [(f"{key}.otherwise", one.function, at, at + 1) for at in others]
        for key, clock in self._clocks.items():
            end = clock.address + clock.format.register_count
            places.append((key, clock.function, clock.address, end))
        numbers: dict[str, NumberTable] = {**self._checks, **self._ratios}
        for key, row in numbers.items():
            places.append((key, row.function, row.address, row.address + row.type.register_count))
        return places

    def _place_faults(self) -> Iterator[str]:
        places = self._places()
        for key, _, start, end in places:
            if end > ADDRESS_END:
                yield f"{key}: address 0x{start:04X} leaves no room for its type; mend one of them"
            if self._block is None:
                continue
            if end - start > self._block.register_limit:
                yield (f"{key}: its type does not fit into block.register_limit; mend one of them")
            # A lone register is served as its own type by meters that demand even reads
            # (SDM630 V1.8).
            if end - start > 1 and start % self._block.alignment:
                yield (
                    f"{key}: address 0x{start:04X} is no multiple of block.alignment; "
                    "mend one of them"
                )
        for (key, function, start, end), (other, same, first, last) in combinations(places, 2):
            if function == same and start < last and first < end:
                yield f"{other}: lies on the registers of {key}; mend one of the addresses"

    def _plan_faults(self) -> Iterator[str]:
        block = self._block
        for at, (first, last) in enumerate(() if block is None else block.holes):
            if first > last:
                yield f"block.holes.{at}: ends before it begins; write first and last address"
        if block is None:
            return
        spans: list[Span] = []
        for key, table in self._quantities.items():
            own = spans_of(key, table)
            # What is longer than any request has been named already.
            if all(span.count <= block.register_limit for span in own):
                fault = _plan_fault(own, block)
                spans += [] if fault else own
                yield from fault
        yield from _plan_fault(spans, block)


def _plan_fault(spans: Sequence[Span], block: BlockTable) -> list[str]:
    try:
        compile_plan(spans, block.layout)
    except PlanError as error:
        reason = f"{error.key}: no one request can read it as [block] stands"
        return [f"{reason}; mend its address, the limits or the holes"]
    return []


def _quantity_tables(document: Mapping[str, Any]) -> dict[str, Any]:
    tables = {key: document[key] for key in FAST if key in document}
    more = document.get("more")
    return tables | {f"more.{k}": v for k, v in (more if isinstance(more, dict) else {}).items()}


def _rows(document: Mapping[str, Any], key: str) -> dict[str, Any]:
    rows = document.get(key)
    return {f"{key}.{at}": row for at, row in enumerate(rows if isinstance(rows, list) else [])}


def _understood(tables: Mapping[str, Any], model: type[_Table]) -> Iterator[tuple[str, _Table]]:
    for key, table in tables.items():
        try:
            yield key, model.model_validate(table)
        except ValidationError:
            continue  # the parser names this one
