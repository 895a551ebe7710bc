"""What the daemon asks of its process; in another process, as it lasts for this one's life."""

import json
import subprocess
import sys

SCRIPT = """
import gc, json, resource, sys, weakref
resource.setrlimit(resource.RLIMIT_NOFILE, (64, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
if sys.argv[1] == "prepared":
    from agent.process import prepare
    prepare()

class Cycle:
    def __init__(self):
        self.itself = self

fleet = [[number] for number in range(300_000)]
rounds = [0, 0, 0]
gc.callbacks.append(
    lambda phase, about: rounds.__setitem__(
        about["generation"], rounds[about["generation"]] + (phase == "start")
    )
)
most, alive = 0, set()
for number in range(200_000):
    cycle = Cycle()
    alive.add(number)
    weakref.finalize(cycle, alive.discard, number).atexit = False
    fleet[number] = [number]  # a newer reading: what was there before needs no collector
    del cycle
    most = max(most, len(alive))
print(json.dumps({
    "rounds": rounds, "most": most, "files": resource.getrlimit(resource.RLIMIT_NOFILE)
}))
"""


def found(how: str) -> dict[str, list[int] | int]:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, how], capture_output=True, text=True, timeout=50, check=True
    )
    return dict(json.loads(done.stdout))


def test_a_large_fleet_is_seldom_looked_through_and_cycles_are_still_freed() -> None:
    prepared, plain = found("prepared"), found("plain")
    assert sum(prepared["rounds"]) * 10 < sum(plain["rounds"])
    assert 0 < prepared["most"] < 50_000
    assert prepared["files"] == [prepared["files"][1]] * 2
    assert plain["files"][0] == 64
