"""The form of a stock Antminer: mode, fans and pools at once, kept in flash.

The answer says yes to whatever has the shape of a form: a machine that ignores what it holds says
it too. Pools that a form leaves out are erased.
"""

from simulator.antminer_reads import NORMAL, SLEEP, Json, Moment
from simulator.machine import Machine

_DONE = {"stats": "success", "code": "M000", "msg": "OK!"}
_BAD = {"stats": "error", "code": "M001", "msg": "Invalid pool!"}
_POOL_KEYS = {"url", "user", "pass"}


def set_miner_conf(at: Moment, form: object) -> Json:
    """Carry out a form."""
    at.machine.counters.commands += 1
    if not isinstance(form, dict):
        return _BAD
    pools = form.get("pools", [])
    if not isinstance(pools, list) or not all(_is_pool(pool) for pool in pools):
        return _BAD
    at.traits.writes += 1
    at.farm.act(at.machine.index, lambda machine, now_s: _keep(at, machine, form, now_s))
    return _DONE


def set_blink(at: Moment, form: object) -> Json:
    """The light: what it is told, it says again by a code."""
    is_on = form.get("blink") if isinstance(form, dict) else None
    if not isinstance(is_on, bool):
        return {"stats": "error", "code": "B001", "msg": "Invalid parameter!"}
    at.machine.counters.commands += 1
    at.traits.is_blinking = is_on
    return {"stats": "success", "code": "B000" if is_on else "B100", "msg": "OK!"}


def reboot(at: Moment) -> None:
    """Restart the machine; it comes up in the mode that it keeps."""

    def change(machine: Machine, now_s: float) -> bool:
        _follow(at, machine, now_s)
        machine.reboot_device(now_s=now_s)
        at.traits.mining_since_s = machine.rebooting_until_s
        return True

    at.farm.act(at.machine.index, change)


def _is_pool(pool: object) -> bool:
    return isinstance(pool, dict) and set(pool) == _POOL_KEYS


def _keep(at: Moment, machine: Machine, form: Json, now_s: float) -> bool:
    traits = at.traits
    traits.pools = [dict(pool) for pool in form.get("pools", [])]
    traits.fan_ctrl = form.get("bitmain-fan-ctrl", False)
    traits.fan_pwm = form.get("bitmain-fan-pwm", "")
    traits.freq_level = form.get("freq-level", "")
    mode = _wanted(at, form.get("miner-mode"))
    if mode is None or mode == traits.mode:
        return False
    traits.mode = mode
    return not at.table.needs_reboot and _follow(at, machine, now_s)


def _wanted(at: Moment, told: object) -> int | None:
    """The mode of a form; None where it is none, or not of the kind that the firmware reads."""
    if isinstance(told, bool) or not isinstance(told, int | str):
        return None
    kind = "text" if isinstance(told, str) else "number"
    if at.table.takes_mode_as not in {"any", kind}:
        return None
    known = {str(mode): mode for mode in (NORMAL, SLEEP, at.table.low_mode)}
    return known.get(str(told))


def _follow(at: Moment, machine: Machine, now_s: float) -> bool:
    """Do as the kept mode says; any change restarts the mining program."""
    if at.traits.mode == SLEEP:
        is_followed = machine.sleep(now_s=now_s)
    else:
        name = "low" if at.traits.mode == at.table.low_mode else "normal"
        is_moved = machine.select_profile(machine.model.profile_index(name), now_s=now_s)
        is_followed = machine.wake(now_s=now_s) or is_moved
    if is_followed:
        at.traits.mining_since_s = now_s
    return is_followed
