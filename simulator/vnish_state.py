"""What a VNish machine keeps besides its physics, and one machine at one instant.

Presets are points of the preset scale with the watts that the model draws there; throttling is a
share of the preset in force. The plant has its own ladder: the point nearest to both together.
"""

from dataclasses import dataclass, field
from typing import Any

from simulator.farm import Farm, Label
from simulator.machine import Machine
from simulator.model import OperatingPoint
from simulator.vnish_table import VnishTable

Json = dict[str, Any]
FULL = 100
DISABLED = "disabled"
# Percents of the nameplate that are on offer as presets, and which of them the owner has tuned.
TUNED = {60: False, 80: True, 90: False, 100: True}
CHIPS = {"Antminer S19j Pro": 126, "Antminer S21": 108}


@dataclass(slots=True, kw_only=True)
class Traits:
    """What one machine keeps. ``disabled`` are the boards that its settings switch off."""

    preset: str
    percent: int = FULL
    disabled: set[int] = field(default_factory=set)
    is_restart_due: bool = False
    tuned: set[str] = field(default_factory=set)
    tuning_until_s: float = 0.0
    mining_from_s: float = 0.0
    stopped_at_s: float = 0.0
    misc: Json = field(default_factory=lambda: {"quick_start": False, "quiet_mode": False})
    failure: Json = field(default_factory=dict)
    board_states: dict[int, str] = field(default_factory=dict)
    lost_fans: set[int] = field(default_factory=set)


def percent_of(point: OperatingPoint) -> int:
    """The percent in the name of a point of the plant's ladder."""
    return int(point.name.rstrip("%"))


def presets_of(machine: Machine) -> dict[str, OperatingPoint]:
    """The presets of a model by their names, which are their watts."""
    points = machine.model.profiles
    return {str(point.watts): point for point in points if percent_of(point) in TUNED}


def fresh_traits(machine: Machine) -> Traits:
    """As an owner left it: the preset of the nameplate, throttled where the farm file says so."""
    names = {percent_of(point): name for name, point in presets_of(machine).items()}
    return Traits(
        preset=names[FULL],
        percent=percent_of(machine.point),
        tuned={names[percent] for percent, is_tuned in TUNED.items() if is_tuned},
    )


def place_of(machine: Machine, traits: Traits) -> int:
    """Where the plant stands with this preset and this throttle."""
    preset = presets_of(machine).get(traits.preset)
    base = FULL if preset is None else percent_of(preset)
    wanted = base * traits.percent / FULL
    points = machine.model.profiles
    return min(range(len(points)), key=lambda place: abs(percent_of(points[place]) - wanted))


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """One machine at one instant, with everything an answer needs."""

    farm: Farm
    machine: Machine
    label: Label
    traits: Traits
    now_s: float

    @property
    def table(self) -> VnishTable:
        """How this farm's VNish machines are set up."""
        return self.farm.file.vnish

    @property
    def has_throttle(self) -> bool:
        """Whether the firmware has the dimmer."""
        return not self.table.version.startswith("1.2.")

    @property
    def mac(self) -> str:
        """In capitals, as the firmware writes it."""
        return self.label.mac.upper()

    @property
    def serial(self) -> str:
        """Many machines have none."""
        return self.label.serial if self.table.has_serial else "N/A"

    @property
    def state(self) -> str:
        """One of the firmware's words for what the machine is doing."""
        if self.traits.failure:
            return "failure"
        if not self.machine.is_awake:
            is_falling = self.now_s < self.machine.watts.end_s
            return "shutting-down" if is_falling else "stopped"
        if self.machine.hashrate_hs.value(self.now_s) <= 0.0:
            return "initializing"
        if self.now_s < self.traits.mining_from_s:
            return "starting"
        return "auto-tuning" if self.now_s < self.traits.tuning_until_s else "mining"

    @property
    def state_s(self) -> int:
        """Seconds in this state; only for mining and stopped, as the firmware has it."""
        since_s = {"mining": self.traits.mining_from_s, "stopped": self.traits.stopped_at_s}
        return max(0, int(self.now_s - since_s.get(self.state, self.now_s)))

    @property
    def throttled(self) -> int:
        """A machine that is stopped shows the whole."""
        return self.traits.percent if self.machine.is_awake else FULL

    def board_ghs(self, board: int) -> float:
        """True hashrate of a board in GH/s."""
        return self.machine.boards[board].hashrate_hs.value(self.now_s) / 1e9

    def board_w(self, board: int) -> int:
        """What the firmware says that a board draws."""
        watts = self.machine.boards[board].watts.value(self.now_s)
        return round(watts * (1.0 + self.machine.bias.reporting))

    def temperature_c(self, board: int) -> int:
        """Warm in proportion to the board's watts; no thermal mass."""
        return round(22.0 + self.machine.boards[board].watts.value(self.now_s) * 0.03)
