"""``feeds`` of a meter: which machines hang on a feeder, and everything that is refused."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from agent.assembly import realm_of
from agent.settings import Settings, parse_settings
from agent.settings_faults import SettingsError

EXAMPLE = Path(__file__).parents[2] / "config" / "site.example.toml"
SITE = Path("/etc/kwota/site.toml")


def site(*, points: int = 1, **feeds: list[str]) -> dict[str, Any]:
    """Machines r1-1, r1-2, r2-1 and meters "site", "row1", "row2"; r2-1 may be of another point."""
    data = tomllib.loads(EXAMPLE.read_text(encoding="utf-8"))
    miner, point, meter = (data[kind][0] for kind in ("miners", "meter_points", "meters"))
    data["miners"] = [
        miner
        | {"id": name, "uri": f"luxos://10.1.1.{n}", "mac": f"62:f7:5e:b7:10:0{n}"}
        | ({"meter_point": "south" if name == "r2-1" else "north"} if points == 2 else {})
        for n, name in enumerate(("r1-1", "r1-2", "r2-1"))
    ]
    names = ["site", "row1", "row2"]
    data["meter_points"] = [point | {"meter": "site"}]
    if points == 2:
        names.append("south")
        data["meter_points"] = [
            point | {"id": "north", "meter": "site"},
            point | {"id": "south", "meter": "south"},
        ]
    data["meters"] = [
        meter
        | {"id": name, "uri": f"modbus://10.1.0.{n}/1?profile=sdm630"}
        | ({"feeds": feeds[name]} if name in feeds else {})
        for n, name in enumerate(names)
    ]
    return data


def loaded(data: dict[str, Any]) -> Settings:
    return parse_settings(data, SITE)


def faults_of(data: dict[str, Any]) -> dict[str, str]:
    with pytest.raises(SettingsError) as caught:
        loaded(data)
    return {fault.key: f"{fault.reason}; {fault.remedy}" for fault in caught.value.faults}


def test_a_feeders_meter_is_shown_to_the_point_of_its_machines_alone() -> None:
    settings = loaded(site(points=2, row1=["r1-*"], row2=["r2-1"]))
    north, south = settings.meter_points
    assert [meter.id for meter in settings.feeders_of(north)] == ["row1"]
    assert [meter.id for meter in settings.feeders_of(south)] == ["row2"]
    assert realm_of(settings, north).meter_ids == {"site", "row1"}
    assert realm_of(settings, south).meter_ids == {"south", "row2"}


def test_without_feeders_nothing_is_as_it_was_not() -> None:
    settings = loaded(site())
    (point,) = settings.meter_points
    assert settings.feeders_of(point) == ()
    assert realm_of(settings, point).meter_ids == {"site", "row1", "row2"}


@pytest.mark.parametrize(
    ("data", "key", "words"),
    [
        (site(site=["r1-*"]), "meters[0].feeds", "'site' measures a whole meter point"),
        (site(row1=["r9-*"]), "meters[1].feeds[0]", "'r9-*', which no [[miners]] table has"),
        (site(row1=["r1-*"], row2=["r1-2"]), "meters[2].feeds", "'r1-2', as meters[1].feeds has"),
        (site(points=2, row1=["*"]), "meters[1].feeds", "of the meter points north, south"),
        (site(row1=["r1 1"]), "meters[1].feeds[0]", "no id of machines"),
    ],
)
def test_a_feeder_that_cannot_be_one_is_refused(data: dict[str, Any], key: str, words: str) -> None:
    assert words in faults_of(data)[key]


def test_the_only_meter_is_the_points_whoever_names_it() -> None:
    data = site()
    data["meters"] = [data["meters"][0] | {"feeds": ["r1-*"]}]
    del data["meter_points"][0]["meter"]
    assert "measures a whole meter point" in faults_of(data)["meters[0].feeds"]
