"""The farm file: what a simulated site is made of, as counts. Every unknown key is a fault."""

import tomllib
from ipaddress import IPv4Address
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from simulator.antminer_table import AntminerTable
from simulator.avalon_table import AvalonTable
from simulator.bitaxe_table import BitaxeTable
from simulator.braiins_table import BraiinsTable
from simulator.epic_table import EpicTable
from simulator.families import families, model_keys
from simulator.luxos_table import LuxosTable
from simulator.model import MachineModel, machine_models
from simulator.relay_table import RelayTable
from simulator.table import Port, Seconds, Table
from simulator.vnish_table import VnishTable
from simulator.whatsminer_table import WhatsminerTable
from simulator.whatsminer_v2_table import WhatsminerV2Table


class FarmFileError(Exception):
    """The farm file cannot be used; the message names every fault."""


# Who has a server; one line of ``dialects.py`` for each.
SpokenFamily = Literal[
    "antminer",
    "avalon",
    "bitaxe",
    "braiins",
    "epic",
    "luxos",
    "vnish",
    "whatsminer-v2",
    "whatsminer-v3",
]


class SiteTable(Table):
    """``[site]``."""

    seed: int = 1
    step_s: Annotated[float, Field(ge=0.01, le=1.0)] = 0.05
    history_h: Annotated[float, Field(gt=0.0, le=48.0)] = 6.0


class GroupTable(Table):
    """``[[machines]]``: so many of one model, in a row of addresses.

    The profile called ``default`` is the family's own, at step 0.
    """

    family: SpokenFamily = "luxos"
    model: str
    count: Annotated[int, Field(ge=0, le=20_000)]
    profile: str = "default"
    is_atm_enabled: bool = False
    is_asleep: bool = False

    @field_validator("model")
    @classmethod
    def _known_model(cls, model: str, info: ValidationInfo) -> str:
        family = info.data.get("family", "luxos")
        known = tuple(machine_models()) if family == "luxos" else model_keys(family)
        if model not in known:
            raise ValueError(f"there is no model {model!r}; known: {', '.join(known)}")
        return model

    @property
    def machine_model(self) -> MachineModel:
        """The model, with the operating points of its family."""
        if self.family == "luxos":
            return machine_models()[self.model]
        return families()[self.family].model(self.model)

    @property
    def profile_place(self) -> int:
        """Where the profile stands in the model's list; -1 where it has none such."""
        for place, point in enumerate(self.machine_model.profiles):
            if point.name == self.profile or (self.profile == "default" and point.step == 0):
                return place
        return -1


class AddressTable(Table):
    """``[addresses]``: machine n listens at base + (n // 250, n % 250 + 1).

    ``rpc_port`` is that of cgminer's API and its kin, ``web_port`` that of HTTP, ``grpc_port`` that
    of Braiins OS' gRPC. ``has_web`` is
    about pages that are for looks; a family that speaks HTTP always does.
    """

    base: IPv4Address = IPv4Address("127.8.0.0")
    rpc_port: Port = 4028
    whatsminer_v3_port: Port = 4433
    web_port: Port = 80
    grpc_port: Port = 50051
    has_web: bool = True

    @field_validator("base")
    @classmethod
    def _loopback(cls, base: IPv4Address) -> IPv4Address:
        if not base.is_loopback or int(base) & 0xFFFF:
            raise ValueError("must be a loopback network like 127.8.0.0")
        return base


class TimingTable(Table):
    """``[timings]``: how fast machines follow; assumptions where vendors publish nothing."""

    board_on_s: Seconds = 12.0
    board_off_s: Seconds = 1.5
    board_reboot_s: Seconds = 5.0
    profile_s: Seconds = 30.0
    sleep_s: Seconds = 4.0
    wake_s: Seconds = 60.0
    wake_unsafe_s: Seconds = 10.0
    reboot_s: Seconds = 40.0
    fixed_w: Annotated[float, Field(ge=0.0, le=500.0)] = 80.0
    standby_w: Annotated[float, Field(ge=0.0, le=200.0)] = 25.0
    session_idle_s: Seconds = 60.0
    self_wake_s: Seconds = 20.0


class SpreadTable(Table):
    """``[spread]``: how far single machines lie from the table, as shares."""

    reporting: Annotated[float, Field(ge=0.0, le=0.5)] = 0.03
    tolerance: Annotated[float, Field(ge=0.0, le=0.2)] = 0.02


class StepTable(Table):
    """``[[base_load.steps]]``."""

    after_s: Annotated[float, Field(ge=0.0)]
    delta_w: float


class BaseLoadTable(Table):
    """``[base_load]``."""

    constant_w: Annotated[float, Field(ge=0.0)] = 0.0
    wander_w: Annotated[float, Field(ge=0.0)] = 0.0
    knot_s: Seconds = 10.0
    steps: tuple[StepTable, ...] = ()


class MeterTable(Table):
    """``[[meters]]``: each measures the whole site, or the machines at the places ``feeds``.

    ``prefix``, ``word_order``, ``holes`` and ``paper`` (where its serial number is) are settings of
    the SDM630 alone. ``line``: Modbus TCP, RTU behind a transparent gateway, or a pty; those with
    the same host and port share a line. What was counted since it saved ``save_s`` ago or less is
    lost with the supply.
    """

    id: str
    model: Literal[
        "sdm630",
        "sdm120",
        "iem3000",
        "pm5000",
        "em340",
        "abb-b23",
        "pac3200",
        "umg96",
        "countis-e",
        "sunspec-201",
        "sunspec-202",
        "sunspec-203",
        "sunspec-204",
        "sunspec-211",
        "sunspec-212",
        "sunspec-213",
        "sunspec-214",
        "sdm72d-m-2",
        "pac2200",
        "em530",
        "em24-e1",
        "em24-is",
        "abb-m4m",
        "dtsu666",
        "adw300",
        "pro380",
        "diris-b30",
        "satec-pm130",
    ] = "sdm630"
    host: IPv4Address = IPv4Address("127.0.0.1")
    port: Port = 5020
    unit: Annotated[int, Field(ge=1, le=247)] = 1
    line: Literal["tcp", "gateway", "serial"] = "tcp"
    baud: Literal[2400, 4800, 9600, 19200, 38400, 115200] = 9600
    serial: Annotated[int, Field(ge=0, le=0xFFFFFFFF)]
    refresh_s: Seconds = 0.5
    step_kwh: Annotated[float, Field(gt=0.0, le=10.0)] = 0.01
    start_kwh: Annotated[float, Field(ge=0.0)] = 1234.5
    gain_error: Annotated[float, Field(ge=-0.2, le=0.2)] = 0.0
    feeds: tuple[Annotated[int, Field(ge=0)], ...] = ()
    answer_delay_s: Annotated[float, Field(ge=0.0, le=10.0)] = 0.0
    save_s: Seconds = 300.0
    paper: Literal["V1.8", "V2.0"] = "V1.8"
    prefix: Literal["k", "M"] = "k"
    word_order: Literal["big", "little"] = "big"
    holes: Literal["zero", "exception"] = "zero"

    @property
    def profile(self) -> str:
        """The name by which a configuration calls what it speaks."""
        return "sunspec" if self.model.startswith("sunspec") else self.model

    @field_validator("host")
    @classmethod
    def _loopback(cls, host: IPv4Address) -> IPv4Address:
        if not host.is_loopback:
            raise ValueError("must be a loopback address")
        return host

    @model_validator(mode="after")
    def _own_settings(self) -> "MeterTable":
        settings = self.model_fields_set & {"prefix", "word_order", "holes", "paper"}
        if self.model != "sdm630" and settings:
            raise ValueError(f"a {self.model} cannot be set to {', '.join(sorted(settings))}")
        return self


class FarmFile(Table):
    """The whole file."""

    site: SiteTable = SiteTable()
    addresses: AddressTable = AddressTable()
    timings: TimingTable = TimingTable()
    bitaxe: BitaxeTable = BitaxeTable()
    epic: EpicTable = EpicTable()
    antminer: AntminerTable = AntminerTable()
    whatsminer: WhatsminerTable = WhatsminerTable()
    braiins: BraiinsTable = BraiinsTable()
    whatsminer_v2: WhatsminerV2Table = WhatsminerV2Table()
    avalon: AvalonTable = AvalonTable()
    luxos: LuxosTable = LuxosTable()
    vnish: VnishTable = VnishTable()
    spread: SpreadTable = SpreadTable()
    base_load: BaseLoadTable = BaseLoadTable()
    machines: tuple[GroupTable, ...]
    meters: Annotated[tuple[MeterTable, ...], Field(min_length=1)]
    relays: tuple[RelayTable, ...] = ()

    @model_validator(mode="after")
    def _has_fed_machines(self) -> "FarmFile":
        count = sum(group.count for group in self.machines)
        strange = [one for meter in self.meters for one in meter.feeds if one >= count]
        if strange:
            raise ValueError(f"a meter feeds machine {strange[0]}, and there are {count}")
        return self

    def with_count(self, count: int) -> "FarmFile":
        """The same farm with ``count`` machines, in the same proportions."""
        total = sum(group.count for group in self.machines)
        if total == 0:
            raise FarmFileError("the farm file has no machines to take the proportions from")
        groups, given, seen = [], 0, 0
        for group in self.machines:
            seen += group.count
            upto = round(count * seen / total)
            groups.append(group.model_copy(update={"count": upto - given}))
            given = upto
        return self.model_copy(update={"machines": tuple(groups)})

    def with_base(self, base: str) -> "FarmFile":
        """The same farm on another loopback network. Raises FarmFileError."""
        values = {**self.addresses.model_dump(), "base": base}
        try:
            addresses = AddressTable.model_validate(values)
        except ValidationError as error:
            reason = error.errors()[0]["msg"]
            raise FarmFileError(f"address base {base!r}: {reason}") from error
        return self.model_copy(update={"addresses": addresses})


def load_farm_file(path: Path) -> FarmFile:
    """Read and check a farm file. Raises FarmFileError naming the file and every fault in it."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise FarmFileError(f"{path}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise FarmFileError(f"{path}: is not TOML: {error}") from error
    try:
        farm = FarmFile.model_validate(document)
    except ValidationError as error:
        raise FarmFileError(_sentences(path, error)) from error
    for group in farm.machines:
        if group.profile_place < 0:
            raise FarmFileError(f"{path}: machines: {group.model} has no profile {group.profile!r}")
    return farm


def _sentences(path: Path, error: ValidationError) -> str:
    lines = []
    for fault in error.errors():
        key = ".".join(str(part) for part in fault["loc"])
        reason = "unknown key" if fault["type"] == "extra_forbidden" else fault["msg"]
        lines.append(f"{path}: {key}: {reason}")
    return "\n".join(lines)
