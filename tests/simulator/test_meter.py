"""The meter's registers: refreshed at their instants, truncated, frozen, jumping."""

import pytest

from simulator.clock import SiteClock
from simulator.farm import Farm, build_farm
from simulator.farm_file import FarmFile
from simulator.faults import FaultKind

START_S = 5_000.0


def farm(**meter: float) -> Farm:
    document = {
        "machines": [{"model": "s21", "count": 10}],
        "meters": [{"id": "site", "serial": 1, "refresh_s": 0.5, **meter}],
        "spread": {"reporting": 0.0, "tolerance": 0.0},
    }
    clock = SiteClock(anchor_s=START_S, anchor_ms=1_700_000_000_000)
    return build_farm(FarmFile.model_validate(document), clock)


def test_registers_change_only_at_refresh_instants() -> None:
    site = farm(step_kwh=0.001)
    seen = []
    for tick in range(41):
        site.step(START_S + tick * 0.05)
        seen.append(site.meters[0].energy_kwh)
    changes = [tick for tick in range(1, 41) if seen[tick] != seen[tick - 1]]
    assert changes == [10, 20, 30, 40]


def test_energy_is_truncated_to_the_step_and_never_above_the_truth() -> None:
    site = farm(step_kwh=0.01)
    for tick in range(400):
        site.step(START_S + tick * 0.25)
        true_kwh = 1234.5 + site.plant.energy_wh / 1000.0
        shown_kwh = site.meters[0].energy_kwh
        assert shown_kwh <= true_kwh + 1e-6
        assert true_kwh - shown_kwh < 0.01 + 35.0 * 0.5 / 3600.0 + 1e-6
        assert shown_kwh * 100 == pytest.approx(round(shown_kwh * 100), abs=1e-6)


def test_a_gain_error_shows_in_power_and_energy() -> None:
    site = farm(gain_error=0.01, step_kwh=0.001)
    site.step(START_S + 360.0)
    assert site.meters[0].power_w == pytest.approx(35_350.0)
    assert site.meters[0].energy_kwh == pytest.approx(1234.5 + 3.535, abs=0.01)


def test_a_frozen_register_stands_still_and_catches_up_when_it_thaws() -> None:
    site = farm()
    site.step(START_S + 10.0)
    site.meters[0].is_energy_frozen = True
    before_kwh = site.meters[0].energy_kwh
    site.step(START_S + 100.0)
    assert site.meters[0].energy_kwh == before_kwh
    assert site.meters[0].power_w == pytest.approx(35_000.0)
    site.meters[0].is_energy_frozen = False
    site.step(START_S + 100.5)
    assert site.meters[0].energy_kwh == pytest.approx(1234.5 + 35.0 * 100.5 / 3600.0, abs=0.011)


def test_a_share_of_the_machines_is_the_same_for_the_same_seed() -> None:
    site = farm()
    half = site.faults.targets(FaultKind.MINER_GONE, "share:0.5")
    assert len(half) == 5
    assert half == farm().faults.targets(FaultKind.MINER_GONE, "share:0.5")
    with pytest.raises(ValueError, match="only 10"):
        site.faults.targets(FaultKind.MINER_GONE, [10])
    with pytest.raises(ValueError, match="between 0 and 1"):
        site.faults.targets(FaultKind.MINER_GONE, "share:1.5")
