"""Bitaxes and NerdQAxes: a page and a JSON API on the port of HTTP, without a login.

A NerdQAxe closes the connection after each answer, has no pause and may demand one-time passwords;
its shutdown is ended by a restart only. Settings are taken one by one and acted on at once.
"""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from aiohttp import web

from simulator.bitaxe_reads import Moment, Traits, asic, info, nearest_place
from simulator.door import Door
from simulator.farm import Farm
from simulator.machine import Machine
from simulator.web_callers import WebCallers

_PAGE = "<!DOCTYPE html><html><head><title>{title}</title></head><body></body></html>"
_SETTING_MAX = 0xFFFF


@dataclass(slots=True, kw_only=True)
class BitaxeFarm:
    """What all machines of the kind answer; the sockets only carry it."""

    farm: Farm
    _callers: WebCallers = field(init=False)
    _traits: dict[int, Traits] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self._callers = WebCallers(farm=self.farm, answer=self._answer)

    def doors(self, index: int) -> Sequence[Door]:
        """HTTP."""
        del index
        return (Door(port=self.farm.file.addresses.web_port, receive=self._callers.receive),)

    def password(self, index: int) -> None:
        """There is none."""
        del index

    async def close(self) -> None:
        """Cut off whoever is connected."""
        await self._callers.close()

    def traits(self, index: int) -> Traits:
        """What a machine keeps besides its physics."""
        if index not in self._traits:
            name = self.farm.plant.machines[index].point.name
            self._traits[index] = Traits(frequency_mhz=int(name.removesuffix("MHz")))
        return self._traits[index]

    def moment(self, index: int) -> Moment:
        """One machine now, as its answers see it."""
        return Moment(
            farm=self.farm,
            machine=self.farm.plant.machines[index],
            label=self.farm.labels[index],
            traits=self.traits(index),
            now_s=self.farm.clock.now_s(),
        )

    async def _answer(self, index: int, request: web.BaseRequest) -> web.StreamResponse:
        body = await request.read()
        table = self.farm.file.bitaxe
        await asyncio.sleep(table.answer_delay_s)
        at = self.moment(index)
        response = self._reply(at, request.method, request.path, body)
        if at.is_nerd:
            response.force_close()
        return response

    def _reply(self, at: Moment, method: str, path: str, body: bytes) -> web.Response:
        if path == "/":
            title = "NerdQAxe" if at.is_nerd else "AxeOS"
            return web.Response(text=_PAGE.format(title=title), content_type="text/html")
        if not at.table.is_private:
            return web.Response(status=HTTPStatus.UNAUTHORIZED, text="Unauthorized")
        if method == "GET":
            return _read(at, path)
        if (method, path) == ("PATCH", "/api/system"):
            return _patched(at, body)
        if method == "POST" and path.startswith("/api/system/"):
            return _posted(at, path.removeprefix("/api/system/"))
        return _unknown()


def _unknown() -> web.Response:
    return web.json_response({"error": "unknown route"}, status=HTTPStatus.NOT_FOUND)


def _read(at: Moment, path: str) -> web.Response:
    if path == "/api/system/info":
        return web.json_response(info(at))
    if path == "/api/system/asic" and at.describes_chips:
        return web.json_response(asic(at))
    return _unknown()


def _patched(at: Moment, body: bytes) -> web.Response:
    if at.is_nerd and at.table.has_otp:
        return web.Response(status=HTTPStatus.UNAUTHORIZED, text="OTP/Session required")
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return web.Response(status=HTTPStatus.BAD_REQUEST, text="Invalid JSON")
    settings = document if isinstance(document, dict) else {}
    numbers = {key: settings[key] for key in ("frequency", "coreVoltage") if key in settings}
    if not all(_is_setting(value) for value in numbers.values()):
        return web.Response(status=HTTPStatus.BAD_REQUEST, text="Wrong API input")
    at.machine.counters.commands += 1
    at.traits.writes.append(settings)
    at.farm.act(at.machine.index, lambda machine, now_s: _set(at, machine, numbers, now_s))
    return web.Response()


def _is_setting(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= _SETTING_MAX


def _set(at: Moment, machine: Machine, numbers: dict[str, int], now_s: float) -> bool:
    at.traits.core_voltage_mv = numbers.get("coreVoltage", at.traits.core_voltage_mv)
    at.traits.frequency_mhz = numbers.get("frequency", at.traits.frequency_mhz)
    place = nearest_place(at, at.traits.frequency_mhz)
    return machine.select_profile(place, now_s=now_s)


def _posted(at: Moment, verb: str) -> web.Response:
    if verb in ("pause", "resume") and at.can_pause:
        at.machine.counters.commands += 1
        is_pause = verb == "pause"
        at.farm.act(
            at.machine.index,
            lambda machine, now_s: (
                machine.sleep(now_s=now_s) if is_pause else machine.wake(now_s=now_s)
            ),
        )
        return web.json_response({"message": f"Mining {verb}d"})
    if verb == "shutdown" and at.is_nerd:
        at.machine.counters.commands += 1
        at.traits.is_shut_down = True
        at.farm.act(at.machine.index, lambda machine, now_s: machine.sleep(now_s=now_s))
        return web.Response(text="System will shutdown shortly.")
    if verb == "restart":
        at.traits.is_shut_down = False
        at.farm.act(at.machine.index, _restarted)
        return web.json_response({"message": "System will restart shortly."})
    return _unknown()


def _restarted(machine: Machine, now_s: float) -> bool:
    """A pause does not outlive a restart."""
    machine.wake(now_s=now_s)
    return machine.reboot_device(now_s=now_s)
