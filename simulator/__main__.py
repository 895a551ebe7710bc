"""``kwota-sim``: the test rig. It shares no code with what it tests."""

import asyncio
import logging
import signal
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from simulator.buy_command import buy_command
from simulator.campaign_command import campaign_command
from simulator.farm_file import FarmFile, FarmFileError, load_farm_file
from simulator.network import PortError
from simulator.pool import BrokerError, open_pool
from simulator.replay.command import replay_command
from simulator.serve import PoolOptions, ServeOptions, serve
from simulator.signed_note import NoteError
from simulator.virtual.command import virtual_command

_WRONG_INPUT = 2
_MAX_MACHINES = 16_000

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Simulated mining farm on loopback sockets. Exit codes: 0 ended in order, 2 wrong input,"
    " a port in use, or a file that cannot be used.",
)
app.command("virtual")(virtual_command)
app.command("campaign")(campaign_command)
app.command("replay")(replay_command)
app.command("buy")(buy_command)

MinersOption = Annotated[
    int | None, typer.Option(min=1, max=_MAX_MACHINES, help="so many machines, same proportions")
]
ReadyOption = Annotated[
    Path | None, typer.Option(help="written when everything listens: JSON with addresses and MACs")
]
PortOption = Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free port")]
MeterPortOption = Annotated[
    int | None, typer.Option(min=0, max=65535, help="port of the first meter, 0 takes a free one")
]
BrokerOption = Annotated[
    str | None, typer.Option(help="mqtt://host:port: run the reference pool there")
]
PoolDirOption = Annotated[
    Path | None, typer.Option(help="the pool's key, vkey and records; made if missing")
]
RegistryOption = Annotated[
    Path | None, typer.Option(help="TOML or JSON: agent to vkey; read again when it changes")
]
ANY_BASE = "free"
BaseOption = Annotated[
    str | None,
    typer.Option(
        help=f"loopback network of the machines, like 127.8.0.0; {ANY_BASE}: any free one"
    ),
]
NameOption = Annotated[str, typer.Option(help="name of the pool's key")]


@app.command("serve")
def serve_command(
    farm: Annotated[Path, typer.Argument(help="farm file, TOML")],
    *,
    miners: MinersOption = None,
    ready_file: ReadyOption = None,
    control_port: PortOption = 0,
    meter_port: MeterPortOption = None,
    address_base: BaseOption = None,
    broker: BrokerOption = None,
    pool_dir: PoolDirOption = None,
    pool_registry: RegistryOption = None,
    pool_name: NameOption = "pool.example",
    seed: Annotated[int | None, typer.Option(help="instead of the farm file's")] = None,
    exit_with_parent: Annotated[
        bool, typer.Option("--exit-with-parent", help="stop when the starting process dies")
    ] = False,
) -> None:
    """Serve a farm until interrupted: LuxOS machines, a meter, a control API, a pool."""
    _log_to_stderr()
    try:
        file = _changed(load_farm_file(farm), miners=miners, meter_port=meter_port, seed=seed)
        if address_base not in (None, ANY_BASE):
            file = file.with_base(address_base)
        options = ServeOptions(
            file=file,
            finds_addresses=address_base == ANY_BASE,
            control_port=control_port,
            ready_file=ready_file,
            pool=_pool_options(broker, pool_dir, pool_registry, pool_name),
            exits_with_parent=exit_with_parent,
        )
        asyncio.run(serve(options, _announce))
    except (FarmFileError, PortError, NoteError, BrokerError, OSError) as error:
        _fail(error)


@app.command("pool")
def pool_command(
    *,
    broker: Annotated[str, typer.Option(help="mqtt://host:port")],
    pool_dir: Annotated[Path, typer.Option(help="the pool's key, vkey and records")],
    pool_registry: RegistryOption = None,
    pool_name: NameOption = "pool.example",
) -> None:
    """Run the reference pool and witness alone, until interrupted."""
    _log_to_stderr()
    try:
        pool = open_pool(pool_dir, pool_registry, pool_name, broker)
    except (NoteError, BrokerError, OSError) as error:
        _fail(error)
    waited = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, waited)
    pool.start()
    typer.echo(f"pool on {broker}, vkey in {pool_dir / 'pool.vkey'}", err=True)
    signal.sigwait(waited)
    pool.stop()


def _changed(
    file: FarmFile, *, miners: int | None, meter_port: int | None, seed: int | None
) -> FarmFile:
    if miners is not None:
        file = file.with_count(miners)
    if seed is not None:
        site = file.site.model_copy(update={"seed": seed})
        file = file.model_copy(update={"site": site})
    if meter_port is not None:
        first = file.meters[0].model_copy(update={"port": meter_port})
        file = file.model_copy(update={"meters": (first, *file.meters[1:])})
    return file


def _pool_options(
    broker: str | None, pool_dir: Path | None, registry: Path | None, name: str
) -> PoolOptions | None:
    if broker is None:
        return None
    if pool_dir is None:
        raise NoteError("the pool needs a directory for its key: give --pool-dir")
    return PoolOptions(broker=broker, directory=pool_dir, registry=registry, name=name)


def _announce(document: dict[str, Any]) -> None:
    machines, meters = document["machines"], document["meters"]
    typer.echo(f"control  {document['control_url']}", err=True)
    for meter in meters:
        typer.echo(f"meter    modbus://{meter['address']}/{meter['unit']}", err=True)
    if machines:
        first, last = machines[0], machines[-1]
        span = f"{first['address']} to {last['address']}, port {first['port']}"
        typer.echo(f"machines {len(machines)}: {span}", err=True)
    if document["pool"] is not None:
        typer.echo(f"pool     {document['pool']['broker']}", err=True)
    for warning in document["warnings"]:
        typer.echo(f"warning  {warning}", err=True)


def _log_to_stderr() -> None:
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(levelname)s %(name)s %(message)s"
    )


def _fail(error: Exception) -> NoReturn:
    typer.echo(f"kwota-sim: {error}", err=True)
    raise typer.Exit(_WRONG_INPUT)


def main() -> None:
    """Entry point of ``kwota-sim``."""
    app()


if __name__ == "__main__":
    main()
