"""A site's file brought up to date: comments stay, nothing stands twice, no guess is written."""

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.minersfile import Extras, MinersFileError, merged, miner_id, row_text
from drivers.discovery.stranger import Found, Verdict
from drivers.readings import MinerIdentity

FILE = """\
# the site
[site]
farm = "f"   # a name

[[miners]]
id = "r1-s01"            # first shelf
uri = "luxos://10.1.1.11"   # by the door
mac = "02:6B:77:00:00:01"

[[miners]]
mac = '02-6b-77-00-00-02'
id = 'r1-s02'
'uri' = 'luxos://10.1.1.12:4028'
# the end, without a line feed"""


def found(last: int, number: int, *, family: str = "luxos", mac: str | None = None) -> Found:
    """A machine with the MAC of ``number`` at 10.1.1.``last``."""
    identity = MinerIdentity(
        family=family,
        model="Antminer S21",
        mac=f"02:6b:77:00:00:{number:02x}" if mac is None else mac,
        serial=f"S{number}",
        firmware="2025.4\n[[evil]]",
        board_count=3,
        nameplate_hashrate_hs=None,
        signs=("a", "b"),
    )
    address = f"10.1.1.{last}"
    return Found(
        address=address,
        verdict=Verdict.IDENTIFIED,
        family=family,
        uri=f"{family}://{address}",
        identity=identity,
    )


def rows(text: str) -> list[dict[str, Any]]:
    read: list[dict[str, Any]] = tomllib.loads(text)["miners"]
    return read


def test_what_is_there_already_changes_nothing() -> None:
    change = merged(FILE, [found(11, 1), found(12, 2)], Extras())
    assert (change.text, change.added, change.moved, change.refused) == (FILE, (), (), ())


def test_a_new_machine_stands_at_the_end_and_all_else_as_it_was() -> None:
    change = merged(FILE, [found(11, 1), found(13, 3)], Extras())
    assert change.text.startswith(FILE + "\n\n[[miners]]\n# Antminer S21, 2025.4 [[evil]], serial")
    assert rows(change.text)[2] == {
        "id": "luxos-026b77000003",
        "uri": "luxos://10.1.1.13",
        "mac": "02:6b:77:00:00:03",
    }
    assert len(rows(change.text)) == 3
    assert change.added == ("luxos-026b77000003 at luxos://10.1.1.13 added.",)
    again = merged(change.text, [found(11, 1), found(13, 3)], Extras())
    assert again.text == change.text


def test_a_row_carries_its_meter_point_and_the_file_of_its_password(tmp_path: Path) -> None:
    name = tmp_path / 'a "quoted" \\ name'
    extras = Extras(meter_point="mp-2", passwords={"whatsminer-v3": name})
    text = row_text(found(13, 3, family="whatsminer-v3"), extras)
    assert rows(text)[0]["meter_point"] == "mp-2"
    assert rows(text)[0]["password_file"] == str(name)
    assert "password_file" not in row_text(found(13, 3), extras)


def test_a_machine_that_has_moved_gets_its_address_and_keeps_its_comments() -> None:
    change = merged(FILE, [found(77, 1), found(78, 2)], Extras())
    assert 'uri = "luxos://10.1.1.77"   # by the door\n' in change.text
    assert "'uri' = \"luxos://10.1.1.78\"\n" in change.text
    assert change.moved == (
        "r1-s01 has moved from luxos://10.1.1.11 to luxos://10.1.1.77.",
        "r1-s02 has moved from luxos://10.1.1.12:4028 to luxos://10.1.1.78.",
    )
    without = [line for line in change.text.splitlines() if "uri" not in line]
    assert without == [line for line in FILE.splitlines() if "uri" not in line]


def test_two_that_have_changed_places_are_both_written_anew() -> None:
    change = merged(FILE, [found(12, 1), found(11, 2)], Extras())
    assert [row["uri"] for row in rows(change.text)] == ["luxos://10.1.1.12", "luxos://10.1.1.11"]
    assert change.refused == ()


def test_other_firmware_at_the_same_address_is_another_uri() -> None:
    change = merged(FILE, [found(11, 1, family="whatsminer-v3")], Extras())
    assert rows(change.text)[0]["uri"] == "whatsminer-v3://10.1.1.11"


def test_an_address_that_the_file_gives_to_another_is_refused_by_name() -> None:
    change = merged(FILE, [found(12, 1), found(11, 9)], Extras())
    assert change.text == FILE
    assert change.refused == (
        (
            "r1-s01 answers at luxos://10.1.1.12, which the file gives to r1-s02: "
            "correct or remove r1-s02 first."
        ),
        (
            "luxos://10.1.1.11 has the MAC 02:6b:77:00:00:09, and the file gives this address to "
            "r1-s01 with another: correct or remove r1-s01 first."
        ),
    )


def test_a_mac_that_answers_twice_is_refused_and_so_is_none() -> None:
    twins = [
        found(20, 5),
        found(21, 5),
        found(22, 6, mac=""),
        found(23, 7, mac="00:00:00:00:00:00"),
    ]
    change = merged(FILE, twins, Extras())
    assert change.text == FILE
    assert change.refused == (
        "10.1.1.22: luxos, but it tells no MAC and cannot be pinned.",
        "10.1.1.23: luxos, but it tells no MAC and cannot be pinned.",
        (
            "The MAC 02:6b:77:00:00:05 answers at 10.1.1.20 and 10.1.1.21: "
            "find out which of them is right."
        ),
    )


def test_a_machine_that_tells_its_mac_to_whoever_has_its_password_says_how() -> None:
    shy = found(22, 6, family="whatsminer-v3", mac="")
    (words,) = merged(FILE, [shy], Extras()).refused
    assert words.startswith("10.1.1.22: whatsminer-v3, but it tells no MAC and cannot be pinned")
    assert words.endswith(" without its password: add --password-file whatsminer-v3=FILE.")
    asked = Extras(passwords={"whatsminer-v3": Path("secret")})
    assert "--password-file" not in merged(FILE, [shy], asked).refused[0]


def test_a_name_that_another_device_has_is_refused() -> None:
    text = FILE + f'\n[[meters]]\nid = "{miner_id(found(13, 3))}"\n'
    change = merged(text, [found(13, 3)], Extras())
    assert change.text == text
    assert change.refused == (
        "luxos://10.1.1.13 would be called luxos-026b77000003, as another device is.",
    )


def test_the_files_own_kind_of_line_ends_stays() -> None:
    text = FILE.replace("\n", "\r\n")
    change = merged(text, [found(11, 1), found(13, 3)], Extras())
    assert "\n" not in change.text.replace("\r\n", "")
    assert rows(change.text)[2]["uri"] == "luxos://10.1.1.13"


@pytest.mark.parametrize(
    "text",
    [
        'miners = [{ id = "a", uri = "luxos://10.1.1.11", mac = "02:6b:77:00:00:01" }]\n',
        "miners = 5\n",
        "miners = [1, 2]\n",
        '[[miners]]\n"u\\u0072i" = "luxos://10.1.1.11"\nmac = "02:6b:77:00:00:01"\n',
        '[[miners]]\nuri = """luxos://10.1.1.11"""\nmac = "02:6b:77:00:00:01"\n',
        (
            '[[miners]]\nnote = """\n[[miners]]\n"""\nuri = "luxos://10.1.1.11"\n'
            'mac = "02:6b:77:00:00:01"\n'
        ),
    ],
)
def test_a_file_written_in_a_way_that_is_not_understood_is_left_alone(text: str) -> None:
    with pytest.raises(MinersFileError, match=r"\[\[miners\]\]"):
        merged(text, [found(77, 1), found(13, 3)], Extras())


def test_an_empty_file_may_be_begun() -> None:
    assert len(rows(merged("", [found(13, 3)], Extras()).text)) == 1


PLACES = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=12)


@given(kept=PLACES, seen=PLACES)
def test_whatever_is_found_nothing_stands_twice_that_did_not_before(
    kept: list[tuple[int, int]], seen: list[tuple[int, int]]
) -> None:
    by_host = {last: number for number, last in {n: x for x, n in kept}.items()}
    text = "".join(
        f'# shelf {number}\n[[miners]]\nid = "m{number}"\nuri = "luxos://10.1.1.{last}"\n'
        f'mac = "02:6b:77:00:00:{number:02x}"\n'
        for last, number in by_host.items()
    )
    answers = {last: found(last, number) for last, number in seen}
    change = merged(text, list(answers.values()), Extras())
    read = tomllib.loads(change.text).get("miners", [])
    for key in ("id", "uri", "mac"):
        values = [row[key] for row in read]
        assert len(values) == len(set(values))
    assert all(f"# shelf {number}\n" in change.text for number in by_host.values())
    assert len(read) == len(by_host) + len(change.added)
