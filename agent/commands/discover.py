"""The verb that looks over a network for machines: discover. It reads and never writes to any.

What it prints on stdout is a piece of a kwota file, with everything else as comments; ``--write``
puts it into the file of a site, after the daemon's own loader has found nothing wrong with it.
"""

import asyncio
import ipaddress
import time
import tomllib
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic_core import PydanticCustomError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from agent.atomicfile import ChangedError, replace_bytes
from agent.commands.console import Code, CommandError, JsonOption, print_json, print_text, say
from agent.minersfile import (
    Extras,
    Merged,
    MinersFileError,
    merged,
    pinned_mac,
    row_text,
    without_mac,
)
from agent.settings import DEFAULT_PROFILE_DIRS, parse_settings
from agent.settings_discovery import ADDRESSES_MAX, hosts_of, network
from agent.settings_faults import SettingsError, read_toml
from drivers.discovery.meters import PORT as METER_PORT
from drivers.discovery.meters import MeterFound, ask_meter
from drivers.discovery.stranger import Asking, Found, Verdict
from drivers.discovery.sweep import CONCURRENT, files_for, sweep
from drivers.miners.registry import FAMILIES

# A /22 is done in half a minute, whatever answers there; larger networks get as much for each.
BLOCK_ADDRESSES = 1024
BLOCK_LIMIT_S = 26.0
METERS_AT_ONCE = 16
METERS_LIMIT_S = 120.0

_QUIET = (Verdict.SILENT, Verdict.REFUSING, Verdict.ABSENT)


@dataclass(slots=True, kw_only=True)
class _Survey:
    """What has been found so far. ``is_whole``: everybody was asked in time."""

    hosts: tuple[str, ...]
    found: list[Found]
    meters: list[MeterFound]
    is_whole: bool = True
    seconds: float = 0.0

    def sort(self) -> None:
        self.found.sort(key=lambda one: ipaddress.IPv4Address(one.address))
        self.meters.sort(key=lambda one: one.uri)

    def of(self, *verdicts: Verdict) -> list[Found]:
        return [one for one in self.found if one.verdict in verdicts]


def discover(
    networks: Annotated[list[str], typer.Argument(metavar="NETWORK...", help="10.1.0.0/22")],
    *,
    file: Annotated[
        Path | None,
        typer.Option("--write", metavar="FILE", help="Bring a site's file up to date."),
    ] = None,
    meter_point: Annotated[
        str, typer.Option(metavar="ID", help="The meter point of what is added.")
    ] = "",
    password_files: Annotated[
        list[str] | None,
        typer.Option(
            "--password-file",
            metavar="FAMILY=FILE",
            help="For families that say who they are only to whoever has it.",
        ),
    ] = None,
    ports: Annotated[
        list[str] | None,
        typer.Option("--port", metavar="USUAL=OTHER", help="Where a usual port is another one."),
    ] = None,
    has_meters: Annotated[
        bool, typer.Option("--meters", help="Look for meters (Modbus, unit 1) as well.")
    ] = False,
    is_json: JsonOption = False,
) -> None:
    """Find and identify the machines of a network without a single write to any.

    A /22 takes less than 30 s. Prints [[miners]] tables pinned by MAC, and what else answers as
    comments. With --write new machines are added to a site's file and those that have moved get
    their new address; nothing else in it changes.

    Exit 0: done; 1: something was refused, or the time ran out; 2: not a network, or the file
    cannot be used.
    """
    how = Asking(ports=_ports(ports or []), passwords=_passwords(password_files or []))
    survey = _Survey(hosts=_hosts(networks), found=[], meters=[])
    asyncio.run(_look(survey, how, has_meters=has_meters))
    survey.sort()
    extras = Extras(meter_point=meter_point, passwords=how.passwords)
    change = None if file is None else _write(file, survey, extras)
    if is_json:
        print_json(_document(survey, change))
    elif change is None:
        print_text(_tables(survey, extras))
    else:
        say("\n".join([*change.added, *change.moved, *change.refused, *_others(survey)]))
    say(_summary(survey))
    if not survey.is_whole or (change is not None and change.refused):
        raise typer.Exit(Code.NEGATIVE)


async def _look(survey: _Survey, how: Asking, *, has_meters: bool) -> None:
    started_s = time.monotonic()
    blocks = -(-len(survey.hosts) // BLOCK_ADDRESSES)
    console = Console(stderr=True)
    with _progress(console) if console.is_terminal else nullcontext() as progress:
        step = _stepper(progress, "machines", len(survey.hosts))

        def tell(found: Found) -> None:
            survey.found.append(found)
            step()

        survey.is_whole = await sweep(
            survey.hosts,
            how,
            concurrent=files_for(min(CONCURRENT, len(survey.hosts))),
            limit_s=BLOCK_LIMIT_S * blocks,
            tell=tell,
        )
        if has_meters:
            await _look_for_meters(survey, how, progress)
    survey.seconds = time.monotonic() - started_s


async def _look_for_meters(survey: _Survey, how: Asking, progress: Progress | None) -> None:
    """Whoever is no machine and has the address may be a meter."""
    away = {one.address for one in survey.of(Verdict.IDENTIFIED, Verdict.ABSENT)}
    hosts = [host for host in survey.hosts if host not in away]
    step = _stepper(progress, "meters", len(hosts))
    directories = [path for path in DEFAULT_PROFILE_DIRS if path.is_dir()]
    waiting = iter(hosts)

    async def work() -> None:
        for host in waiting:
            port = how.ports.get(METER_PORT, METER_PORT)
            meter = await ask_meter(host, directories, port=port)
            if meter is not None:
                survey.meters.append(meter)
            step()

    try:
        async with asyncio.timeout(METERS_LIMIT_S), asyncio.TaskGroup() as group:
            for number in range(files_for(METERS_AT_ONCE)):
                group.create_task(work(), name=f"discover meters {number}")
    except TimeoutError:
        survey.is_whole = False


def _progress(console: Console) -> Progress:
    bar = BarColumn(bar_width=None)
    words = TextColumn("{task.description}")
    columns = (words, bar, MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True)


def _stepper(progress: Progress | None, name: str, total: int) -> Callable[[], None]:
    if progress is None:
        return lambda: None
    task = progress.add_task(name, total=total)
    return lambda: progress.advance(task)


def _hosts(networks: Sequence[str]) -> tuple[str, ...]:
    try:
        hosts = hosts_of(network(text) for text in networks)
    except PydanticCustomError as error:
        raise CommandError(error.message(), Code.WRONG_INPUT) from error
    if len(hosts) > ADDRESSES_MAX:
        words = f"{len(hosts)} addresses are too many at once; name fewer networks"
        raise CommandError(words, Code.WRONG_INPUT)
    return hosts


def _ports(pairs: Sequence[str]) -> dict[int, int]:
    ports = {}
    for pair in pairs:
        usual, _, other = pair.partition("=")
        if not all(text.isdecimal() and 0 < int(text) < 65_536 for text in (usual, other)):
            raise CommandError(f"{pair} is no pair of ports; write 80=8080", Code.WRONG_INPUT)
        ports[int(usual)] = int(other)
    return ports


def _passwords(pairs: Sequence[str]) -> dict[str, Path]:
    passwords = {}
    for pair in pairs:
        family, _, name = pair.partition("=")
        if family not in FAMILIES or not FAMILIES[family].takes_password or not name:
            known = ", ".join(name for name, one in FAMILIES.items() if one.takes_password)
            words = f"{pair} names no family that takes a password; write FAMILY=FILE, of {known}"
            raise CommandError(words, Code.WRONG_INPUT)
        passwords[family] = Path(name)
    return passwords


def _write(path: Path, survey: _Survey, extras: Extras) -> Merged:
    """The file brought up to date; it stays as it was where anything is wrong with the new one."""
    path = path.absolute()
    try:
        read_toml(path)  # says what is wrong with a file that is none
        old = path.read_bytes()
        change = merged(old.decode(), survey.of(Verdict.IDENTIFIED), extras)
        new = change.text.encode()
        if new != old:
            parse_settings(tomllib.loads(change.text), path)
            replace_bytes(path, old, new)
    except SettingsError as error:
        raise CommandError(f"{path} was left as it is:\n{error}", Code.WRONG_INPUT) from error
    except MinersFileError as error:
        raise CommandError(f"{path} was left as it is: {error}", Code.WRONG_INPUT) from error
    except ChangedError as error:
        raise CommandError(str(error), Code.NEGATIVE) from error
    except OSError as error:
        words = f"{path} cannot be written ({error.strerror}); check its rights and its folder's"
        raise CommandError(words, Code.WRONG_INPUT) from error
    return change


def _tables(survey: _Survey, extras: Extras) -> str:
    """Machines as tables, one after the other, and everything else as comments below."""
    machines = survey.of(Verdict.IDENTIFIED)
    tables = [row_text(one, extras) for one in machines if pinned_mac(one)]
    return "\n".join([*tables, "".join(f"# {line}\n" for line in _remarks(survey, extras))])


def _remarks(survey: _Survey, extras: Extras) -> list[str]:
    """What a person should know of what is no machine of this file."""
    lines = [
        without_mac(one, extras) for one in survey.of(Verdict.IDENTIFIED) if not pinned_mac(one)
    ]
    return [*lines, *_others(survey)]


def _others(survey: _Survey) -> list[str]:
    """Who answers and is no machine that could stand in a file."""
    lines = [
        f"{one.address}: {one.family or one.verdict.value}. {one.words}"
        for one in survey.of(Verdict.INCOMPLETE, Verdict.UNKNOWN, Verdict.UNASKED)
    ]
    for meter in survey.meters:
        lines += [f"{meter.uri}: a meter? {meter.words}"] if meter.words else []
        lines += [
            f"{meter.uri}?profile={one.profile}: {one.title} ({', '.join(one.signs)})"
            + (f"; keeps no purchase: {one.unfit}" if one.unfit else "")
            for one in meter.proposals
        ]
    return ["".join(char if char.isprintable() else " " for char in line) for line in lines]


def _summary(survey: _Survey) -> str:
    """One line for people: how many of what, and how long it took."""
    machines = survey.of(Verdict.IDENTIFIED)
    kinds = Counter(one.family for one in machines)
    families = ", ".join(f"{count} {family}" for family, count in sorted(kinds.items()))
    counts = Counter(one.verdict.value for one in survey.found)
    others = [
        f"{counts[verdict.value]} {verdict.value}"
        for verdict in Verdict
        if verdict is not Verdict.IDENTIFIED and counts[verdict.value]
    ]
    parts = [f"{len(machines)} machines" + (f" ({families})" if families else ""), *others]
    words = f"{len(survey.hosts)} addresses in {survey.seconds:.1f} s: {', '.join(parts)}"
    missing = len(survey.hosts) - len(survey.found)
    if not survey.is_whole:
        words += f"; the time ran out with {missing} not asked to the end: name smaller networks"
    return words


def _document(survey: _Survey, change: Merged | None) -> dict[str, Any]:
    """The whole survey for programs; addresses where nobody answers are only counted."""
    counts = Counter(one.verdict.value for one in survey.found)
    return {
        "addresses": len(survey.hosts),
        "seconds": round(survey.seconds, 3),
        "is_complete": survey.is_whole,
        "counts": {verdict.value: counts[verdict.value] for verdict in Verdict},
        "machines": [asdict(one) for one in survey.found if one.verdict not in _QUIET],
        "silent": [one.address for one in survey.of(Verdict.SILENT)],
        "meters": [asdict(one) for one in survey.meters],
        "written": None
        if change is None
        else {"added": change.added, "moved": change.moved, "refused": change.refused},
    }
