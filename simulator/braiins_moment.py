"""One machine with Braiins OS at one instant, and what it keeps besides its physics."""

import random
from dataclasses import dataclass, field, replace
from typing import Any

from simulator.braiins_table import BraiinsTable
from simulator.farm import Farm, Label
from simulator.machine import Machine
from simulator.model import OperatingPoint

Json = dict[str, Any]

# Date, build and commit of a firmware, as its full version has them.
BUILDS = {
    "25.05.1": "2025-06-25-0-45f356ea-25.05.1-plus",
    "25.07": "2025-08-06-0-3881c51d-25.07-plus",
    "26.04": "2026-04-28-0-9d2f6c10-26.04-plus",
}
# Default of the ramps, as the vendor's document has them in its example.
_DOWN_S, _UP_S = 2, 5


class RefusalError(Exception):
    """The machine says no with this HTTP status; the text goes into the body."""

    def __init__(self, status: int, words: str = "") -> None:
        super().__init__(words)
        self.status = status


@dataclass(slots=True, kw_only=True)
class Traits:
    """What one machine keeps besides its physics. Tokens are by their text, with their end."""

    secrets: random.Random
    down_s: int
    up_s: int
    is_stopped: bool = False
    is_suspended: bool = False
    is_located: bool = False
    tokens: dict[str, float] = field(default_factory=dict)
    faults: list[Json] = field(default_factory=list)


def traits_of(farm: Farm, index: int) -> Traits:
    """A machine's traits at the start of the farm."""
    table, machine = farm.file.braiins, farm.plant.machines[index]
    if table.pause_s is not None:
        machine.timings = replace(machine.timings, sleep_s=float(table.pause_s))
    if table.resume_s is not None:
        machine.timings = replace(machine.timings, wake_s=float(table.resume_s))
    return Traits(
        secrets=random.Random(f"tokens-{farm.file.site.seed}-{index}"),
        down_s=table.pause_s or _DOWN_S,
        up_s=table.resume_s or _UP_S,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """One machine at one instant, with everything an answer needs."""

    farm: Farm
    machine: Machine
    label: Label
    traits: Traits
    now_s: float

    @property
    def table(self) -> BraiinsTable:
        """How this farm's machines are set up."""
        return self.farm.file.braiins

    @property
    def build(self) -> str:
        """The full version of the firmware."""
        return BUILDS[self.table.firmware]

    @property
    def uptime_s(self) -> int:
        """Seconds since the machine started; goes on while it is paused."""
        return max(0, int(self.now_s - self.machine.started_s))

    @property
    def is_moving(self) -> bool:
        """Whether watts or hashes are on their way."""
        return self.now_s < self.machine.steady_from_s

    @property
    def limits_w(self) -> tuple[int, int, int]:
        """Least, default and most watts of a power target."""
        points = self.machine.model.profiles
        default = next(point.watts for point in points if point.step == 0)
        watts = [point.watts for point in points]
        return min(watts), default, max(watts)

    def board_name(self, board: int) -> str:
        """The number under which the API knows a board."""
        return str(board + self.table.first_board)

    def board_ghs(self, board: int) -> float:
        """True hashrate of a board in GH/s."""
        return self.machine.boards[board].hashrate_hs.value(self.now_s) / 1e9

    @property
    def ghs(self) -> float:
        """True hashrate of the machine in GH/s."""
        return self.machine.hashrate_hs.value(self.now_s) / 1e9

    def temperature_c(self, board: int) -> float:
        """Warm in proportion to the board's watts; no thermal mass."""
        return round(24.0 + self.machine.boards[board].watts.value(self.now_s) * 0.03, 1)


def place_of(machine: Machine, watts: int) -> int:
    """Where an operating point of so many watts stands; one between two others is added."""
    points = machine.model.profiles
    for place, point in enumerate(points):
        if point.watts == watts:
            return place
    place = sum(point.watts < watts for point in points)
    under, over = points[place - 1], points[place]
    share = (watts - under.watts) / (over.watts - under.watts)
    between = OperatingPoint(
        name=f"{watts} W",
        step=under.step,
        frequency_mhz=0,
        voltage_v=0.0,
        hashrate_ths=under.hashrate_ths + share * (over.hashrate_ths - under.hashrate_ths),
        watts=watts,
    )
    machine.model = replace(machine.model, profiles=(*points[:place], between, *points[place:]))
    machine.profile += machine.profile >= place
    return place
