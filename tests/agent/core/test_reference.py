"""Two meters at one place: a disagreement beyond both classes is told, less is not."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from agent.core.reference import Comparison, Reference, compared

BOTH = Reference(meter_id="twin", error_share=0.01, step_wh=20, refresh_s=2.0)
POWER_W = 400_000.0


def run(
    toy: SimpleNamespace, *, share: float, quarters: int = 4, since: Comparison | None = None
) -> Comparison:
    """Both read every five seconds, the reference growing by ``share`` of the site meter."""
    known = since or Comparison()
    first_s = 10.0 if known.since_s is None else known.since_s + 5.0
    for tick in range(quarters * 181):
        at_s = first_s + 5.0 * tick
        site_wh = POWER_W * at_s / 3600
        site = toy.meter_reading(at_s, int(site_wh), POWER_W)
        other = toy.meter_reading(at_s + 0.4, int(9e6 + site_wh * share), POWER_W * share)
        known = compared(known, site, other, BOTH)
    return known


@pytest.mark.parametrize("share", [1.0, 0.991, 1.009, 1.012])
def test_meters_within_their_classes_and_steps_agree(toy: SimpleNamespace, share: float) -> None:
    known = run(toy, share=share)
    assert known.words == ""
    assert known.ratio == pytest.approx(share, abs=1e-3)


@pytest.mark.parametrize(("share", "side"), [(0.96, -1), (1.05, 1), (1 / 3, -1), (0.0, -1)])
def test_meters_that_differ_by_more_are_told_after_two_quarters(
    toy: SimpleNamespace, share: float, side: int
) -> None:
    assert run(toy, share=share, quarters=1).words == ""
    known = run(toy, share=share, quarters=2)
    assert "the reference twin" in known.words
    assert known.disagreed == 2 * side


def test_an_agreeing_quarter_ends_it_and_the_other_side_begins_anew(toy: SimpleNamespace) -> None:
    low = run(toy, share=0.9)
    assert replace(low, disagreed=-3).words
    at_s = low.since_s + 901.0
    site = toy.meter_reading(at_s, low.site_wh + 100_000, POWER_W)
    agreeing = toy.meter_reading(at_s, low.reference_wh + 100_500, POWER_W)
    more = toy.meter_reading(at_s, low.reference_wh + 120_000, POWER_W)
    assert (compared(low, site, agreeing, BOTH).words) == ""
    assert compared(low, site, agreeing, BOTH).disagreed == 0
    assert compared(low, site, more, BOTH).disagreed == 1


def test_readings_of_two_instants_are_not_compared(toy: SimpleNamespace) -> None:
    known = Comparison()
    site, other = toy.meter_reading(10.0, 5, 1.0), toy.meter_reading(20.0, 5, 1.0)
    assert compared(known, site, other, BOTH) is known


def test_a_register_that_falls_begins_anew(toy: SimpleNamespace) -> None:
    known = compared(
        Comparison(), toy.meter_reading(10.0, 500, 1.0), toy.meter_reading(10.0, 700, 1.0), BOTH
    )
    fallen = compared(
        known, toy.meter_reading(11.0, 500, 1.0), toy.meter_reading(11.0, 0, 1.0), BOTH
    )
    assert (fallen.reference_wh, fallen.since_s) == (0, pytest.approx(10.99))


def test_a_site_at_rest_has_no_ratio(toy: SimpleNamespace) -> None:
    known = compared(
        Comparison(), toy.meter_reading(10.0, 500, 0.0), toy.meter_reading(10.0, 700, 0.0), BOTH
    )
    rest = compared(
        known, toy.meter_reading(911.0, 500, 0.0), toy.meter_reading(911.0, 700, 0.0), BOTH
    )
    assert (rest.ratio, rest.words) == (None, "")
