"""VNish (AnthillOS) firmware, 1.2 and 1.3, over its REST API on HTTP port 80.

What a plan may use: from 1.3 on the dimmer ``mining/throttle`` as profiles "20%" to "100%" of the
preset that the owner chose, live and without a restart; sleep and wake as pause and resume of the
mining. Percents are offered only while that preset is tuned, or set by hand. Their watts are shares
of the preset's; what the machine really draws is learnt from its readings. An older firmware has no
dimmer: it shows the whole as its only profile, and can sleep.

What it cannot do: single boards. They are settings that take a restart of the mining, and clients
report tuning data lost after settings were posted, as a whole and in part: nothing is ever posted
to ``/settings``. For the same reason no preset is chosen, tuned or not. What else is never sent:
pools, passwords, keys, resets, updates, tuning.

Reads are open, with exceptions that firmware may make; writes need the password of the web page.
A yes is only an acceptance; silence after a write is an unknown outcome and nothing is repeated
here. A fast read asks who is there on a connection on which nobody was recognised; all else asks.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from drivers.errors import (
    BadReplyError,
    BusyError,
    RefusedError,
    UnknownOutcomeError,
    UnreachableError,
    UnsupportedError,
    WrongDeviceError,
)
from drivers.link.http import HttpLink, HttpReply
from drivers.link.recognition import Recognition, require_mac
from drivers.link.tcp import NoAnswerError
from drivers.link.vnish_login import VnishLogin
from drivers.link.within import Within
from drivers.miners.models import find_model
from drivers.readings import MinerDetails, MinerIdentity, MinerReading, Profile
from drivers.wire import vnish as wire
from drivers.wire import vnish_device as device
from drivers.wire import vnish_reply as envelope
from drivers.wire.cgminer import Row

FAMILY = "vnish"
DEFAULT_PORT = 80

READ_LIMIT_S = 9.0
WRITE_LIMIT_S = 20.0
WRITE_ANSWER_S = 10.0

_API = "/api/v1/"
_UNAUTHORIZED = 401


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parts:
    """What rarely changes: asked once, and again with the details."""

    mac: str
    model: device.Model
    factory: device.Factory
    preset: device.Preset | None

    @property
    def preset_w(self) -> float:
        """What the preset may draw; 0 where it does not say."""
        return 0.0 if self.preset is None else self.preset.power_w or 0.0


@dataclass(slots=True, kw_only=True)
class _Errand:
    """One write on its way."""

    is_sent: bool = False


class VnishReader:
    """One machine without a password: read, never written to. ``mac`` pins it."""

    def __init__(
        self, *, miner_id: str, link: HttpLink, mac: str | None, password: str | None = None
    ) -> None:
        self.miner_id = miner_id
        self._link = link
        self._mac = mac
        self._login = VnishLogin(miner_id=miner_id, link=link, password=password)
        self._are_reads_closed = False
        self._seen: Recognition[device.Info] = Recognition()
        self._parts: _Parts | None = None

    async def identify(self) -> MinerIdentity:
        """Who answers. Two signs: the firmware's own name, and a second page that agrees."""
        async with self._bounded():
            info = await self._recognised()
            model = device.model_of(await self._get("model"))
            miner = wire.miner_of(await self._get("summary"))
        return self._identity_of(info, model, _nameplate_hs(info, miner))

    async def read(self) -> MinerReading:
        """What it does, and who it is where nobody was recognised on the connection."""
        async with self._bounded():
            info, reply = await self._at_work()
            parts = await self._parts_of(info)
            miner = wire.miner_of(self._table(reply, "summary"))
            boards = wire.boards_of(miner, info, parts.model, parts.factory)
            nameplate_hs = _nameplate_hs(info, miner)
            hashrate_hs = wire.believed_hashrate_hs(miner, info, boards, nameplate_hs)
            made_for_w = max(_nameplate_w(info) or 0.0, parts.preset_w)
            power_w, provenance = wire.power_of(miner, hashrate_hs, made_for_w)
            activity = wire.activity_of(miner, hashrate_hs)
            return MinerReading(
                miner_id=self.miner_id,
                requested_at_s=reply.requested_at_s,
                replied_at_s=reply.replied_at_s,
                taken_at_ms=time.time_ns() // 1_000_000,
                activity=activity,
                hashrate_hs=hashrate_hs,
                power_w=power_w,
                power_provenance=provenance,
                profile=wire.profile_of(miner, activity),
                boards=boards,
            )

    async def read_details(self) -> MinerDetails:
        """The slow read; parts and preset are asked anew, as they may have been exchanged."""
        async with self._bounded():
            info = await self._recognised()
            self._parts = None
            parts = await self._parts_of(info)
            miner = wire.miner_of(await self._get("summary"))
            status = await self._get("status")
        preset = parts.preset
        return MinerDetails(
            identity=self._identity_of(info, parts.model, _nameplate_hs(info, miner)),
            pools=wire.pools_of(miner),
            profiles=_profiles(info, miner, preset),
            board_serials=tuple(
                serial for _, serial in sorted(parts.factory.board_serials.items())
            ),
            fan_speeds_rpm=wire.fan_speeds_of(miner),
            uptime_s=info.uptime_s,
            faults=wire.faults_of(
                miner,
                preset,
                is_restart_due=status.has("restart_required") and status.flag("restart_required"),
            ),
            power_limit_w=None if preset is None else preset.power_w,
            power_supply_serial=parts.factory.power_supply_serial,
            chip_temperatures=wire.chip_temperatures_of(miner),
        )

    async def close(self) -> None:
        """Close the connection. The token is left to end by itself."""
        await self._link.close()

    @asynccontextmanager
    async def _bounded(self) -> AsyncIterator[None]:
        """Several reads, bounded as a whole. After one that fails nobody is recognised."""
        with self._seen.lasting():
            async with Within(self._link, READ_LIMIT_S):
                yield

    async def _recognised(self) -> device.Info:
        """Who is at the other end. Raises WrongDeviceError for any but the pinned machine."""
        self._seen.forget()
        reply = await self._reply("info")
        info = device.info_of(self._table(reply, "info"))
        if not info.is_vnish:
            raise WrongDeviceError(
                f"What answers at {self._link.address} is not VNish, but calls itself "
                f"{info.firmware_name[:40]!r}: check the address and the family of the "
                "configuration."
            )
        require_mac(info.mac, pinned=self._mac, miner_id=self.miner_id, address=self._link.address)
        self._seen.keep(info, reply.connection)
        return info

    async def _at_work(self) -> tuple[device.Info, HttpReply]:
        """What the machine does. On a connection on which nobody was recognised, and before a
        login, it is asked who it is."""
        reply = await self._once("summary")
        info = self._seen.on(reply.connection)
        if info is None or reply.status == _UNAUTHORIZED:
            info = await self._recognised()
        if reply.status == _UNAUTHORIZED:
            reply = await self._after_login("summary")
        return info, reply

    async def _parts_of(self, info: device.Info) -> _Parts:
        parts = self._parts
        if parts is None or parts.mac != info.mac:
            model = device.model_of(await self._get("model"))
            factory = device.factory_of(await self._get("chains/factory-info"))
            preset = device.preset_of(await self._get("perf-summary"))
            parts = _Parts(mac=info.mac, model=model, factory=factory, preset=preset)
            self._parts = parts
        return parts

    async def _get(self, path: str) -> Row:
        return self._table(await self._reply(path), path)

    async def _reply(self, path: str) -> HttpReply:
        """One read. Where the machine wants a login for it, one is made if there is a password."""
        reply = await self._once(path)
        return await self._after_login(path) if reply.status == _UNAUTHORIZED else reply

    async def _once(self, path: str) -> HttpReply:
        headers = self._login.held() if self._are_reads_closed else {}
        return await self._link.get(_API + path, headers=headers)

    async def _after_login(self, path: str) -> HttpReply:
        self._are_reads_closed = True
        self._login.forget()
        return await self._link.get(_API + path, headers=await self._login.bearer())

    def _table(self, reply: HttpReply, path: str) -> Row:
        if not reply.is_ok:
            raise envelope.refusal(reply.status, reply.body, path)
        return envelope.decode_table(reply.body, path)

    def _identity_of(
        self, info: device.Info, model: device.Model, nameplate_hs: float | None
    ) -> MinerIdentity:
        return MinerIdentity(
            family=FAMILY,
            model=info.model,
            mac=info.mac,
            serial=info.serial,
            firmware=info.firmware,
            board_count=model.board_count,
            nameplate_hashrate_hs=nameplate_hs,
            signs=_signs(info, model),
        )


class VnishMiner(VnishReader):
    """One machine with its password: it sleeps and wakes, and from 1.3 on takes percents."""

    async def select_profile(self, name: str) -> None:
        """Choose one of the percents that ``read_details`` listed."""
        percent = device.percent_of(name)
        if percent is None:
            raise UnsupportedError(f"{name!r} is not the name of a profile of {self.miner_id}.")
        await self._write("mining/throttle", percent=percent)

    async def sleep(self) -> None:
        """Pause the mining: boards idle, the control board stays up."""
        await self._write("mining/pause")

    async def wake(self) -> None:
        """Resume the mining. What was stopped instead of paused may have to be started."""
        try:
            await self._write("mining/resume")
        except BusyError:
            raise
        except RefusedError:
            await self._write("mining/start")

    async def locate(self, *, is_on: bool) -> None:
        """Let the lights blink, or leave them to the firmware."""
        await self._write("find-miner", body=envelope.encode_light(is_on=is_on))

    async def _write(
        self, path: str, *, percent: int | None = None, body: bytes | None = None
    ) -> None:
        """One write to the machine that was recognised a moment before on the same connection."""
        errand = _Errand()
        try:
            async with asyncio.timeout(WRITE_LIMIT_S):
                await self._require_ready(percent)
                body = body if percent is None else envelope.encode_throttle(percent)
                reply = await self._posted(path, body, errand)
        except (NoAnswerError, BadReplyError) as error:
            if errand.is_sent:
                raise self._unknown(path, error.reply) from error
            raise
        except TimeoutError as error:
            if errand.is_sent:
                raise self._unknown(path, b"") from error
            raise UnreachableError(
                f"{self._link.address} did not answer within {WRITE_LIMIT_S:g} s; "
                f"{path} was not sent."
            ) from error
        if not envelope.is_verdict(reply.status, reply.body):
            raise self._unknown(path, reply.body)
        if not reply.is_ok:
            raise envelope.refusal(reply.status, reply.body, path)

    async def _posted(self, path: str, body: bytes | None, errand: _Errand) -> HttpReply:
        """The write, and once more with a new login where the machine has forgotten the last one:
        what met 401 was not carried out."""
        reply = await self._post(path, body, errand)
        if reply.status != _UNAUTHORIZED:
            return reply
        errand.is_sent = False
        self._login.forget()
        return await self._post(path, body, errand)

    async def _post(self, path: str, body: bytes | None, errand: _Errand) -> HttpReply:
        headers = {**await self._login.bearer(), "Content-Type": "application/json"}
        errand.is_sent = True
        return await self._link.send(
            "POST", _API + path, body=body, headers=headers, answer_s=WRITE_ANSWER_S
        )

    async def _require_ready(self, percent: int | None) -> None:
        """The pinned machine, two signs, and for a percent a preset whose watts stand."""
        info = await self._recognised()
        signs = _signs(info, device.model_of(await self._get("model")))
        if len(signs) < 2:
            raise WrongDeviceError(
                f"Machine {self.miner_id} is not certain to be the one meant "
                f"(only: {'; '.join(signs)}): it is read, but not written to."
            )
        if percent is None:
            return
        if not info.can_throttle:
            raise UnsupportedError(
                f"Machine {self.miner_id} has VNish {info.firmware}, which has no throttle: "
                "update it to 1.3 or newer."
            )
        preset = device.preset_of(await self._get("perf-summary"))
        if percent not in device.percents_of(info, preset):
            raise RefusedError(
                f"The preset of machine {self.miner_id} is not tuned, so its watts are not known: "
                "let its tuning end, or choose a tuned preset in its web page."
            )

    def _unknown(self, path: str, reply: bytes) -> UnknownOutcomeError:
        return UnknownOutcomeError(
            f"{path} was sent to machine {self.miner_id} and no usable answer came: "
            "read back what it did before sending anything else.",
            reply=reply,
        )


def _signs(info: device.Info, model: device.Model) -> tuple[str, ...]:
    """/info and /model are two pages; the serial is no sign, as many machines have none."""
    signs = [f"/info answers as {info.firmware_name} {info.firmware} on {info.model}"]
    if info.has_mac and model.name == info.model:
        signs.append(f"/model names {model.name} as well, the network has MAC {info.mac}")
    return tuple(signs)


def _nameplate_hs(info: device.Info, miner: Row) -> float | None:
    told_hs = wire.nameplate_of(miner, info)
    if told_hs is not None:
        return told_hs
    model = find_model(info.model)
    return None if model is None else model.nameplate_hashrate_hs


def _nameplate_w(info: device.Info) -> float | None:
    model = find_model(info.model)
    return None if model is None else model.nameplate_power_w


def _profiles(info: device.Info, miner: Row, preset: device.Preset | None) -> tuple[Profile, ...]:
    """None where neither the preset nor the table of models says what the whole draws."""
    rated_w = _nameplate_w(info) if preset is None else preset.power_w or _nameplate_w(info)
    rated_hs = None if preset is None else preset.hashrate_hs
    rated_hs = rated_hs or _nameplate_hs(info, miner)
    if rated_w is None or rated_hs is None:
        return ()
    has_dimmer = wire.throttle_of(miner) is not None
    percents = device.percents_of(info, preset) if has_dimmer else (device.FULL_PERCENT,)
    return device.profiles_of(rated_w, rated_hs, percents)
