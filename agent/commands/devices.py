"""The verb that talks to one device without a daemon: poll. It reads and never writes.

With ``--raw`` the bytes of the whole conversation come first, also where it ended badly.
"""

import asyncio
from collections.abc import Coroutine, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, TypeVar
from urllib.parse import parse_qs

import typer

from agent.billing import billed_by, open_billing
from agent.clockface import billing_clock_of, clock_of
from agent.commands.console import (
    Code,
    CommandError,
    JsonOption,
    print_json,
    print_text,
    show,
    table_of,
)
from agent.commands.waiting import waiting
from agent.settings import DEFAULT_PROFILE_DIRS
from agent.wiretap import Passage, Tap, run_tapped, shown
from drivers.device import ReadsMeter, ReadsMiner, ReadsQuantities
from drivers.errors import DriverError, RefusedError
from drivers.meters.billing import SCHEME as BILLING
from drivers.meters.billing import BillingMeter
from drivers.meters.identification import Proposal, propose
from drivers.meters.profile import profile_paths
from drivers.meters.registry import SCHEMES, open_meter
from drivers.miners.registry import FAMILIES, open_miner
from drivers.relays.board import RelayBoard
from drivers.relays.profile import profile_names
from drivers.relays.registry import open_board

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
            "modbus+serial:///dev/ttyUSB0/1?profile=sdm630&baud=9600, or a billing meter's dlms://",
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
    password_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="For machines that want a password to be read."),
    ] = None,
    is_raw: Annotated[
        bool,
        typer.Option("--raw", help="Show the bytes sent and received; secrets are masked."),
    ] = False,
    is_json: JsonOption = False,
) -> None:
    """Ask one device who it is and read it once, with pools, profiles, fans and faults of a machine
    and everything that its profile names of a meter; of a relay board its coils and its watchdog.

    Exit 0: read; 2: not a device's URI; 3: no answer, or none that makes sense; 4: it refused.
    """
    given = profile_dir if profile_dir is not None else DEFAULT_PROFILE_DIRS
    directories = [path for path in given if path.is_dir()]
    tap = Tap(secrets=_secrets(uri, password_file)) if is_raw else None
    try:
        if is_identifying:
            with waiting(f"trying profiles on {uri}", is_json=is_json):
                proposals = _heard(uri, _proposed(uri, directories), tap)
            answer = {"proposals": [asdict(one) for one in proposals]}
        else:
            answer = _heard(uri, _polled(_opened(uri, directories, password_file)), tap)
    except CommandError:
        if tap is not None:
            _show_passages(tap.passages(), is_json=is_json)
        raise
    if is_json and tap is not None:
        print_json(answer | {"raw": [_as_json(one) for one in tap.passages()]})
    elif is_json:
        print_json(answer["proposals"] if is_identifying else answer)
    else:
        if tap is not None:
            _show_passages(tap.passages(), is_json=False)
        if is_identifying:
            _show_proposals(answer["proposals"], uri)
        else:
            _show_answer(answer)


def _show_answer(answer: dict[str, Any]) -> None:
    """One table for every part, and one for every list of rows in it."""
    quantities = answer.pop("quantities", [])
    for part, fields in answer.items():
        lists = {name: value for name, value in fields.items() if _is_table(value)}
        rows = [[name, _plainly(value)] for name, value in fields.items() if name not in lists]
        show(table_of([part, ""], rows))
        for name, table in lists.items():
            headings = [name.removesuffix("s"), *list(table[0])[1:]]
            show(table_of(headings, [list(row.values()) for row in table]))
    if quantities:
        rows = [[one["name"], one["value"], one["unit"], one["fault"]] for one in quantities]
        show(table_of(["quantity", "value", "unit", "why not"], rows))


def _is_table(value: object) -> bool:
    return isinstance(value, tuple) and bool(value) and isinstance(value[0], dict)


def _plainly(value: object) -> object:
    """Lists of plain values in one cell."""
    return ", ".join(map(str, value)) or None if isinstance(value, tuple) else value


def _secrets(uri: str, given: Path | None) -> tuple[str, ...]:
    """What must not be shown. A file that cannot be read is refused with the device's opening."""
    password_file = billed_by(uri) if uri.startswith(f"{BILLING}://") else given
    if password_file is None or not password_file.is_file():
        return ()
    return (password_file.read_text("utf-8", errors="replace").partition("\n")[0].rstrip("\r"),)


def _show_passages(passages: Sequence[Passage], *, is_json: bool) -> None:
    if is_json:
        print_json({"raw": [_as_json(one) for one in passages]})
        return
    for one in passages:
        way = "sent to" if one.is_sent else "received from"
        print_text(f"{one.after_s:.3f} s, {one.size} bytes {way} {one.peer}\n")
        print_text(f"{shown(one.data)}\n\n")


def _as_json(passage: Passage) -> dict[str, object]:
    return {
        "way": "sent" if passage.is_sent else "received",
        "peer": passage.peer,
        "after_s": round(passage.after_s, 6),
        "text": shown(passage.data),
        "hex": passage.data.hex(),
    }


def _heard(uri: str, asking: Coroutine[Any, Any, _Answer], tap: Tap | None) -> _Answer:
    """What a device says, or why it says nothing as an error of the command."""
    try:
        return asyncio.run(asking) if tap is None else run_tapped(asking, tap)
    except RefusedError as error:
        raise CommandError(f"{uri}: {error}", Code.REFUSED) from error
    except DriverError as error:
        raise CommandError(f"{uri}: {error}", Code.UNREACHABLE) from error
    except TimeoutError as error:
        sentence = f"{uri}: no complete answer in time; is the device busy?"
        raise CommandError(sentence, Code.UNREACHABLE) from error


def _show_proposals(proposals: Sequence[dict[str, Any]], uri: str) -> None:
    if not proposals:
        raise CommandError(
            f"{uri}: it answers, and no profile holds; put one of your own into a directory",
            Code.UNREACHABLE,
        )
    rows = [
        [one["profile"], one["title"], ", ".join(one["signs"]), "no" if one["unfit"] else "yes"]
        for one in proposals
    ]
    show(table_of(["profile", "meters", "signs", "may keep a purchase"], rows))


async def _proposed(uri: str, profile_dirs: Sequence[Path]) -> tuple[Proposal, ...]:
    try:
        async with asyncio.timeout(IDENTIFY_S):
            return await propose(uri, profile_dirs)
    except ValueError as error:
        raise CommandError(str(error), Code.WRONG_INPUT) from error


def _opened(
    uri: str, profile_dirs: Sequence[Path], password_file: Path | None
) -> ReadsMiner | ReadsMeter | RelayBoard | BillingMeter:
    scheme = uri.partition("://")[0]
    try:
        if scheme == BILLING and password_file is None:
            return open_billing(uri)
        if scheme in SCHEMES and _names_board(uri, profile_dirs):
            return open_board(uri)
        if scheme in SCHEMES:
            return open_meter(
                uri, meter_id="poll", serial=None, rated_power_w=None, profile_dirs=profile_dirs
            )
        if scheme in FAMILIES:
            return open_miner(uri, miner_id="poll", mac=None, password_file=password_file)
    except ValueError as error:
        raise CommandError(str(error), Code.WRONG_INPUT) from error
    known = ", ".join(f"{name}://" for name in (*FAMILIES, *SCHEMES, BILLING))
    raise CommandError(f"{uri} is not a device's URI; start it with {known}", Code.WRONG_INPUT)


def _names_board(uri: str, profile_dirs: Sequence[Path]) -> bool:
    """Whether the profile is a relay board's; a meter's profile of the site goes before it."""
    names = parse_qs(uri.partition("?")[2]).get("profile", [])
    return len(names) == 1 and names[0] in set(profile_names()) - set(profile_paths(profile_dirs))


async def _details(device: ReadsMiner) -> dict[str, Any]:
    """The slow read, or why there is none: what the fast one said is still worth showing."""
    try:
        details = asdict(await device.read_details())
    except DriverError as error:
        return {"fault": str(error)}
    return {name: value for name, value in details.items() if name != "identity"}


async def _billed(meter: BillingMeter) -> dict[str, Any]:
    """Its clock beside this computer's, which some have not."""
    answer: dict[str, Any] = {"identity": asdict(await meter.identify())}
    answer["clock"] = await billing_clock_of(meter)
    answer["quantities"] = [asdict(one) for one in await meter.read_quantities()]
    return answer


async def _polled(device: ReadsMiner | ReadsMeter | RelayBoard | BillingMeter) -> dict[str, Any]:
    answer: dict[str, Any] = {}
    try:
        async with asyncio.timeout(POLL_S):
            if isinstance(device, RelayBoard):
                return {"board": asdict(await device.read())}
            if isinstance(device, BillingMeter):
                return await _billed(device)
            answer["identity"] = asdict(await device.identify())
            answer["reading"] = asdict(await device.read())
            if (clock := await clock_of(device)) is not None:
                answer["clock"] = clock
            if isinstance(device, ReadsMiner):
                answer["details"] = await _details(device)
            if isinstance(device, ReadsQuantities):
                answer["quantities"] = [asdict(one) for one in await device.read_quantities()]
    finally:
        async with asyncio.timeout(CLOSE_S):
            await device.close()
    return answer
