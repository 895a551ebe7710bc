"""The control API's part for the pool: buying through it, and making it misbehave."""

import asyncio
from typing import Annotated, Any

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field

from simulator.misdeeds import Misdeed
from simulator.pool import BrokerError, Pool
from simulator.seller import NothingSentError, SignedBatch, Trick

SEND_AGAIN_S = 3.0
PATIENCE_S = 30.0
_LOOK_S = 0.05


class MisdeedOrder(BaseModel):
    """Body of ``POST /v1/pool/misdeeds``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Misdeed
    active: bool = True


class PurchaseOrder(BaseModel):
    """Body of ``POST /v1/pool/transactions``; each row is as `kwota transactions import` has it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    farm: str
    agent: str
    transactions: Annotated[list[dict[str, Any]], Field(min_length=1, max_length=500)]
    trick: Trick = Trick.NONE
    patience_s: Annotated[float, Field(gt=0, le=PATIENCE_S)] = PATIENCE_S


def add_pool_routes(app: web.Application, pool: Pool | None) -> None:
    """Mount them; without a pool each says so."""

    async def misdeeds(request: web.Request) -> web.Response:
        if pool is None:
            return _no_pool()
        order = MisdeedOrder.model_validate_json(await request.text())
        active = pool.witness.misdeeds.active
        (active.add if order.active else active.discard)(order.kind)
        return web.json_response({"active": sorted(active)})

    async def transactions(request: web.Request) -> web.Response:
        if pool is None:
            return _no_pool()
        return await _sell(pool, PurchaseOrder.model_validate_json(await request.text()))

    app.router.add_post("/v1/pool/misdeeds", misdeeds)
    app.router.add_post("/v1/pool/transactions", transactions)


async def _sell(pool: Pool, order: PurchaseOrder) -> web.Response:
    """Send a batch until it is answered, and say what the agent answered."""
    try:
        batch = pool.batch(order.farm, order.agent, order.transactions, order.trick)
    except (NothingSentError, BrokerError) as error:
        return web.json_response({"error": str(error)}, status=409)
    try:
        async with asyncio.timeout(order.patience_s):
            answer = await sold(pool, order.farm, order.agent, batch)
    except TimeoutError:
        return web.json_response({"error": "the agent does not answer"}, status=504)
    return web.json_response(answer)


async def sold(pool: Pool, farm: str, agent: str, batch: SignedBatch) -> dict[str, Any]:
    """The agent's answer to a batch, which is sent again until there is one."""
    loop = asyncio.get_running_loop()
    while True:
        pool.send(farm, agent, batch)
        until_s = loop.time() + SEND_AGAIN_S
        while loop.time() < until_s:
            answer = pool.answer(batch)
            if answer is not None:
                return answer
            await asyncio.sleep(_LOOK_S)


def _no_pool() -> web.Response:
    sentence = "this site runs without a pool: start it with --broker"
    return web.json_response({"error": sentence}, status=404)
