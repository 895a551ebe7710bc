"""What the core finds about a meter becomes an alarm of its own, with the way out."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from agent.alarms import conditions
from agent.core.discrepancy import Discrepancy
from agent.core.machinesums import Watch
from agent.core.reference import Comparison
from agent.core.register import RegisterEvent


@pytest.mark.parametrize("code", ["UNSEEN_LOAD", "METER_LOW"])
def test_a_discrepancy_is_an_alarm_with_its_words(toy: SimpleNamespace, code: str) -> None:
    site = toy.Site(machines=toy.fleet(2), transactions=[])
    site.run(5)
    calm = {one.code for one in conditions(site.outcome, meter_id="site", over_lately_wh=0)}
    assert not calm & {"UNSEEN_LOAD", "METER_LOW", "METERS_DISAGREE"}
    watch = Watch(found=Discrepancy(code=code, words="so much"))
    state = replace(site.outcome.state, watch=watch, comparison=Comparison(words="they differ"))
    outcome = replace(site.outcome, state=state)
    raised = {one.code: one for one in conditions(outcome, meter_id="site", over_lately_wh=0)}
    assert raised[code].words == "so much"
    assert raised[code].remedy
    assert raised["METERS_DISAGREE"].words == "they differ"


def codes(site: Any) -> set[str]:
    return {one.code for one in conditions(site.outcome, meter_id="site", over_lately_wh=0)}


def test_a_meter_that_was_not_read_yet_is_an_alarm_only_if_it_stays_so(
    toy: SimpleNamespace,
) -> None:
    for seconds, raised in ((3, set()), (9, set()), (12, {"METER"})):
        site = toy.Site(machines=toy.fleet(2), transactions=[], meter_silent=True)
        site.run(seconds)
        assert codes(site) & {"METER"} == raised
    site = toy.Site(machines=toy.fleet(2), transactions=[], meter_silent=True)
    site.run(3)
    (meter,) = site.outcome.picture.snapshot.meters
    seen = replace(site.outcome.picture.snapshot, meters=(replace(meter, fault="no route"),))
    picture = replace(site.outcome.picture, snapshot=seen)
    site.outcome = replace(site.outcome, picture=picture)
    assert "METER" in codes(site)


def test_books_that_went_on_by_themselves_are_told_for_a_day(toy: SimpleNamespace) -> None:
    site = toy.Site(machines=toy.fleet(2), transactions=[])
    site.run(5)
    event = RegisterEvent(
        event="resumed",
        at_ms=site.outcome.decision.at_ms,
        register_wh=7,
        offset_wh=1000,
        reason="it fell",
        serial="",
        unknown_wh=12,
    )
    assert "METER_RESUMED" not in codes(site)
    for ago_ms, is_told in ((0, True), (86_399_000, True), (86_400_000, False)):
        resumed = replace(event, at_ms=event.at_ms - ago_ms)
        state = replace(site.state, resumed=resumed)
        outcome = replace(site.outcome, state=state)
        found = {one.code: one for one in conditions(outcome, meter_id="site", over_lately_wh=0)}
        assert ("METER_RESUMED" in found) is is_told
        if is_told:
            assert "it fell" in found["METER_RESUMED"].words
            assert "12 Wh" in found["METER_RESUMED"].words
