"""The one physical truth of a site: machines, base load, and the energy that really flowed.

Pure: time is an argument. Machines that hold still cost nothing: their power is one running sum,
only those on a ramp are integrated one by one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from simulator.base_load import BaseLoad
from simulator.history import EnergyHistory
from simulator.machine import Machine


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """Sums of the machines' counters."""

    board_switches: int
    mining_restarts: int
    commands: int
    sleeps: int
    device_reboots: int


@dataclass(slots=True, kw_only=True)
class Plant:
    """Advance it, command its machines through ``act``, ask what is true."""

    machines: Sequence[Machine]
    base_load: BaseLoad
    now_s: float
    history: EnergyHistory
    energy_ws: float = 0.0
    machine_energy_ws: float = 0.0
    hashes: float = 0.0
    _moving: dict[int, Machine] = field(init=False, default_factory=dict)
    _steady_w: float = field(init=False, default=0.0)
    _steady_hs: float = field(init=False, default=0.0)
    _early_ws: float = field(init=False, default=0.0)
    _early_hashes: float = field(init=False, default=0.0)

    def __post_init__(self) -> None:
        self._moving = {machine.index: machine for machine in self.machines}
        self._rest()
        self.history.append(self.now_s, 0.0)

    @property
    def energy_wh(self) -> float:
        """True energy of the whole site since the start."""
        return self.energy_ws / 3600.0

    @property
    def machines_w(self) -> float:
        """True power of all machines now."""
        moving_w = sum(machine.watts.value(self.now_s) for machine in self._moving.values())
        return self._steady_w + moving_w

    @property
    def power_w(self) -> float:
        """True power of the whole site now."""
        return self.machines_w + self.base_load.power_w()

    @property
    def hashrate_hs(self) -> float:
        """True hashrate of all machines now."""
        moving = sum(machine.hashrate_hs.value(self.now_s) for machine in self._moving.values())
        return self._steady_hs + moving

    @property
    def moving_count(self) -> int:
        """How many machines are on a ramp."""
        return len(self._moving)

    def advance(self, to_s: float) -> None:
        """Integrate up to an instant. Going back is not possible and changes nothing."""
        span_s = to_s - self.now_s
        if span_s <= 0.0:
            return
        machines_ws = self._steady_w * span_s + self._early_ws
        self.hashes += self._steady_hs * span_s + self._early_hashes
        self._early_ws = self._early_hashes = 0.0
        for machine in self._moving.values():
            energy_ws, hashes = machine.settle(max(to_s, machine.settled_s))
            machines_ws += energy_ws
            self.hashes += hashes
        self.machine_energy_ws += machines_ws
        self.energy_ws += machines_ws + self.base_load.advance(to_s)
        self.now_s = to_s
        self._rest()
        self.history.append(to_s, self.energy_wh)

    def act(self, index: int, now_s: float, action: Callable[[Machine, float], bool]) -> bool:
        """Let one machine do something at an instant not before ``now_s`` of the plant.

        What the machine drew between the last step and this instant is kept for the next step.
        """
        machine = self.machines[index]
        at_s = max(now_s, self.now_s)
        if index not in self._moving:
            machine.settle(self.now_s)
            self._steady_w -= machine.watts.final
            self._steady_hs -= machine.hashrate_hs.final
            self._moving[index] = machine
        energy_ws, hashes = machine.settle(max(at_s, machine.settled_s))
        self._early_ws += energy_ws
        self._early_hashes += hashes
        return action(machine, max(at_s, machine.settled_s))

    def part(self, indices: Sequence[int]) -> tuple[float, float]:
        """True energy (Wh) and power (W) of some machines, or of the whole site where none is."""
        if not indices:
            return self.energy_wh, self.power_w
        some = [self.machines[index] for index in indices]
        for machine in some:
            if machine.settled_s < self.now_s:
                machine.settle(self.now_s)
        energy_ws = sum(machine.energy_ws for machine in some)
        return energy_ws / 3600.0, sum(machine.watts.value(self.now_s) for machine in some)

    def settle_machines(self) -> None:
        """Bring every machine's own energy up to the plant's instant."""
        for machine in self.machines:
            if machine.settled_s < self.now_s:
                machine.settle(self.now_s)

    def totals(self) -> Totals:
        """Sums over all machines."""
        counters = [machine.counters for machine in self.machines]
        return Totals(
            board_switches=sum(one.board_switches for one in counters),
            mining_restarts=sum(one.mining_restarts for one in counters),
            commands=sum(one.commands for one in counters),
            sleeps=sum(one.sleeps for one in counters),
            device_reboots=sum(one.device_reboots for one in counters),
        )

    def _rest(self) -> None:
        rested = [one for one in self._moving.values() if one.steady_from_s <= self.now_s]
        for machine in rested:
            del self._moving[machine.index]
            self._steady_w += machine.watts.final
            self._steady_hs += machine.hashrate_hs.final
