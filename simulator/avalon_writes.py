"""What an Avalon does when told by ``ascset``. There is no login: whoever asks is obeyed.

Assumed: a work mode of the A series waits for the reboot, that of the Q acts at once, and a work
level counts the operating points from the weakest and acts at once. A time that has passed is now.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from simulator.avalon_reads import Moment
from simulator.avalon_wire import INFO, SET_FAILED, SET_OK, Told
from simulator.farm import Farm

_OK = Told(code=SET_OK, message="ASC 0 set OK")


@dataclass(slots=True, kw_only=True)
class Timers:
    """What is to happen later, and the work modes that wait for a reboot."""

    farm: Farm
    modes: dict[int, int] = field(default_factory=dict)
    _handles: set[asyncio.TimerHandle] = field(default_factory=set)

    def close(self) -> None:
        """Nothing happens any more."""
        for handle in self._handles:
            handle.cancel()
        self._handles.clear()

    def at(self, index: int, delay_s: float, *, is_on: bool) -> None:
        """Wake a machine or put it to sleep after so long."""
        if delay_s <= 0.0:
            self._switch(index, is_on=is_on)
            return
        loop = asyncio.get_running_loop()
        self._handles.add(loop.call_later(delay_s, lambda: self._switch(index, is_on=is_on)))

    def reboot(self, index: int) -> None:
        """Restart: a sleeper wakes, and the work mode that was set takes effect."""
        mode = self.modes.pop(index, None)
        self._switch(index, is_on=True)
        if mode is not None:
            self.farm.act(index, lambda one, now_s: one.select_profile(mode, now_s=now_s))
        self.farm.act(index, lambda one, now_s: one.reboot_device(now_s=now_s))

    def _switch(self, index: int, *, is_on: bool) -> None:
        if is_on:
            self.farm.act(index, lambda one, now_s: one.wake(now_s=now_s))
        else:
            self.farm.act(index, lambda one, now_s: one.sleep(now_s=now_s))


def ascset(at: Moment, timers: Timers, parameter: str) -> Told | None:
    """One setting; None where the machine acts and says nothing."""
    number, *rest = [item.strip() for item in parameter.split(",")]
    if number != "0" or not rest:
        return _failed("Invalid ASC id or missing option")
    option, arguments = rest[0], rest[1:]
    if option not in _OPTIONS or (not at.table.has_soft_switch and option.startswith("soft")):
        return _failed(f"Unknown option: {option[:40]}")
    at.machine.counters.commands += 1
    return _OPTIONS[option](at, timers, arguments)


def _failed(words: str) -> Told:
    return Told(letter="E", code=SET_FAILED, message=f"ASC 0 set failed: {words}")


def _info(words: str) -> Told:
    return Told(letter="I", code=INFO, message=f"ASC 0 set info: {words}")


def _soft(at: Moment, timers: Timers, arguments: list[str], *, is_on: bool) -> Told | None:
    name = "softon" if is_on else "softoff"
    if not arguments:  # as one vendor's tool sends it: now
        timers.at(at.machine.index, 0.0, is_on=is_on)
        return _OK
    kind, _, when = arguments[0].partition(":")
    if kind != "1" or not when.strip().isdigit():
        return _failed(f"{name} unknown argument")
    if not (is_on and at.table.wakes_by_reboot_only):
        timers.at(at.machine.index, float(int(when) - at.when_s), is_on=is_on)
    if is_on and at.table.is_softon_silent:
        return None
    return _info(f"success {name}:{when.strip()}")


def _softoff(at: Moment, timers: Timers, arguments: list[str]) -> Told | None:
    return _soft(at, timers, arguments, is_on=False)


def _softon(at: Moment, timers: Timers, arguments: list[str]) -> Told | None:
    return _soft(at, timers, arguments, is_on=True)


def _hashpower(at: Moment, timers: Timers, arguments: list[str]) -> Told:
    if not arguments:
        return _info("PS[0 1209 1187 297 3526 1188]")
    if arguments[0] != "0":
        return _failed("hashpower unknown argument")
    timers.at(at.machine.index, 0.0, is_on=False)
    return _OK


def _workmode(at: Moment, timers: Timers, arguments: list[str]) -> Told:
    if arguments in (["get"], ["255"]):
        return _info(f"workmode {at.machine.profile}")
    if at.is_q and arguments[:1] != ["set"]:
        return _failed("workmode unknown argument")
    mode = _place(at, arguments[-1:])
    if mode is None:
        return _failed("workmode unknown argument")
    if at.is_q:
        at.farm.act(at.machine.index, lambda one, now_s: one.select_profile(mode, now_s=now_s))
    else:
        timers.modes[at.machine.index] = mode
    return _OK


def _worklevel(at: Moment, _timers: Timers, arguments: list[str]) -> Told:
    level = _place(at, arguments[1:2])
    if arguments[:1] != ["set"] or level is None:
        return _failed("worklevel unknown argument")
    at.farm.act(at.machine.index, lambda one, now_s: one.select_profile(level, now_s=now_s))
    return _OK


def _place(at: Moment, words: list[str]) -> int | None:
    is_one = len(words) == 1 and words[0].isascii() and words[0].isdigit()
    place = int(words[0]) if is_one else len(at.machine.model.profiles)
    return place if place < len(at.machine.model.profiles) else None


def _reboot(at: Moment, timers: Timers, _arguments: list[str]) -> Told:
    timers.reboot(at.machine.index)
    return _OK


def _led(at: Moment, _timers: Timers, arguments: list[str]) -> Told:
    if arguments not in (["1-0"], ["1-1"]):
        return _failed("led unknown argument")
    lit = at.farm.blinking
    (lit.add if arguments == ["1-1"] else lit.discard)(at.machine.index)
    return _OK


def _harmless(_at: Moment, _timers: Timers, _arguments: list[str]) -> Told:
    return _OK


_OPTIONS: dict[str, Callable[[Moment, Timers, list[str]], Told | None]] = {
    "softoff": _softoff,
    "softon": _softon,
    "hashpower": _hashpower,
    "workmode": _workmode,
    "worklevel": _worklevel,
    "reboot": _reboot,
    "led": _led,
    "fan-spd": _harmless,
}
