"""The simulated site: machines with their control's manners, meter, base load, relays, true books.

Everything here is physics and devices; what the agent sees of it is made in ``polls``.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from agent.core.snapshot import RelayView
from simulator.base_load import BaseLoad
from simulator.families import Family, families, nameplate
from simulator.history import EnergyHistory
from simulator.machine import Bias, Machine
from simulator.meter import Meter
from simulator.plant import Plant
from simulator.scenario import GroupTable, Scenario
from simulator.virtual.agenda import Agenda
from simulator.virtual.truth import Bought, Flow, Truth

START_KWH = 48_213.25
WANDER_KNOT_S = 10.0


@dataclass(slots=True, kw_only=True)
class Unit:
    """One machine, and how its control behaves today."""

    index: int
    miner_id: str
    family: Family
    machine: Machine
    relay: str | None
    nameplate_w: float
    ignores: bool = False
    refuses: bool = False
    is_unreachable: bool = False
    late_s: float = 0.0
    resumes_after_s: float | None = None
    misreport: float = 0.0

    def is_away(self, now_s: float) -> bool:
        """Whether nobody answers at its address."""
        it = self.machine
        return self.is_unreachable or not it.is_powered or now_s < it.rebooting_until_s

    @property
    def is_stubborn(self) -> bool:
        """Whether no command gets through to its power."""
        return self.is_unreachable or self.ignores or self.refuses


@dataclass(slots=True, kw_only=True)
class MeterTrouble:
    """What is wrong with the meter's answers now; what is wrong inside is on the meter."""

    is_silent: bool = False
    is_nan: bool = False
    slow_s: float = 0.0


@dataclass(slots=True, kw_only=True)
class Site:
    """Devices and truth. ``act`` is the only way to move a machine."""

    scenario: Scenario
    agenda: Agenda
    rng: random.Random
    units: list[Unit]
    plant: Plant
    meter: Meter
    trouble: MeterTrouble = field(default_factory=MeterTrouble)
    truth: Truth = field(default_factory=Truth)
    relay_trips: int = 0
    open_relays: set[str] = field(default_factory=set)
    stubborn: list[Unit] = field(default_factory=list)
    stubborn_ids: frozenset[str] = frozenset()
    idle_w: float = 0.0
    _relays: tuple[RelayView, ...] | None = None
    _booked_wh: float = 0.0
    _booked_machines_ws: float = 0.0
    _booked_hashes: float = 0.0

    def start(self) -> None:
        """Begin to refresh the meter, at any phase."""
        self.idle_w = sum(unit.machine.timings.fixed_w for unit in self.units)
        self.meter.next_refresh_s = self.rng.random() * self.meter.refresh_s
        self.agenda.at(self.meter.next_refresh_s, self._refresh)

    def buy(self, bought: Bought) -> None:
        """A purchase reached the site: it counts from now on, cut at its two edges."""
        self.settle()
        self.truth.buy(bought)
        for edge_s in (bought.from_s, bought.until_s):
            if edge_s < float("inf"):
                self.agenda.at(edge_s, self._edge)

    def act(self, unit: Unit, action: Callable[[Machine, float], bool]) -> bool:
        """Let a machine do something now. One without power does nothing."""
        now_s = self.agenda.now_s
        self.plant.advance(now_s)
        return self.plant.act(unit.index, now_s, action)

    def trip(self, relay: str) -> None:
        """Open a relay: its machines lose their feed at once."""
        if relay in self.open_relays:
            return
        self.open_relays.add(relay)
        self._relays = None
        self.relay_trips += 1
        for unit in self.units:
            if unit.relay == relay:
                self.act(unit, lambda machine, now_s: machine.cut_power(now_s=now_s))

    def close_relay(self, relay: str) -> None:
        """Close a relay: its machines boot."""
        self.open_relays.discard(relay)
        self._relays = None
        for unit in self.units:
            if unit.relay == relay:
                self.act(unit, lambda machine, now_s: machine.restore_power(now_s=now_s))

    def relay_views(self) -> tuple[RelayView, ...]:
        """The relays as the agent reads their coils."""
        if self._relays is None:
            groups: dict[str, set[str]] = {}
            for unit in self.units:
                if unit.relay is not None:
                    groups.setdefault(unit.relay, set()).add(unit.miner_id)
            self._relays = tuple(
                RelayView(
                    relay_id=name, miner_ids=frozenset(members), is_open=name in self.open_relays
                )
                for name, members in groups.items()
            )
        return self._relays

    def note_manners(self) -> None:
        """Somebody changed how machines behave: see which of them nobody can stop any more."""
        before = len(self.stubborn)
        self.stubborn = [unit for unit in self.units if unit.is_stubborn and unit.relay is None]
        self.stubborn_ids = frozenset(unit.miner_id for unit in self.stubborn)
        if len(self.stubborn) > before:
            self.truth.lose_control()

    def true_register_wh(self) -> float:
        """Where the register would be without truncation and faults, at the plant's instant."""
        gain = 1.0 + self.meter.gain_error
        return START_KWH * 1000.0 + self.plant.energy_wh * gain

    def settle(self) -> None:
        """Bring plant and true books up to now."""
        plant, now_s = self.plant, self.agenda.now_s
        span_s = now_s - self.truth.now_s
        plant.advance(now_s)
        stubborn_wh = None
        if self.stubborn:
            beyond_w = sum(unit.machine.watts.value(now_s) for unit in self.stubborn)
            stubborn_wh = (beyond_w + plant.base_load.power_w()) * span_s / 3600.0
        energy_wh = plant.energy_wh - self._booked_wh
        machines_wh = (plant.machine_energy_ws - self._booked_machines_ws) / 3600.0
        self.truth.flow(
            Flow(
                until_s=now_s,
                energy_wh=energy_wh,
                machines_wh=machines_wh,
                floor_wh=energy_wh - machines_wh + self.idle_w * span_s / 3600.0,
                hashes=plant.hashes - self._booked_hashes,
                stubborn_wh=stubborn_wh,
                stubborn=self.stubborn_ids,
            )
        )
        self._booked_wh = plant.energy_wh
        self._booked_machines_ws = plant.machine_energy_ws
        self._booked_hashes = plant.hashes

    def _edge(self) -> None:
        self.settle()
        self.truth.cut()

    def _refresh(self) -> None:
        self.plant.advance(self.agenda.now_s)
        self.meter.publish(energy_wh=self.plant.energy_wh, power_w=self.plant.power_w)
        self.agenda.at(self.meter.next_refresh_s, self._refresh)


def build_site(scenario: Scenario, agenda: Agenda) -> Site:
    """The site of a scenario at its start."""
    rng = random.Random(f"site-{scenario.seed}")
    units: list[Unit] = []
    for group in scenario.machines:
        units += [_unit(scenario, group, len(units) + n, rng) for n in range(group.count)]
    base_load = BaseLoad(
        constant_w=scenario.site.base_load_kw * 1000.0,
        wander_w=scenario.site.base_load_wander_kw * 1000.0,
        knot_s=WANDER_KNOT_S,
        steps=(),
        seed=scenario.seed,
        now_s=0.0,
    )
    plant = Plant(
        machines=[unit.machine for unit in units],
        base_load=base_load,
        now_s=0.0,
        history=EnergyHistory(max_points=16),
    )
    meter = Meter(
        meter_id="site",
        serial=1,
        refresh_s=scenario.meter.refresh_s,
        step_kwh=scenario.meter.step_wh / 1000.0,
        start_kwh=START_KWH,
        gain_error=scenario.meter.gain_error,
        next_refresh_s=0.0,
        power_w=plant.power_w,
    )
    return Site(scenario=scenario, agenda=agenda, rng=rng, units=units, plant=plant, meter=meter)


def _unit(scenario: Scenario, group: GroupTable, index: int, rng: random.Random) -> Unit:
    family = families()[group.family]
    model = family.model(group.model)
    default = next(n for n, point in enumerate(model.profiles) if point.step == 0)
    site = scenario.site
    machine = Machine(
        index=index,
        model=model,
        timings=family.timings,
        bias=Bias(
            tolerance=rng.uniform(-site.tolerance, site.tolerance),
            reporting=rng.uniform(-site.reporting, site.reporting),
        ),
        now_s=-1000.0,
        profile=default,
    )
    if site.start == "asleep":
        machine.sleep(now_s=-900.0)
    machine.settle(0.0)
    machine.energy_ws = machine.hashes = 0.0
    return Unit(
        index=index,
        miner_id=f"m{index:04d}",
        family=family,
        machine=machine,
        relay=group.relay,
        nameplate_w=float(nameplate(group.model).watts),
    )
