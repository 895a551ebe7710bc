"""Whatsminer API v3 writes: the token first, then commands that change the machine.

How far a token's clock may be off is not published; the window is this simulator's. The answer's
"ok" says nothing about the effect: a machine with the fault ``miner_ignores`` says it too.
"""

import math
from collections.abc import Callable
from typing import Any

from simulator.machine import Machine
from simulator.whatsminer_table import DEFAULT_PASSWORD
from simulator.whatsminer_v3_reads import Moment
from simulator.whatsminer_v3_wire import (
    FAILED,
    INVALID,
    MISSING,
    NO_PERMISSION,
    AnswerError,
    Question,
    token_of,
)

_FULL_PERCENT = 100
_LIMIT_MAX_W = 99_999
_HASHES_LAG = 1.2

Writer = Callable[[Moment, Any], None]


def write(at: Moment, question: Question) -> str:
    """Carry out a command. Raises AnswerError."""
    if question.command not in WRITES:
        raise AnswerError(INVALID, "invalid command")
    _require_permission(at, question)
    if at.traits.is_busy:
        raise AnswerError(FAILED, "btminer is busy")
    at.machine.counters.commands += 1
    WRITES[question.command](at, question.param)
    return "ok"


def _require_permission(at: Moment, question: Question) -> None:
    table, proof = at.table, question.proof
    if not table.is_api_on or table.password == DEFAULT_PASSWORD:
        raise AnswerError(NO_PERMISSION, "api is off or the default password is in use")
    ts = proof["ts"]
    if proof["account"] != "super" or not isinstance(ts, int):
        raise AnswerError(NO_PERMISSION, "invalid account or time")
    if abs(ts - at.when_s) > table.token_window_s:
        raise AnswerError(NO_PERMISSION, "token is expired")
    if proof["token"] != token_of(question.command, table.password, at.traits.salt, ts):
        raise AnswerError(NO_PERMISSION, "token error")


def _power_percent(at: Moment, param: Any) -> None:
    if not isinstance(param, dict):
        raise AnswerError(MISSING, "param item is null")
    text = param.get("percent")
    if not isinstance(text, str) or not text.isdecimal() or int(text) > _FULL_PERCENT:
        raise AnswerError(INVALID, "invalid percent")
    if param.get("mode") not in {"fast", "normal"}:
        raise AnswerError(INVALID, "invalid mode")
    if not at.machine.is_awake:
        raise AnswerError(FAILED, "miner is not working")

    def change(machine: Machine, now_s: float) -> bool:
        at.traits.percent = int(text)
        return machine.select_profile(_nearest(machine, int(text)), now_s=now_s)

    at.farm.act(at.machine.index, change)


def _service(at: Moment, param: Any) -> None:
    if param not in {"start", "stop", "restart", "enable", "disable"}:
        raise AnswerError(INVALID if param else MISSING, "invalid service")
    if param in {"stop", "restart"}:
        at.farm.act(at.machine.index, lambda machine, now_s: machine.sleep(now_s=now_s))
    if param in {"start", "restart"}:
        at.farm.act(at.machine.index, lambda machine, now_s: _start(at, machine, now_s))


def _power_limit(at: Moment, param: Any) -> None:
    """A ceiling in W: mining restarts, and the machine ramps to the point below it."""
    number = float(param) if isinstance(param, str) and param.isdecimal() else param
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise AnswerError(INVALID if param else MISSING, "invalid power limit")
    if not math.isfinite(number) or not 0 <= number <= _LIMIT_MAX_W:
        raise AnswerError(INVALID, "invalid power limit")
    watts = round(number)

    def change(machine: Machine, now_s: float) -> bool:
        at.traits.limit_w = watts
        machine.sleep(now_s=now_s)
        return _start(at, machine, now_s)

    at.farm.act(at.machine.index, change)


def _led(at: Moment, param: Any) -> None:
    """The lights: left to the firmware, or a list of colours with their beat in ms."""
    if param != "auto" and not (isinstance(param, list) and param and all(map(_is_beat, param))):
        raise AnswerError(INVALID if param else MISSING, "invalid led")
    at.traits.led = "auto" if param == "auto" else "manual"


def _is_beat(row: Any) -> bool:
    if not isinstance(row, dict) or row.get("color") not in {"red", "green"}:
        return False
    beat = [row.get(name) for name in ("period", "duration", "start")]
    return all(isinstance(one, int) and 0 <= one <= 60_000 for one in beat)


def _reboot(at: Moment, _param: Any) -> None:
    def change(machine: Machine, now_s: float) -> bool:
        at.traits.percent = 0
        machine.select_profile(_limited(at, machine), now_s=now_s)
        machine.reboot_device(now_s=now_s)
        at.traits.tuned_from_s = machine.rebooting_until_s + _HASHES_LAG * machine.timings.wake_s
        return True

    at.farm.act(at.machine.index, change)


def _start(at: Moment, machine: Machine, now_s: float) -> bool:
    """Mining starts anew; the percent of before is forgotten."""
    if machine.is_awake:
        return False
    at.traits.percent = 0
    machine.select_profile(_limited(at, machine), now_s=now_s)
    at.traits.tuned_from_s = now_s + _HASHES_LAG * machine.timings.wake_s
    return machine.wake(now_s=now_s)


def _nearest(machine: Machine, percent: int) -> int:
    """The operating point nearest to a percent; below the lowest the machine does not go."""
    points = machine.model.profiles
    return min(
        range(len(points)), key=lambda place: abs(int(points[place].name.rstrip("%")) - percent)
    )


def _limited(at: Moment, machine: Machine) -> int:
    """The highest point under the limit, else the lowest of all."""
    points = machine.model.profiles
    under = [place for place, point in enumerate(points) if point.watts <= at.traits.limit_w]
    return max(under, key=lambda place: points[place].watts, default=0)


WRITES: dict[str, Writer] = {
    "set.miner.power_percent": _power_percent,
    "set.miner.service": _service,
    "set.miner.power_limit": _power_limit,
    "set.system.reboot": _reboot,
    "set.system.led": _led,
}
