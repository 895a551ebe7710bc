"""One site's configuration: TOML in, frozen settings out, or every fault at once.

Each table and each array row is checked by itself, so that a fault in one never hides another;
what values say about each other is checked over whatever was valid. Relative paths start at the
configuration file; secrets are only ever paths. Whether those files exist is ``missing_files``.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import ConfigDict, Field, TypeAdapter

from agent.settings_alarms import AlarmSettings, check_alarms
from agent.settings_devices import (
    MeterSettings,
    MinerSettings,
    check_duplicates,
    check_passwords,
    check_serial_ports,
    note_twice,
)
from agent.settings_discovery import DiscoverySettings
from agent.settings_faults import Fault, FaultList, Place, SettingsError, joined, read_toml, shown
from agent.settings_feeders import check_feeders
from agent.settings_fields import (
    BrokerText,
    Domain,
    ErrorShare,
    JournalBytes,
    Level,
    LocalPath,
    LongS,
    MarginShare,
    PollS,
    PowerW,
    SecretPath,
    StaleS,
    Text,
    TickS,
    Zone,
)
from agent.settings_homeassistant import HomeAssistantSettings, check_homeassistant
from agent.settings_points import (
    POINT_COUNT_MAX,
    MeterPointSettings,
    check_points,
    joined_points,
    without_moved,
)
from agent.settings_relays import RELAY_COUNT_MAX, RelaySettings, check_relays
from agent.settings_status import StatusSettings, check_status

DEFAULT_PROFILE_DIRS = (Path("/etc/kwota/meters.d"),)
METER_COUNT_MAX = 64
MINER_COUNT_MAX = 10_000

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteSettings:
    farm: Level
    agent: Level
    zone: Zone = "Asia/Almaty"  # UTC+5, all of Kazakhstan since 2024-03-01
    __pydantic_config__ = ConfigDict(extra="forbid", validate_default=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicySettings:
    file: LocalPath
    __pydantic_config__ = ConfigDict(extra="forbid")


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalSettings:
    """``origin_domain`` starts the log's name, ``key_file`` holds what signs it.

    ``second_copy`` is where the newest signed head is kept besides; None: beside the journal.
    """

    path: LocalPath
    origin_domain: Domain
    key_file: SecretPath
    max_bytes: JournalBytes = 4_000_000_000
    second_copy: LocalPath | None = None
    __pydantic_config__ = ConfigDict(extra="forbid")

    @property
    def second_copy_path(self) -> Path:
        """Where the second copy of the newest head lies."""
        return self.second_copy or self.path.with_name(f"{self.path.name}.head")


@dataclass(frozen=True, slots=True, kw_only=True)
class MqttSettings:
    """``pool_signing_vkey_file``: whose purchases are taken from MQTT; None: nobody's."""

    brokers: Annotated[tuple[BrokerText, ...], Field(min_length=1, max_length=8)]
    pool_vkey_file: LocalPath
    pool_signing_vkey_file: LocalPath | None = None
    version: Literal["5", "3.1.1"] = "5"
    ca_file: LocalPath | None = None
    cert_file: SecretPath | None = None
    tls_key_file: SecretPath | None = None
    user: Text | None = None
    password_file: SecretPath | None = None
    __pydantic_config__ = ConfigDict(extra="forbid")


@dataclass(frozen=True, slots=True, kw_only=True)
class GovernorSettings:
    """``on_missing_floor_w`` counts only with ``on_missing = "floor_kw"``."""

    tick_s: TickS = 1.0
    reserve_share: ErrorShare = 0.002
    power_margin_share: MarginShare = 0.05
    on_missing: Literal["stop", "floor_kw", "own_sources_only"] = "stop"
    on_missing_floor_w: PowerW | None = None
    meter_stale_s: StaleS = 3.0
    blind_floor_after_s: LongS = 60.0
    rise_interval_s: LongS = 10.0
    miner_poll_s: PollS = 5.0
    __pydantic_config__ = ConfigDict(extra="forbid")


@dataclass(frozen=True, slots=True, kw_only=True)
class PurchasesSettings:
    """``import_file`` (key ``import``) is read once at the start of the daemon."""

    import_file: Annotated[LocalPath, Field(alias="import")]
    __pydantic_config__ = ConfigDict(extra="forbid")


@dataclass(frozen=True, slots=True, kw_only=True)
class DriverSettings:
    meter_profile_dirs: tuple[LocalPath, ...] = DEFAULT_PROFILE_DIRS
    __pydantic_config__ = ConfigDict(extra="forbid")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything one daemon needs to know. ``path`` is the file it came from."""

    path: Path
    site: SiteSettings
    policy: PolicySettings
    journal: JournalSettings
    mqtt: MqttSettings | None
    status: StatusSettings
    governor: GovernorSettings
    purchases: PurchasesSettings | None
    drivers: DriverSettings
    discovery: DiscoverySettings
    meter_points: tuple[MeterPointSettings, ...]
    meters: tuple[MeterSettings, ...]
    miners: tuple[MinerSettings, ...]
    relays: tuple[RelaySettings, ...] = ()
    alarms: AlarmSettings = field(default_factory=AlarmSettings)
    homeassistant: HomeAssistantSettings | None = None

    @property
    def origin(self) -> str:
        """The name of the log and of its key: docs/wire.md."""
        return f"{self.journal.origin_domain}/edge/{self.site.farm}-{self.site.agent}/1"

    def miners_of(self, point: MeterPointSettings) -> tuple[MinerSettings, ...]:
        """The machines that a meter point feeds."""
        return tuple(miner for miner in self.miners if miner.meter_point == point.id)

    def feeders_of(self, point: MeterPointSettings) -> tuple[MeterSettings, ...]:
        """The meters of feeders below a meter point's own."""
        own = [miner.id for miner in self.miners_of(point)]
        return tuple(meter for meter in self.meters if any(map(meter.is_above, own)))


_TABLES: Mapping[str, type] = {
    "site": SiteSettings,
    "policy": PolicySettings,
    "journal": JournalSettings,
    "mqtt": MqttSettings,
    "status": StatusSettings,
    "governor": GovernorSettings,
    "purchases": PurchasesSettings,
    "drivers": DriverSettings,
    "discovery": DiscoverySettings,
    "alarms": AlarmSettings,
    "homeassistant": HomeAssistantSettings,
}
_ROWS: Mapping[str, type] = {
    "meter_points": MeterPointSettings,
    "meters": MeterSettings,
    "miners": MinerSettings,
    "relays": RelaySettings,
}
_ADAPTERS = {shape: TypeAdapter[Any](shape) for shape in (*_TABLES.values(), *_ROWS.values())}


def load_settings(path: Path) -> Settings:
    """The settings of a file. Raises SettingsError with all its faults."""
    path = path.absolute()
    return parse_settings(read_toml(path), path)


def parse_settings(data: Mapping[str, Any], path: Path) -> Settings:
    """The settings that ``data``, read from ``path``, stands for. Raises SettingsError."""
    credentials = os.environ.get("CREDENTIALS_DIRECTORY")
    place = Place(base=path.parent, credentials=Path(credentials) if credentials else None)
    found = FaultList(file=str(path), place=place)
    data = without_moved(found, data)
    found.refuse_unknown(data, (*_TABLES, *_ROWS), "")
    site = _table(found, data, SiteSettings, "site")
    policy = _table(found, data, PolicySettings, "policy")
    journal = _table(found, data, JournalSettings, "journal")
    status = _table(found, data, StatusSettings, "status", default={})
    governor = _table(found, data, GovernorSettings, "governor")
    drivers = _table(found, data, DriverSettings, "drivers", default={})
    discovery = _table(found, data, DiscoverySettings, "discovery", default={})
    mqtt = _optional(found, data, MqttSettings, "mqtt")
    purchases = _optional(found, data, PurchasesSettings, "purchases")
    alarms, home = _neighbours(found, data)
    points = _rows(found, data, MeterPointSettings, "meter_points", POINT_COUNT_MAX)
    meters = _rows(found, data, MeterSettings, "meters", METER_COUNT_MAX)
    miners = _rows(found, data, MinerSettings, "miners", MINER_COUNT_MAX)
    relays = _relays(found, data, miners)
    check_duplicates(found, data)
    check_passwords(found, miners)
    check_serial_ports(found, meters)
    check_status(found, status)
    _check_mqtt(found, mqtt)
    _check_governor(found, governor, meters)
    check_points(found, data, points, miners)
    check_feeders(found, data, meters, points, miners)
    if found.faults or not (
        site and policy and journal and status and governor and drivers and discovery and alarms
    ):
        raise SettingsError(found.faults)
    whole = joined_points(tuple(points.values()), tuple(meters.values()), tuple(miners.values()))
    return Settings(
        path=path,
        site=site,
        policy=policy,
        journal=journal,
        mqtt=mqtt,
        status=status,
        governor=governor,
        purchases=purchases,
        drivers=drivers,
        discovery=discovery,
        meter_points=whole[0],
        meters=tuple(meters.values()),
        miners=whole[1],
        relays=tuple(relays.values()),
        alarms=alarms,
        homeassistant=home,
    )


def _neighbours(
    found: FaultList, data: Mapping[str, Any]
) -> tuple[AlarmSettings | None, HomeAssistantSettings | None]:
    alarms = _table(found, data, AlarmSettings, "alarms", default={})
    home = _optional(found, data, HomeAssistantSettings, "homeassistant")
    check_alarms(found, alarms)
    check_homeassistant(found, home)
    return alarms, home


def _relays(
    found: FaultList, data: Mapping[str, Any], miners: Mapping[int, MinerSettings]
) -> dict[int, RelaySettings]:
    if "relays" not in data:
        return {}
    relays = _rows(found, data, RelaySettings, "relays", RELAY_COUNT_MAX)
    check_relays(found, data, relays, miners)
    return relays


def missing_files(settings: Settings) -> tuple[Fault, ...]:
    """A fault for every file that the settings name and that cannot be read now."""
    files: list[tuple[str, Path | None]] = [
        ("policy.file", settings.policy.file),
        ("journal.key_file", settings.journal.key_file),
        *settings.status.files,
        ("alarms.webhook_token_file", settings.alarms.webhook_token_file),
    ]
    if settings.homeassistant is not None:
        home = settings.homeassistant
        files.append(("homeassistant.password_file", home.password_file))
        files.append(("homeassistant.ca_file", home.ca_file))
    if settings.mqtt is not None:
        names = ["pool_vkey_file", "pool_signing_vkey_file", "ca_file", "cert_file"]
        names += ["tls_key_file", "password_file"]
        files += [(f"mqtt.{name}", getattr(settings.mqtt, name)) for name in names]
    if settings.purchases is not None:
        files.append(("purchases.import", settings.purchases.import_file))
    files += [
        (f"miners[{at}].password_file", miner.password_file)
        for at, miner in enumerate(settings.miners)
    ]
    found = FaultList(file=str(settings.path), place=Place(base=Path(), credentials=None))
    for key, file in files:
        if file is not None and not file.is_file():
            found.add(key, f"names {file}, which is not there", "make the file or mend the path")
        elif file is not None and not os.access(file, os.R_OK):
            found.add(key, f"names {file}, which I may not read", "give kwota the right to read it")
    return tuple(found.faults)


def _table(
    found: FaultList,
    data: Mapping[str, Any],
    shape: type[T],
    key: str,
    default: object = None,
) -> T | None:
    value = data.get(key, default)
    if value is None:
        found.add(key, "is missing", f"add a [{key}] table; the example file shows it")
        return None
    return found.parse(_ADAPTERS[shape], shape, value, key)


def _optional(found: FaultList, data: Mapping[str, Any], shape: type[T], key: str) -> T | None:
    """A table that need not be there; None where it is not, or is full of faults."""
    return _table(found, data, shape, key) if key in data else None


def _rows(
    found: FaultList, data: Mapping[str, Any], shape: type[T], key: str, count_max: int
) -> dict[int, T]:
    """The valid rows of an array of tables by their place in the file."""
    rows = data.get(key, [])
    if not isinstance(rows, list):
        found.add(key, f"is {shown(rows)}, not a list of tables", f"write [[{key}]] above each")
        return {}
    if not rows:
        found.add(key, "is missing", f"add at least one [[{key}]] table")
    if len(rows) > count_max:
        found.add(key, f"has {len(rows)} entries", f"keep it to {count_max} for one agent")
        return {}
    parsed = {
        at: found.parse(_ADAPTERS[shape], shape, row, joined(key, at))
        for at, row in enumerate(rows)
    }
    return {at: row for at, row in parsed.items() if row is not None}


def _check_mqtt(found: FaultList, mqtt: MqttSettings | None) -> None:
    if mqtt is None:
        return
    if (mqtt.cert_file is None) != (mqtt.tls_key_file is None):
        lacking = "cert_file" if mqtt.cert_file is None else "tls_key_file"
        found.add(f"mqtt.{lacking}", "is missing beside its partner", "give both or neither")
    if mqtt.password_file is not None and mqtt.user is None:
        found.add("mqtt.user", "is missing beside mqtt.password_file", "name the user")
    endpoints: dict[str, str] = {}
    for at, broker in enumerate(mqtt.brokers):
        address = f"{broker.host}:{broker.port}"
        note_twice(found, endpoints, address, joined("mqtt.brokers", at))


def _check_governor(
    found: FaultList,
    governor: GovernorSettings | None,
    meters: Mapping[int, MeterSettings],
) -> None:
    if governor is None:
        return
    if governor.on_missing == "floor_kw" and governor.on_missing_floor_w is None:
        remedy = "say how many W may be drawn without a purchase"
        found.add("governor.on_missing_floor_w", "is missing", remedy)
    if governor.blind_floor_after_s < governor.meter_stale_s:
        remedy = "a meter is stale before the floor is due"
        found.add("governor.blind_floor_after_s", "is shorter than meter_stale_s", remedy)
    for at, meter in meters.items():
        if meter.poll_s > governor.meter_stale_s / 2:
            remedy = f"write at most {governor.meter_stale_s / 2:g}, half of governor.meter_stale_s"
            key = joined("meters", at, "poll_s")
            found.add(key, "is too slow: one missed poll makes it stale", remedy)
