"""The control API on loopback: what is true, and which faults are on.

It is for judges and tests. The agent never asks it.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from simulator.control_pool import add_pool_routes
from simulator.farm import Farm
from simulator.faults import FaultKind, TargetError
from simulator.machine import Machine
from simulator.network import Network, PortError
from simulator.pool import Pool

_MAX_BODY_BYTES = 1_000_000
_SWITCH_TIMEOUT_S = 30.0


class FaultOrder(BaseModel):
    """Body of ``POST /v1/faults``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: FaultKind
    target: str | Annotated[list[int], Field(max_length=20_000)] = "site"
    active: bool = True
    value: float | None = None


def _refused(status: int, sentence: str) -> web.Response:
    return web.json_response({"error": sentence}, status=status)


class Control:
    """The handlers. ``application`` is what a runner serves."""

    def __init__(self, farm: Farm, network: Network, pool: Pool | None) -> None:
        self._farm = farm
        self._network = network
        self._pool = pool

    def application(self) -> web.Application:
        """An aiohttp application with every route."""
        app = web.Application(client_max_size=_MAX_BODY_BYTES, middlewares=[_one_sentence])
        app.add_routes(
            [
                web.get("/v1/farm", self._farm_document),
                web.get("/v1/truth", self._truth),
                web.get("/v1/truth/energy", self._energy),
                web.get("/v1/truth/machines", self._machines),
                web.get("/v1/pool", self._pool_document),
                web.get("/v1/faults", self._faults),
                web.post("/v1/faults", self._switch),
                web.delete("/v1/faults", self._clear),
            ]
        )
        add_pool_routes(app, self._pool)
        return app

    def farm_document(self) -> dict[str, Any]:
        """Where everything is."""
        machines = [
            {
                "index": label.index,
                "address": label.address,
                "family": label.family,
                "uri": self._network.machine_uri(label.index),
                "port": self._network.machine_port(label.index),
                "mac": label.mac,
                "serial": label.serial,
                "model": self._farm.plant.machines[label.index].model.name,
                "password": self._network.machine_password(label.index),
            }
            for label in self._farm.labels
        ]
        return {
            "machines": machines,
            "meters": self._meters(),
            "relays": self._relays(),
            "pool": self._pool_state(),
        }

    def _meters(self) -> list[dict[str, Any]]:
        rows = []
        for position, meter in enumerate(self._farm.meters):
            server = self._network.meters[position]
            rows.append(
                {
                    "id": meter.meter_id,
                    "address": self._network.meter_place(position),
                    "uri": self._network.meter_uri(position),
                    "unit": server.table.unit,
                    "serial": str(meter.serial),
                    "profile": server.table.profile,
                    "energy_kwh": meter.energy_kwh,
                    "power_w": meter.power_w,
                    "requests": server.requests,
                    "refused": server.refused,
                    "tampered": server.tampered,
                }
            )
        return rows

    def _relays(self) -> list[dict[str, Any]]:
        rows = []
        for position, board in enumerate(self._farm.relays):
            host, port = self._network.relay_address(position)
            rows.append(
                {
                    "id": board.table.id,
                    "address": f"{host}:{port}",
                    "unit": board.table.unit,
                    "profile": board.table.model,
                    "coils": board.coils,
                    "watchdog_s": board.watchdog_s,
                    "contactors": [one.model_dump() for one in board.table.contactors],
                    "writes": board.writes,
                    "timeouts": board.timeouts,
                }
            )
        return rows

    def _pool_state(self) -> dict[str, object] | None:
        return None if self._pool is None else self._pool.state()

    async def _farm_document(self, _request: web.Request) -> web.Response:
        return web.json_response(self.farm_document())

    async def _truth(self, _request: web.Request) -> web.Response:
        farm = self._farm
        farm.step(farm.clock.now_s())
        plant = farm.plant
        totals = plant.totals()
        return web.json_response(
            {
                "at_ms": farm.clock.ms_at(plant.now_s),
                "started_at_ms": farm.clock.anchor_ms,
                "energy_wh": plant.energy_wh,
                "power_w": plant.power_w,
                "base_load_w": plant.base_load.power_w(),
                "machines_power_w": plant.machines_w,
                "machines_energy_wh": plant.machine_energy_ws / 3600.0,
                "hashrate_hs": plant.hashrate_hs,
                "hashes_eh": plant.hashes / 1e18,
                "machines_total": len(plant.machines),
                "machines_moving": plant.moving_count,
                "machines_asleep": sum(not one.is_awake for one in plant.machines),
                "board_switches": totals.board_switches,
                "mining_restarts": totals.mining_restarts,
                "commands": totals.commands,
                "sleeps": totals.sleeps,
                "device_reboots": totals.device_reboots,
            }
        )

    async def _energy(self, request: web.Request) -> web.Response:
        text = request.query.get("at_ms", "")
        if not text.isascii() or not text.isdigit() or len(text) > 15:
            return _refused(400, "give at_ms as whole UTC milliseconds")
        try:
            energy_wh = self._farm.energy_wh_at(int(text))
        except LookupError:
            return _refused(
                404, "at_ms lies before the start, in the future, or further back than is kept"
            )
        return web.json_response({"at_ms": int(text), "energy_wh": energy_wh})

    async def _machines(self, _request: web.Request) -> web.Response:
        farm = self._farm
        farm.step(farm.clock.now_s())
        farm.plant.settle_machines()
        rows = [self._machine(machine) for machine in farm.plant.machines]
        return web.json_response({"at_ms": farm.clock.ms_at(farm.plant.now_s), "machines": rows})

    def _machine(self, machine: Machine) -> dict[str, Any]:
        now_s = self._farm.plant.now_s
        return {
            "index": machine.index,
            "address": self._farm.labels[machine.index].address,
            "mac": self._farm.labels[machine.index].mac,
            "model": machine.model.name,
            "power_w": machine.watts.value(now_s),
            "reported_w": machine.reported_w(now_s),
            "hashrate_hs": machine.hashrate_hs.value(now_s),
            "energy_wh": machine.energy_ws / 3600.0,
            "is_awake": machine.is_awake,
            "is_powered": machine.is_powered,
            "is_steady": machine.steady_from_s <= now_s,
            "profile": machine.point.name,
            "boards_on": [n for n, board in enumerate(machine.boards) if board.is_enabled],
            "board_switches": machine.counters.board_switches,
            "mining_restarts": machine.counters.mining_restarts,
            "commands": machine.counters.commands,
        }

    async def _pool_document(self, _request: web.Request) -> web.Response:
        state = self._pool_state()
        if state is None:
            return _refused(404, "this site runs without a pool: start it with --broker")
        return web.json_response(state)

    async def _faults(self, _request: web.Request) -> web.Response:
        return web.json_response({"active": self._farm.faults.active()})

    async def _switch(self, request: web.Request) -> web.Response:
        try:
            order = FaultOrder.model_validate_json(await request.text())
            targets = self._targets(order)
        except TargetError as error:
            return _refused(400, str(error))
        self._farm.switch_fault(order.kind, targets, is_active=order.active, value=order.value)
        async with asyncio.timeout(_SWITCH_TIMEOUT_S):
            await self._network.apply_faults()
        return web.json_response({"active": self._farm.faults.active(), "targets": targets})

    def _targets(self, order: FaultOrder) -> list[int]:
        if order.kind is FaultKind.BASE_LOAD:
            if order.active and (order.value is None or order.value < 0.0):
                raise TargetError("base_load needs a value of zero or more watts")
            return []
        return self._farm.faults.targets(order.kind, order.target)

    async def _clear(self, _request: web.Request) -> web.Response:
        self._farm.clear_faults()
        async with asyncio.timeout(_SWITCH_TIMEOUT_S):
            await self._network.apply_faults()
        return web.json_response({"active": {}})


@web.middleware
async def _one_sentence(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    try:
        return await handler(request)
    except PortError as error:
        return _refused(409, str(error))
    except ValidationError as error:
        fault = error.errors()[0]
        key = ".".join(str(part) for part in fault["loc"]) or "body"
        return _refused(400, f"{key}: {fault['msg']}")
    except web.HTTPException as error:
        if error.status < 400:
            raise
        return _refused(error.status, f"{request.method} {request.path}: {error.reason}")
