"""Runs a farm on real sockets: one loop that steps the plant, everything else is callbacks."""

import asyncio
import json
import logging
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import web

from simulator.clock import started_now
from simulator.control import Control
from simulator.farm import Farm, build_farm
from simulator.farm_file import FarmFile
from simulator.network import Network, PortError, TakenAddressError, reason_of
from simulator.parent import die_with_parent, is_orphan
from simulator.pool import Pool, open_pool

_log = logging.getLogger(__name__)
_PARENT_CHECK_S = 0.5
_START_TIMEOUT_S = 120.0
_CLOSE_TIMEOUT_S = 5.0
_BASE_OCTETS = range(8, 128)


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolOptions:
    """Where the reference pool listens and what it keeps."""

    broker: str
    directory: Path
    registry: Path | None
    name: str = "pool.example"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeOptions:
    """What the command line said. ``finds_addresses``: take any network that is free."""

    file: FarmFile
    finds_addresses: bool
    control_port: int
    ready_file: Path | None
    pool: PoolOptions | None
    exits_with_parent: bool


async def serve(options: ServeOptions, announce: Callable[[dict[str, Any]], None]) -> None:
    """Serve until SIGINT or SIGTERM. Raises PortError, NoteError, BrokerError at the start."""
    stop = asyncio.Event()
    parent = die_with_parent() if options.exits_with_parent else None
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with AsyncExitStack() as stack:
        async with asyncio.timeout(_START_TIMEOUT_S):
            network = await _open_network(options)
            stack.push_async_callback(network.close)
            farm = network.farm
            pool = _open_pool(options.pool, stack)
            control = Control(farm, network, pool)
            url = await _open_control(control, options.control_port, stack)
        document = _ready(options, control, url, network.warnings)
        if options.ready_file is not None:
            _write_ready(options.ready_file, document)
            stack.callback(_forget_ready, options.ready_file)
        announce(document)
        await _run(farm, stop, parent)


async def _open_network(options: ServeOptions) -> Network:
    """Listen everywhere, in the first network that no other farm has. Raises PortError."""
    files = _elsewhere(options.file) if options.finds_addresses else [options.file]
    failure = PortError("no loopback network is free for the machines; end another farm")
    for file in files:
        network = Network(farm=build_farm(file, started_now()))
        try:
            await network.open()
        except TakenAddressError as error:
            await network.close()
            if not options.finds_addresses:
                raise
            _log.debug("base=%s state=taken reason=%r", file.addresses.base, str(error))
        except PortError:
            await network.close()
            raise
        else:
            return network
    raise failure


def _elsewhere(file: FarmFile) -> Iterator[FarmFile]:
    """The same farm on one loopback network after the other."""
    for octet in _BASE_OCTETS:
        yield file.with_base(f"127.{octet}.0.0")


def _open_pool(options: PoolOptions | None, stack: AsyncExitStack) -> Pool | None:
    if options is None:
        return None
    pool = open_pool(options.directory, options.registry, options.name, options.broker)
    pool.start()
    stack.callback(pool.stop)
    return pool


async def _open_control(control: Control, port: int, stack: AsyncExitStack) -> str:
    runner = web.AppRunner(
        control.application(), access_log=None, shutdown_timeout=_CLOSE_TIMEOUT_S
    )
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
    except OSError as error:
        raise PortError(
            f"control: cannot listen on 127.0.0.1:{port} ({reason_of(error)}); choose"
            " another --control-port"
        ) from error
    return f"http://127.0.0.1:{runner.addresses[0][1]}"


async def _run(farm: Farm, stop: asyncio.Event, parent: int | None) -> None:
    step_s = farm.file.site.step_s
    checked_s = farm.clock.now_s()
    while not stop.is_set():
        now_s = farm.clock.now_s()
        farm.step(now_s)
        if parent is not None and now_s - checked_s >= _PARENT_CHECK_S:
            checked_s = now_s
            if is_orphan(parent):
                _log.info("parent=%s gone, stopping", parent)
                return
        with suppress(TimeoutError):
            async with asyncio.timeout(step_s):
                await stop.wait()


def _ready(
    options: ServeOptions, control: Control, url: str, warnings: list[str]
) -> dict[str, Any]:
    document = control.farm_document()
    pool = options.pool
    return {
        "pid": os.getpid(),
        "control_url": url,
        "meters": [
            {key: row[key] for key in ("id", "address", "uri", "unit", "serial", "profile")}
            for row in document["meters"]
        ],
        "machines": document["machines"],
        "relays": document["relays"],
        "pool": None
        if pool is None
        else {
            "broker": pool.broker,
            "vkey_file": str(pool.directory / "pool.vkey"),
            "signing_vkey_file": str(pool.directory / "signing.vkey"),
            "registry_file": str(pool.registry or pool.directory / "registry.toml"),
        },
        "warnings": warnings,
    }


def _write_ready(path: Path, document: dict[str, Any]) -> None:
    half = path.with_name(f"{path.name}.{os.getpid()}.part")
    half.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    half.replace(path)


def _forget_ready(path: Path) -> None:
    path.unlink(missing_ok=True)
