"""A farm: plant, meters and faults put together from a farm file, and stepped by a clock."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address

from simulator.base_load import BaseLoad, LoadStep
from simulator.clock import SiteClock
from simulator.families import families
from simulator.farm_file import FarmFile, GroupTable, MeterTable, TimingTable
from simulator.faults import FaultKind, Faults
from simulator.history import EnergyHistory
from simulator.machine import Bias, Machine, Timings
from simulator.meter import Meter
from simulator.plant import Plant
from simulator.relay_board import RelayBoard


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """Where a machine stands in the network, what it speaks and what is printed on it."""

    index: int
    family: str
    address: str
    mac: str
    serial: str
    board_serials: tuple[str, ...]
    hostname: str


@dataclass(slots=True, kw_only=True)
class Farm:
    """Everything that is true of a site, besides its protocols."""

    file: FarmFile
    clock: SiteClock
    plant: Plant
    meters: Sequence[Meter]
    faults: Faults
    labels: Sequence[Label]
    atm: set[int]
    blinking: set[int] = field(default_factory=set)  # whose light was told to blink
    relays: Sequence[RelayBoard] = ()
    _jumps_kwh: dict[int, float] = field(init=False, default_factory=dict)
    _clocks_off_ms: dict[int, int] = field(init=False, default_factory=dict)
    _clocks_stand_ms: dict[int, int] = field(init=False, default_factory=dict)

    def step(self, now_s: float) -> None:
        """Advance plant and meters; every meter samples exactly at its refresh instants."""
        for board in self.relays:
            board.step(now_s)
        while True:
            due = min(self.meters, key=lambda meter: meter.next_refresh_s)
            if due.next_refresh_s > now_s:
                break
            self.plant.advance(due.next_refresh_s)
            energy_wh, power_w = self.plant.part(due.feeds)
            due.publish(energy_wh=energy_wh, power_w=power_w)
        self.plant.advance(now_s)
        self._wake_restless(now_s)

    def act(self, index: int, action: Callable[[Machine, float], bool]) -> bool:
        """Let one machine do something now, unless it is one that ignores its commands."""
        if self.faults.has_miner(FaultKind.MINER_IGNORES, index):
            return False
        return self.plant.act(index, self.clock.now_s(), action)

    def energy_wh_at(self, at_ms: int) -> float:
        """True site energy at a UTC instant. Raises LookupError outside of the kept history."""
        self.step(self.clock.now_s())
        return self.plant.history.energy_wh(self.clock.s_at(at_ms))

    def switch_fault(
        self, kind: FaultKind, targets: Sequence[int], *, is_active: bool, value: float | None
    ) -> None:
        """Switch a fault and do at once what it does to meters and plant."""
        self.step(self.clock.now_s())
        if kind is FaultKind.BASE_LOAD:
            constant_w = self.file.base_load.constant_w
            wanted_w = value if is_active and value is not None else constant_w
            self.plant.base_load.set_constant(wanted_w)
            return
        if kind is FaultKind.METER_SLOW and value is not None:
            self.faults.slow_s = value
        if kind is FaultKind.METER_JITTER and value is not None:
            self.faults.jitter_s = value
        if kind is FaultKind.METER_CLOCK_STOPPED and is_active:
            self._clocks_stand_ms |= {at: self.meter_clock_ms(at) or 0 for at in targets}
        self.faults.switch(kind, targets, is_active=is_active)
        if kind is FaultKind.METER_CLOCK_OFF:
            self._clocks_off_ms |= dict.fromkeys(targets, round((value or 0.0) * 1000.0))
        if kind is FaultKind.METER_JUMP:
            for position in targets:
                self._jumps_kwh[position] = (value or 0.0) / 1000.0 if is_active else 0.0
        self._apply_to_meters()

    def meter_clock_ms(self, position: int) -> int | None:
        """What a meter's own clock shows now, as UTC; None where it shows no time."""
        if self.faults.has_meter(FaultKind.METER_CLOCK_UNSET, position):
            return None
        if self.faults.has_meter(FaultKind.METER_CLOCK_STOPPED, position):
            return self._clocks_stand_ms[position]
        is_off = self.faults.has_meter(FaultKind.METER_CLOCK_OFF, position)
        off_ms = self._clocks_off_ms.get(position, 0) if is_off else 0
        return self.clock.ms_at(self.clock.now_s()) + off_ms

    def clear_faults(self) -> None:
        """Everything works again. A register that jumped jumps back."""
        self.step(self.clock.now_s())
        self.faults.clear()
        self._jumps_kwh.clear()
        self.plant.base_load.set_constant(self.file.base_load.constant_w)
        self._apply_to_meters()

    def _apply_to_meters(self) -> None:
        for position, meter in enumerate(self.meters):
            is_all = self.faults.has_meter(FaultKind.METER_FROZEN_ALL, position)
            is_energy = self.faults.has_meter(FaultKind.METER_FROZEN, position)
            meter.is_energy_frozen = is_energy or is_all
            meter.is_power_frozen = is_all
            meter.offset_kwh = self._jumps_kwh.get(position, 0.0)
            meter.feed(is_fed=not self.faults.has_meter(FaultKind.METER_POWER_CUT, position))
        for position, board in enumerate(self.relays):
            board.is_silent = self.faults.has_relay(FaultKind.RELAY_SILENT, position)
            board.is_welded = self.faults.has_relay(FaultKind.RELAY_WELDED, position)

    def feed(self, indices: Sequence[int], is_fed: bool) -> None:
        """A contactor moves: the machines behind it lose their feed, or boot."""
        for index in indices:
            self.plant.act(
                index,
                self.clock.now_s(),
                lambda machine, at_s: (
                    machine.restore_power(now_s=at_s) if is_fed else machine.cut_power(now_s=at_s)
                ),
            )

    def _wake_restless(self, now_s: float) -> None:
        for index in self.faults.miners(FaultKind.MINER_WAKES):
            since_s = self.plant.machines[index].asleep_since_s
            is_fed = self.plant.machines[index].is_powered
            if is_fed and since_s is not None and now_s - since_s >= self.file.timings.self_wake_s:
                self.plant.act(index, now_s, lambda machine, at_s: machine.resume(now_s=at_s))


def build_farm(file: FarmFile, clock: SiteClock) -> Farm:
    """Make a farm whose every bias follows from the seed of its file."""
    seed, now_s = file.site.seed, clock.anchor_s
    machines = _machines(file, now_s)
    table = file.base_load
    load = BaseLoad(
        constant_w=table.constant_w,
        wander_w=table.wander_w,
        knot_s=table.knot_s,
        steps=tuple(LoadStep(after_s=one.after_s, delta_w=one.delta_w) for one in table.steps),
        seed=seed,
        now_s=now_s,
    )
    points = int(file.site.history_h * 3600.0 / file.site.step_s)
    farm = Farm(
        file=file,
        clock=clock,
        plant=Plant(
            machines=machines,
            base_load=load,
            now_s=now_s,
            history=EnergyHistory(max_points=max(points, 100)),
        ),
        meters=[_meter(one, now_s) for one in file.meters],
        faults=Faults(
            seed=seed,
            machines=len(machines),
            meters=len(file.meters),
            relays=len(file.relays),
        ),
        labels=[
            _label(file, machine, family)
            for machine, family in zip(machines, _families(file), strict=True)
        ],
        atm=_atm(file),
    )
    farm.relays = [
        RelayBoard(table=table, now_s=clock.now_s, move=farm.feed) for table in file.relays
    ]
    return farm


def _meter(table: MeterTable, now_s: float) -> Meter:
    return Meter(
        meter_id=table.id,
        serial=table.serial,
        refresh_s=table.refresh_s,
        step_kwh=table.step_kwh,
        start_kwh=table.start_kwh,
        gain_error=table.gain_error,
        next_refresh_s=now_s,
        feeds=table.feeds,
        save_s=table.save_s,
    )


def _machines(file: FarmFile, now_s: float) -> list[Machine]:
    rng = random.Random(f"machines-{file.site.seed}")
    machines: list[Machine] = []
    for group in file.machines:
        model = group.machine_model
        timings = _group_timings(file, group)
        for _ in range(group.count):
            bias = Bias(
                tolerance=rng.uniform(-file.spread.tolerance, file.spread.tolerance),
                reporting=rng.uniform(-file.spread.reporting, file.spread.reporting),
            )
            machine = Machine(
                index=len(machines),
                model=model,
                timings=timings,
                bias=bias,
                now_s=now_s,
                profile=group.profile_place,
            )
            machine.started_s = now_s - rng.uniform(3_600.0, 864_000.0)
            if group.is_asleep:
                machine.sleep(now_s=now_s - 2.0 * timings.sleep_s)
                machine.counters.sleeps = 0
            machines.append(machine)
    return machines


def _group_timings(file: FarmFile, group: GroupTable) -> Timings:
    """LuxOS follows the farm file, every other family its row of ``families.toml``."""
    if group.family == "luxos":
        return _timings(file.timings)
    timings = families()[group.family].timings
    starts_fast = {
        "whatsminer-v2": file.whatsminer_v2.is_fast_boot,
        "whatsminer-v3": file.whatsminer.is_fast_boot,
    }
    if starts_fast.get(group.family, True):
        return timings
    slow = families()["whatsminer-v2-limit"].timings
    return replace(
        timings,
        profile_up_s=slow.profile_up_s,
        profile_down_s=slow.profile_down_s,
        restart_gap_s=slow.restart_gap_s,
    )


def _timings(table: TimingTable) -> Timings:
    return Timings(**table.model_dump(exclude={"session_idle_s", "self_wake_s"}))


def _atm(file: FarmFile) -> set[int]:
    flags = [group.is_atm_enabled for group in file.machines for _ in range(group.count)]
    return {index for index, is_enabled in enumerate(flags) if is_enabled}


def _families(file: FarmFile) -> list[str]:
    return [group.family for group in file.machines for _ in range(group.count)]


def _label(file: FarmFile, machine: Machine, family: str) -> Label:
    index, seed = machine.index, file.site.seed
    rng = random.Random(f"label-{seed}-{index}")
    address = IPv4Address(int(file.addresses.base) + (index // 250) * 256 + index % 250 + 1)
    # 02: locally administered; the index makes it unique, the seed tells farms apart.
    octets = [0x02, 0x6B, 0x77, seed & 0xFF, index >> 8 & 0xFF, index & 0xFF]
    letters = "ABCDEFGHJKLMNPRSTUVWXYZ0123456789"
    tail = "".join(rng.choices(letters, k=5))
    return Label(
        index=index,
        family=family,
        address=str(address),
        mac=":".join(f"{octet:02x}" for octet in octets),
        serial=f"KWSIM{index:06d}{tail}",
        board_serials=tuple(
            f"KWHB{index:06d}{board}{tail}" for board in range(machine.model.boards)
        ),
        hostname=f"sim-{index:05d}",
    )
