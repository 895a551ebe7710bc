"""Leaves out one protection at a time, so that a campaign can show that it would notice.

The agent's core has no switch for any of them. They are taken away from outside: by parameters that
say nothing is to be feared, by showing the governor what it hoped for instead of what is, and by
making it forget.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import ModuleType

from agent.core import meterfusion, site
from agent.core.card import ActuatorCard
from agent.core.decisions import Setpoint
from agent.core.fleet import Memory
from agent.core.site import Parameters, SiteState
from agent.core.snapshot import MinerView, Snapshot
from drivers.readings import Activity

PROTECTIONS = ("reserve", "age", "confirmation", "base-load", "guard", "watchdog")


def disarmed(parameters: Parameters, without: frozenset[str]) -> Parameters:
    """Parameters without what is kept back, what the base load may do, what the meter may hide."""
    if "reserve" in without:
        # A stop that takes no time needs nothing kept for it.
        cards = {name: _instant(card) for name, card in parameters.cards.items()}
        parameters = replace(
            parameters, reserve_share=0.0, power_error_share=0.0, cards=cards, command_latency_s=0.0
        )
    if "base-load" in without:
        parameters = replace(parameters, base_load_max_w=0.0)
    if "guard" in without:
        parameters = replace(parameters, meter_error_share=0.0)
    if "age" in without:
        parameters = replace(parameters, meter_stale_s=float("inf"))
    return parameters


def shown(snapshot: Snapshot, state: SiteState, without: frozenset[str]) -> Snapshot:
    """What the governor sees: without confirmation every command counts as carried out, without
    age a meter's last reading is as good as a new one."""
    if "age" in without:
        meters = tuple(replace(view, missed_polls=0) for view in snapshot.meters)
        snapshot = replace(snapshot, meters=meters)
    if "confirmation" not in without:
        return snapshot
    miners = tuple(
        _believed(view, state.memories.get(view.miner_id, Memory())) for view in snapshot.miners
    )
    return replace(snapshot, miners=miners)


@contextmanager
def taken_out(without: frozenset[str]) -> Iterator[None]:
    """Steps of the core are taken out meanwhile: without age nothing flows after a reading, without
    base load nothing is thought of but the machines."""
    advance, followed = vars(meterfusion)["advance"], vars(site)["followed"]
    if "age" in without:
        _put(meterfusion, "advance", lambda fusion, **_: fusion)
    if "base-load" in without:
        _put(site, "followed", lambda known, *_, **__: known._replace(power_w=0.0))
    try:
        yield
    finally:
        _put(meterfusion, "advance", advance)
        _put(site, "followed", followed)


def _put(module: ModuleType, name: str, step: Callable[..., object]) -> None:
    setattr(module, name, step)


def _instant(card: ActuatorCard) -> ActuatorCard:
    return replace(card, board_off_s=0.0, profile_down_s=0.0, sleep_s=0.0)


def _believed(view: MinerView, memory: Memory) -> MinerView:
    reading, desired = view.reading, memory.desired
    if reading is None or desired is None:
        return view
    boards = tuple(
        replace(board, is_enabled=board.board in desired.boards_on, is_ramping=False)
        for board in reading.boards
    )
    as_told = replace(
        reading,
        activity=_activity(desired),
        profile=desired.profile,
        power_w=None,
        boards=boards,
    )
    return replace(view, reading=as_told, pending=None, fault=None)


def _activity(desired: Setpoint) -> Activity:
    return Activity.HASHING if desired.is_awake else Activity.SLEEPING
