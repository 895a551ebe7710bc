"""A shadow run: the governor decides at every tick, and nothing of it reaches a machine.

So nothing of it may be remembered as done either. Every tick finds the machines where they stand
and takes that for what they are told: whoever really runs the farm moves them, and moving them is
no disobedience. The meter shows what the farm really draws, and the books are those of a real run.
What is decided is therefore advice for this instant: what would be sent if kwota took over now.
"""

from agent.core.decisions import Decision
from agent.core.evolve import replace
from agent.core.fleet import Memory, read_back
from agent.core.site import SiteState
from agent.core.snapshot import Snapshot

WORDS = "shadow run, nothing is sent: "


def as_found(state: SiteState, snapshot: Snapshot) -> SiteState:
    """The state with every machine told to be where it is."""
    memories = {
        view.miner_id: Memory(desired=None if view.reading is None else read_back(view.reading))
        for view in snapshot.miners
    }
    return replace(state, memories=memories)


def unsent(decision: Decision) -> Decision:
    """The decision, saying in its reason that it is advice."""
    return replace(
        decision, because=replace(decision.because, words=WORDS + decision.because.words)
    )
