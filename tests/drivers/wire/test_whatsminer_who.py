"""Who a machine on TCP 4028 is: firmware of API v1, v2 and v3, and what is no Whatsminer."""

import json
from typing import Any

import pytest

from drivers.errors import BadReplyError
from drivers.wire import whatsminer_who as who
from drivers.wire.cgminer import Answer, Row, decode_answer


def flat(message: Any) -> Answer:
    document = {"STATUS": "S", "When": 1, "Code": 131, "Msg": message, "Description": ""}
    return decode_answer(json.dumps(document).encode())


def devdetails(rows: list[Any]) -> Answer:
    document = {"STATUS": [{"STATUS": "S", "Msg": ""}], "DEVDETAILS": rows, "id": 1}
    return decode_answer(json.dumps(document).encode())


@pytest.mark.parametrize(
    ("message", "verdict"),
    [
        ({"api_ver": "2.0.5", "fw_ver": "20230714.15.Rel"}, (False, True, False)),
        ({"api_ver": "whatsminer v2.0.3", "fw_ver": "'20220919.15.REL'"}, (False, True, False)),
        ({"api_ver": "2.0.5", "fw_ver": "1.0"}, (False, False, False)),
        ({"api_ver": "2.0.5"}, (False, False, False)),
        ({"api_ver": "BOSminer", "fw_ver": "20230714.15.Rel"}, (False, False, False)),
        ({"api_ver": "2.2.2", "fw_ver": "20260312.16.REL3", "miner_type": "M60_VK30"}, None),
        ({"api_ver": "3.0.1", "fw_ver": "20260312.16.REL3"}, None),
    ],
)
def test_which_api_a_firmware_speaks(
    message: dict[str, str], verdict: tuple[bool, bool, bool] | None
) -> None:
    version = who.version_of(flat(message))
    if verdict is None:
        assert version.is_api_v3
    else:
        assert (version.is_api_v1, version.is_api_v2, version.is_api_v3) == verdict


def test_two_signs_need_a_whole_mac_and_a_serial() -> None:
    version = who.Version(api="2.0.5", firmware="20230714.15.Rel", type_name="")
    told = {"mac": "C4:08:28:00:A4:19", "minersn": "HH1", "powersn": ""}
    owner = who.owner_of(flat(told))
    assert owner.power_supply_serial is None
    assert len(who.signs_of(version, owner, "M50_VH30")) == 2
    for change in ({"minersn": ""}, {"mac": "C4:08"}):
        assert len(who.signs_of(version, who.owner_of(flat(told | change)), "")) == 1
    with pytest.raises(BadReplyError, match="mac"):
        who.owner_of(flat({}))
    with pytest.raises(BadReplyError, match="no table 'Msg'"):
        who.owner_of(flat("API command OK"))


@pytest.mark.parametrize(
    ("rows", "type_name", "model"),
    [
        ([{"Model": "M50_VH31"}], "M50_VH31", "WhatsMiner M50"),
        ([{"Model": "M30S++_VE41"}], "M30S++_VE41", "WhatsMiner M30S++"),
        ([{"Model": "AvalonMiner 1246"}], "", "WhatsMiner"),
        ([{}], "", "WhatsMiner"),
        ([], "", "WhatsMiner"),
    ],
)
def test_the_type_names_the_model(rows: list[Any], type_name: str, model: str) -> None:
    assert who.type_of(devdetails(rows)) == type_name
    assert who.model_of(type_name) == model


def test_the_oldest_firmware_names_its_mac_in_summary() -> None:
    owner = who.owner_in(Row(section="SUMMARY", values={"MAC": "C4:08:28:00:A4:19"}))
    assert (owner.mac, owner.serial, owner.power_supply_serial) == ("c4:08:28:00:a4:19", "", None)
    assert not who.owner_in(Row(section="SUMMARY", values={})).has_mac


@pytest.mark.parametrize(
    ("summary", "serials", "badge"),
    [
        ({"MAC": "C4:08:28:00:A4:19"}, ["A", "B"], ("c4:08:28:00:a4:19",)),
        ({"MAC": ""}, ["A", "B"], ("A", "B")),
        ({}, ["A", "B"], ("A", "B")),
        (None, ["A", "B"], ("A", "B")),
        ({}, ["A", ""], ()),
        ({}, ["0", "0"], ()),
        ({}, ["A"], ()),
        ({}, None, ()),
        ({"MAC": "C4:08"}, None, ()),
    ],
)
def test_mining_reads_name_a_machine_by_its_mac_or_by_all_its_boards(
    summary: dict[str, str] | None, serials: list[str] | None, badge: tuple[str, ...]
) -> None:
    row = None if summary is None else Row(section="SUMMARY", values=summary)
    devs = None
    if serials is not None:
        boards = [{"ASC": slot, "PCB SN": serial} for slot, serial in enumerate(serials)]
        devs = decode_answer(json.dumps({"STATUS": [], "DEVS": boards}).encode())
    assert who.badge_of(row, devs) == badge


def test_a_mac_that_is_no_text_names_nobody() -> None:
    with pytest.raises(BadReplyError, match="'MAC' that is not text"):
        who.badge_of(Row(section="SUMMARY", values={"MAC": 5}), None)


def test_what_is_known_keeps_the_most_boards_and_the_newest_badge() -> None:
    version = who.Version(api="2.0.5", firmware="20230714.15.Rel", type_name="")
    owner = who.Owner(mac="c4:08:28:00:a4:19", serial="S", power_supply_serial=None)
    known = who.Known(version=version, owner=owner, type_name="M50_VH31")
    seen = known.badged(("A", "B", "C"), 3)
    assert (seen.badge, seen.board_count) == (("A", "B", "C"), 3)
    assert seen.badged(("A", "B", "C"), 3) is seen
    asleep = seen.badged((), 0)
    assert (asleep.badge, asleep.board_count) == ((), 3)
    identity = asleep.identity("whatsminer-v2", 118e12)
    assert (identity.model, identity.mac, identity.serial) == (
        "WhatsMiner M50",
        owner.mac,
        owner.serial,
    )
    assert (identity.board_count, identity.nameplate_hashrate_hs) == (3, 118e12)
    assert identity.is_writable
