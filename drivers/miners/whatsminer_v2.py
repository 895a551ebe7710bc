"""The driver of Whatsminer API v2 (MicroBT) over TCP 4028: open reads, sealed writes with a token.

What a plan may use: percents of the power as profiles ("60%" to "100%", ``set_power_pct``), and
sleep and wake as ``power_off`` and ``power_on``. Percents are offered only where Fast Boot is on,
as without it the power may fall to 0 and mining restart (MicroBT API manual V2.2), and only where
``status`` tells the percent in force, as nothing else shows that one was taken. A start forgets the
percent: a stopped machine shows the whole. Firmware with API v1 is read, not commanded. Firmware
with API v3 answers here too; its writes do not come through, so it is recognised and left alone.

What it cannot do: single boards. What is never sent: limits, modes and frequencies (flash, and a
restart each), pools, passwords, the opening of the write API, resets, updates.

A machine without a password is read, not written to. The password comes from a file and appears in
no message. A token is kept as long as it lives and renewed once where the machine has forgotten it.
A yes is only an acceptance; silence after a write is an unknown outcome and nothing is repeated.
"""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

from drivers.errors import (
    BadReplyError,
    BusyError,
    RefusedError,
    UnreachableError,
    UnsupportedError,
    WrongDeviceError,
)
from drivers.link.btminer import Btminer, Mining, Seen
from drivers.link.frames import FramedLink
from drivers.link.held import Held
from drivers.link.sealed import SealedLink
from drivers.link.tcp import NoAnswerError, TcpExchange
from drivers.link.within import Within
from drivers.miners.models import find_model, nameplate_hs
from drivers.readings import MinerDetails, MinerIdentity, MinerReading
from drivers.wire import whatsminer_v2 as wire
from drivers.wire import whatsminer_who as who
from drivers.wire.cgminer import Row
from drivers.wire.whatsminer_reply import encode_read
from drivers.wire.whatsminer_standing import Standing, standing_of
from drivers.wire.whatsminer_v3 import percent_of
from drivers.wire.whatsminer_who import Known

FAMILY = "whatsminer-v2"
DEFAULT_PORT = 4028
V3_PORT = 4433

READ_LIMIT_S = 9.0
DETAILS_LIMIT_S = 12.0
PROBE_LIMIT_S = 2.0

_WHOLE = "100%"
_BLINK = {"color": "red", "period": 200, "duration": 100, "start": 0}  # ms


@dataclass(frozen=True, slots=True, kw_only=True)
class Links:
    """The ways to one machine; ``newer`` is where API v3 would listen."""

    reads: TcpExchange
    newer: FramedLink


class WhatsminerV2Reader:
    """One machine without a password: read, never written to. ``mac`` pins it."""

    def __init__(self, *, miner_id: str, links: Links, mac: str | None) -> None:
        self.miner_id = miner_id
        self._links = links
        self._mac = mac
        self._turn = asyncio.Lock()
        self._reads = Btminer(links.reads)
        self._known: Known | None = None
        self._is_certain = False
        self._probed: tuple[who.Version, who.Owner] | None = None
        self._held: Held[Standing] = Held()

    async def identify(self) -> MinerIdentity:
        """Who answers. Two signs: API version with firmware, and a whole MAC with the serial."""
        async with Within(self._links.reads, READ_LIMIT_S), self._turn:
            known, _, mining = await self._look()
        return known.identity(FAMILY, _nameplate_hs(known, mining.summary))

    async def read(self) -> MinerReading:
        """``status``, summary with boards, and the wattmeter, each on a connection of its own as
        this API has it; the second alone while what the others said less than a minute before
        stands (drivers/wire/whatsminer_standing.py). The watts are the firmware's then, corrected
        by what the wattmeter said at the same working point."""
        requested_at_s = _now_s()
        async with Within(self._links.reads, READ_LIMIT_S), self._turn:
            known, seen = await self._ask_fast()
            status, summary = seen.status, seen.mining.summary
            boards = seen.boards(known.board_count)
            hashrate_hs = 0.0
            if summary is not None and not status.is_off:
                rated_hs = _nameplate_hs(known, summary)
                hashrate_hs = wire.require_believable(boards, summary, rated_hs)
            power = wire.power_of(summary, seen.supply, _nameplate_w(known))
            held = seen.standing
            if held is None:
                held = standing_of(seen.sight, status, power, asked_at_s=requested_at_s)
            else:
                power = held.metered(power)
            self._held.keep(held, requested_at_s=requested_at_s)
        return MinerReading(
            miner_id=self.miner_id,
            requested_at_s=requested_at_s,
            replied_at_s=_now_s(),
            taken_at_ms=time.time_ns() // 1_000_000,
            activity=wire.activity_of(summary, status, boards, hashrate_hs),
            hashrate_hs=hashrate_hs,
            power_w=power[0],
            power_provenance=power[1],
            profile=_WHOLE if status.is_off else f"{status.percent or 100}%",
            boards=boards,
        )

    async def read_details(self) -> MinerDetails:
        """Everything that changes rarely. A stopped machine may leave out what its mining program
        would tell."""
        async with Within(self._links.reads, DETAILS_LIMIT_S), self._turn:
            known, status, mining = await self._look()
            pools = await self._reads.ask_miner("pools", is_off=status.is_off)
            supply = await self._reads.supply(is_off=status.is_off, is_fresh=True)
            listed = None if known.version.is_api_v1 else await self._reads.ask("get_error_code")
        summary, devs = mining.summary, mining.devs
        rated_w, rated_hs = _nameplate_w(known), _nameplate_hs(known, summary)
        serial = None if supply is None else str(supply.values.get("serial_no") or "") or None
        rows = wire.boards_of(devs, is_off=status.is_off)
        return MinerDetails(
            identity=known.identity(FAMILY, rated_hs),
            pools=() if pools is None else wire.pools_of(pools),
            profiles=wire.profiles_at(summary, status, rated_w, rated_hs),
            board_serials=tuple([board.serial for board in rows if board.serial]),
            fan_speeds_rpm=() if summary is None else wire.fan_speeds_of(summary),
            uptime_s=None if summary is None else wire.uptime_of(summary),
            faults=wire.faults_told(listed, summary),
            power_limit_w=None if summary is None else wire.power_limit_of(summary),
            power_supply_serial=known.owner.power_supply_serial or serial,
            chip_temperatures=wire.chip_temperatures_of(devs),
        )

    async def close(self) -> None:
        """Nothing stays open between exchanges."""

    async def _ask_fast(self) -> tuple[Known, Seen]:
        """What a fast read tells from. Nothing stands unless all of it succeeds and is believed."""
        before, self._is_certain = self._known if self._is_certain else None, False
        held = self._held.take()
        known = before or await self._recognised(is_fresh=True)
        ask = self._status_and_mining if held is None else self._mining_first
        status, mining = await ask()
        sight = mining.sight(_now_s())
        if before is not None:
            known = await self._same(before, mining)
        if status is not None or known is not before or (held and not held.holds(sight)):
            held = None
        known = self._badged(known, mining)
        if status is None:
            status = await self._reads.status() if held is None else held.status
        supply = None
        if held is None or held.pin_share is None:
            supply = await self._reads.supply(is_off=status.is_off, is_fresh=False)
        self._is_certain = True
        return known, Seen(status=status, mining=mining, sight=sight, supply=supply, standing=held)

    async def _look(self) -> tuple[Known, wire.Status, Mining]:
        """Who it is, by every sign there is, with ``status``, ``summary`` and its boards."""
        known = await self._certain()
        await self._require_no_v3(known)
        status, mining = await self._status_and_mining()
        known = self._badged(known, mining)
        return await self._typed(known, status), status, mining

    async def _status_and_mining(self) -> tuple[wire.Status, Mining]:
        status = await self._reads.status()
        return status, await self._mining(is_off=status.is_off)

    async def _mining_first(self) -> tuple[wire.Status | None, Mining]:
        """Of a machine that was at work: in sleep its mining program may fail, which ``status``
        tells."""
        try:
            return None, await self._reads.joined()
        except (RefusedError, BadReplyError) as error:
            status = await self._reads.status()
            if isinstance(error, BadReplyError) and not status.is_off:
                raise
        return status, await self._mining(is_off=status.is_off)

    async def _mining(self, *, is_off: bool) -> Mining:
        mining = await self._reads.mining(is_off=is_off)
        if mining.is_flat:
            raise self._is_v3("summary")
        return mining

    async def _same(self, known: Known, mining: Mining) -> Known:
        """The machine of the read before, or whoever is asked for its MAC. A badge that was seen
        beside the MAC stands for it in fast reads; nothing is written on its strength."""
        if mining.badge and mining.badge == known.badge:
            return known
        return await self._recognised(is_fresh=bool(mining.badge))

    def _badged(self, known: Known, mining: Mining) -> Known:
        self._known = known.badged(mining.badge, mining.board_count)
        return self._known

    async def _typed(self, known: Known, status: wire.Status) -> Known:
        """With the hardware's type, asked once; firmware that does not tell it leaves it ""."""
        if known.type_name:
            return known
        try:
            answer = await self._reads.ask_miner("devdetails", is_off=status.is_off)
        except RefusedError:
            return known
        if answer is not None:
            known = self._known = replace(known, type_name=who.type_of(answer))
        return known

    async def _certain(self) -> Known:
        """Who answers, asked anew with nothing taken for granted."""
        self._is_certain = False
        self._held.forget()
        known = await self._recognised(is_fresh=True)
        self._is_certain = True
        return known

    async def _recognised(self, *, is_fresh: bool) -> Known:
        """Who answers now. Raises WrongDeviceError for any but the pinned machine."""
        before = self._known
        if before is None or is_fresh:
            version = who.version_of(await self._reads.ask("get_version"))
        else:
            version = before.version
        self._require_whatsminer(version)
        if version.is_api_v1:
            owner = who.owner_in((await self._reads.ask("summary")).row("SUMMARY"))
        else:
            owner = who.owner_of(await self._reads.ask("get_miner_info"))
        if self._mac is not None and owner.mac != self._mac:
            raise WrongDeviceError(
                f"Machine {self.miner_id} should have the MAC {self._mac}, but "
                f"{owner.mac or 'a machine without one'} answers at {self._links.reads.address}: "
                "check the address, or pin the new MAC if the machine was exchanged."
            )
        if before is not None and (before.version, before.owner) == (version, owner):
            return before
        self._reads.forget()
        self._known = Known(version=version, owner=owner)
        return self._known

    def _require_whatsminer(self, version: who.Version) -> None:
        if version.is_api_v3:
            raise self._is_v3("get_version")
        if not (version.is_api_v2 or version.is_api_v1):
            raise WrongDeviceError(
                f"What answers at {self._links.reads.address} is no Whatsminer with API v2: "
                "check the address and the family of the configuration."
            )

    async def _require_no_v3(self, known: Known) -> None:
        """Whether API v3 is spoken next door, asked once for a firmware: then v2 only seems to
        work. A port that takes the connection and says nothing usable leaves it open."""
        if known.version.is_api_v1 or self._probed == (known.version, known.owner):
            return
        try:
            async with asyncio.timeout(PROBE_LIMIT_S), self._links.newer.conversation() as talk:
                await talk.ask(encode_read("get.device.info", "miner"))
        except (NoAnswerError, BadReplyError, TimeoutError) as error:
            raise UnreachableError(
                f"{self._links.newer.address} takes connections, but does not say whether it "
                f"speaks API v3: machine {self.miner_id} counts as neither until it does."
            ) from error
        except UnreachableError:
            self._probed = (known.version, known.owner)
            return
        raise self._is_v3(f"{self._links.newer.address}")

    def _is_v3(self, sign: str) -> WrongDeviceError:
        self._is_certain = False
        return WrongDeviceError(
            f"Machine {self.miner_id} has firmware with API v3 (by {sign}), which takes no writes "
            f"by API v2: configure it as whatsminer-v3, at port {V3_PORT}."
        )


class WhatsminerV2Miner(WhatsminerV2Reader):
    """One machine with its admin password: it takes percents, sleeps and wakes."""

    def __init__(self, *, miner_id: str, links: Links, sealed: SealedLink, mac: str | None) -> None:
        super().__init__(miner_id=miner_id, links=links, mac=mac)
        self._sealed = sealed

    async def select_profile(self, name: str) -> None:
        """Choose one of the percents that ``read_details`` listed."""
        await self._write("set_power_pct", {}, profile=name)

    async def sleep(self) -> None:
        """Stop mining and the power supply's output; the answer is asked for before it does."""
        await self._write("power_off", {"respbefore": "true"})

    async def wake(self) -> None:
        """Start mining; the machine ramps to its whole power."""
        await self._write("power_on", {})

    async def locate(self, *, is_on: bool) -> None:
        """Let the red light blink five times a second, or leave both lights to the firmware."""
        await self._write("set_led", _BLINK if is_on else {"param": "auto"})

    async def _write(
        self, command: str, parameters: Mapping[str, object], *, profile: str | None = None
    ) -> None:
        """One write to the machine that was recognised a moment before."""
        async with self._turn:
            async with Within(self._links.reads, READ_LIMIT_S):
                known = await self._certain()
                self._require_writable(known)
                await self._require_no_v3(known)
                if profile is not None:
                    parameters = {"percent": str(await self._percent(profile))}
            with self._held.writing():
                await self._sealed.order(command, parameters)

    async def _percent(self, name: str) -> int:
        """The number behind a profile's name, where this machine takes it now."""
        percent = percent_of(name, is_fast_boot=True)
        if percent is None:
            raise UnsupportedError(f"{name!r} is not the name of a profile of {self.miner_id}.")
        status, mining = await self._status_and_mining()
        if status.is_off:
            raise BusyError(
                f"Machine {self.miner_id} is stopped or just starting: it takes a percent once it "
                "mines."
            )
        if mining.summary is None or not wire.is_fast_boot(mining.summary):
            raise RefusedError(
                f"Fast Boot is off at machine {self.miner_id}, so a percent would restart its "
                "mining: turn Fast Boot on in WhatsMinerTool, then restart the machine."
            )
        if status.percent is None:
            raise RefusedError(
                f"The firmware of machine {self.miner_id} does not tell which percent is in force, "
                "so none is chosen: update the firmware with WhatsMinerTool."
            )
        return percent

    def _require_writable(self, known: Known) -> None:
        if known.version.is_api_v1:
            raise UnsupportedError(
                f"Machine {self.miner_id} speaks API {known.version.api}, which kwota only reads: "
                "update its firmware with WhatsMinerTool to command it."
            )
        signs = known.signs
        if len(signs) < 2:
            raise WrongDeviceError(
                f"Machine {self.miner_id} is not certain to be the one meant "
                f"(only: {'; '.join(signs)}): it is read, but not written to."
            )


def _now_s() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _nameplate_w(known: Known) -> float | None:
    model = find_model(known.model_name)
    return None if model is None else model.nameplate_power_w


def _nameplate_hs(known: Known, summary: Row | None) -> float | None:
    return nameplate_hs(known.model_name, None if summary is None else wire.nameplate_of(summary))
