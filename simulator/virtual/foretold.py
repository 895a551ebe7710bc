"""Whether what nobody could have kept was said before: the pre-flight against the plant's truth.

The governor says before each window whether it can be kept, and how much of all watts may cease to
obey with the purchase still kept. A window that no means of the site could have kept was foretold
if it was said to be lost, or if more ceased to obey in it than was said to be bearable.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from agent.core.decisions import Preflight
from agent.core.governor import Outcome
from simulator.virtual.site import Unit
from simulator.virtual.truth import Stretch


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """One pre-flight, when it was made, and the machines that it counted on."""

    at_s: float
    ahead: Preflight
    obeying: frozenset[str]


@dataclass(slots=True, kw_only=True)
class Foretold:
    """Hears every pre-flight of a run."""

    forecasts: list[Forecast] = field(default_factory=list)

    def hear(self, at_s: float, outcome: Outcome) -> None:
        """What one tick said; the same words again are not kept twice."""
        ahead = outcome.decision.preflight
        if ahead is None or (self.forecasts and self.forecasts[-1].ahead is ahead):
            return
        machines = outcome.picture.machines.values()
        obeying = frozenset(m.miner_id for m in machines if m.is_controllable)
        self.forecasts.append(Forecast(at_s=at_s, ahead=ahead, obeying=obeying))

    def unforetold(self, stretches: Sequence[Stretch], units: Sequence[Unit]) -> list[str]:
        """Each stretch that could not be kept and of which that was not said before, in words."""
        found = []
        for stretch in stretches:
            if not stretch.is_coverable:
                words = self._missing(stretch, units)
                if words:
                    found.append(words)
        return found

    def _missing(self, stretch: Stretch, units: Sequence[Unit]) -> str:
        """Why a stretch counts as not foretold; empty: it was."""
        since = f"second {stretch.from_s:.0f} could not be kept by anybody"
        heard = [
            forecast
            for forecast in self.forecasts
            if forecast.at_s < stretch.from_s
            and stretch.names & set(forecast.ahead.transaction_ids)
        ]
        if not heard:
            was_open = " (it was open when the agent began)" if stretch.from_s == 0.0 else ""
            return f"{since}, and no pre-flight spoke of it before{was_open}"
        last = heard[-1]
        ceased_w = sum(
            u.nameplate_w for u in units if u.miner_id in stretch.stubborn & last.obeying
        )
        loose_w = sum(u.nameplate_w for u in units if u.relay is None)
        if not last.ahead.can_comply or ceased_w > last.ahead.losable_share * loose_w:
            return ""
        return (
            f"{since}: {ceased_w / loose_w:.1%} of the watts ceased to obey, and the pre-flight "
            f"had said that {last.ahead.losable_share:.1%} may"
        )
