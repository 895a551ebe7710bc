"""Puts every machine of the configuration to sleep. The last resort when the agent is dead.

What is not asleep then and has a relay loses its feed: the coil is switched off and read back.

It shares nothing with the agent but the drivers, and reads of the configuration only who the
machines are: whatever broke the agent must not break this. Commands go out to all machines first;
then each is read until it says that it sleeps. Run as ``python -m agent.failsafe --config F``.
"""

import argparse
import asyncio
import contextlib
import os
import sys
import tomllib
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Self

from drivers.device import ReadsMiner, Sleeps
from drivers.errors import (
    DriverError,
    RefusedError,
    UnknownOutcomeError,
    UnsupportedError,
    WrongDeviceError,
)
from drivers.miners.registry import open_miner
from drivers.readings import Activity
from drivers.relays.registry import open_relay

CONFIG_BYTES_MAX = 16 << 20
ASLEEP = frozenset({Activity.SLEEPING, Activity.STOPPED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """One machine of the configuration: what to call it, where it is, who it must be, and the file
    of the password that its writes need, if they need one."""

    name: str
    uri: str
    mac: str
    password_file: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Relay:
    """One relay of the configuration, and the ids or patterns of the machines behind it."""

    name: str
    uri: str
    channel: int
    miners: tuple[str, ...]

    def covers(self, machine: Machine) -> bool:
        """Whether the machine is behind it."""
        return any(fnmatchcase(machine.name, one) for one in self.miners)


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """What a configuration names, and what is wrong with the rest of it."""

    machines: tuple[Machine, ...]
    faults: tuple[str, ...]
    relays: tuple[Relay, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """How hard to try. ``machine_s`` bounds one step at one machine, ``total_s`` everything."""

    concurrent: int = 64
    tries: int = 2
    machine_s: float = 40.0  # an Antminer takes 21 s to answer; a silent one ends by itself
    relay_s: float = 6.0
    close_s: float = 5.0
    total_s: float = 60.0
    pause_s: float = 1.0


def read_inventory(text: str, base: Path = Path()) -> Inventory:
    """``[[miners]]`` and ``[[relays]]``, out of a text that may be broken elsewhere.

    The paths of passwords start at ``base``, or are names in systemd's directory of secrets.
    """
    faults: list[str] = []
    try:
        tables = [tomllib.loads(text)]
    except tomllib.TOMLDecodeError as error:
        faults.append(f"the configuration is not TOML ({error}): taking what can be read of it")
        tables = list(_legible_tables(text, faults))
    found = [_machine(row, base, faults) for row in _rows(tables, "miners")]
    relays = [_relay(row, faults) for row in _rows(tables, "relays")]
    return Inventory(
        machines=tuple(dict.fromkeys(one for one in found if one is not None)),
        relays=tuple(one for one in relays if one is not None),
        faults=tuple(faults),
    )


def _rows(tables: Iterable[dict[str, object]], kind: str) -> Iterable[object]:
    for table in tables:
        rows = table.get(kind, [])
        yield from rows if isinstance(rows, list) else [rows]


def _legible_tables(text: str, faults: list[str]) -> Iterable[dict[str, object]]:
    """Every ``[[miners]]`` and ``[[relays]]`` block that is TOML by itself."""
    block: list[str] = []
    for line in [*text.splitlines(), "[end]"]:
        if not line.lstrip().startswith("["):
            block.append(line)
            continue
        name = block[0].replace(" ", "").partition("]]")[0] if block else ""
        if name in ("[[miners", "[[relays"):
            try:
                yield tomllib.loads("\n".join(block))
            except tomllib.TOMLDecodeError as error:
                faults.append(f"a {name}]] block cannot be read ({error}): {' '.join(block)}")
        block = [line]


def _machine(row: object, base: Path, faults: list[str]) -> Machine | None:
    if not isinstance(row, dict) or not isinstance(row.get("uri"), str):
        faults.append(f"a machine without a uri cannot be reached: {row}")
        return None
    uri, mac, name = row["uri"], row.get("mac"), row.get("id")
    if not isinstance(mac, str):
        faults.append(f"{uri}: no MAC is pinned, so nothing says that this machine is ours")
        return None
    password = row.get("password_file")
    return Machine(
        name=name if isinstance(name, str) else uri,
        uri=uri,
        mac=mac,
        password_file=_secret(password, base) if isinstance(password, str) else None,
    )


def _relay(row: object, faults: list[str]) -> Relay | None:
    if isinstance(row, dict):
        uri, channel, miners = row.get("uri"), row.get("channel"), row.get("miners")
        if isinstance(uri, str) and isinstance(channel, int) and isinstance(miners, list):
            return Relay(
                name=str(row.get("id", uri)),
                uri=uri,
                channel=channel,
                miners=tuple(map(str, miners)),
            )
    faults.append(f"a relay without uri, channel and miners cannot be opened: {row}")
    return None


def _secret(text: str, base: Path) -> Path:
    """As the agent looks for it: systemd's secrets first, then beside the configuration."""
    credentials = os.environ.get("CREDENTIALS_DIRECTORY")
    if credentials and "/" not in text and (Path(credentials) / text).is_file():
        return Path(credentials) / text
    return base / text


class Sleeper:
    """Tries a set of machines until they sleep. ``awake`` names the rest and says why."""

    def __init__(self, machines: Sequence[Machine], bounds: Bounds) -> None:
        self.awake = dict.fromkeys(machines, f"not reached within {bounds.total_s:g} s in all.")
        self._bounds = bounds
        self._gate = asyncio.Semaphore(bounds.concurrent)
        self._drivers: dict[Machine, ReadsMiner] = {}

    async def run(self) -> None:
        """Return when all sleep, after the last try, or when the time is over."""
        for machine in self.awake:
            try:
                self._drivers[machine] = open_miner(
                    machine.uri,
                    miner_id=machine.name,
                    mac=machine.mac,
                    password_file=machine.password_file,
                )
            except ValueError as error:
                self.awake[machine] = str(error)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._bounds.total_s):
                for attempt in range(self._bounds.tries):
                    await asyncio.sleep(self._bounds.pause_s if attempt else 0.0)
                    commanded = await self._each(self._command, self.awake)
                    await self._each(self._confirm, commanded)
                    if not self.awake:
                        break

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Give connections back, as far as there is time for manners."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._bounds.close_s):
                closing = (driver.close() for driver in self._drivers.values())
                await asyncio.gather(*closing, return_exceptions=True)

    async def _each(
        self, step: Callable[[Machine], Awaitable[None]], machines: Iterable[Machine]
    ) -> list[Machine]:
        """One step at every machine. Returns those for which nothing went wrong."""
        chosen = [machine for machine in machines if machine in self._drivers]
        outcomes = await asyncio.gather(
            *(self._bounded(step, machine) for machine in chosen), return_exceptions=True
        )
        for machine, outcome in zip(chosen, outcomes, strict=True):
            if isinstance(outcome, Exception):
                # A bug in one driver must not keep the other machines awake: named, not raised.
                self.awake[machine] = f"{type(outcome).__name__}: {outcome}"
        return [
            machine for machine, outcome in zip(chosen, outcomes, strict=True) if outcome is True
        ]

    async def _bounded(self, step: Callable[[Machine], Awaitable[None]], machine: Machine) -> bool:
        """Whether one step went well within its time. What went wrong is noted at once."""
        async with self._gate:
            try:
                async with asyncio.timeout(self._bounds.machine_s):
                    await step(machine)
            except TimeoutError:
                self.awake[machine] = f"no end within {self._bounds.machine_s:g} s."
            except DriverError as error:
                self.awake[machine] = str(error)
            else:
                return True
            return False

    async def _command(self, machine: Machine) -> None:
        """Identify and send the command, to a machine that sleeps already as well.

        It is not read before: one whose readings are garbage must still be told to sleep.
        """
        driver = self._drivers[machine]
        identity = await driver.identify()
        if not identity.is_writable:
            raise WrongDeviceError(f"not certain what it is (only: {'; '.join(identity.signs)}).")
        if not isinstance(driver, Sleeps):
            raise UnsupportedError(f"a {identity.family} cannot be put to sleep by command.")
        try:
            await driver.sleep()
        except (UnknownOutcomeError, RefusedError) as error:
            # It may sleep nevertheless, or already: what it says next decides.
            self.awake[machine] = str(error)
        else:
            self.awake[machine] = "it took the command."

    async def _confirm(self, machine: Machine) -> None:
        """Read until the machine says that it does not hash. Accepted is not asleep."""
        driver = self._drivers[machine]
        reading = await driver.read()
        if reading.activity not in ASLEEP:
            await asyncio.sleep(self._bounds.pause_s)
            reading = await driver.read()
        if reading.activity not in ASLEEP:
            raise RefusedError(f"{self.awake[machine]} It says that it is {reading.activity}.")
        del self.awake[machine]


async def open_feeds(
    relays: Sequence[Relay], awake: Iterable[Machine], bounds: Bounds
) -> dict[str, str]:
    """Open every relay behind which a machine is not asleep; what came of it, by its name.

    That a coil is off is all that can be said here: the meter is not asked.
    """
    awake = tuple(awake)
    wanted = [relay for relay in relays if any(relay.covers(machine) for machine in awake)]
    said = await asyncio.gather(*(_open_feed(relay, bounds) for relay in wanted))
    return {relay.name: words for relay, words in zip(wanted, said, strict=True)}


async def _open_feed(relay: Relay, bounds: Bounds) -> str:
    """Nothing where the coil reads back as off; else why it is not known to be."""
    words = ""
    for _ in range(bounds.tries):
        try:
            device = open_relay(relay.uri, relay_id=relay.name, channel=relay.channel)
        except ValueError as error:
            return str(error)
        try:
            async with asyncio.timeout(bounds.relay_s):
                with contextlib.suppress(UnknownOutcomeError):
                    await device.switch(is_closed=False)
                reading = await device.read()
            words = "its coil is still on." if reading.is_energised else ""
        except TimeoutError:
            words = f"no end within {bounds.relay_s:g} s."
        except DriverError as error:
            words = str(error)
        finally:
            await device.close()
        if not words:
            break
    return words


async def _sleep_and_open(inventory: Inventory, sleeper: Sleeper, bounds: Bounds) -> dict[str, str]:
    async with sleeper:
        await sleeper.run()
        return await open_feeds(inventory.relays, sleeper.awake, bounds)


def put_to_sleep(inventory: Inventory, bounds: Bounds) -> int:
    """Do it, say on standard output who is not asleep, and return the exit code."""
    sleeper = Sleeper(inventory.machines, bounds)
    opened = asyncio.run(_sleep_and_open(inventory, sleeper, bounds))
    awake = sleeper.awake
    for fault in inventory.faults:
        _say(f"failsafe: {fault}")
    for machine, reason in awake.items():
        _say(f"failsafe: {machine.name} ({machine.uri}) is not known to be asleep: {reason}")
    for name, words in opened.items():
        _say(
            f"failsafe: relay {name} is {'not known to be ' if words else ''}open. {words}".rstrip()
        )
    total = len(inventory.machines)
    _say(f"failsafe: {total - len(awake)} of {total} machines are asleep")
    return 1 if awake or inventory.faults else 0


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. Exit codes are in its help."""
    parser = argparse.ArgumentParser(
        prog="python -m agent.failsafe",
        description="Puts every machine of the configuration to sleep, without the agent, and "
        "opens the relays of those that are not.",
        epilog="Exit codes: 0 all machines are asleep; 1 some are not, and each is named; "
        "2 the configuration cannot be read.",
    )
    parser.add_argument("--config", type=Path, required=True, help="the site's configuration")
    parser.add_argument(
        "--total-s", type=float, default=Bounds().total_s, help="give up after so many seconds"
    )
    options = parser.parse_args(arguments)
    try:
        with options.config.open("rb") as file:
            text = file.read(CONFIG_BYTES_MAX).decode(errors="replace")
    except OSError as error:
        _say(f"failsafe: {options.config} cannot be read ({error.strerror}): no machine is known")
        return 2
    return put_to_sleep(
        read_inventory(text, options.config.absolute().parent), Bounds(total_s=options.total_s)
    )


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
