"""What the core finds about a meter becomes an alarm of its own, with the way out."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from agent.alarms import conditions
from agent.core.discrepancy import Discrepancy
from agent.core.machinesums import Watch
from agent.core.reference import Comparison


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
