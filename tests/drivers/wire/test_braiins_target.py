"""The power target of Braiins OS: settings, limits, and the ladder."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.errors import BadReplyError
from drivers.wire import braiins_target as target
from drivers.wire.braiins_reply import table_of
from drivers.wire.cgminer import Row

LIMITS = target.PowerRange(least_w=900, default_w=3010, most_w=3730)
HS = 141e12


def recorded(captures: Path, name: str) -> Row:
    return table_of((captures / "braiins-25.07" / f"{name}.json").read_bytes(), name)


def row(**values: Any) -> Row:
    return table_of(json.dumps(values).encode(), "answer")


def tuner(**changes: Any) -> Row:
    return row(tuner={"enabled": True, "tuner_mode": 1, "power_target": {"watt": 3031}} | changes)


def test_the_recorded_settings_are_a_power_target_of_3031_watts(captures: Path) -> None:
    settings = target.configuration_of(recorded(captures, "configuration_miner"))
    assert settings == target.Configuration(target_w=3031, is_scaling=False, pause_s=None)
    tuned = target.tuned_of(recorded(captures, "performance_tuner_state"))
    assert tuned == target.Tuned(
        target_w=3031, power_w=3137.0, hashrate_hs=pytest.approx(142.8766e12, rel=1e-6)
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"enabled": False},
        {"enabled": None},
        {"tuner_mode": 2},
        {"tuner_mode": None},
        {"power_target": None},
    ],
)
def test_where_no_power_target_rules_there_is_none(changes: dict[str, Any]) -> None:
    assert target.configuration_of(tuner(**changes)).target_w is None


def test_other_settings_are_read_beside_it() -> None:
    ramps = {"hashboards": [], "quick_ramping_time_down_s": 7}
    settings = target.configuration_of(
        row(tuner=None, dps={"enabled": True}, hashboard_config=ramps)
    )
    assert settings == target.Configuration(target_w=None, is_scaling=True, pause_s=7)
    assert not target.configuration_of(row(dps={"enabled": None})).is_scaling
    constraints = row(hashboards_constraints={"quick_ramping_time_s": {"default": 3}})
    assert target.pause_s_of(settings, constraints) == 7
    assert target.pause_s_of(target.configuration_of(row()), constraints) == 3
    assert target.pause_s_of(target.configuration_of(row()), row()) is None


@pytest.mark.parametrize("watts", [0, -5, 20_001, 0.2])
def test_a_target_that_no_machine_has_is_a_bad_reply(watts: float) -> None:
    with pytest.raises(BadReplyError, match="power target"):
        target.configuration_of(tuner(power_target={"watt": watts}))


def limits_row(*watts: int | None) -> Row:
    named = dict(
        zip(
            ("min", "default", "max"),
            [None if one is None else {"watt": one} for one in watts],
            strict=True,
        )
    )
    return row(tuner_constraints={"power_target": named})


def test_limits_are_read_or_absent() -> None:
    assert target.range_of(limits_row(900, 3010, 3730)) == LIMITS
    assert target.range_of(row()) is None
    assert target.range_of(row(tuner_constraints={"power_target": None})) is None
    assert target.range_of(limits_row(900, None, 3730)) is None
    with pytest.raises(BadReplyError, match="contradict"):
        target.range_of(limits_row(900, 4000, 3730))


@pytest.mark.parametrize(
    "profile",
    [
        None,
        {"target": None},
        {"target": {"watt": 0.3}, "estimated_power_consumption": {"watt": 9}},
        {
            "target": {"watt": 3000},
            "estimated_power_consumption": {"watt": 0},
            "measured_hashrate": {"gigahash_per_second": 1.0},
        },
    ],
)
def test_a_tuner_that_has_measured_nothing_tells_nothing(profile: Any) -> None:
    state = row(mode_state={"powertargetmodestate": {"profile": profile}})
    assert target.tuned_of(state) is None
    assert target.tuned_of(row(mode_state={"hashratetargetmodestate": {}})) is None


def test_the_ladder_goes_from_the_least_over_the_default_to_the_most() -> None:
    ladder = target.profiles_of(LIMITS, 3010, None, HS)
    watts = [round(profile.power_w) for profile in ladder]
    assert (watts[0], watts[-1]) == (900, 3730)
    assert watts == sorted(set(watts))
    assert {2860, 3160} <= set(watts)  # steps of a twentieth, in whole fifties
    default = next(profile for profile in ladder if profile.step == 0)
    assert (default.name, default.power_w, default.hashrate_hs) == ("3010W", 3010, HS)
    assert [profile.step for profile in ladder] == list(
        range(-ladder.index(default), len(ladder) - ladder.index(default))
    )
    joules = [profile.power_w / profile.hashrate_hs for profile in ladder]
    assert joules == sorted(joules)  # less power is more efficient


def test_the_target_in_force_is_a_rung_of_its_own() -> None:
    names = [profile.name for profile in target.profiles_of(LIMITS, 2533, None, HS)]
    assert "2533W" in names
    outside = [profile.name for profile in target.profiles_of(LIMITS, 4100, None, HS)]
    assert "4100W" not in outside


def test_what_the_tuner_measured_lifts_the_whole_ladder(captures: Path) -> None:
    tuned = target.tuned_of(recorded(captures, "performance_tuner_state"))
    ladder = target.profiles_of(LIMITS, 3031, tuned, HS)
    found = next(profile for profile in ladder if profile.name == "3031W")
    assert found.power_w == pytest.approx(3137.0)
    assert found.hashrate_hs == pytest.approx(142.88e12, rel=1e-4)


def test_absurd_measurements_lift_it_only_so_far() -> None:
    absurd = target.Tuned(target_w=3010, power_w=9e9, hashrate_hs=1e9)
    default = next(p for p in target.profiles_of(LIMITS, 3010, absurd, HS) if p.step == 0)
    assert (default.power_w, default.hashrate_hs) == pytest.approx((1.2 * 3010, 0.5 * HS))


WATTS = st.integers(1, target.TARGET_MAX_W)


@given(
    st.lists(WATTS, min_size=3, max_size=3).map(sorted),
    WATTS,
    st.none()
    | st.builds(
        target.Tuned,
        target_w=WATTS,
        power_w=st.floats(1.0, 1e18),
        hashrate_hs=st.floats(1.0, 1e27),
    ),
    st.floats(1e9, 1e18),
)
def test_every_ladder_rises_and_stays_within_the_limits(
    watts: list[int], target_w: int, tuned: target.Tuned | None, nameplate_hs: float
) -> None:
    limits = target.PowerRange(least_w=watts[0], default_w=watts[1], most_w=watts[2])
    ladder = target.profiles_of(limits, target_w, tuned, nameplate_hs)
    told = [target.target_of(profile.name) for profile in ladder if profile.power_w >= 12]
    assert all(one is not None and watts[0] <= one <= watts[2] for one in told)
    steps = [profile.step for profile in ladder]
    assert steps == sorted(set(steps))
    assert 0 in steps
    assert [p.power_w for p in ladder] == sorted(p.power_w for p in ladder)
    assert all(profile.hashrate_hs > 0 for profile in ladder)
    assert len(ladder) <= 404


@pytest.mark.parametrize("name", ["+100W", "-100W", "100%", "0W", "09W", "2400", "2400W ", "²4W"])
def test_only_whole_absolute_watts_are_names(name: str) -> None:
    assert target.target_of(name) is None


def test_a_name_is_its_watts() -> None:
    assert target.target_of(target.profile_name(2400)) == 2400


def test_settings_that_stand_against_steering_are_said() -> None:
    good = target.Configuration(target_w=3010, is_scaling=False, pause_s=None)
    assert target.setting_faults(good, 2.0) == ()
    assert target.setting_faults(good, None) == ()
    bad = target.Configuration(target_w=None, is_scaling=True, pause_s=None)
    codes = [fault.code for fault in target.setting_faults(bad, 30.0)]
    assert codes == ["no-power-target", "dps", "quick-ramping"]
