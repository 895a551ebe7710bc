"""Every meter, machine and relay: reachable, the one that is meant, able to do what is counted on.

Devices are only read. One that a running daemon talks to may be busy for a moment: it is asked
twice.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from agent.assembly import meter_posts, miner_posts
from agent.clockface import clock_of, straying
from agent.doctor.finding import Finding, failed, fine, warning
from agent.posts import MeterPost, MinerPost
from agent.settings import Settings
from agent.settings_relays import RelaySettings
from drivers.device import ReadsMeter, ReadsMiner, SelectsProfile, Sleeps, SwitchesBoards
from drivers.errors import DriverError, WrongDeviceError
from drivers.meters.profile_file import ProfileError
from drivers.relays.registry import open_relay
from drivers.relays.relay import CoilRelay, Guard

_AT_ONCE = 64
_DEVICE_S = 20.0
_TRIES = 2
_PAUSE_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Rounds:
    """Who is visited, and whom to tell of each visit."""

    gate: asyncio.Semaphore
    told: Callable[[], None]


async def device_findings(settings: Settings, told: Callable[[], None]) -> Sequence[Finding]:
    """One finding for each device, meters first, relays last; ``told`` is called after each."""
    try:
        meters, miners = meter_posts(settings), miner_posts(settings)
        relays = [_opened(relay) for relay in settings.relays]
    except ProfileError as error:
        remedy = "choose another meter or profile: kwota poll --identify proposes some"
        return [failed("meter", "profile", str(error), remedy)]
    except ValueError as error:
        return [failed("device", "configuration", str(error), "mend the line that is named")]
    rounds = Rounds(gate=asyncio.Semaphore(_AT_ONCE), told=told)
    try:
        return [
            *await asyncio.gather(*(_meter(post, settings, rounds) for post in meters)),
            *await asyncio.gather(*(_miner(post, rounds) for post in miners)),
            *await asyncio.gather(
                *(
                    _relay(device, row, rounds)
                    for device, row in zip(relays, settings.relays, strict=True)
                )
            ),
        ]
    finally:
        devices: list[ReadsMeter | ReadsMiner | CoilRelay] = [
            *(one.device for one in meters),
            *(one.device for one in miners),
            *relays,
        ]
        await asyncio.gather(*(one.close() for one in devices), return_exceptions=True)


async def _meter(post: MeterPost, settings: Settings, rounds: Rounds) -> Finding:
    bound_s = next(one.clock_bound_s for one in settings.meters if one.id == post.meter_id)

    async def look() -> Finding:
        identity = await post.device.identify()
        reading = await post.device.read()
        words = f"serial {identity.serial or 'unknown'}, {reading.power_w / 1000:.1f} kW"
        clock = await clock_of(post.device, settings.site.zone) or {}
        if wrong := clock.get("fault") or straying(clock, bound_s):
            remedy = "set the meter's clock; nothing is booked by it, its own load profile is"
            return warning("meter", post.meter_id, f"{words}; {wrong}", remedy)
        return fine("meter", post.meter_id, words)

    remedy = "check supply, bus, address, unit and serial: kwota poll shows what it says"
    return await _visited("meter", post.meter_id, look, remedy, rounds)


async def _miner(post: MinerPost, rounds: Rounds) -> Finding:
    async def look() -> Finding:
        identity = await post.device.identify()
        await post.device.read()
        if not identity.is_writable:
            words = f"{identity.model} is read, but not certain to be the one meant"
            return warning("miner", post.miner_id, words, "see its signs: kwota poll")
        can = isinstance(post.device, (Sleeps, SelectsProfile, SwitchesBoards))
        if not can:
            words = f"{identity.model} is read, but nothing can be told to it"
            remedy = "give it its password_file, or count it as base load"
            return warning("miner", post.miner_id, words, remedy)
        return fine("miner", post.miner_id, f"{identity.model}, firmware {identity.firmware}")

    remedy = "check power, cable and address; kwota discover finds a machine that has moved"
    return await _visited("miner", post.miner_id, look, remedy, rounds)


def _opened(relay: RelaySettings) -> CoilRelay:
    """A relay whose board's settings are read back and, whatever the file says, never written."""
    guard = None if relay.watchdog_s is None else Guard(after_s=relay.watchdog_s)
    return open_relay(relay.uri, relay_id=relay.id, channel=relay.channel, guard=guard)


async def _relay(device: CoilRelay, relay: RelaySettings, rounds: Rounds) -> Finding:
    async def look() -> Finding:
        reading = await device.read()
        unset = await device.check_guard()
        name, can_guard = relay.id, device.profile.watchdog is not None
        if unset and relay.sets_watchdog:
            remedy = "nothing to do: the daemon writes it before it closes the relay"
            return warning("relay", name, "; ".join(unset), remedy)
        if unset:
            remedy = "the daemon opens this relay and never closes it until that is set"
            return failed("relay", name, "; ".join(unset), remedy)
        if not reading.is_energised:
            remedy = "see `kwota status` for who opened it; without a daemon a board opens itself"
            return warning("relay", name, "its coil is off: its machines have no feed", remedy)
        if can_guard and relay.watchdog_s is None:
            remedy = "give it watchdog_s: the board then opens when nobody governs its machines"
            return warning("relay", name, "it stays closed when the agent dies", remedy)
        guard = "" if relay.watchdog_s is None else f", opens after {relay.watchdog_s} s of silence"
        return fine("relay", name, f"its coil is on{guard}")

    remedy = "check the board's supply, cable, address and unit: kwota poll shows what it says"
    return await _visited("relay", relay.id, look, remedy, rounds)


async def _visited(
    check: str, name: str, look: Callable[[], Awaitable[Finding]], remedy: str, rounds: Rounds
) -> Finding:
    said = ""
    async with rounds.gate:
        for attempt in range(_TRIES):
            await asyncio.sleep(_PAUSE_S if attempt else 0.0)
            try:
                async with asyncio.timeout(_DEVICE_S):
                    found = await look()
            except WrongDeviceError as error:
                found = failed(check, name, str(error), "correct the address, or the pin")
            except DriverError as error:
                said = str(error)
                continue
            except TimeoutError:
                said = f"it has not answered everything within {_DEVICE_S:.0f} s"
                continue
            rounds.told()
            return found
    rounds.told()
    return failed(check, name, said, remedy)
