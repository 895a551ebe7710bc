"""How long a plan and a whole tick take, for a hundred, a thousand and five thousand machines.

A benchmark and no test: it fails at nothing. Times are of this process alone. Beside them stands
what sorting five thousand rows takes in the same process, so that runs on different machines, or
on a busy one, can be compared by their ratio.

    python tests/bench/bench_dispatch.py [--json FILE]
"""

import argparse
import json
import random
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from agent.core import dispatch
from agent.core.cards import CARDS
from agent.core.decisions import Command, Setpoint, Stage
from agent.core.fleet import Machine
from agent.core.governor import step
from agent.core.ledger import Ledger, Transaction, admit
from agent.core.samples import Fusion, MeterTraits
from agent.core.site import Parameters, SiteState
from agent.core.snapshot import MeterView, MinerView, PendingCommand, Snapshot
from agent.core.steps import Room
from drivers.readings import (
    Activity,
    BoardReading,
    MeterReading,
    MinerIdentity,
    MinerReading,
    PowerProvenance,
    Profile,
)

COUNTS = (100, 1000, 5000)
MODELS = 2  # of each family; machines of one model list the same profiles and share the list
PLANS, TICKS, WARM_UP_TICKS = 9, 60, 15
READ_EVERY_TICKS = 5
BASE_W = 20_000.0
START_MS = 1_800_000_000_000
HOUR_MS = 3_600_000
WITH_BOARDS = ("luxos", "braiins", "vnish", "epic")
ROOM = Room(window_left_s=3600.0, bought_for_s=7200.0, window_ms=1, now_s=1e6)


def ladder(rng: random.Random) -> tuple[Profile, ...]:
    """Eleven profiles around a nameplate of its own."""
    watts, hashes = rng.uniform(2500.0, 5500.0), rng.uniform(1e14, 3e14)
    slope_w, slope_hs = rng.uniform(0.04, 0.06), rng.uniform(0.03, 0.05)
    return tuple(
        Profile(
            name=f"step{number}",
            step=number,
            power_w=watts * (1 + slope_w * number),
            hashrate_hs=hashes * (1 + slope_hs * number),
            is_tuned=True,
        )
        for number in range(-8, 3)
    )


@dataclass
class Toy:
    """A machine that is where it was told to be by the next time it is read."""

    miner_id: str
    family: str
    profiles: tuple[Profile, ...]
    at: Setpoint
    view: MinerView | None = None

    def power_w(self) -> float:
        card = CARDS[self.family]
        if not self.at.is_awake:
            return card.standby_w
        full_w = next(p.power_w for p in self.profiles if p.name == self.at.profile)
        return card.idle_w + (full_w - card.idle_w) * len(self.at.boards_on) / 3

    def read(self, now_s: float) -> None:
        """A new reading, with watts that are never quite the same."""
        boards = tuple(
            BoardReading(
                board=number,
                is_enabled=number in self.at.boards_on,
                is_ramping=False,
                hashrate_hs=now_s,
                temperature_c=None,
                serial=None,
            )
            for number in range(3)
        )
        reading = MinerReading(
            miner_id=self.miner_id,
            requested_at_s=now_s - 0.1,
            replied_at_s=now_s - 0.05,
            taken_at_ms=0,
            activity=Activity.HASHING if self.at.is_awake else Activity.SLEEPING,
            hashrate_hs=now_s,
            power_w=self.power_w() + now_s % 7,
            power_provenance=PowerProvenance.METERED_PSU,
            profile=self.at.profile,
            boards=boards,
        )
        identity = MinerIdentity(
            family=self.family,
            model="bench",
            mac="",
            serial=self.miner_id,
            firmware="1",
            board_count=3,
            nameplate_hashrate_hs=None,
            signs=("one", "two"),
        )
        self.view = MinerView(
            miner_id=self.miner_id,
            family=self.family,
            identity=identity if self.view is None else self.view.identity,
            profiles=self.profiles,
            reading=reading,
            pending=None,
            fault=None,
            can_switch_boards=self.family in WITH_BOARDS,
            can_sleep=True,
            can_select_profile=True,
        )

    def obey(self, command: Command, now_s: float) -> None:
        assert self.view is not None
        self.at = replace(command.setpoint, profile=command.setpoint.profile or self.at.profile)
        sent = PendingCommand(
            setpoint=command.setpoint, sent_at_s=now_s, stage=Stage.SENT, detail=""
        )
        self.view = replace(self.view, pending=sent)


def toys(count: int, models: int) -> list[Toy]:
    rng = random.Random(count)
    kinds = [(family, ladder(rng)) for family in sorted(CARDS) for _ in range(models)]
    at = Setpoint(is_awake=True, profile="step0", boards_on=frozenset(range(3)))
    return [
        Toy(miner_id=f"m{n:05d}", family=family, profiles=profiles, at=at)
        for n in range(count)
        for family, profiles in (rng.choice(kinds),)
    ]


@dataclass
class Loop:
    """The governor with as many machines, a fifth of them newly read at each tick."""

    toys: list[Toy]
    now_s: float = 1000.0
    energy_wh: float = 5_000_000.0
    milliseconds: list[float] = field(default_factory=list)
    commands: int = 0

    def __post_init__(self) -> None:
        self.by_name = {toy.miner_id: toy for toy in self.toys}
        rated_w = 1.5 * sum(toy.power_w() for toy in self.toys) + BASE_W
        self.parameters = Parameters(
            meter_id="site",
            tick_s=1.0,
            rated_power_w=rated_w,
            base_load_max_w=BASE_W * 1.2,
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
        ledger = Ledger(meter_point="mp")
        for number in range(8):  # eight minutes at 70 % and 90 % by turns: plans change
            share = 0.9 if number % 2 else 0.7
            bought = Transaction(
                transaction_id=f"t{number}",
                meter_point="mp",
                start_ms=START_MS + number * HOUR_MS // 240,
                end_ms=START_MS + (number + 1) * HOUR_MS // 240,
                energy_wh=int(rated_w / 1.5 * share / 240),
                price_kzt_per_kwh="20",
                source="bench",
                received_at_ms=START_MS,
            )
            ledger, _ = admit(ledger, bought, cap_wh=10**12, now_ms=START_MS)
        traits = MeterTraits(
            refresh_s=0.5, step_wh=10, power_error_share=0.01, rated_power_w=rated_w
        )
        self.state = SiteState(fusion=Fusion(traits=traits), ledger=ledger)

    def tick(self, number: int) -> None:
        self.now_s += 1.0
        power_w = sum(toy.power_w() for toy in self.toys) + BASE_W
        self.energy_wh += power_w / 3600.0
        for place, toy in enumerate(self.toys):
            if toy.view is None or place % READ_EVERY_TICKS == number % READ_EVERY_TICKS:
                toy.read(self.now_s)
        reading = MeterReading(
            meter_id="site",
            requested_at_s=self.now_s - 0.2,
            replied_at_s=self.now_s - 0.15,
            taken_at_ms=0,
            power_w=power_w,
            energy_import_wh=int(self.energy_wh),
            voltage_v=None,
            frequency_hz=None,
        )
        snapshot = Snapshot(
            now_s=self.now_s,
            now_ms=START_MS + number * 1000,
            is_clock_trusted=True,
            meters=(MeterView(meter_id="site", reading=reading, missed_polls=0, fault=None),),
            miners=tuple(toy.view for toy in self.toys if toy.view is not None),
        )
        started_s = time.process_time()
        outcome = step(self.state, snapshot, self.parameters)
        self.milliseconds.append((time.process_time() - started_s) * 1000.0)
        self.state = outcome.state
        self.commands += len(outcome.decision.commands)
        for command in outcome.decision.commands:
            self.by_name[command.miner_id].obey(command, self.now_s)


def timed(what: Callable[[], object]) -> dict[str, float]:
    milliseconds = []
    for _ in range(PLANS):
        started_s = time.process_time()
        what()
        milliseconds.append((time.process_time() - started_s) * 1000.0)
    return summary(milliseconds)


def summary(milliseconds: list[float]) -> dict[str, float]:
    ordered = sorted(milliseconds)
    p99 = ordered[min(round(0.99 * len(ordered)), len(ordered) - 1)]
    return {"p50_ms": round(statistics.median(ordered), 3), "p99_ms": round(p99, 3)}


def at(machines: Mapping[str, Machine], chosen: Mapping[str, Setpoint]) -> dict[str, Machine]:
    """The machines where a plan puts them."""
    return {
        name: replace(one, at=to, desired=to, standing=to, standing_w=one.power_w(to))
        for name, one in machines.items()
        for to in (chosen.get(name, one.standing),)
        if to is not None
    }


def plans(machines: Mapping[str, Machine]) -> dict[str, dict[str, float]]:
    total_w = sum(one.standing_w for one in machines.values())
    lowered = at(machines, dispatch.shrink(machines, 0.5 * total_w, ROOM))
    return {
        "shrink 30 %": timed(lambda: dispatch.shrink(machines, 0.3 * total_w, ROOM)),
        "shrink one step": timed(lambda: dispatch.shrink(machines, 1.0, ROOM)),
        "grow 30 %": timed(lambda: dispatch.grow(lowered, 0.3 * total_w, ROOM)),
        "grow one step": timed(lambda: dispatch.grow(lowered, 2000.0, ROOM)),
    }


def measured(count: int, models: int) -> dict[str, Any]:
    loop = Loop(toys(count, models))
    for number in range(WARM_UP_TICKS):
        loop.tick(number)
    machines = {
        name: replace(one.machine, is_controllable=True, is_in_transit=False)
        for name, one in loop.state.judgements.items()
    }
    nominal = Setpoint(is_awake=True, profile="step0", boards_on=frozenset(range(3)))
    found: dict[str, Any] = plans(at(machines, dict.fromkeys(machines, nominal)))
    loop.milliseconds.clear()
    for number in range(WARM_UP_TICKS, WARM_UP_TICKS + TICKS):
        loop.tick(number)
    return found | {"whole tick": summary(loop.milliseconds), "commands": loop.commands}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the figures to this file as well")
    to_file = parser.parse_args().json
    rng = random.Random(1)
    rows = [(rng.random(), n % 7, f"m{n}") for n in range(5000)]
    reference = timed(lambda: sorted(rows))
    document: dict[str, Any] = {"sorting 5000 rows": reference, "machines": {}}
    sys.stdout.write(f"sorting 5000 rows: {reference['p50_ms']} ms\n")
    cases = [(f"{count}", count, MODELS) for count in COUNTS]
    for title, count, models in [*cases, ("5000, few alike", 5000, 1000)]:
        document["machines"][title] = found = measured(count, models)
        for name, figures in found.items():
            if isinstance(figures, dict):
                ratio = figures["p50_ms"] / reference["p50_ms"]
                row = f"{figures['p50_ms']:>9.2f} ms p50 {figures['p99_ms']:>9.2f} ms p99"
                text = f"{title:<17} {name:<16}{row}  {ratio:>7.1f} times the sorting\n"
                sys.stdout.write(text)
    if to_file is not None:
        to_file.parent.mkdir(parents=True, exist_ok=True)
        to_file.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
