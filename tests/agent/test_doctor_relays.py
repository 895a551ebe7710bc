"""Relays examined and shown: on real sockets, and without a single write."""

import json
import os
import tomllib
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from agent.doctor.devices import device_findings
from agent.doctor.finding import Finding, Grade
from agent.settings import Settings, parse_settings
from simulator.clock import started_now
from simulator.farm import build_farm
from simulator.farm_file import FarmFile
from simulator.network import Network
from simulator.relay_board import RelayBoard

Polled = Callable[..., Coroutine[Any, Any, tuple[int, str, str]]]

EXAMPLE = Path(__file__).parents[2] / "config" / "site.example.toml"
NET = f"127.{64 + os.getpid() % 64}.0.0"
FARM = {
    "addresses": {"base": NET, "has_web": False},
    "machines": [{"model": "s21", "count": 2}],
    "meters": [{"id": "site", "port": 0, "serial": 12345678, "refresh_s": 0.1}],
    "relays": [
        {"id": "hall", "model": "wb-mr6", "watchdog_s": 10},
        {"id": "yard", "model": "waveshare"},
    ],
}


@asynccontextmanager
async def farm() -> AsyncIterator[Network]:
    network = Network(farm=build_farm(FarmFile.model_validate(FARM), started_now()))
    await network.open()
    try:
        yield network
    finally:
        await network.close()


def uri_of(network: Network, position: int, profile: str) -> str:
    host, port = network.relay_address(position)
    return f"modbus://{host}:{port}/1?profile={profile}"


def settings_of(network: Network, tmp_path: Path, **relay: Any) -> Settings:
    data = tomllib.loads(EXAMPLE.read_text(encoding="utf-8"))
    host, port = network.meter_address(0)
    data["meters"] = [{"id": "site", "uri": f"modbus://{host}:{port}/1?profile=sdm630"}]
    point = data["meter_points"][0]
    data["meter_points"] = [{**point, "meter": "site"}]
    data["miners"] = [
        {"id": f"m{label.index}", "uri": network.machine_uri(label.index), "mac": label.mac}
        for label in network.farm.labels
    ]
    row = {"id": "row-1", "uri": uri_of(network, 0, "wb-mr6"), "channel": 1, "miners": ["m0"]}
    data["relays"] = [row | {"watchdog_s": 10} | relay]
    data["relays"] = [{k: v for k, v in data["relays"][0].items() if v is not None}]
    return parse_settings(data, tmp_path / "site.toml")


async def examined(settings: Settings) -> Finding:
    """What is found of the only relay."""
    told = []
    findings = await device_findings(settings, lambda: told.append(1))
    assert len(told) == len(findings) == 4
    assert [one.check for one in findings] == ["meter", "miner", "miner", "relay"]
    return findings[-1]


def board(network: Network) -> RelayBoard:
    return network.farm.relays[0]


async def test_a_relay_that_is_well_is_fine_and_nothing_was_written(tmp_path: Path) -> None:
    async with farm() as network:
        found = await examined(settings_of(network, tmp_path))
        assert (found.grade, found.words) == (
            Grade.FINE,
            "its coil is on, opens after 10 s of silence",
        )
        assert board(network).writes == 0


@pytest.mark.parametrize(
    ("setting", "value", "words"),
    [(8, 30, "seconds without a request"), (930, 1, "state that is safe"), (6, 1, "power returns")],
)
async def test_a_watchdog_that_is_not_as_configured_is_a_failure(
    tmp_path: Path, setting: int, value: int, words: str
) -> None:
    async with farm() as network:
        board(network).settings[setting] = value
        found = await examined(settings_of(network, tmp_path))
        assert found.grade is Grade.FAILED
        assert words in found.words
        # The owner's leave to write it is the daemon's, and not the doctor's.
        found = await examined(settings_of(network, tmp_path, sets_watchdog=True))
        assert found.grade is Grade.WARNING
        assert board(network).writes == 0
        assert board(network).settings[setting] == value


async def test_an_open_relay_and_one_without_a_dead_man_are_warnings(tmp_path: Path) -> None:
    async with farm() as network:
        found = await examined(settings_of(network, tmp_path, watchdog_s=None))
        assert found.grade is Grade.WARNING
        assert "watchdog_s" in found.remedy
        board(network).coils[0] = False
        found = await examined(settings_of(network, tmp_path))
        assert found.grade is Grade.WARNING
        assert "no feed" in found.words


async def test_a_board_that_cannot_open_by_itself_is_what_it_is(tmp_path: Path) -> None:
    async with farm() as network:
        uri = uri_of(network, 1, "waveshare")
        found = await examined(settings_of(network, tmp_path, uri=uri, watchdog_s=None))
        assert (found.grade, found.words) == (Grade.FINE, "its coil is on")


async def test_a_board_that_does_not_answer_is_a_failure(tmp_path: Path) -> None:
    async with farm() as network:
        uri = uri_of(network, 0, "wb-mr6").replace("/1?", "/9?")
        found = await examined(settings_of(network, tmp_path, uri=uri))
        assert found.grade is Grade.FAILED
        assert "unit" in found.remedy


async def test_a_board_is_polled_with_its_channels_and_its_watchdog(
    polled: Polled,
) -> None:
    async with farm() as network:
        board(network).coils[2] = False
        uri = uri_of(network, 0, "wb-mr6")
        code, out, err = await polled(uri)
        assert (code, err) == (0, "")
        assert "Wiren Board WB-MR6" in out
        assert "state that is safe of channel 3" in out
        code, out, _ = await polled(uri, "--json", "--raw")
        seen = json.loads(out)["board"]
        assert [one["is_on"] for one in seen["channels"]] == [True, True, False, True, True, True]
        assert seen["watchdog_s"] == 10
        assert json.loads(out)["raw"]
        code, out, _ = await polled(uri_of(network, 1, "waveshare"), "--json")
        assert len(json.loads(out)["board"]["channels"]) == 8
        assert board(network).writes == 0


async def test_a_meters_profile_of_the_site_goes_before_a_boards_of_the_same_name(
    polled: Polled, tmp_path: Path
) -> None:
    source = EXAMPLE.parents[1] / "drivers" / "meters" / "sdm630.toml"
    (tmp_path / "generic.toml").write_bytes(source.read_bytes())
    async with farm() as network:
        host, port = network.meter_address(0)
        uri = f"modbus://{host}:{port}/1?profile=generic"
        code, out, _ = await polled(uri, "--json", "--profile-dir", str(tmp_path))
        assert code == 0
        assert json.loads(out)["identity"]["serial"] == "12345678"
