"""Every relay profile of the folder, and the faults of a file."""

from pathlib import Path

import pytest

from drivers.relays.profile import (
    RelayProfileError,
    load_relay_profile,
    profile_names,
    read_relay_profile,
)
from drivers.relays.registry import open_relay

GOOD = """
title = "A board"
source = "its maker"
revision = "1"
coil_count = 4
first_coil = 0
"""


@pytest.mark.parametrize("name", profile_names())
def test_every_profile_names_its_source_and_has_coils(name: str) -> None:
    profile = load_relay_profile(name)
    assert profile.source
    assert profile.revision
    assert profile.coil(1) == profile.first_coil
    for channel in (0, profile.coil_count + 1):
        with pytest.raises(ValueError, match="channels 1 to"):
            profile.coil(channel)


@pytest.mark.parametrize("name", profile_names())
def test_settings_of_a_watchdog_lie_apart_for_all_channels(name: str) -> None:
    profile = load_relay_profile(name)
    if profile.watchdog is None:
        return
    taken = [profile.watchdog.address]
    for setting in profile.watchdog.settings:
        count = profile.coil_count if setting.is_per_channel else 1
        taken += range(setting.address, setting.address + count)
    assert len(taken) == len(set(taken))


def test_the_boards_of_the_sheet_are_there() -> None:
    assert {"wb-mr6", "waveshare", "kmtronic", "generic"} <= set(profile_names())
    assert "pac3200-output" in profile_names()


OUTPUT = """
[output]
command = 100
on_value = 1
off_value = 0
status = 200
"""


def test_outputs_of_a_meter_are_told_apart_by_their_values_and_bits(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text(f"{GOOD}{OUTPUT}channel_step = 256\nstatus_count = 2\n", "utf-8")
    output = read_relay_profile(path).output
    assert output is not None
    assert [output.value(2, is_on=is_on) for is_on in (True, False)] == [0x0201, 0x0200]
    assert output.states((0x8000, 0b0101), 4) == [True, False, True, False]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ("channel_step = 0", "written by one value"),
        ("channel_step = 1", "written by one value"),
        ("channel_step = 0x8000", "written by one value"),
        ("channel_step = 256\nstatus_count = 3", "status_count"),
        ("channel_step = 256\nis_toggled = true", "is_toggled"),
    ],
)
def test_an_output_whose_states_cannot_be_told_apart_is_refused(
    tmp_path: Path, more: str, words: str
) -> None:
    path = tmp_path / "own.toml"
    path.write_text(f"{GOOD}{OUTPUT}{more}\n", "utf-8")
    with pytest.raises(RelayProfileError, match=words):
        read_relay_profile(path)


@pytest.mark.parametrize(
    ("count", "status", "words"), [(17, 200, "no bit for the last"), (4, 65535, "last register")]
)
def test_an_output_without_room_for_its_status_is_refused(
    tmp_path: Path, count: int, status: int, words: str
) -> None:
    text = GOOD.replace("coil_count = 4", f"coil_count = {count}") + OUTPUT
    text = text.replace("status = 200", f"status = {status}") + "channel_step = 256\n"
    text += "status_count = 2\n" if status == 65535 else ""
    path = tmp_path / "own.toml"
    path.write_text(text, "utf-8")
    with pytest.raises(RelayProfileError, match=words):
        read_relay_profile(path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("coil_count = 4", "coil_count = 0"), "coil_count"),
        (("first_coil = 0", "first_coil = 65534"), "last coil"),
        (("first_coil = 0", "first_coil = 0\nwrite_function = 6"), "write_function"),
        (("first_coil = 0", "first_coil = 0\nis_toggled = true"), "is_toggled"),
        (('source = "its maker"', ""), "source"),
        (('source = "its maker"', "source = 3"), "source"),
        (("first_coil = 0", "first_coil = 0\n[[watchdog]]\naddress = 8"), "any other table once"),
        (("first_coil = 0", "first_coil = true"), "first_coil"),
        (("first_coil = 0", "first_coil = 0\nwatchdog = 8"), "watchdog.*no table"),
        (("first_coil = 0", "first_coil = 0\nunconfirmed = [1]"), "unconfirmed"),
        (("first_coil = 0", "first_coil = 0\n[timing]\nanswer_s = 60"), "timing.answer_s"),
        (("first_coil = 0", "first_coil = 0\n[[watchdog.settings]]\nname = ''"), "watchdog"),
        (("coil_count = 4", "coil_count = "), "not TOML"),
    ],
)
def test_a_fault_in_a_file_is_a_sentence_with_its_key(
    tmp_path: Path, change: tuple[str, str], words: str
) -> None:
    path = tmp_path / "board.toml"
    path.write_text(GOOD)
    assert read_relay_profile(path).coil_count == 4
    path.write_text(GOOD.replace(*change))
    with pytest.raises(RelayProfileError, match=words) as caught:
        read_relay_profile(path)
    assert str(path) in str(caught.value)


def test_a_profile_that_is_not_there_is_refused_with_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(RelayProfileError, match="waveshare"):
        load_relay_profile("finder")
    with pytest.raises(RelayProfileError, match="cannot be read"):
        read_relay_profile(tmp_path / "none.toml")


@pytest.mark.parametrize(
    "uri",
    [
        "modbus://10.1.0.20/1",
        "modbus://10.1.0.20/0?profile=wb-mr6",
        "modbus://10.1.0.20/1?profile=wb-mr6&coil=1",
        "http://10.1.0.20/1?profile=wb-mr6",
        "modbus://10.1.0.20/1?profile=finder",
    ],
)
def test_a_uri_that_is_none_is_refused(uri: str) -> None:
    with pytest.raises(ValueError, match=r"profile|unit|start with"):
        open_relay(uri, relay_id="row", channel=1)
