"""``[discovery]``: off unless a network is named, and nothing but a farm's own networks."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from agent.assembly import Base, open_follower
from agent.settings import Settings, parse_settings
from agent.settings_discovery import hosts_of, network
from agent.settings_faults import Fault, SettingsError

EXAMPLE = Path(__file__).parents[2] / "config" / "site.example.toml"
SITE = Path("/etc/kwota/site.toml")


def parsed(table: Any) -> Settings:
    data = tomllib.loads(EXAMPLE.read_text(encoding="utf-8"))
    return parse_settings(data if table is None else data | {"discovery": table}, SITE)


def faults(table: Any) -> tuple[Fault, ...]:
    with pytest.raises(SettingsError) as caught:
        parsed(table)
    return caught.value.faults


def base(settings: Settings) -> Base:
    nothing: Any = None
    return Base(
        settings=settings,
        policy=nothing,
        version="",
        key=nothing,
        pool_key=None,
        clock=nothing,
        journal=nothing,
        recorder=nothing,
    )


@pytest.mark.parametrize("table", [None, {}, {"networks": []}])
def test_without_a_network_nobody_is_looked_for(table: Any) -> None:
    settings = parsed(table)
    assert settings.discovery.networks == ()
    assert open_follower(base(settings), []) is None


def test_the_follower_goes_through_the_networks_and_fills_what_the_status_shows() -> None:
    settings = parsed({"networks": ["10.1.0.0/30", "10.1.4.7"]})
    site = base(settings)
    follower = open_follower(site, [])
    assert follower is not None
    assert follower.hosts == ("10.1.0.1", "10.1.0.2", "10.1.4.7")
    assert follower.moved is site.moved
    assert follower.miners == {one.id: one for one in settings.miners}


def test_addresses_come_once_in_the_order_of_the_networks() -> None:
    hosts = hosts_of([network("10.1.0.4/30"), network("10.1.0.0/29"), network("10.1.0.0/22")])
    assert hosts[:3] == ("10.1.0.5", "10.1.0.6", "10.1.0.1")
    assert len(hosts) == 1022


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("10.1.0.0/33", "not a network"),
        ("fe80::/64", "not a network"),
        ("farm", "not a network"),
        ("10.1.0.7/22", "inside a network"),
        ("10.0.0.0/15", "more than 65536 addresses"),
        ("93.184.216.0/24", "not a private network"),
        ("224.0.0.0/24", "not a private network"),
        (7, "not text"),
    ],
)
def test_what_is_no_network_of_a_farm_is_refused_with_its_place(text: object, reason: str) -> None:
    (fault,) = faults({"networks": ["10.1.0.0/22", text]})
    assert fault.key == "discovery.networks[1]"
    assert reason in fault.reason
    assert fault.remedy


def test_a_key_that_is_none_is_refused() -> None:
    (fault,) = faults({"network": ["10.1.0.0/22"]})
    assert (fault.key, fault.remedy) == ("discovery.network", "did you mean networks?")
