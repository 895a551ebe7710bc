"""``[[relays]]``: whom a relay covers, and everything that is refused."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from agent.relaypost import relay_posts
from agent.settings import Settings, parse_settings
from agent.settings_faults import SettingsError

EXAMPLE = Path(__file__).parents[2] / "config" / "site.example.toml"
SITE = Path("/etc/kwota/site.toml")
BOARD = "modbus://10.1.0.20/3?profile=wb-mr6"


def site(*relays: dict[str, Any], points: int = 1) -> dict[str, Any]:
    """Three machines, r1-1 to r1-3; with two points, the last one is of the second."""
    data = tomllib.loads(EXAMPLE.read_text(encoding="utf-8"))
    miner, point, meter = (data[kind][0] for kind in ("miners", "meter_points", "meters"))
    data["miners"] = [
        miner
        | {"id": f"r1-{n}", "uri": f"luxos://10.1.1.{n}", "mac": f"62:f7:5e:b7:10:0{n}"}
        | ({"meter_point": "south" if n == 3 else "north"} if points == 2 else {})
        for n in (1, 2, 3)
    ]
    if points == 2:
        data["meter_points"] = [point | {"id": one, "meter": one} for one in ("north", "south")]
        data["meters"] = [
            meter | {"id": one, "uri": f"modbus://10.1.0.{n}/1?profile=sdm630"}
            for n, one in enumerate(("north", "south"))
        ]
    if relays:
        data["relays"] = list(relays)
    return data


def row(name: str = "k1", **more: Any) -> dict[str, Any]:
    return {"id": name, "uri": BOARD, "channel": 1, "miners": ["r1-1"]} | more


def loaded(data: dict[str, Any]) -> Settings:
    return parse_settings(data, SITE)


def faults_of(data: dict[str, Any]) -> dict[str, str]:
    with pytest.raises(SettingsError) as caught:
        loaded(data)
    return {fault.key: f"{fault.reason}; {fault.remedy}" for fault in caught.value.faults}


def test_a_farm_needs_no_relay() -> None:
    assert loaded(site()).relays == ()


async def test_patterns_name_the_machines_and_the_point_follows_from_them() -> None:
    first = row(miners=["r1-1", "r1-2"])
    data = site(first, row("k2", channel=2, miners=["*-3"]), points=2)
    posts = relay_posts(loaded(data))
    assert [(post.relay_id, post.meter_id, sorted(post.miner_ids)) for post in posts] == [
        ("k1", "north", ["r1-1", "r1-2"]),
        ("k2", "south", ["r1-3"]),
    ]
    assert [sorted(post.beside_ids) for post in posts] == [[], []]
    for post in posts:
        await post.device.close()


async def test_a_watchdog_is_asked_four_times_in_its_seconds() -> None:
    (post,) = relay_posts(loaded(site(row(watchdog_s=3))))
    assert post.poll_s == 0.75
    assert post.unset is None
    await post.device.close()


@pytest.mark.parametrize(
    ("changes", "key", "words"),
    [
        ({"uri": "modbus://10.1.0.20/3"}, "uri", "profile"),
        ({"uri": "modbus://10.1.0.20/3?profile=finder"}, "uri", "waveshare"),
        ({"uri": "modbus://10.1.0.20/0?profile=wb-mr6"}, "uri", "unit"),
        ({"uri": "luxos://10.1.0.20"}, "uri", "family"),
        ({"channel": 7}, "channel", "1 to 6"),
        ({"channel": 0}, "channel", "1"),
        ({"miners": []}, "miners", ""),
        ({"miners": ["r2-*"]}, "miners[0]", "no [[miners]] table"),
        ({"miners": ["r1 1"]}, "miners[0]", "no id"),
        ({"watchdog_s": 2}, "watchdog_s", "3"),
        ({"sets_watchdog": True}, "watchdog_s", "missing"),
        ({"id": "r1-1"}, "id", "again"),
        ({"id": "site"}, "id", "again"),
        ({"toggle": True}, "toggle", ""),
    ],
)
def test_what_is_wrong_with_a_relay_is_said_with_the_way_out(
    changes: dict[str, Any], key: str, words: str
) -> None:
    found = faults_of(site(row(**changes)))
    assert words in found[f"relays[0].{key}"]


def test_a_watchdog_on_a_board_that_has_none_is_refused() -> None:
    uri = BOARD.replace("wb-mr6", "waveshare")
    assert "has none" in faults_of(site(row(uri=uri, watchdog_s=10)))["relays[0].watchdog_s"]


def test_a_relay_with_machines_of_two_points_is_refused() -> None:
    found = faults_of(site(row(miners=["r1-*"]), points=2))
    assert "north, south" in found["relays[0].miners"]


def test_a_machine_is_behind_one_relay_and_a_channel_is_one_relay() -> None:
    found = faults_of(site(row(), row("k2", miners=["r1-*"])))
    assert "again" in found["relays[1].channel"]
    assert "relays[0]" in found["relays[1].miners"]


def test_two_relays_of_one_board_share_its_time() -> None:
    found = faults_of(site(row(watchdog_s=10), row("k2", channel=2, miners=["r1-2"])))
    assert "same board" in found["relays[1].watchdog_s"]
