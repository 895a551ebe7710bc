"""``[[meter_points]]``: what may be left out, and what is refused, all at once."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from agent.assembly import meter_posts, parameters_of, realm_of
from agent.nameplate import reference_of
from agent.settings import Settings, parse_settings
from agent.settings_faults import SettingsError

EXAMPLE = Path(__file__).parents[2] / "config" / "site.example.toml"
SITE = Path("/etc/kwota/site.toml")


def example() -> dict[str, Any]:
    return tomllib.loads(EXAMPLE.read_text(encoding="utf-8"))


def several() -> dict[str, Any]:
    """Two points with a meter and a machine each, and a third meter that is only read."""
    data = example()
    point, meter, miner = (data[kind][0] for kind in ("meter_points", "meters", "miners"))
    data["meter_points"] = [
        point | {"id": "north", "meter": "n"},
        point | {"id": "south", "meter": "s", "rated_power_w": 500_000, "limits": {"cap_w": 9}},
    ]
    data["meters"] = [
        meter | {"id": name, "uri": f"modbus://10.1.0.{at}/1?profile=sdm630", "error_share": share}
        for at, (name, share) in enumerate((("hall", 0.0), ("n", 0.0), ("s", 0.01)), 1)
    ]
    data["miners"] = [
        miner
        | {
            "id": f"m{at}",
            "uri": f"luxos://10.1.1.{at}",
            "mac": f"62:f7:5e:b7:10:0{at}",
            "meter_point": name,
        }
        for at, name in enumerate(("south", "north", "south"), 1)
    ]
    return data


def faults_of(data: dict[str, Any]) -> dict[str, str]:
    with pytest.raises(SettingsError) as caught:
        parse_settings(data, SITE)
    assert all(fault.file == str(SITE) for fault in caught.value.faults)
    return {fault.key: f"{fault.reason}; {fault.remedy}" for fault in caught.value.faults}


def settings(data: dict[str, Any]) -> Settings:
    return parse_settings(data, SITE)


def test_the_only_point_has_the_only_meter_and_all_machines_without_saying_so() -> None:
    loaded = settings(example())
    (point,) = loaded.meter_points
    assert point.meter == "site"
    assert loaded.miners_of(point) == loaded.miners
    named = example()
    named["meter_points"][0]["meter"], named["miners"][0]["meter_point"] = "site", "mp-1"
    assert settings(named) == loaded


def test_each_point_has_what_is_its_own() -> None:
    loaded = settings(several())
    north, south = loaded.meter_points
    assert [miner.id for miner in loaded.miners_of(south)] == ["m1", "m3"]
    assert realm_of(loaded, south).meter_ids == {"s"}
    assert realm_of(loaded, south).miner_ids == {"m1", "m3"}
    # The meter of no point is read, recorded and shown, once.
    assert realm_of(loaded, north).meter_ids == {"n", "hall"}
    ruled = {point.id: parameters_of(loaded, point) for point in (north, south)}
    assert (ruled["north"].meter_id, ruled["south"].meter_id) == ("n", "s")
    assert (ruled["north"].rated_power_w, ruled["south"].rated_power_w) == (1_000_000, 500_000)
    assert (ruled["north"].meter_error_share, ruled["south"].meter_error_share) == (0.0, 0.01)
    assert (north.limits, south.limits.cap_w) == (None, 9)


def test_every_fault_between_points_meters_and_machines_is_reported_at_once() -> None:
    data = several()
    point = data["meter_points"][0]
    data["meter_points"] += [
        point | {"id": "north", "meter": "s"},
        point | {"id": "east", "meter": "cellar"},
        {name: value for name, value in point.items() if name != "meter"} | {"id": "west"},
    ]
    data["miners"][0]["meter_point"] = "nowhere"
    del data["miners"][1]["meter_point"]
    found = faults_of(data)
    assert set(found) == {
        "meter_points[0]",
        "meter_points[2].id",
        "meter_points[2].meter",
        "meter_points[2]",
        "meter_points[3].meter",
        "meter_points[3]",
        "meter_points[4].meter",
        "meter_points[4]",
        "miners[0].meter_point",
        "miners[1].meter_point",
    }
    assert "again, as in meter_points[0].id" in found["meter_points[2].id"]
    assert "the meter of meter_points[1] already" in found["meter_points[2].meter"]
    assert "write one of hall, n, s" in found["meter_points[3].meter"]
    assert "there are 3 meters; name the one" in found["meter_points[4].meter"]
    assert 'write meter_point = "west" at its machines' in found["meter_points[4]"]
    assert "which no [[meter_points]] table has" in found["miners[0].meter_point"]
    assert "there are 5 meter points; write the one" in found["miners[1].meter_point"]


def test_two_points_cannot_leave_out_the_same_only_meter() -> None:
    data = several()
    data["meters"] = data["meters"][1:2]
    for point in data["meter_points"]:
        del point["meter"]
    found = faults_of(data)
    assert list(found) == ["meter_points[1].meter"]
    assert "give each point a meter of its own" in found["meter_points[1].meter"]


def test_a_fault_in_a_point_does_not_make_its_machines_strangers() -> None:
    data = several()
    data["meter_points"][1]["rated_power_w"] = "much"
    del data["meters"][2]["uri"]
    assert set(faults_of(data)) == {"meter_points[1].rated_power_w", "meters[2].uri"}


def test_a_key_that_has_moved_says_where_and_hides_nothing() -> None:
    data = example()
    data["site"] |= {"meter_point": "mp-1", "rated_power_w": 1_000_000}
    data["governor"]["base_load_max_w"] = 60_000
    data["limits"] = {"cap_w": 800_000}
    data["policy"] = {}
    found = faults_of(data)
    assert set(found) == {
        "site.meter_point",
        "site.rated_power_w",
        "governor.base_load_max_w",
        "limits",
        "policy.file",
    }
    assert "write it as id of a [[meter_points]] table" in found["site.meter_point"]
    assert "as base_load_max_w of a [[meter_points]]" in found["governor.base_load_max_w"]
    assert "write it as [meter_points.limits] below" in found["limits"]


def test_a_typing_error_in_the_limits_of_a_point_gets_the_key_that_was_meant() -> None:
    data = several()
    data["meter_points"][1]["limits"] = {"cap": 5, "dais": []}
    data["meter_points"][0]["ratd_power_w"] = 5
    found = faults_of(data)
    assert "did you mean cap_w?" in found["meter_points[1].limits.cap"]
    assert "did you mean days?" in found["meter_points[1].limits.dais"]
    assert "did you mean rated_power_w?" in found["meter_points[0].ratd_power_w"]


def test_a_reference_is_another_known_meter_and_shown_to_its_own_point_alone() -> None:
    data = several()
    data["meter_points"][1]["reference"] = "hall"
    loaded = settings(data)
    north, south = loaded.meter_points
    assert realm_of(loaded, north).meter_ids == {"n"}
    assert realm_of(loaded, south).meter_ids == {"s", "hall"}


@pytest.mark.parametrize(
    ("reference", "words"),
    [("attic", "which no [[meters]] table has"), ("s", "the meter of"), ("n", "the meter of")],
)
def test_a_reference_that_is_no_second_meter_is_refused(reference: str, words: str) -> None:
    data = several()
    data["meter_points"][1]["reference"] = reference
    assert any(words in reason for reason in faults_of(data).values())


async def test_what_may_lie_between_two_meters_is_both_classes_and_both_steps() -> None:
    data = several()
    data["meter_points"][1]["reference"] = "hall"
    loaded = settings(data)
    posts = meter_posts(loaded)
    reference = reference_of(loaded, loaded.meter_points[1], posts)
    assert reference is not None
    assert (reference.meter_id, reference.step_wh, reference.refresh_s) == ("hall", 20, 1.0)
    assert reference.error_share == pytest.approx(0.02)
    assert reference_of(loaded, loaded.meter_points[0], posts) is None
    for post in posts:
        await post.device.close()
