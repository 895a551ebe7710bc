"""A small closed loop in virtual time: machines, a meter and an obedient or stubborn actuator.

It exists to test the governor's argument, so its physics are written here a second time and know
nothing of the governor's model but the machine list. It keeps its own true books as well: the
promise is judged by them and never by the agent's.
"""

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import pytest

from agent.core.cards import CARDS
from agent.core.decisions import Command, Decision, Setpoint, Stage
from agent.core.governor import Outcome, step
from agent.core.ledger import Admission, Ledger, Transaction, admit
from agent.core.samples import Fusion, MeterTraits
from agent.core.site import Parameters, SiteState
from agent.core.snapshot import MeterView, MinerView, PendingCommand, RelayView, Snapshot
from drivers.readings import (
    Activity,
    BoardReading,
    MeterReading,
    MinerIdentity,
    MinerReading,
    PowerProvenance,
    Profile,
)

START_MS = 1_800_000_000_000


def ladder(watts: float, hashrate_hs: float) -> tuple[Profile, ...]:
    return tuple(
        Profile(
            name="default" if step == 0 else f"step{step}",
            step=step,
            power_w=watts * (1 + 0.045 * step),
            hashrate_hs=hashrate_hs * (1 + 0.035 * step),
            is_tuned=True,
        )
        for step in range(-8, 3)
    )


@dataclass
class ToyMachine:
    miner_id: str
    profiles: tuple[Profile, ...]
    tolerance: float
    boards_on: frozenset[int] = frozenset({0, 1, 2})
    profile: str = "default"
    is_awake: bool = True
    ignores: bool = False
    is_unread: bool = False
    power_w: float = 0.0
    pending: PendingCommand | None = None
    queue: list[tuple[float, Command]] = field(default_factory=list)
    restarts: int = 0

    def target_w(self) -> float:
        if not self.is_awake:
            return 25.0
        full = next(p.power_w for p in self.profiles if p.name == self.profile)
        return 80.0 + (full * (1 + self.tolerance) - 80.0) * len(self.boards_on) / 3

    def advance(self, now_s: float, dt_s: float) -> None:
        for due_s, command in [q for q in self.queue if q[0] <= now_s]:
            self.queue.remove((due_s, command))
            self.obey(command, now_s)
        target = self.target_w()
        rate = 3000.0 / (2.0 if target < self.power_w else 12.0)
        self.power_w += max(-rate * dt_s, min(rate * dt_s, target - self.power_w))
        if self.queue:
            return
        if self.pending and self.pending.stage is Stage.SENT and abs(self.power_w - target) < 60:
            stage = Stage.INEFFECTIVE if self.ignores else None
            if stage is None:
                self.pending = None
            elif now_s - self.pending.sent_at_s > 6:
                self.pending = PendingCommand(
                    setpoint=self.pending.setpoint,
                    sent_at_s=self.pending.sent_at_s,
                    stage=stage,
                    detail="ignored",
                )

    def obey(self, command: Command, now_s: float) -> None:
        del now_s
        if self.ignores:
            return
        if command.setpoint.is_awake and (not self.is_awake or not self.boards_on):
            self.restarts += 1
        self.is_awake = command.setpoint.is_awake
        self.boards_on = command.setpoint.boards_on
        self.profile = command.setpoint.profile or self.profile


@dataclass
class ToySite:
    """Steps of 0.1 s; the governor ticks once a second.

    ``true_wh`` and ``over_wh`` are the plant's own books: energy by purchase, and what flowed in
    an open window when all that was open had been used up. ``over_power_w`` is the most that was
    drawn while that was so, ``under_wh`` how far the agent's upper bound ever fell below the truth.
    """

    machines: list[ToyMachine]
    transactions: list[Transaction]
    base_w: float = 8_000.0
    base_max_w: float = 10_000.0
    refresh_s: float = 0.5
    step_wh: int = 10
    seed: int = 1
    on_tick: Callable[["ToySite", float], None] | None = None
    changes: dict[str, Any] = field(default_factory=dict)
    meter_silent: bool = False
    meter_frozen: bool = False
    register_offset_wh: int = 0
    is_clock_trusted: bool = True
    relays: tuple[RelayView, ...] = ()
    decisions: list[Decision] = field(default_factory=list)
    outcome: Outcome | None = None
    energy_wh: float = 1_234_500.0
    power_w: float = 0.0
    powers_w: list[float] = field(default_factory=list)
    true_wh: dict[str, float] = field(default_factory=dict)
    over_wh: float = 0.0
    over_power_w: float = 0.0
    state: SiteState | None = None
    under_wh: float = 0.0

    def run(self, seconds: float) -> None:
        rnd = random.Random(self.seed)
        latched = (self.energy_wh, 0.0)
        next_refresh, next_poll, next_tick, now_s = rnd.random() * self.refresh_s, 0.3, 1.0, 0.0
        reading: MeterReading | None = None
        missed = 0
        self.state = self.first_state()
        for machine in self.machines:
            machine.power_w = machine.target_w()
        while now_s < seconds:
            now_s = round(now_s + 0.1, 3)
            for machine in self.machines:
                machine.advance(now_s, 0.1)
            self.power_w = sum(m.power_w for m in self.machines) + self.base_w
            self.flow(START_MS + round(now_s * 1000) - 50, self.power_w * 0.1 / 3600)
            if now_s >= next_refresh:
                latched = (latched[0] if self.meter_frozen else self.energy_wh, self.power_w)
                next_refresh += self.refresh_s
            if now_s >= next_poll:
                next_poll += 0.5 * rnd.uniform(0.9, 1.1)
                missed = missed + 1 if self.meter_silent else 0
                if not self.meter_silent:
                    reading = self.read_meter(now_s, latched)
            if now_s >= next_tick:
                next_tick += 1.0
                self.powers_w.append(self.power_w)
                if self.on_tick:
                    self.on_tick(self, now_s)
                self.tick(now_s, reading, missed)

    def flow(self, at_ms: int, energy_wh: float) -> None:
        """The true books of one step: earliest deadline first, in plain fractions."""
        self.energy_wh += energy_wh
        far_ms = at_ms * 2
        is_open = False
        for bought in sorted(self.transactions, key=lambda t: (t.end_ms or far_ms, t.start_ms)):
            if bought.start_ms <= at_ms < (bought.end_ms or far_ms):
                is_open = True
                taken_wh = self.true_wh.get(bought.transaction_id, 0.0)
                share_wh = min(energy_wh, bought.energy_wh - taken_wh)
                self.true_wh[bought.transaction_id] = taken_wh + share_wh
                energy_wh -= share_wh
        if is_open and energy_wh > 1e-6:
            self.over_wh += energy_wh
            self.over_power_w = max(self.over_power_w, self.power_w)

    def unused_share(self) -> float:
        """What was bought and never drawn, of all that was bought."""
        bought_wh = sum(t.energy_wh for t in self.transactions)
        return 1 - sum(self.true_wh.values()) / bought_wh

    def floor_w(self) -> float:
        """What the site draws with every board off and every machine awake."""
        return 80.0 * len(self.machines) + self.base_w

    def buy(self, transaction: Transaction, now_s: float) -> Admission:
        """A purchase that arrives while the loop runs."""
        assert self.state is not None
        ledger, admission = admit(
            self.state.ledger,
            transaction,
            cap_wh=1_000_000,
            now_ms=START_MS + round(now_s * 1000),
        )
        self.state = replace(self.state, ledger=ledger)
        if admission.result == "accepted":
            self.transactions.append(transaction)
        return admission

    def first_state(self) -> SiteState:
        ledger = Ledger(meter_point="mp-1")
        for transaction in self.transactions:
            ledger, admission = admit(ledger, transaction, cap_wh=1_000_000, now_ms=START_MS)
            assert admission.result == "accepted", admission
        traits = MeterTraits(
            refresh_s=self.refresh_s,
            step_wh=self.step_wh,
            power_error_share=0.01,
            rated_power_w=self.parameters().rated_power_w,
        )
        return SiteState(fusion=Fusion(traits=traits), ledger=ledger)

    def parameters(self) -> Parameters:
        full = sum(m.profiles[8].power_w for m in self.machines)
        parameters = Parameters(
            meter_id="site",
            tick_s=1.0,
            rated_power_w=full * 1.3 + self.base_max_w,
            base_load_max_w=self.base_max_w,
            reserve_share=0.002,
            meter_error_share=0.0,
            power_error_share=0.01,
            power_margin_share=0.05,
            meter_stale_s=3.0,
            blind_floor_after_s=60.0,
            rise_interval_s=10.0,
            command_latency_s=1.5,
            missing_floor_w=0.0,
            cards=CARDS,
            limits=(),
        )
        return replace(parameters, **self.changes)

    def read_meter(self, now_s: float, latched: tuple[float, float]) -> MeterReading:
        return MeterReading(
            meter_id="site",
            requested_at_s=now_s - 0.01,
            replied_at_s=now_s + 0.01,
            taken_at_ms=START_MS + round(now_s * 1000),
            power_w=latched[1],
            energy_import_wh=math.floor(latched[0] / self.step_wh) * self.step_wh
            + self.register_offset_wh,
            voltage_v=None,
            frequency_hz=None,
        )

    def tick(self, now_s: float, reading: MeterReading | None, missed: int) -> None:
        assert self.state is not None
        snapshot = Snapshot(
            now_s=now_s,
            now_ms=START_MS + round(now_s * 1000),
            is_clock_trusted=self.is_clock_trusted,
            meters=(MeterView(meter_id="site", reading=reading, missed_polls=missed, fault=None),),
            miners=tuple(view(m, now_s) for m in self.machines),
            relays=self.relays,
        )
        outcome = step(self.state, snapshot, self.parameters())
        self.state, self.outcome = outcome.state, outcome
        self.decisions.append(outcome.decision)
        by_id = {m.miner_id: m for m in self.machines}
        for command in outcome.decision.commands:
            machine = by_id[command.miner_id]
            machine.queue.append((now_s + 0.6, command))
            machine.pending = PendingCommand(
                setpoint=command.setpoint, sent_at_s=now_s, stage=Stage.SENT, detail=""
            )
        if outcome.picture.interval is not None:
            below_wh = self.energy_wh - outcome.picture.interval.upper_wh
            self.under_wh = max(self.under_wh, below_wh)


def view(machine: ToyMachine, now_s: float) -> MinerView:
    boards = tuple(
        BoardReading(
            board=b,
            is_enabled=b in machine.boards_on,
            is_ramping=b in machine.boards_on and machine.power_w < machine.target_w() - 60,
            hashrate_hs=1e13,
            temperature_c=60.0,
            serial=None,
        )
        for b in range(3)
    )
    reading = MinerReading(
        miner_id=machine.miner_id,
        requested_at_s=now_s - 0.5,
        replied_at_s=now_s - 0.4,
        taken_at_ms=0,
        activity=Activity.HASHING if machine.is_awake else Activity.SLEEPING,
        hashrate_hs=3e13,
        power_w=machine.power_w,
        power_provenance=PowerProvenance.FIRMWARE_ESTIMATE,
        profile=machine.profile,
        boards=boards,
    )
    identity = MinerIdentity(
        family="luxos",
        model="Antminer S19k Pro",
        mac="02:00:00:00:00:01",
        serial="s",
        firmware="f",
        board_count=3,
        nameplate_hashrate_hs=1e14,
        signs=("version", "config"),
    )
    return MinerView(
        miner_id=machine.miner_id,
        family="luxos",
        identity=identity,
        profiles=machine.profiles,
        reading=None if machine.is_unread else reading,
        pending=machine.pending,
        fault=None,
        can_switch_boards=True,
        can_sleep=True,
        can_select_profile=True,
    )


def fleet(count: int, seed: int = 1) -> list[ToyMachine]:
    rnd = random.Random(seed)
    kinds = (ladder(2794, 121.8e12), ladder(2794, 121.8e12), ladder(3500, 200e12))
    return [
        ToyMachine(miner_id=f"m{n:03d}", profiles=kinds[n % 3], tolerance=rnd.uniform(-0.02, 0.02))
        for n in range(count)
    ]


def purchase(number: int, start_s: float, end_s: float | None, energy_wh: float) -> Transaction:
    return Transaction(
        transaction_id=f"t{number}",
        meter_point="mp-1",
        start_ms=START_MS + round(start_s * 1000),
        end_ms=None if end_s is None else START_MS + round(end_s * 1000),
        energy_wh=int(energy_wh),
        price_kzt_per_kwh="20.5",
        source="single_purchaser",
        received_at_ms=START_MS,
    )


def meter_reading(at_s: float, register_wh: int, power_w: float) -> MeterReading:
    return MeterReading(
        meter_id="site",
        requested_at_s=at_s - 0.01,
        replied_at_s=at_s + 0.01,
        taken_at_ms=START_MS + round(at_s * 1000),
        power_w=power_w,
        energy_import_wh=register_wh,
        voltage_v=None,
        frequency_hz=None,
    )


def sent(seen: MinerView, at_s: float) -> PendingCommand:
    """A command under way that asks a machine for what it already does."""
    assert seen.reading is not None
    boards_on = frozenset(b.board for b in seen.reading.boards if b.is_enabled)
    setpoint = Setpoint(is_awake=True, profile=seen.reading.profile, boards_on=boards_on)
    return PendingCommand(setpoint=setpoint, sent_at_s=at_s, stage=Stage.SENT, detail="")


@pytest.fixture(scope="session")
def toy() -> SimpleNamespace:
    """The rig's parts by name: tests cannot import a conftest."""
    return SimpleNamespace(
        START_MS=START_MS,
        Machine=ToyMachine,
        Site=ToySite,
        fleet=fleet,
        ladder=ladder,
        meter_reading=meter_reading,
        purchase=purchase,
        sent=sent,
        view=view,
    )
