"""Turns the faults of a scenario into switches that go on and off at their time."""

import random
from collections.abc import Callable
from functools import partial

from simulator.scenario import FaultTable
from simulator.virtual.brain import Brain
from simulator.virtual.site import Site, Unit

WATCHDOG_S = 20.0  # 15 s without a sign of life, 5 s to abort
FAILSAFE_S = 8.0  # until the failsafe has told every machine it can reach
RESTART_S = 3.0
GIVES_UP_S = 12.0  # a service that cannot be started is handed to the failsafe

Switch = Callable[[bool], None]


def arrange(brain: Brain, fault: FaultTable, number: int, *, has_watchdog: bool) -> None:
    """Note a fault's beginning and end."""
    site = brain.site
    at_s = fault.at_min * 60.0
    switch = _switch(brain, fault, number, has_watchdog=has_watchdog)

    def begin() -> None:
        site.settle()
        switch(True)

    def end() -> None:
        site.settle()
        switch(False)

    site.agenda.at(at_s, begin)
    site.agenda.at(at_s + fault.for_s, end)


def _switch(brain: Brain, fault: FaultTable, number: int, *, has_watchdog: bool) -> Switch:
    kind = fault.what.partition("_")[0]
    if kind == "meter":
        return _meter_switch(brain.site, fault)
    if kind == "miner":
        return _miner_switch(brain.site, fault, number)
    if kind == "agent":
        return _agent_switch(brain, fault, has_watchdog=has_watchdog)
    if kind == "clock":
        return lambda on: brain.clock.step(
            fault.value if on else -fault.value, brain.site.agenda.now_s
        )
    return lambda on: _jump(brain.site, fault.value * 1000.0 if on else -fault.value * 1000.0)


def _jump(site: Site, delta_w: float) -> None:
    load = site.plant.base_load
    load.set_constant(load.constant_w + delta_w)


def _meter_switch(site: Site, fault: FaultTable) -> Switch:
    meter, trouble = site.meter, site.trouble

    def switch(on: bool) -> None:
        if fault.what == "meter_silent":
            trouble.is_silent = on
        elif fault.what == "meter_nan":
            trouble.is_nan = on
        elif fault.what == "meter_slow":
            trouble.slow_s = fault.value if on else 0.0
        elif fault.what.startswith("meter_frozen"):
            meter.is_energy_frozen = on
            meter.is_power_frozen = on and fault.what == "meter_frozen_all"
        elif fault.what == "meter_glitch":
            meter.offset_kwh += fault.value if on else -fault.value
        elif on:
            meter.offset_kwh += fault.value if fault.what == "meter_ahead" else -fault.value

    return switch


def _miner_switch(site: Site, fault: FaultTable, number: int) -> Switch:
    kin = [u for u in site.units if fault.family in (None, u.family.name)]
    rng = random.Random(f"fault-{site.scenario.seed}-{number}")
    chosen = rng.sample(kin, min(len(kin), max(1, round(fault.share * len(kin)))))

    def switch(on: bool) -> None:
        for unit in chosen:
            _trouble_miner(site, unit, fault, on=on)
        site.note_manners()

    return switch


def _trouble_miner(site: Site, unit: Unit, fault: FaultTable, *, on: bool) -> None:
    if fault.what == "miner_ignores":
        unit.ignores = on
    elif fault.what == "miner_refuses":
        unit.refuses = on
    elif fault.what == "miner_unreachable":
        unit.is_unreachable = on
    elif fault.what == "miner_late":
        unit.late_s = fault.value if on else 0.0
    elif fault.what == "miner_misreports":
        unit.misreport = fault.value if on else 0.0
    elif fault.what == "miner_resumes":
        unit.resumes_after_s = fault.value if on else None
    elif on and unit.machine.is_powered:
        site.act(unit, lambda machine, now_s: machine.reboot_device(now_s=now_s))


def _agent_switch(brain: Brain, fault: FaultTable, *, has_watchdog: bool) -> Switch:
    agenda = brain.site.agenda

    def killed(on: bool) -> None:
        if not on:
            brain.start()
            return
        brain.kill()
        if has_watchdog and fault.for_s > GIVES_UP_S:
            agenda.after(GIVES_UP_S, lambda: _failsafe(brain))

    def bitten() -> None:
        if brain.is_paused:
            brain.kill()
            _failsafe(brain)
            agenda.after(FAILSAFE_S + RESTART_S, brain.start)

    def paused(on: bool) -> None:
        if not on:
            brain.resume()
            return
        brain.pause()
        if has_watchdog:
            agenda.after(WATCHDOG_S, bitten)

    return killed if fault.what == "agent_killed" else paused


def _failsafe(brain: Brain) -> None:
    """The unit that stands alone: puts to sleep what it can reach, opens the relays of the rest."""
    site = brain.site
    for relay in {unit.relay for unit in site.units if unit.relay and unit.is_stubborn}:
        site.agenda.after(FAILSAFE_S, partial(site.trip, relay))
    for unit in site.units:
        if unit.is_away(site.agenda.now_s) or unit.is_stubborn or not unit.family.sleeps:
            continue
        delay_s = site.rng.uniform(0.5, FAILSAFE_S)
        site.agenda.after(delay_s, partial(_put_to_sleep, site, unit))


def _put_to_sleep(site: Site, unit: Unit) -> None:
    site.act(unit, lambda machine, now_s: machine.sleep(now_s=now_s))
