"""The verb that talks to one device without a daemon: poll. It reads and never writes."""

import asyncio
from collections.abc import Coroutine, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from agent.commands.console import (
    Code,
    CommandError,
    JsonOption,
    print_json,
    show,
    table_of,
)
from agent.settings import DEFAULT_PROFILE_DIRS
from drivers.device import ReadsMeter, ReadsMiner, ReadsQuantities
from drivers.errors import DriverError, RefusedError
from drivers.meters.identification import Proposal, propose
from drivers.meters.registry import SCHEMES, open_meter
from drivers.miners.registry import FAMILIES, open_miner

POLL_S = 30.0
IDENTIFY_S = 120.0
CLOSE_S = 5.0

_Answer = TypeVar("_Answer")


def poll(
    uri: Annotated[
        str,
        typer.Argument(
            metavar="URI",
            help="luxos://10.1.1.11, modbus://10.1.0.10/1?profile=sdm630 or "
            "modbus+serial:///dev/ttyUSB0/1?profile=sdm630&baud=9600",
        ),
    ],
    *,
    profile_dir: Annotated[
        list[Path] | None,
        typer.Option(metavar="DIR", help="Where meter profiles are, before the built-in ones."),
    ] = None,
    is_identifying: Annotated[
        bool,
        typer.Option("--identify", help="Propose profiles for a meter; leave ?profile= away."),
    ] = False,
    is_json: JsonOption = False,
) -> None:
    """Ask one device who it is and read it once; of a meter, everything that its profile names.

    Exit 0: read; 2: not a device's URI; 3: no answer, or none that makes sense; 4: it refused.
    """
    given = profile_dir if profile_dir is not None else DEFAULT_PROFILE_DIRS
    directories = [path for path in given if path.is_dir()]
    if is_identifying:
        _show_proposals(_heard(uri, _proposed(uri, directories)), uri, is_json=is_json)
        return
    answer = _heard(uri, _polled(_opened(uri, directories)))
    if is_json:
        print_json(answer)
        return
    quantities = answer.pop("quantities", [])
    for part, fields in answer.items():
        rows = [[name, value] for name, value in fields.items() if name != "boards"]
        show(table_of([part, ""], rows))
        boards = fields.get("boards", ())
        if boards:
            show(table_of(list(boards[0]), [list(board.values()) for board in boards]))
    if quantities:
        rows = [[one["name"], one["value"], one["unit"], one["fault"]] for one in quantities]
        show(table_of(["quantity", "value", "unit", "why not"], rows))


def _heard(uri: str, asking: Coroutine[Any, Any, _Answer]) -> _Answer:
    """What a device says, or why it says nothing as an error of the command."""
    try:
        return asyncio.run(asking)
    except RefusedError as error:
        raise CommandError(f"{uri}: {error}", Code.REFUSED) from error
    except DriverError as error:
        raise CommandError(f"{uri}: {error}", Code.UNREACHABLE) from error
    except TimeoutError as error:
        sentence = f"{uri}: no complete answer in time; is the device busy?"
        raise CommandError(sentence, Code.UNREACHABLE) from error


def _show_proposals(proposals: Sequence[Proposal], uri: str, *, is_json: bool) -> None:
    if is_json:
        print_json([asdict(one) for one in proposals])
        return
    if not proposals:
        raise CommandError(
            f"{uri}: it answers, and no profile holds; put one of your own into a directory",
            Code.UNREACHABLE,
        )
    rows = [
        [one.profile, one.title, ", ".join(one.signs), "no" if one.unfit else "yes"]
        for one in proposals
    ]
    show(table_of(["profile", "meters", "signs", "may keep a purchase"], rows))


async def _proposed(uri: str, profile_dirs: Sequence[Path]) -> tuple[Proposal, ...]:
    try:
        async with asyncio.timeout(IDENTIFY_S):
            return await propose(uri, profile_dirs)
    except ValueError as error:
        raise CommandError(str(error), Code.WRONG_INPUT) from error


def _opened(uri: str, profile_dirs: Sequence[Path]) -> ReadsMiner | ReadsMeter:
    scheme = uri.partition("://")[0]
    try:
        if scheme in SCHEMES:
            return open_meter(
                uri, meter_id="poll", serial=None, rated_power_w=None, profile_dirs=profile_dirs
            )
        if scheme in FAMILIES:
            return open_miner(uri, miner_id="poll", mac=None)
    except ValueError as error:
        raise CommandError(str(error), Code.WRONG_INPUT) from error
    known = ", ".join(f"{name}://" for name in (*FAMILIES, *SCHEMES))
    raise CommandError(f"{uri} is not a device's URI; start it with {known}", Code.WRONG_INPUT)


async def _polled(device: ReadsMiner | ReadsMeter) -> dict[str, Any]:
    answer: dict[str, Any] = {}
    try:
        async with asyncio.timeout(POLL_S):
            answer["identity"] = asdict(await device.identify())
            answer["reading"] = asdict(await device.read())
            if isinstance(device, ReadsQuantities):
                answer["quantities"] = [asdict(one) for one in await device.read_quantities()]
    finally:
        async with asyncio.timeout(CLOSE_S):
            await device.close()
    return answer
