"""Several meter points as one image: sums where they are honest, and the one to look at first."""

from typing import Any

from agent.status.gathered import gathered
from agent.status.view import SiteView


def image(site: SiteView, name: str, mode: str = "following", **more: Any) -> SiteView:
    row = site.status.meter_points[0].model_copy(update={"meter_point": name})
    own = {"mode": mode, "meter_points": [row], **more}
    return site.model_copy(update={"status": site.status.model_copy(update=own)})


def test_one_point_is_its_own_image(site: SiteView) -> None:
    alone = image(site, "mp-1")
    assert gathered([alone]) is alone


def test_the_worst_off_speaks_for_all_and_what_one_does_not_know_nobody_knows(
    site: SiteView,
) -> None:
    both = gathered([image(site, "mp-1"), image(site, "mp-2", "blind", power_w=None)]).status
    assert both.mode == "blind"
    assert both.because.words.startswith("mp-2: ")
    assert both.power_w is None
    assert both.miners_total == 2 * site.status.miners_total
    assert [point.meter_point for point in both.meter_points] == ["mp-1", "mp-2"]


def test_a_window_that_cannot_be_kept_is_shown_before_one_that_opens_earlier(
    site: SiteView,
) -> None:
    ahead = site.status.preflight
    assert ahead is not None
    late = ahead.model_copy(update={"start_ms": ahead.start_ms + 60_000})
    lost = late.model_copy(update={"can_comply": False})
    easy = image(site, "mp-1")
    for hard, name in ((lost, "mp-2"), (late, "mp-1")):
        shown = gathered([image(site, "mp-2", preflight=hard), easy]).status.preflight
        assert shown is not None
        assert shown.can_comply is hard.can_comply
        assert shown.words.startswith(f"{name}: ")
    none = [image(site, name, preflight=None) for name in ("mp-1", "mp-2")]
    assert gathered(none).status.preflight is None


def test_relays_and_limits_of_all_points_are_listed(site: SiteView) -> None:
    both = gathered([image(site, "mp-1"), image(site, "mp-2")]).status
    assert len(both.relays) == 2 * len(site.status.relays)
    assert len(both.limits) == 2 * len(site.status.limits)
