"""Bitaxe (ESP-Miner) and its kin NerdAxe and NerdQAxe over HTTP, without a login.

What a plan may use: steps of frequency, each with the core voltage that belongs to it, from the
machine's own list and never above its defaults; and sleep and wake as pause and resume, where the
firmware has them (ESP-Miner from 2.14 on; found out from its answer at run time, as abilities
differ by firmware). A NerdQAxe has a shutdown that only a restart ends: it is not used.

What is never sent: frequencies or voltages above the default, pools, fans, restarts, updates, and
one-time passwords: a NerdQAxe that demands them is read, not written to.

Before each write the machine tells its MAC and its chips on the same link. A yes is only an
acceptance; silence after a write is an unknown outcome and nothing is repeated here.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus

from drivers.errors import (
    BadReplyError,
    RefusedError,
    UnknownOutcomeError,
    UnreachableError,
    UnsupportedError,
    WrongDeviceError,
)
from drivers.link.http import HttpLink, HttpReply
from drivers.link.tcp import NoAnswerError
from drivers.link.within import Within
from drivers.miners.models import find_model
from drivers.readings import MinerDetails, MinerIdentity, MinerReading, PowerProvenance
from drivers.wire import bitaxe as wire
from drivers.wire.cgminer import Row
from drivers.wire.web_table import is_whole_mac, table_of

FAMILY = "bitaxe"
DEFAULT_PORT = 80

READ_LIMIT_S = 9.0
WRITE_LIMIT_S = 15.0

_INFO = "/api/system/info"
_CHIPS = "/api/system/asic"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sight:
    """The machine at the other end, recognised, and the times around the questions.

    ``chips`` is None for a firmware that is too old to describe them.
    """

    info: Row
    chips: wire.Chips | None
    mac: str
    requested_at_s: float
    replied_at_s: float


class BitaxeMiner:
    """One machine. ``mac`` pins it."""

    def __init__(self, *, miner_id: str, link: HttpLink, mac: str | None) -> None:
        self.miner_id = miner_id
        self._link = link
        self._mac = mac
        self._turn = asyncio.Lock()
        self._known: tuple[str, wire.Chips | None] | None = None

    async def identify(self) -> MinerIdentity:
        """Who answers. Two signs: chip and firmware with a whole MAC, and the same chip's list."""
        async with Within(self._link, READ_LIMIT_S), self._turn:
            return self._identity_of(await self._recognised(is_fresh=True))

    async def read(self) -> MinerReading:
        """One question, and once a second one for what never changes."""
        async with Within(self._link, READ_LIMIT_S), self._turn:
            sight = await self._recognised()
        info = sight.info
        hashrate_hs = wire.hashrate_of(info, _nameplate_hs(sight))
        return MinerReading(
            miner_id=self.miner_id,
            requested_at_s=sight.requested_at_s,
            replied_at_s=sight.replied_at_s,
            taken_at_ms=time.time_ns() // 1_000_000,
            activity=wire.activity_of(info, hashrate_hs),
            hashrate_hs=hashrate_hs,
            power_w=wire.power_of(info),
            power_provenance=PowerProvenance.METERED_PSU,
            profile=None if sight.chips is None else wire.profile_of(info, sight.chips),
            boards=(wire.board_of(info, hashrate_hs),),
        )

    async def read_details(self) -> MinerDetails:
        """Everything that changes rarely. The family tells no serials."""
        async with Within(self._link, READ_LIMIT_S), self._turn:
            sight = await self._recognised(is_fresh=True)
        info, chips = sight.info, sight.chips
        hashrate_hs = wire.hashrate_of(info, _nameplate_hs(sight))
        return MinerDetails(
            identity=self._identity_of(sight),
            pools=wire.pools_of(info, hashrate_hs),
            profiles=() if chips is None else wire.profiles_of(info, chips, _rated_w(info, chips)),
            board_serials=(),
            fan_speeds_rpm=wire.fan_speeds_of(info),
            uptime_s=wire.uptime_of(info),
            faults=wire.faults_of(info),
            chip_temperatures=wire.chip_temperatures_of(info),
            can_sleep=wire.can_pause(info),
        )

    async def select_profile(self, name: str) -> None:
        """Choose one of the frequencies that ``read_details`` listed."""
        async with self._writing("PATCH", "/api/system") as errand:
            chips = errand.sight.chips
            point = None if chips is None else wire.point_named(name, chips)
            if point is None:
                raise UnsupportedError(f"{name!r} is not the name of a profile of {self.miner_id}.")
            if wire.is_overheated(errand.sight.info):
                raise RefusedError(
                    f"Machine {self.miner_id} was too hot and slowed itself down: "
                    "check fan and air, then restart it."
                )
            await errand.send(wire.encode_point(point))

    async def sleep(self) -> None:
        """Pause mining; the power of the chips is off, the web page stays."""
        async with self._writing("POST", "/api/system/pause") as errand:
            self._require_pause(errand.sight.info)
            await errand.send(None)

    async def wake(self) -> None:
        """Resume mining; the chips are started anew."""
        async with self._writing("POST", "/api/system/resume") as errand:
            self._require_pause(errand.sight.info)
            await errand.send(None)

    async def close(self) -> None:
        """Close the connection, if there is one."""
        await self._link.close()

    @asynccontextmanager
    async def _writing(self, method: str, path: str) -> AsyncIterator["_Errand"]:
        """One write to the machine that was recognised a moment before."""
        errand: _Errand | None = None
        try:
            async with asyncio.timeout(WRITE_LIMIT_S), self._turn:
                sight = await self._recognised(is_fresh=True)
                self._require_writable(sight)
                errand = _Errand(link=self._link, method=method, path=path, sight=sight)
                yield errand
                self._require_yes(errand)
        except (NoAnswerError, BadReplyError) as error:
            if errand is not None and errand.is_sent:
                raise self._unknown(path, error.reply) from error
            raise
        except TimeoutError as error:
            if errand is not None and errand.is_sent:
                raise self._unknown(path, b"") from error
            raise UnreachableError(
                f"{self._link.address} did not answer within {WRITE_LIMIT_S:g} s; "
                f"{path} was not sent."
            ) from error

    async def _recognised(self, *, is_fresh: bool = False) -> _Sight:
        """Who is at the other end. Raises WrongDeviceError for any but the pinned machine."""
        answer = await self._link.get(_INFO)
        if answer.status == HTTPStatus.NOT_FOUND:
            raise self._stranger()
        info = self._table(answer, _INFO)
        if not wire.is_esp_miner(info):
            raise self._stranger()
        mac = wire.mac_of(info)
        if self._mac is not None and mac != self._mac:
            raise WrongDeviceError(
                f"Machine {self.miner_id} should have the MAC {self._mac}, but "
                f"{mac or 'a machine without one'} answers at {self._link.address}: "
                "check the address, or pin the new MAC if the machine was exchanged."
            )
        if self._known is None or is_fresh or self._known[0] != mac:
            self._known = (mac, await self._chips())
        return _Sight(
            info=info,
            chips=self._known[1],
            mac=mac,
            requested_at_s=answer.requested_at_s,
            replied_at_s=answer.replied_at_s,
        )

    async def _chips(self) -> wire.Chips | None:
        answer = await self._link.get(_CHIPS)
        if answer.status == HTTPStatus.NOT_FOUND:
            return None
        return wire.chips_of(self._table(answer, _CHIPS))

    def _table(self, answer: HttpReply, path: str) -> Row:
        if answer.status == HTTPStatus.UNAUTHORIZED:
            raise RefusedError(
                f"{self._link.address} answers only callers of private networks (10., 172.16. to "
                "172.31., 192.168.): run kwota in its network."
            )
        if not answer.is_ok:
            raise BadReplyError(
                f"{self._link.address} answered {path} with HTTP {answer.status}: "
                "it may be restarting.",
                reply=answer.body[:200],
            )
        return table_of(answer.body, path)

    def _stranger(self) -> WrongDeviceError:
        return WrongDeviceError(
            f"What answers at {self._link.address} is no Bitaxe and none of its kin: "
            "check the address and the family of the configuration."
        )

    def _require_writable(self, sight: _Sight) -> None:
        signs = _signs(sight)
        if len(signs) < 2:
            raise WrongDeviceError(
                f"Machine {self.miner_id} is not certain to be the one meant "
                f"(only: {'; '.join(signs) or 'its address'}): it is read, but not written to."
            )
        if wire.wants_one_time_password(sight.info):
            raise RefusedError(
                f"Machine {self.miner_id} demands a one-time password for every write: "
                "switch that off on its page, or plan without the machine."
            )

    def _require_pause(self, info: Row) -> None:
        if wire.can_pause(info) and not wire.is_shut_down(info):
            return
        raise UnsupportedError(
            f"Machine {self.miner_id} cannot pause and resume with its firmware "
            f"{info.text('version')}: ESP-Miner can from 2.14 on; frequencies remain."
        )

    def _require_yes(self, errand: "_Errand") -> None:
        """Nothing where the machine said yes; an answer is empty or tells what it did."""
        answer = errand.answer
        if answer is None or answer.is_ok:
            return
        if answer.status == HTTPStatus.NOT_FOUND:
            raise UnsupportedError(
                f"The firmware of machine {self.miner_id} has no {errand.path}: "
                "plan without it, or update the firmware."
            )
        if answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise self._unknown(errand.path, answer.body[:200])
        raise RefusedError(
            f"Machine {self.miner_id} refused {errand.path} with HTTP {answer.status}: "
            "a one-time password, a caller outside its network, or a setting it does not take.",
            reply=answer.body[:200],
        )

    def _unknown(self, path: str, reply: bytes) -> UnknownOutcomeError:
        return UnknownOutcomeError(
            f"{path} was sent to machine {self.miner_id} and no usable answer came: "
            "read back what it did before sending anything else.",
            reply=reply,
        )

    def _identity_of(self, sight: _Sight) -> MinerIdentity:
        info, chips = sight.info, sight.chips
        return MinerIdentity(
            family=FAMILY,
            model=f"Bitaxe {info.text('ASICModel')}" if chips is None else chips.model,
            mac=sight.mac,
            serial="",
            firmware=info.text("version"),
            board_count=1,
            nameplate_hashrate_hs=_nameplate_hs(sight),
            signs=_signs(sight),
        )


@dataclass(slots=True, kw_only=True)
class _Errand:
    """One write: what was seen before it, and what came back."""

    link: HttpLink
    method: str
    path: str
    sight: _Sight
    is_sent: bool = False
    answer: HttpReply | None = None

    async def send(self, body: bytes | None) -> None:
        """The one request."""
        headers = None if body is None else {"Content-Type": "application/json"}
        self.is_sent = True
        self.answer = await self.link.send(
            self.method, self.path, body=body, headers=headers, answer_s=WRITE_LIMIT_S
        )


def _signs(sight: _Sight) -> tuple[str, ...]:
    chip = sight.info.text("ASICModel")
    signs = []
    if is_whole_mac(sight.mac):
        version = sight.info.text("version")
        signs.append(f"{_INFO} answers as firmware {version} of a {chip} with the MAC {sight.mac}")
    if sight.chips is not None and sight.chips.chip == chip:
        signs.append(f"{_CHIPS} describes a {sight.chips.model} with {chip}")
    return tuple(signs)


def _nameplate_hs(sight: _Sight) -> float | None:
    return None if sight.chips is None else wire.nameplate_of(sight.info, sight.chips)


def _rated_w(info: Row, chips: wire.Chips) -> float | None:
    """W at the defaults: from the table, else the most that the board can take."""
    row = find_model(chips.model)
    return wire.max_power_of(info) if row is None else row.nameplate_power_w
