"""ePIC's PowerPlay (UMC OS) over HTTP on port 4028: reads open to all, writes with a password.

What a plan may use: single hashboards, and sleep and wake as the miner's Stop and Autostart.

What it cannot do: steps of power. The firmware's tuning to watts is a run of its own that takes an
unknown time, so it is never started here. What is never sent: clocks, voltages, tuning, presets,
pools, passwords, resets, updates.

A machine without a password is read, not written to. The password comes from a file, goes into the
body of each write and appears in no message. Before each write the summary and the MAC are read
again on the same link; a fast read leaves the MAC out on the connection on which it was seen. A yes
is only an acceptance; silence after a write is an unknown outcome and nothing is repeated here.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus

from drivers.errors import (
    BadReplyError,
    UnknownOutcomeError,
    UnreachableError,
    UnsupportedError,
    WrongDeviceError,
)
from drivers.link.http import HttpLink, HttpReply
from drivers.link.recognition import Recognition, require_mac
from drivers.link.tcp import NoAnswerError
from drivers.link.within import Within
from drivers.miners.models import HardwareModel, models
from drivers.readings import MinerDetails, MinerIdentity, MinerReading
from drivers.wire import epic as wire
from drivers.wire.cgminer import Row
from drivers.wire.web_table import is_whole_mac, table_of

FAMILY = "epic"
DEFAULT_PORT = 4028

READ_LIMIT_S = 9.0
WRITE_LIMIT_S = 15.0

_SUMMARY = "/summary"
_NETWORK = "/network"
_CAPABILITIES = "/capabilities"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sight:
    """The machine at the other end, recognised, and the times around its summary."""

    summary: Row
    mac: str
    requested_at_s: float
    replied_at_s: float


class EpicReader:
    """One machine without a password: read, never written to. ``mac`` pins it."""

    def __init__(self, *, miner_id: str, link: HttpLink, mac: str | None) -> None:
        self.miner_id = miner_id
        self._link = link
        self._mac = mac
        self._turn = asyncio.Lock()
        self._seen: Recognition[str] = Recognition()
        self._known: tuple[str, wire.Capabilities] | None = None

    async def identify(self) -> MinerIdentity:
        """Who answers. Two signs: a summary of PowerPlay, and a whole MAC."""
        async with self._talking():
            sight = await self._recognised()
            return self._identity_of(sight, await self._capabilities(sight, is_fresh=True))

    async def read(self) -> MinerReading:
        """What it does, and its MAC where that was not seen on the connection."""
        async with self._talking():
            sight = await self._recognised(is_fast=True)
            known = await self._capabilities(sight)
            summary = sight.summary
            boards = wire.boards_of(summary, known)
            hashrate_hs = wire.believed_hashrate_hs(boards, _nameplate_hs(known))
            power_w, provenance = wire.power_of(summary, known, hashrate_hs, _nameplate_w(known))
            return MinerReading(
                miner_id=self.miner_id,
                requested_at_s=sight.requested_at_s,
                replied_at_s=sight.replied_at_s,
                taken_at_ms=time.time_ns() // 1_000_000,
                activity=wire.activity_of(summary, boards, hashrate_hs),
                hashrate_hs=hashrate_hs,
                power_w=power_w,
                power_provenance=provenance,
                profile=wire.PROFILE,
                boards=boards,
            )

    async def read_details(self) -> MinerDetails:
        """Everything that changes rarely."""
        async with self._talking():
            sight = await self._recognised()
            known = await self._capabilities(sight, is_fresh=True)
        summary = sight.summary
        return MinerDetails(
            identity=self._identity_of(sight, known),
            pools=wire.pools_of(summary),
            profiles=wire.profiles_of(summary, known, _nameplate_w(known)),
            board_serials=tuple(serial for serial in known.board_serials if serial),
            fan_speeds_rpm=wire.fan_speeds_of(summary),
            uptime_s=wire.uptime_of(summary),
            faults=wire.faults_of(summary),
            power_limit_w=wire.power_target_of(summary),
            power_supply_serial=known.power_supply_serial,
        )

    async def close(self) -> None:
        """Close the connection, if there is one."""
        await self._link.close()

    @asynccontextmanager
    async def _talking(self) -> AsyncIterator[None]:
        """Reads that nobody else's come between, bounded as a whole. After one that fails nobody
        is recognised."""
        with self._seen.lasting():
            async with Within(self._link, READ_LIMIT_S), self._turn:
                yield

    async def _recognised(self, *, is_fast: bool = False) -> _Sight:
        """Who is at the other end. Raises WrongDeviceError for any but the pinned machine."""
        answer = await self._link.get(_SUMMARY)
        summary = self._table(answer, _SUMMARY)
        if not wire.is_power_play(summary):
            raise self._stranger()
        mac = self._seen.on(answer.connection) if is_fast else None
        return _Sight(
            summary=summary,
            mac=await self._seen_mac() if mac is None else mac,
            requested_at_s=answer.requested_at_s,
            replied_at_s=answer.replied_at_s,
        )

    async def _seen_mac(self) -> str:
        """The MAC of who is at the other end, which is the pinned one."""
        self._seen.forget()
        network = await self._link.get(_NETWORK)
        mac = wire.mac_of(self._table(network, _NETWORK))
        require_mac(mac, pinned=self._mac, miner_id=self.miner_id, address=self._link.address)
        self._seen.keep(mac, network.connection)
        return mac

    async def _capabilities(self, sight: _Sight, *, is_fresh: bool = False) -> wire.Capabilities:
        """What the machine is; it never changes, so it is asked once for each MAC."""
        if self._known is None or is_fresh or self._known[0] != sight.mac:
            table = self._table(await self._link.get(_CAPABILITIES), _CAPABILITIES)
            self._known = (sight.mac, wire.capabilities_of(table))
        return self._known[1]

    def _table(self, answer: HttpReply, path: str) -> Row:
        if answer.status == HTTPStatus.NOT_FOUND:
            raise self._stranger()
        if not answer.is_ok:
            raise BadReplyError(
                f"{self._link.address} answered {path} with HTTP {answer.status}: "
                "it may be restarting.",
                reply=answer.body[:200],
            )
        table = table_of(answer.body, path)
        if table.values.get("result") is False:
            wire.require_yes(table, path)
        return table

    def _stranger(self) -> WrongDeviceError:
        return WrongDeviceError(
            f"What answers at {self._link.address} is no machine with ePIC's PowerPlay: "
            "check the address and the family of the configuration."
        )

    def _identity_of(self, sight: _Sight, known: wire.Capabilities) -> MinerIdentity:
        return MinerIdentity(
            family=FAMILY,
            model=known.model,
            mac=sight.mac,
            serial=known.serial,
            firmware=wire.software_of(sight.summary),
            board_count=known.board_count,
            nameplate_hashrate_hs=_nameplate_hs(known),
            signs=_signs(sight),
        )


class EpicMiner(EpicReader):
    """One machine with its password: its boards switch, it sleeps and wakes."""

    def __init__(self, *, miner_id: str, link: HttpLink, mac: str | None, password: str) -> None:
        super().__init__(miner_id=miner_id, link=link, mac=mac)
        self._password = password

    async def switch_board(self, board: int, *, is_on: bool) -> None:
        """Switch one hashboard; the others are not named and stay as they are."""
        await self._write("/boardenable", [{"Index": board, "Data": is_on}], board=board)

    async def sleep(self) -> None:
        """Stop mining; the control board stays up."""
        await self._write("/miner", "Stop")

    async def wake(self) -> None:
        """Start mining."""
        await self._write("/miner", "Autostart")

    async def locate(self, *, is_on: bool) -> None:
        """Light its lamp, or leave it to the firmware."""
        await self._write("/identify", is_on)

    async def _write(self, path: str, param: object, *, board: int | None = None) -> None:
        """One write to the machine that was recognised a moment before."""
        is_sent = False
        try:
            async with asyncio.timeout(WRITE_LIMIT_S), self._turn:
                sight = await self._recognised()
                self._require_writable(sight)
                if board is not None:
                    self._require_board(board, sight, await self._capabilities(sight))
                body = wire.encode_write(param, self._password)
                headers = {"Content-Type": "application/json"}
                is_sent = True
                answer = await self._link.send(
                    "POST", path, body=body, headers=headers, answer_s=WRITE_LIMIT_S
                )
                self._require_yes(answer, path)
        except (NoAnswerError, BadReplyError) as error:
            if is_sent:
                raise self._unknown(path, error.reply) from error
            raise
        except TimeoutError as error:
            if is_sent:
                raise self._unknown(path, b"") from error
            raise UnreachableError(
                f"{self._link.address} did not answer within {WRITE_LIMIT_S:g} s; "
                f"{path} was not sent."
            ) from error

    def _require_writable(self, sight: _Sight) -> None:
        signs = _signs(sight)
        if len(signs) < 2:
            raise WrongDeviceError(
                f"Machine {self.miner_id} is not certain to be the one meant "
                f"(only: {'; '.join(signs)}): it is read, but not written to."
            )

    def _require_yes(self, answer: HttpReply, path: str) -> None:
        if answer.status == HTTPStatus.NOT_FOUND:
            raise UnsupportedError(
                f"The firmware of machine {self.miner_id} has no {path}: plan without it, or "
                "update the firmware."
            )
        wire.require_yes(self._table(answer, path), path)

    def _require_board(self, board: int, sight: _Sight, known: wire.Capabilities) -> None:
        if board not in {one.board for one in wire.boards_of(sight.summary, known)}:
            raise UnsupportedError(f"Machine {self.miner_id} has no hashboard {board}.")

    def _unknown(self, path: str, reply: bytes) -> UnknownOutcomeError:
        return UnknownOutcomeError(
            f"{path} was sent to machine {self.miner_id} and no usable answer came: "
            "read back what it did before sending anything else.",
            reply=reply,
        )


def _signs(sight: _Sight) -> tuple[str, ...]:
    software, state = wire.software_of(sight.summary), wire.state_of(sight.summary)
    signs = [f"{_SUMMARY} answers as {software}, {state}"]
    if is_whole_mac(sight.mac):
        signs.append(f"{_NETWORK} names the MAC {sight.mac}")
    return tuple(signs)


def _hardware(known: wire.Capabilities) -> HardwareModel | None:
    """The row of the table; this firmware writes the same names in capitals."""
    name = known.model.casefold()
    return next((row for row in models().values() if row.name.casefold() == name), None)


def _nameplate_hs(known: wire.Capabilities) -> float | None:
    if known.nameplate_hashrate_hs is not None:
        return known.nameplate_hashrate_hs
    row = _hardware(known)
    return None if row is None else row.nameplate_hashrate_hs


def _nameplate_w(known: wire.Capabilities) -> float | None:
    row = _hardware(known)
    return None if row is None else row.nameplate_power_w
