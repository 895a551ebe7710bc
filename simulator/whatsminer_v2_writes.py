"""Whatsminer API v2 writes: the token first, then commands that change the machine.

What a token's neighbours, a limit too low or a change of the mode do is from field notes; how the
machine words a refusal differs by firmware. "API command OK" says nothing about the effect.
"""

import random
import string
from collections.abc import Callable

from simulator.machine import Machine
from simulator.whatsminer_v2_reads import Moment
from simulator.whatsminer_v2_table import FACTORY_PASSWORD
from simulator.whatsminer_v2_wire import (
    COMMAND_ERROR,
    INVALID_COMMAND,
    NO_PERMISSION,
    TOKEN_ERROR,
    TOO_MANY_TOKENS,
    AnswerError,
    Json,
    Question,
    flat,
    key_text,
    sign_of,
)

_FULL_PERCENT = 100
_LIMIT_MAX_W = 99_999
_FACTORY_SHARE = 1.05
_HASHES_LAG = 1.2
# Below this share of the nameplate mining crashes again and again (seen at an M64).
_FLOOR_SHARE = 0.55
_CRASH_CODES = ("560", "561", "562", "563")
_LETTERS = string.ascii_letters + string.digits

# Whether the machine answers; a change of the mode is known not to.
Writer = Callable[[Moment, Json], bool]


def factory_limit_w(machine: Machine) -> int:
    """A ceiling a little above what the model draws: an assumption."""
    return round(max(point.watts for point in machine.model.profiles) * _FACTORY_SHARE)


def grant_token(at: Moment) -> Json:
    """``get_token``. Raises AnswerError where too many are in use."""
    traits, table = at.traits, at.table
    for sign in [sign for sign, lapse_s in traits.tokens.items() if lapse_s <= at.now_s]:
        del traits.tokens[sign]
    if len(traits.tokens) >= table.tokens_max:
        raise AnswerError(TOO_MANY_TOKENS, "over max connect")
    traits.tokens_given += 1
    rng = random.Random(f"token-{at.machine.index}-{traits.tokens_given}")
    time, new_salt = f"{rng.randrange(10_000):04d}", "".join(rng.choices(_LETTERS, k=8))
    key = key_text(table.password, traits.salt)
    traits.tokens[sign_of(key, time, new_salt)] = at.now_s + table.token_life_s
    message = {"time": time, "salt": traits.salt, "newsalt": new_salt}
    if table.api == "2.2.0":
        message["timeout"] = str(round(table.token_life_s))
    return flat(message, at.when_s)


def require_permission(at: Moment) -> None:
    """Raises AnswerError as long as the machine is as it came from the factory."""
    if not at.table.is_api_on or at.table.password == FACTORY_PASSWORD:
        raise AnswerError(NO_PERMISSION, "can't access write cmd")


def write(at: Moment, question: Question) -> Json | None:
    """Carry out a command that was sealed; None where the machine gives no answer."""
    lapse_s = at.traits.tokens.get(question.token or "", 0.0)
    if lapse_s <= at.now_s:
        raise AnswerError(TOKEN_ERROR, "check token err")
    if at.table.api == "2.2.0":
        at.traits.tokens[question.token or ""] = at.now_s + at.table.token_life_s
    name = question.names[0] if len(question.names) == 1 else ""
    if name not in WRITES or (at.is_old and name not in _OLD_WRITES):
        raise AnswerError(INVALID_COMMAND, "invalid cmd")
    if at.traits.is_busy:
        raise AnswerError(COMMAND_ERROR, "btminer is busy")
    at.machine.counters.commands += 1
    is_answered = WRITES[name](at, question.fields)
    return flat("API command OK", at.when_s) if is_answered else None


def _set_power_pct(at: Moment, fields: Json) -> bool:
    text = fields.get("percent")
    if not isinstance(text, str) or not text.isdecimal() or int(text) > _FULL_PERCENT:
        raise AnswerError(COMMAND_ERROR, "percent out of range")
    if not at.machine.is_awake:
        raise AnswerError(COMMAND_ERROR, "miner is off")
    _throttle(at, int(text))
    return True


def _restore_power_pct(at: Moment, fields: Json) -> bool:
    del fields
    _throttle(at, _FULL_PERCENT)
    return True


def _throttle(at: Moment, percent: int) -> None:
    if at.table.is_lying:
        at.traits.percent = percent
        return

    def change(machine: Machine, now_s: float) -> bool:
        at.traits.percent = percent
        return machine.select_profile(_nearest(machine, percent), now_s=now_s)

    at.farm.act(at.machine.index, change)


def _power_off(at: Moment, fields: Json) -> bool:
    if at.table.is_lying:
        at.traits.shown_off = True
    else:
        at.farm.act(at.machine.index, lambda machine, now_s: machine.sleep(now_s=now_s))
    return fields.get("respbefore") == "true"


def _power_on(at: Moment, fields: Json) -> bool:
    del fields
    at.traits.shown_off = None
    at.farm.act(at.machine.index, lambda machine, now_s: _start(at, machine, now_s))
    return True


def _restart(at: Moment, fields: Json) -> bool:
    del fields

    def change(machine: Machine, now_s: float) -> bool:
        machine.sleep(now_s=now_s)
        return _start(at, machine, now_s)

    at.farm.act(at.machine.index, change)
    return True


def _reboot(at: Moment, fields: Json) -> bool:
    del fields

    def change(machine: Machine, now_s: float) -> bool:
        at.traits.percent = _FULL_PERCENT
        at.traits.tokens.clear()
        machine.select_profile(_limited(at, machine), now_s=now_s)
        machine.reboot_device(now_s=now_s)
        at.traits.tuned_from_s = machine.rebooting_until_s + _HASHES_LAG * machine.timings.wake_s
        return True

    at.farm.act(at.machine.index, change)
    return True


def _adjust_power_limit(at: Moment, fields: Json) -> bool:
    """A ceiling in W: mining restarts and ramps to the point below it, or crashes where that is
    too low. The crash is one stop with its codes, not the loop that it is at a real machine."""
    text = fields.get("power_limit")
    if not isinstance(text, str) or not text.isdecimal() or int(text) > _LIMIT_MAX_W:
        raise AnswerError(COMMAND_ERROR, "power_limit out of range")
    asked_w = int(text)

    def change(machine: Machine, now_s: float) -> bool:
        highest_w = factory_limit_w(machine)
        at.traits.limit_w = highest_w if asked_w == _LIMIT_MAX_W else min(asked_w, highest_w)
        machine.sleep(now_s=now_s)
        for code in _CRASH_CODES:
            at.traits.faults.pop(code, None)
        if at.traits.limit_w < _FLOOR_SHARE * highest_w:
            at.traits.faults |= dict.fromkeys(_CRASH_CODES, "2026-01-01 12:00:00")
            at.traits.shown_off = False
            return True
        at.traits.shown_off = None
        return _start(at, machine, now_s)

    at.farm.act(at.machine.index, change)
    return True


def _mode(name: str, percent: int) -> Writer:
    def choose(at: Moment, fields: Json) -> bool:
        del fields

        def change(machine: Machine, now_s: float) -> bool:
            at.traits.mode = name
            machine.sleep(now_s=now_s)
            _start(at, machine, now_s)
            place = min(_nearest(machine, percent), _limited(at, machine))
            return machine.select_profile(place, now_s=now_s)

        at.farm.act(at.machine.index, change)
        return False

    return choose


def _set_led(at: Moment, fields: Json) -> bool:
    """The lights: left to the firmware, or one colour with its beat in ms."""
    beat = [fields.get(name) for name in ("period", "duration", "start")]
    is_beat = fields.get("color") in {"red", "green"} and all(type(one) is int for one in beat)
    if fields.get("param") != "auto" and not is_beat:
        raise AnswerError(COMMAND_ERROR, "led param error")
    lit = at.farm.blinking
    (lit.add if is_beat else lit.discard)(at.machine.index)
    return True


def _start(at: Moment, machine: Machine, now_s: float) -> bool:
    """Mining starts anew; the percent of before is forgotten."""
    if machine.is_awake:
        return False
    at.traits.percent = _FULL_PERCENT
    at.traits.mining_from_s = now_s
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
    "set_power_pct": _set_power_pct,
    "set_power_pct_v2": _set_power_pct,
    "restore_power_pct": _restore_power_pct,
    "power_off": _power_off,
    "power_on": _power_on,
    "restart_btminer": _restart,
    "reboot": _reboot,
    "set_led": _set_led,
    "adjust_power_limit": _adjust_power_limit,
    "set_low_power": _mode("Low", 70),
    "set_normal_power": _mode("Normal", _FULL_PERCENT),
    "set_high_power": _mode("High", _FULL_PERCENT),
}
_OLD_WRITES = frozenset({"power_off", "power_on", "restart_btminer", "reboot", "set_low_power"})
