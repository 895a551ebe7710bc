import struct
import tomllib
import zoneinfo
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.settings import Settings, load_settings, missing_files, parse_settings
from agent.settings_devices import METER_PORTS
from agent.settings_faults import Fault, SettingsError
from drivers.meters import registry as meter_registry

EXAMPLE = Path(__file__).parents[2] / "config" / "site.example.toml"
SITE = Path("/etc/kwota/site.toml")


def example() -> dict[str, Any]:
    return tomllib.loads(EXAMPLE.read_text(encoding="utf-8"))


def faults_of(data: dict[str, Any]) -> dict[str, Fault]:
    with pytest.raises(SettingsError) as caught:
        parse_settings(data, SITE)
    return {fault.key: fault for fault in caught.value.faults}


def changed(path: str, value: object) -> dict[str, Any]:
    """The example with one key set; a part that is a number is a place in a list."""
    data = example()
    *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    table: Any = data
    for part in parents:
        table = table[part]
    if value is None:
        del table[last]
    else:
        table[last] = value
    return data


def test_the_example_file_is_accepted_as_it_is() -> None:
    loaded = load_settings(EXAMPLE)
    assert loaded.site.farm == "ekibastuz-1"
    assert loaded.mqtt is not None
    broker = loaded.mqtt.brokers[0]
    assert (broker.host, broker.port, broker.is_tls) == ("broker.pool.example", 8883, True)
    assert str(loaded.status.listen) == "127.0.0.1:8480"
    assert loaded.meters[0].profile == "sdm630"
    assert loaded.governor.power_margin_share == 0.05
    assert loaded.governor.meter_stale_s == 3.0
    assert loaded.governor.rise_interval_s == 10.0


def test_the_example_states_the_defaults_it_shows() -> None:
    bare = example()
    del bare["status"], bare["mqtt"]["version"], bare["journal"]["max_bytes"]
    for key in ("tick_s", "reserve_share", "on_missing", "blind_floor_after_s"):
        del bare["governor"][key]
    for key in ("error_share", "poll_s"):
        del bare["meters"][0][key]
    del bare["site"]["zone"]
    assert parse_settings(bare, EXAMPLE) == load_settings(EXAMPLE)


def test_every_fault_of_a_file_is_reported_at_once_with_its_key() -> None:
    data = example()
    data["surprise"] = 1
    data["site"] |= {"farm": "Bad Farm", "zone": "Mars/Base"}
    data["meter_points"][0]["rated_power_w"] = 1e6
    data["policy"] = {"fil": "policy.toml"}
    data["journal"] |= {"max_bytes": 10, "path": ""}
    data["mqtt"] |= {"brokers": ["http://a", "mqtt://b:99999"], "version": 5}
    data["status"]["listen"] = "0.0.0.0:8480"
    data["governor"] |= {"tick_s": float("inf"), "reserve_share": True, "on_missing": "go"}
    data["meters"].append({"id": "r1-s01", "uri": "modbus://10.1.0.10/1"})
    row = data["miners"][0]
    data["miners"] += [
        {"id": "b", "uri": "luxos://10.1.1.11:4028", "mac": "62-F7-5E-B7-10-46"},
        {"id": row["id"], "uri": "antm://10.1.1.12", "mac": "q"},
        7,
    ]
    faults = faults_of(data)
    assert set(faults) == {
        "surprise",
        "site.farm",
        "site.zone",
        "meter_points[0].rated_power_w",
        "policy.file",
        "policy.fil",
        "journal.max_bytes",
        "journal.path",
        "mqtt.brokers[0]",
        "mqtt.brokers[1]",
        "mqtt.version",
        "status.listen",
        "governor.tick_s",
        "governor.reserve_share",
        "governor.on_missing",
        "meters[1].uri",
        "miners[0].id",
        "miners[1].uri",
        "miners[1].mac",
        "miners[2].id",
        "miners[2].uri",
        "miners[2].mac",
        "miners[3]",
    }
    for fault in faults.values():
        assert fault.file == str(SITE)
        assert fault.reason
        assert fault.remedy
        assert "\n" not in str(fault)
    assert faults["policy.fil"].remedy == "did you mean file?"


@pytest.mark.parametrize(
    ("path", "value", "key", "word"),
    [
        ("site", None, "site", "missing"),
        ("site.agent", "", "site.agent", "a-z"),
        ("site.agent", "-edge", "site.agent", "a-z"),
        ("site.agent", "a+b", "site.agent", "a-z"),
        ("site.zone", "Asia", "site.zone", "time zone"),
        ("site.zone", "../etc/passwd", "site.zone", "time zone"),
        ("meter_points.0.rated_power_w", 10**30, "meter_points[0].rated_power_w", "at most"),
        ("meter_points.0.rated_power_w", True, "meter_points[0].rated_power_w", "whole number"),
        ("meter_points.0.meter", "hall", "meter_points[0].meter", "write one of site"),
        ("meter_points.0.id", "mp 1", "meter_points[0].id", "letters"),
        ("meter_points", None, "meter_points", "at least one"),
        ("miners.0.meter_point", "mp-2", "miners[0].meter_point", "write one of mp-1"),
        ("site.extra", 1, "site.extra", "not a key"),
        ("journal.origin_domain", "pool example", "journal.origin_domain", "domain"),
        ("journal.key_file", "a\x00b", "journal.key_file", "path"),
        ("mqtt.brokers", [], "mqtt.brokers", "empty"),
        ("mqtt.brokers", ["mqtt://u:p@h"], "mqtt.brokers[0]", "password"),
        ("mqtt.brokers", ["mqtt://h", "mqtt://H:1883"], "mqtt.brokers[1]", "again"),
        ("mqtt.cert_file", None, "mqtt.cert_file", "partner"),
        ("mqtt.tls_key_file", None, "mqtt.tls_key_file", "partner"),
        ("mqtt.password_file", "p", "mqtt.user", "password_file"),
        ("status.listen", "127.0.0.1", "status.listen", "address:port"),
        ("status.listen", "localhost:1", "status.listen", "address:port"),
        ("status.listen", "10.0.0.1:80", "status.listen", "network"),
        ("status.listen", "[::]:80", "status.listen", "network"),
        ("status", {"listen": "10.1.0.5:80", "hosts": ["a"]}, "status.listen", "ssh -L"),
        ("status.socket", "x" * 120, "status.socket", "107"),
        ("governor.tick_s", 0.19, "governor.tick_s", "0.2"),
        ("governor.tick_s", 5.1, "governor.tick_s", "at most 5"),
        ("governor.tick_s", float("nan"), "governor.tick_s", "number"),
        ("governor.tick_s", "1", "governor.tick_s", "number"),
        ("governor.tik_s", 1, "governor.tik_s", "did you mean tick_s"),
        ("governor.on_missing", "floor_kw", "governor.on_missing_floor_w", "missing"),
        ("governor.blind_floor_after_s", 2, "governor.blind_floor_after_s", "meter_stale_s"),
        ("site.meter_point", "mp-1", "site.meter_point", "id of a [[meter_points]] table"),
        ("site.rated_power_w", 9, "site.rated_power_w", "rated_power_w of a [[meter_points]]"),
        ("governor.base_load_max_w", 9, "governor.base_load_max_w", "of a [[meter_points]]"),
        ("limits", {"cap_w": 9}, "limits", "[meter_points.limits]"),
        ("meter_points.0.base_load_max_w", 1_000_001, "meter_points[0].base_load_max_w", "rated"),
        ("purchases", {"imprt": "x"}, "purchases.imprt", "did you mean import?"),
        ("meters", None, "meters", "at least one"),
        ("miners", {}, "miners", "[[miners]]"),
        ("meters.0.error_share", 0.051, "meters[0].error_share", "0.05"),
        ("meters.0.error_share", -0.001, "meters[0].error_share", "at least 0"),
        ("meters.0.poll_s", 2, "meters[0].poll_s", "1.5"),
        ("meters.0.serial", 12345678, "meters[0].serial", "quotes"),
        ("meters.0.uri", "modbus://10.1.0.10/1", "meters[0].uri", "profile"),
        ("meters.0.uri", "modbus://10.1.0.10/0?profile=a", "meters[0].uri", "unit"),
        ("meters.0.uri", "modbus://10.1.0.10/248?profile=a", "meters[0].uri", "unit"),
        ("meters.0.uri", "modbus://10.1.0.10/1?profile=a&x=1", "meters[0].uri", "parameter"),
        ("meters.0.uri", "modbus://10.1.0.10/1?profile=a&profile=b", "meters[0].uri", "twice"),
        ("meters.0.uri", "luxos://10.1.0.10", "meters[0].uri", "unknown family"),
        ("meters.0.uri", "modbus+serial:///dev/ttyUSB0?profile=a", "meters[0].uri", "unit"),
        ("meters.0.uri", "modbus+serial:///dev/ttyUSB0/1", "meters[0].uri", "profile"),
        ("meters.0.uri", "modbus+serial:///dev/ttyS0/1?profile=a&x=1", "meters[0].uri", "unknown"),
        ("meters.0.uri", "modbus+serial:///dev/ttyS0/1?profile=a&baud=9", "meters[0].uri", "baud"),
        ("miners.0.uri", "10.1.1.11", "miners[0].uri", "luxos://"),
        ("miners.0.uri", "luxos://", "miners[0].uri", "host"),
        ("miners.0.uri", "luxos://[::1", "miners[0].uri", "URI"),
        ("miners.0.uri", "luxos://10.1.1.300", "miners[0].uri", "host"),
        ("miners.0.uri", "luxos://10.1.1.11:0", "miners[0].uri", "port 0"),
        ("miners.0.uri", "luxos://root:root@10.1.1.11", "miners[0].uri", "password"),
        ("miners.0.uri", "luxos://10.1.1.11/x", "miners[0].uri", "after the address"),
        ("miners.0.mac", None, "miners[0].mac", "missing"),
        ("miners.0.mac", "ff:ff:ff:ff:ff:ff", "miners[0].mac", "no single machine"),
        ("miners.0.mac", "00:00:00:00:00:00", "miners[0].mac", "no single machine"),
        ("miners.0.id", "r1 s01", "miners[0].id", "letters"),
        ("miners.0.id", "site", "miners[0].id", "meters[0].id"),
    ],
)
def test_one_wrong_value_is_one_fault_that_names_the_way_out(
    path: str, value: object, key: str, word: str
) -> None:
    faults = faults_of(changed(path, value))
    if path == "purchases":
        assert faults.pop("purchases.import").reason == "is missing"
    assert list(faults) == [key]
    assert word in str(faults[key])


@pytest.mark.parametrize("named", [True, False])
def test_zone_files_that_do_not_know_of_2024_are_not_trusted(tmp_path: Path, named: bool) -> None:
    # TZif by RFC 9636, version 1: one type, UTC+6, as Almaty had it until the end of February 2024.
    counts = struct.pack(">6I", 0, 0, 0, 0, 1, 4)
    old = b"TZif" + bytes(16) + counts + struct.pack(">iBB", 21_600, 0, 0) + b"+06\0"
    (tmp_path / "Asia").mkdir()
    (tmp_path / "Asia" / "Almaty").write_bytes(old)
    before = zoneinfo.TZPATH
    zoneinfo.reset_tzpath([tmp_path])
    zoneinfo.ZoneInfo.clear_cache()
    data = example()
    if not named:
        del data["site"]["zone"]
    try:
        faults = faults_of(data)
    finally:
        zoneinfo.reset_tzpath(before)
        zoneinfo.ZoneInfo.clear_cache()
    assert list(faults) == ["site.zone"]
    assert "2024a" in faults["site.zone"].reason


def test_a_mac_is_known_in_every_spelling_of_a_label() -> None:
    for spelling in ("62:F7:5E:B7:10:46", "62-f7-5e-b7-10-46", "62f7.5eb7.1046", "62F75EB71046"):
        loaded = parse_settings(changed("miners.0.mac", spelling), SITE)
        assert loaded.miners[0].mac == "62:f7:5e:b7:10:46"


def test_two_units_behind_one_gateway_are_two_meters_and_the_same_unit_twice_is_not() -> None:
    data = example()
    data["meter_points"][0]["meter"] = "site"
    row = data["meters"][0]
    data["meters"].append(row | {"id": "feeder", "uri": "modbus://10.1.0.10/2?profile=sdm630"})
    assert len(parse_settings(data, SITE).meters) == 2
    data["meters"][1]["uri"] = "modbus://10.1.0.10/01?profile=other"
    assert list(faults_of(data)) == ["meters[1].uri"]


def test_meters_of_one_serial_line_are_told_apart_by_unit_and_have_one_speed() -> None:
    data = example()
    data["meter_points"][0]["meter"] = "site"
    row = data["meters"][0]
    port = "modbus+serial:///dev/ttyUSB0"
    data["meters"] = [
        row | {"uri": f"{port}/1?profile=sdm630&baud=19200"},
        row | {"id": "feeder", "uri": f"{port}/2?baud=19200&profile=sdm120"},
    ]
    loaded = parse_settings(data, SITE)
    assert [meter.profile for meter in loaded.meters] == ["sdm630", "sdm120"]
    data["meters"][1]["uri"] = f"{port}/1?profile=sdm120&baud=19200"
    assert list(faults_of(data)) == ["meters[1].uri"]
    data["meters"][1]["uri"] = f"{port}/2?profile=sdm120"
    assert "speed" in str(faults_of(data)["meters[1].uri"])


def test_a_site_without_a_pool_needs_no_mqtt_table() -> None:
    assert parse_settings(changed("mqtt", None), SITE).mqtt is None


def test_relative_paths_start_at_the_configuration_and_absolute_ones_stay() -> None:
    loaded = parse_settings(example() | {"purchases": {"import": "day.csv"}}, SITE)
    assert loaded.policy.file == Path("/etc/kwota/policy.kz.toml")
    assert loaded.journal.path == Path("/var/lib/kwota/journal.sqlite")
    assert loaded.purchases is not None
    assert loaded.purchases.import_file == Path("/etc/kwota/day.csv")


def test_a_secret_is_taken_from_systemd_where_it_has_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "log.key").touch()
    (tmp_path / "pool.vkey").touch()
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    loaded = parse_settings(example(), SITE)
    assert loaded.journal.key_file == tmp_path / "log.key"
    assert loaded.mqtt is not None
    assert loaded.mqtt.tls_key_file == Path("/etc/kwota/edge.key")  # systemd has none
    assert loaded.mqtt.pool_vkey_file == Path("/etc/kwota/pool.vkey")  # no secret


def test_files_that_are_named_and_not_there_are_listed(tmp_path: Path) -> None:
    (tmp_path / "policy.kz.toml").touch()
    missing = missing_files(parse_settings(example(), tmp_path / "site.toml"))
    assert [fault.key for fault in missing] == [
        "journal.key_file",
        "mqtt.pool_vkey_file",
        "mqtt.ca_file",
        "mqtt.cert_file",
        "mqtt.tls_key_file",
    ]


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"[site\n", "not TOML"),
        (b"\xff = 1", "UTF-8"),
        (b"x = " + b"[" * 100_000, "nested"),
        (b"x = " + b"9" * 5_000, "not TOML"),
        (b"a = 1\na = 2", "not TOML"),
        (b"#" * (9 * 1024 * 1024), "8 MiB"),
    ],
    ids=["syntax", "encoding", "depth", "digits", "twice", "size"],
)
def test_a_file_that_is_no_toml_is_one_fault(tmp_path: Path, content: bytes, word: str) -> None:
    path = tmp_path / "site.toml"
    path.write_bytes(content)
    with pytest.raises(SettingsError) as caught:
        load_settings(path)
    (fault,) = caught.value.faults
    assert fault.key == ""
    assert word in fault.reason


def test_a_file_that_is_not_there_or_is_a_folder_is_one_fault(tmp_path: Path) -> None:
    for path in (tmp_path / "none.toml", tmp_path, Path("a\x00b")):
        with pytest.raises(SettingsError) as caught:
            load_settings(path)
        assert len(caught.value.faults) == 1


def test_the_schemes_of_the_configuration_are_those_of_the_drivers() -> None:
    assert set(METER_PORTS) == set(meter_registry.SCHEMES)
    assert METER_PORTS["modbus"] == METER_PORTS["modbus+rtu"] == 502


def whatsminer(password_file: str) -> dict[str, Any]:
    data = example()
    row = {"id": "w1", "uri": "whatsminer-v3://10.1.2.1", "mac": "62:f7:5e:00:00:01"}
    data["miners"].append(row | {"password_file": password_file})
    return data


def test_a_machines_password_comes_by_the_path_of_a_file(tmp_path: Path) -> None:
    site = tmp_path / "site.toml"
    settings = parse_settings(whatsminer("w1.password"), site)
    assert settings.miners[-1].password_file == tmp_path / "w1.password"
    key = f"miners[{len(settings.miners) - 1}].password_file"
    assert key in {fault.key for fault in missing_files(settings)}
    (tmp_path / "w1.password").write_text("x\n")
    assert key not in {fault.key for fault in missing_files(settings)}


def test_a_password_for_a_family_that_takes_none_is_a_fault() -> None:
    data = whatsminer("w1.password")
    data["miners"][-1]["uri"] = "luxos://10.1.2.1"
    ((key, fault),) = faults_of(data).items()
    assert key.endswith("].password_file")
    assert "luxos needs no password" in fault.reason


scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["mqtt://h", "luxos://10.1.1.1", "62:f7:5e:b7:10:46", "floor_kw", "Asia"])
    | st.datetimes()
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner)
)


def places(data: object, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = data.items() if isinstance(data, dict) else enumerate(data)  # type: ignore[arg-type] # a list
    found = []
    for key, value in inner:
        found.append((*path, key))
        if isinstance(value, dict | list):
            found += places(value, (*path, key))
    return found


@settings(max_examples=80)
@given(
    edits=st.lists(st.tuples(st.sampled_from(places(example())), values), min_size=1, max_size=4),
    extra=st.dictionaries(st.text(max_size=8), values, max_size=2),
)
def test_whatever_a_file_holds_it_gives_settings_or_faults(
    edits: list[tuple[tuple[Any, ...], object]], extra: dict[str, object]
) -> None:
    data = example()
    for (*parents, last), value in edits:
        table: Any = data
        try:
            for part in parents:
                table = table[part]
            table[last] = value
        except (TypeError, KeyError, IndexError):
            continue  # an earlier edit removed the place
    faults: tuple[Fault, ...] = ()
    try:
        assert isinstance(parse_settings({**extra, **data}, SITE), Settings)
    except SettingsError as error:
        faults = error.faults or (Fault(file="", key="none was given", reason="", remedy=""),)
    assert all(fault.reason and fault.remedy for fault in faults)
