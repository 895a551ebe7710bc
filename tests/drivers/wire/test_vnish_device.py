"""Who a VNish machine is, and what it may be set to."""

import json
from typing import Any

import pytest

from drivers.errors import BadReplyError
from drivers.wire import vnish_device as device
from drivers.wire.cgminer import Row

# As an owner published it for an S19 with 1.2.6, but for the address and the MAC.
INFO = json.loads("""{
  "miner": "Antminer S19", "model": "s19", "fw_name": "Vnish", "fw_version": "1.2.6",
  "build_uuid": "5b50805f-a372-4f07-bbc2-5020aa03321a", "build_name": "vnishnet",
  "platform": "xil", "install_type": "nand", "build_time": "2025-05-29 19:22:26+00:00",
  "algorithm": "sha256d", "hr_measure": "GH/s",
  "system": {
    "os": "GNU/Linux", "miner_name": "s19", "file_system_version": "", "mem_total": 233712,
    "network_status": {"mac": "02:07:26:3C:BE:1B", "dhcp": true, "ip": "192.0.2.2",
                       "netmask": "255.255.255.0", "gateway": "192.0.2.1", "hostname": "antminer"},
    "uptime": "0:06"
  },
  "serial": "N/A"
}""")
PRESET = {"name": "3495", "pretty": "3495 watt ~ 132.5 TH", "status": "tuned"}


def row(values: dict[str, Any]) -> Row:
    return Row(section="table", values=values)


def info(**changes: Any) -> device.Info:
    return device.info_of(row(INFO | changes))


def preset(values: Any, **switcher: Any) -> device.Preset | None:
    document = {"current_preset": values}
    return device.preset_of(row(document | ({"preset_switcher": switcher} if switcher else {})))


def test_info_has_what_a_person_reads_in_it() -> None:
    told = info()
    assert (told.model, told.firmware, told.version) == ("Antminer S19", "1.2.6", (1, 2))
    assert (told.mac, told.serial, told.uptime_s) == ("02:07:26:3c:be:1b", "", 360)
    assert (told.is_vnish, told.has_mac, told.can_throttle) == (True, True, False)
    assert told.unit_hs == 1e9


@pytest.mark.parametrize(
    ("version", "can_throttle"),
    [("1.2.6-rc5", False), ("1.3.0", True), ("1.3", True), ("1.10.2", True), ("2.0", True)],
)
def test_the_dimmer_came_with_one_dot_three(version: str, can_throttle: bool) -> None:
    assert info(fw_version=version).can_throttle is can_throttle


@pytest.mark.parametrize("name", ["Vnish", "VNISH", "AnthillOS"])
def test_the_firmware_is_known_by_its_names(name: str) -> None:
    assert info(fw_name=name).is_vnish
    assert not info(fw_name="Something else").is_vnish


def test_a_machine_for_scrypt_counts_in_megahashes_and_an_old_one_says_nothing() -> None:
    assert info(hr_measure="MH/s").unit_hs == 1e6
    assert info(hr_measure=None).unit_hs == 1e9


@pytest.mark.parametrize("mac", ["", "N/A", "02:07:26:3C:BE", "garbage"])
def test_half_a_mac_is_none(mac: str) -> None:
    network = INFO["system"]["network_status"] | {"mac": mac}
    assert not info(system=INFO["system"] | {"network_status": network}).has_mac


@pytest.mark.parametrize(
    "changes",
    [
        {"fw_version": "beta"},
        {"fw_version": None},
        {"hr_measure": "N/A"},
        {"system": {}},
        {"system": []},
        {"miner": 19},
        {"fw_name": None},
        {"serial": 5},
    ],
)
def test_info_that_is_not_whole_is_a_bad_reply(changes: dict[str, Any]) -> None:
    with pytest.raises(BadReplyError):
        info(**changes)


@pytest.mark.parametrize(
    ("words", "uptime_s"),
    [
        ("10 days, 18:00", 10 * 86_400 + 18 * 3600),
        ("1 day, 0:05", 86_400 + 300),
        ("1 days, 17 min", 86_400 + 1020),
        ("2 days", 2 * 86_400),
        ("0:06", 360),
        ("23:59", 86_340),
        ("3 min", 180),
        ("", None),
    ],
)
def test_uptime_is_read_as_uptime_writes_it(words: str, uptime_s: int | None) -> None:
    assert device.uptime_of(words) == uptime_s


@pytest.mark.parametrize("words", ["soon", "1:2:3", "-1:00", "12", "9999999 days"])
def test_an_uptime_of_another_kind_is_a_bad_reply(words: str) -> None:
    with pytest.raises(BadReplyError, match="uptime"):
        device.uptime_of(words)


def test_the_model_counts_its_boards() -> None:
    told = device.model_of(row({"full_name": "Antminer S19", "chain": {"num_chains": 3}}))
    assert (told.name, told.board_count) == ("Antminer S19", 3)
    for count in (0, 17, -1):
        with pytest.raises(BadReplyError, match=f"{count} boards"):
            device.model_of(row({"full_name": "x", "chain": {"num_chains": count}}))


def test_parts_have_serials_where_the_firmware_could_read_them() -> None:
    chains = [{"id": 1, "serial": "A1"}, {"id": 3, "serial": "N/A"}, {"id": 2, "serial": "A2"}]
    told = device.factory_of(row({"chains": chains, "psu_serial": "P1"}))
    assert told.board_serials == {0: "A1", 1: "A2"}
    assert told.power_supply_serial == "P1"
    nothing = device.factory_of(row({"chains": None, "psu_serial": None}))
    assert (nothing.board_serials, nothing.power_supply_serial) == ({}, None)


def test_a_preset_is_its_watts() -> None:
    told = preset(PRESET)
    assert told is not None
    assert (told.name, told.power_w, told.hashrate_hs) == ("3495", 3495.0, 132.5e12)
    assert (told.is_tuned, told.is_settled, told.is_changing) == (True, True, False)
    assert preset(None) is None


def test_what_is_set_by_hand_has_no_watts_and_nothing_to_tune() -> None:
    told = preset({"name": "disabled", "pretty": "Disabled", "status": "untuned"})
    assert told is not None
    assert (told.power_w, told.hashrate_hs, told.is_tuned, told.is_settled) == (
        None,
        None,
        False,
        True,
    )


@pytest.mark.parametrize("status", ["untuned", "tuning", None])
def test_a_preset_that_is_not_tuned_is_not_settled(status: str | None) -> None:
    told = preset(PRESET | {"status": status})
    assert told is not None
    assert not told.is_settled


@pytest.mark.parametrize(("is_on", "is_changing"), [(True, True), (False, False), (None, False)])
def test_a_preset_switcher_is_seen(is_on: bool | None, is_changing: bool) -> None:
    told = preset(PRESET, enabled=is_on)
    assert told is not None
    assert told.is_changing is is_changing


@pytest.mark.parametrize("values", [[], "3495", {"name": 3495}, {"name": None}])
def test_a_preset_of_another_kind_is_a_bad_reply(values: Any) -> None:
    with pytest.raises(BadReplyError):
        preset(values)


def test_percents_are_offered_with_the_dimmer_and_a_settled_preset() -> None:
    new, old = info(fw_version="1.3.4"), info()
    assert device.percents_of(new, preset(PRESET)) == tuple(range(20, 101, 5))
    assert device.percents_of(new, None) == device.PERCENTS
    assert device.percents_of(new, preset(PRESET | {"status": "untuned"})) == (100,)
    assert device.percents_of(old, preset(PRESET)) == (100,)


def test_percents_are_points_of_the_preset() -> None:
    points = device.profiles_of(3500.0, 200e12, (20, 50, 100))
    assert [point.name for point in points] == ["20%", "50%", "100%"]
    assert [point.step for point in points] == [-16, -10, 0]
    assert [point.power_w for point in points] == pytest.approx([924.0, 1890.0, 3500.0])
    assert [point.hashrate_hs for point in points] == [40e12, 100e12, 200e12]


@pytest.mark.parametrize(
    ("name", "percent"), [("20%", 20), ("100%", 100), ("21%", None), ("15%", None), ("20", None)]
)
def test_a_name_is_one_of_the_percents_or_none(name: str, percent: int | None) -> None:
    assert device.percent_of(name) == percent
