"""``kwota-sim buy``: the pool sells to an agent, beside a pool that runs already."""

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from simulator.control_pool import PurchaseOrder, sold
from simulator.pool import BrokerError, Pool, open_pool
from simulator.seller import Trick
from simulator.signed_note import NoteError

_CONNECT_S = 10.0
_WRONG_INPUT, _NO_ANSWER, _REFUSED = 2, 3, 1


def buy_command(
    file: Annotated[
        Path, typer.Argument(help="JSON with the purchases, as `kwota transactions import` has it")
    ],
    *,
    broker: Annotated[str, typer.Option(help="mqtt://host:port")],
    pool_dir: Annotated[Path, typer.Option(help="the pool's keys and numbers")],
    farm: Annotated[str, typer.Option(help="the agent's site.farm")],
    agent: Annotated[str, typer.Option(help="the agent's site.agent")],
    trick: Annotated[Trick, typer.Option(help="what the batch has wrong with it")] = Trick.NONE,
    patience_s: Annotated[float, typer.Option(min=0.1, max=600.0)] = 30.0,
) -> None:
    """Send a signed batch of purchases until the agent answers, and print its answer as JSON.

    Exit 0: taken; 1: refused; 2: wrong input; 3: no answer.
    """
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
        pool = open_pool(pool_dir, None, "pool.example", broker, is_seller_only=True)
        order = PurchaseOrder(
            farm=farm,
            agent=agent,
            transactions=document if isinstance(document, list) else document["transactions"],
            trick=trick,
        )
        answer = asyncio.run(_buy(pool, order, patience_s))
    except (NoteError, OSError, ValueError, KeyError) as error:
        typer.echo(f"kwota-sim: {error}", err=True)
        raise typer.Exit(_WRONG_INPUT) from error
    except TimeoutError:
        typer.echo(f"kwota-sim: {farm}/{agent} does not answer; does it run, and listen?", err=True)
        raise typer.Exit(_NO_ANSWER) from None
    sys.stdout.write(json.dumps(answer, indent=1) + "\n")
    raise typer.Exit(0 if answer.get("result") == "taken" else _REFUSED)


async def _buy(pool: Pool, order: PurchaseOrder, patience_s: float) -> dict[str, Any]:
    pool.start()
    try:
        until_s = time.monotonic() + _CONNECT_S
        while not pool.is_connected:
            if time.monotonic() > until_s:
                raise BrokerError(f"{pool.broker} does not answer; is a broker there?")
            await asyncio.sleep(0.05)
        batch = pool.batch(order.farm, order.agent, order.transactions, order.trick)
        async with asyncio.timeout(patience_s):
            return await sold(pool, order.farm, order.agent, batch)
    finally:
        pool.stop()
