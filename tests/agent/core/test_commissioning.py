"""A meter is met: what contradicts itself is refused, what is merely idle is not."""

from dataclasses import replace
from typing import Any

import pytest

from agent.core.commissioning import Nameplate, refusal
from drivers.readings import QuantityReading

PLATE = Nameplate(nominal_voltage_v=230.0, rated_power_w=100_000.0)
SOUND = {
    "power": 60_000.0,
    "power_l1": 20_000.0,
    "power_l2": 21_000.0,
    "power_l3": 19_000.0,
    "voltage_l1": 231.0,
    "voltage_l2": 229.0,
    "voltage_l3": 228.0,
    "current_l1": 88.0,
    "current_l2": 93.0,
    "current_l3": 85.0,
}


def said(plate: Nameplate = PLATE, **changes: float | None) -> str:
    values: dict[str, float | None] = {**SOUND, **changes}
    readings = [
        QuantityReading(name=name, value=value, unit="", fault="" if value is not None else "none")
        for name, value in values.items()
    ]
    return refusal(readings, plate)


def test_a_sound_meter_is_not_refused() -> None:
    assert said() == ""


def test_what_a_meter_does_not_measure_is_not_held_against_it() -> None:
    assert refusal([], PLATE) == ""
    assert said(**dict.fromkeys(SOUND)) == ""
    assert said(current_l2=None, voltage_l3=None, power_l1=None) == ""


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"power_l2": -21_000.0, "power": 18_000.0}, "on phase 2 21000 W flow out"),
        ({"voltage_l3": 0.4}, "phase 3 has no voltage"),
        ({"voltage_l1": 2310.0}, "phase 1 shows 2310 V where about 230 V are"),
        ({"voltage_l1": 23.1}, "phase 1 shows 23 V"),
        ({"voltage_l1": 400.0}, "phase 1 shows 400 V"),
        ({"power_l1": 200_000.0, "power": 240_000.0}, "phase 1 has 200000 W of 20328 VA"),
        ({"power_l1": 2_000.0, "power": 42_000.0}, "transformer may sit on another phase"),
        ({"power": 600_000.0}, "that of the phases together 60000 W"),
        ({"power": 6_000.0}, "that of the phases together 60000 W"),
    ],
)
def test_what_contradicts_itself_is_refused_by_name(changes: dict[str, Any], words: str) -> None:
    assert words in said(**changes)


def test_an_idle_site_is_not_refused_for_signs_and_factors_near_zero() -> None:
    idle = {"power": 300.0, "power_l1": -200.0, "power_l2": 400.0, "power_l3": 100.0}
    amperes = {"current_l1": 4.0, "current_l2": 5.0, "current_l3": 3.0}
    assert said(**idle, **amperes) == ""


def test_three_wires_without_neutral_are_not_refused_for_want_of_phase_voltages() -> None:
    volts = dict.fromkeys(("voltage_l1", "voltage_l2", "voltage_l3"), 0.0)
    watts = {"power": 40_000.0, "power_l1": -5_000.0, "power_l2": 0.0, "power_l3": 45_000.0}
    assert said(**volts, **watts) == ""


def test_a_site_that_generates_may_feed_the_grid() -> None:
    out = {"power": -60_000.0, "power_l1": -20_000.0, "power_l2": -21_000.0, "power_l3": -19_000.0}
    assert "flow out" in said(**out)
    assert said(replace(PLATE, may_export=True), **out) == ""


@pytest.mark.parametrize(
    ("written", "seen", "is_refused"),
    [(400.0, 400.0, False), (400.0, 80.0, True), (None, 80.0, False), (400.0, None, False)],
)
def test_the_ratio_in_the_meter_is_that_of_the_nameplate(
    written: float | None, seen: float | None, *, is_refused: bool
) -> None:
    plate = replace(PLATE, ct_ratio=written)
    assert ("the nameplate says 400" in said(plate, ct_ratio=seen)) is is_refused
