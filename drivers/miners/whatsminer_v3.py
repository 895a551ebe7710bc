"""Whatsminer API v3 (MicroBT) over TCP 4433: reads open to all, writes with a salted token.

What a plan may use: percents of the power as profiles ("60%" to "100%", mode fast), and sleep and
wake as the mining service's stop and start. Percents are offered only where Fast Boot is on:
without it the power may fall to 0 and mining restart (MicroBT API manual V2.2). Their watts are
shares of the nameplate, or of the machine's own limit where that is lower; what it really draws is
learnt from its readings. A start forgets the percent: a stopped machine shows the whole, to which
it would wake, and is told its percent after the start.

What it cannot do: single boards. What is never sent: power limit and modes (flash, a restart each),
tuning, pools, passwords, the API switch, resets, updates.

A machine without a password is read, not written to. The password comes from a file and appears in
no message. Each write's token carries the machine's own clock and the salt of the same connection,
on which the MAC was just checked. A yes is only an acceptance; silence after a write is an unknown
outcome and nothing is repeated here.
"""

import asyncio
import time
from collections.abc import Sequence
from typing import NamedTuple

from drivers.errors import (
    BadReplyError,
    RefusedError,
    UnknownOutcomeError,
    UnreachableError,
    UnsupportedError,
    WrongDeviceError,
)
from drivers.link.frames import FramedConversation, FramedLink
from drivers.link.tcp import NoAnswerError, TcpExchange
from drivers.miners.models import HardwareModel, find_model
from drivers.readings import (
    MinerDetails,
    MinerFault,
    MinerIdentity,
    MinerReading,
    PoolReading,
    Profile,
)
from drivers.wire import cgminer
from drivers.wire import whatsminer_v2 as older
from drivers.wire import whatsminer_v3 as wire
from drivers.wire.whatsminer_info import DeviceInfo, has_mac, info_of
from drivers.wire.whatsminer_reply import Reply, decode_reply, encode_read, encode_write
from drivers.wire.whatsminer_v3 import MinerStatus

FAMILY = "whatsminer-v3"
DEFAULT_PORT = 4433
OLDER_PORT = 4028

READ_LIMIT_S = 9.0
WRITE_LIMIT_S = 15.0

_INFO = "get.device.info"
_STATUS = "get.miner.status"
_SETTING = "get.miner.setting"
_SYSTEM = "get.system.setting"
_QUESTION = encode_read(_INFO)
_FAST_QUESTIONS = (_QUESTION, encode_read(_STATUS, "summary+edevs"), encode_read(_SETTING))
_FULL_QUESTIONS = (
    _QUESTION,
    encode_read(_STATUS, "summary+pools+edevs"),
    encode_read(_SETTING),
    encode_read(_SYSTEM),
)

_BLINK = ({"color": "red", "period": 200, "duration": 100, "start": 0},)  # ms


class _Answers(NamedTuple):
    """What one conversation brought, and the times around it."""

    info: DeviceInfo
    status: MinerStatus
    setting: Reply
    rest: Sequence[bytes]
    requested_at_s: float
    replied_at_s: float


class WhatsminerV3Reader:
    """One machine without a password: read, never written to. ``mac`` pins it.

    ``older`` is the way to the reads of API v2 that most of this firmware still answers.
    """

    def __init__(
        self,
        *,
        miner_id: str,
        link: FramedLink,
        mac: str | None,
        older: TcpExchange | None = None,
    ) -> None:
        self.miner_id = miner_id
        self._link = link
        self._older = older
        self._mac = mac

    async def identify(self) -> MinerIdentity:
        """Who answers. Two signs: API version with type, and a whole MAC with the serial."""
        async with self._link.conversation(READ_LIMIT_S, is_kept=True) as talk:
            info = await self._recognised(talk)
            told = (await talk.ask(encode_read(_STATUS, "summary"))).reply
        status = wire.status_of(decode_reply(told, _STATUS).accepted(_STATUS))
        return self._identity_of(info, status)

    async def read(self) -> MinerReading:
        """Three questions on one connection: who, what it does, what it is set to."""
        async with self._link.conversation(READ_LIMIT_S, is_kept=True) as talk:
            answers = await self._answers(talk, _FAST_QUESTIONS)
        info, status = answers.info, answers.status
        boards = wire.boards_of(status, info)
        hashrate_hs = wire.believed_hashrate_hs(boards, _nameplate_hs(info, status))
        power_w, provenance = wire.power_of(status, info)
        return MinerReading(
            miner_id=self.miner_id,
            requested_at_s=answers.requested_at_s,
            replied_at_s=answers.replied_at_s,
            taken_at_ms=time.time_ns() // 1_000_000,
            activity=wire.activity_of(status, info, hashrate_hs),
            hashrate_hs=hashrate_hs,
            power_w=power_w,
            power_provenance=provenance,
            profile=wire.profile_of(answers.setting, info),
            boards=boards,
        )

    async def read_details(self) -> MinerDetails:
        """Everything that changes rarely. Pools are asked with the summary: alone, a stopped
        machine refuses them."""
        async with self._link.conversation(READ_LIMIT_S, is_kept=True) as talk:
            answers = await self._answers(talk, _FULL_QUESTIONS)
        system = decode_reply(answers.rest[0], _SYSTEM).accepted(_SYSTEM)
        info, status = answers.info, answers.status
        pools = await self._counted(wire.pools_of(status))
        return MinerDetails(
            identity=self._identity_of(info, status),
            pools=pools,
            profiles=_profiles(info, status),
            board_serials=tuple(serial for serial in info.board_serials if serial),
            fan_speeds_rpm=wire.fan_speeds_of(status),
            uptime_s=wire.uptime_of(status),
            faults=info.faults + _delays(system),
            power_limit_w=wire.power_limit_of(status),
            power_supply_serial=info.power_supply_serial,
            chip_temperatures=wire.chip_temperatures_of(status),
        )

    async def close(self) -> None:
        """Give the kept connection back."""
        await self._link.close()

    async def _counted(self, pools: tuple[PoolReading, ...]) -> tuple[PoolReading, ...]:
        """With the shares counted, where the older reads tell them; they are no part of the API."""
        if self._older is None or not pools:
            return pools
        try:
            told = await self._older.ask(cgminer.encode_command("pools"))
            answer = cgminer.decode_answer(told.reply).accepted("pools")
            return wire.counted(pools, older.pools_of(answer))
        except (UnreachableError, BadReplyError, RefusedError):
            return pools  # this firmware has no such counters

    async def _answers(self, talk: FramedConversation, questions: Sequence[bytes]) -> _Answers:
        """The first three answers are info, status and setting."""
        requested_at_s = time.clock_gettime(time.CLOCK_BOOTTIME)
        told: list[bytes] = []
        try:
            await talk.ask_in_turn(questions, told)
        except (NoAnswerError, BadReplyError):
            if told:
                self._recognised_in(told[0])  # a stranger is one, whatever came after it
            raise
        replied_at_s = time.clock_gettime(time.CLOCK_BOOTTIME)
        return _Answers(
            info=self._recognised_in(told[0]),
            status=wire.status_of(decode_reply(told[1], _STATUS).accepted(_STATUS)),
            setting=decode_reply(told[2], _SETTING).accepted(_SETTING),
            rest=told[3:],
            requested_at_s=requested_at_s,
            replied_at_s=replied_at_s,
        )

    async def _recognised(self, talk: FramedConversation) -> DeviceInfo:
        """Who is at the other end. Raises WrongDeviceError for any but the pinned machine."""
        return self._recognised_in((await talk.ask(_QUESTION)).reply)

    def _recognised_in(self, told: bytes) -> DeviceInfo:
        info = info_of(decode_reply(told, _INFO).accepted(_INFO))
        if not info.is_api_v3:
            raise WrongDeviceError(
                f"What answers at {self._link.address} is no Whatsminer with API v3: "
                "check the address and the family of the configuration."
            )
        if self._mac is not None and info.mac != self._mac:
            raise WrongDeviceError(
                f"Machine {self.miner_id} should have the MAC {self._mac}, but "
                f"{info.mac or 'a machine without one'} answers at {self._link.address}: "
                "check the address, or pin the new MAC if the machine was exchanged."
            )
        return info

    def _identity_of(self, info: DeviceInfo, status: MinerStatus) -> MinerIdentity:
        return MinerIdentity(
            family=FAMILY,
            model=info.model,
            mac=info.mac,
            serial=info.serial,
            firmware=info.firmware,
            board_count=info.board_count,
            nameplate_hashrate_hs=_nameplate_hs(info, status),
            signs=_signs(info),
        )


class WhatsminerV3Miner(WhatsminerV3Reader):
    """One machine with its password: it takes percents, sleeps and wakes."""

    def __init__(
        self,
        *,
        miner_id: str,
        link: FramedLink,
        mac: str | None,
        password: str,
        older: TcpExchange | None = None,
    ) -> None:
        super().__init__(miner_id=miner_id, link=link, mac=mac, older=older)
        self._password = password

    async def select_profile(self, name: str) -> None:
        """Choose one of the percents that ``read_details`` listed, in mode fast."""
        await self._write("set.miner.power_percent", profile=name)

    async def sleep(self) -> None:
        """Stop the mining service: the power supply's output is off, the control board stays."""
        await self._write("set.miner.service", param="stop")

    async def wake(self) -> None:
        """Start the mining service; the machine ramps to its whole power."""
        await self._write("set.miner.service", param="start")

    async def locate(self, *, is_on: bool) -> None:
        """Let the red light blink five times a second, or leave both lights to the firmware."""
        await self._write("set.system.led", param=_BLINK if is_on else "auto")

    async def _write(
        self, command: str, *, param: object = None, profile: str | None = None
    ) -> None:
        """One write on the connection on which the machine was recognised a moment before."""
        is_sent = False
        try:
            async with asyncio.timeout(WRITE_LIMIT_S), self._link.conversation() as talk:
                info = await self._recognised(talk)
                self._require_writable(info)
                if profile is not None:
                    param = {"percent": str(self._percent(profile, info)), "mode": "fast"}
                request = encode_write(
                    command,
                    param,
                    password=self._password,
                    salt=info.salt,
                    clock_s=info.clock_s,
                )
                is_sent = True
                answer = await talk.ask(request, answer_s=WRITE_LIMIT_S)
                reply = decode_reply(answer.reply, command)
        except (NoAnswerError, BadReplyError) as error:
            if is_sent:
                raise self._unknown(command, error.reply) from error
            raise
        except TimeoutError as error:
            if is_sent:
                raise self._unknown(command, b"") from error
            raise UnreachableError(
                f"{self._link.address} did not answer within {WRITE_LIMIT_S:g} s; "
                f"{command} was not sent."
            ) from error
        reply.accepted(command)

    def _require_writable(self, info: DeviceInfo) -> None:
        signs = _signs(info)
        if len(signs) < 2:
            raise WrongDeviceError(
                f"Machine {self.miner_id} is not certain to be the one meant "
                f"(only: {'; '.join(signs)}): it is read, but not written to."
            )

    def _percent(self, name: str, info: DeviceInfo) -> int:
        percent = wire.percent_of(name, is_fast_boot=info.is_fast_boot)
        if percent is not None:
            return percent
        if wire.percent_of(name, is_fast_boot=True) is None:
            raise UnsupportedError(f"{name!r} is not the name of a profile of {self.miner_id}.")
        raise RefusedError(
            f"Fast Boot is off at machine {self.miner_id}, so a percent would restart its mining: "
            "turn Fast Boot on in WhatsMinerTool, then restart the machine."
        )

    def _unknown(self, command: str, reply: bytes) -> UnknownOutcomeError:
        return UnknownOutcomeError(
            f"{command} was sent to machine {self.miner_id} and no usable answer came: "
            "read back what it did before sending anything else.",
            reply=reply,
        )


def _signs(info: DeviceInfo) -> tuple[str, ...]:
    signs = [f"{_INFO} answers as API {info.api} of a {info.type_name}"]
    if has_mac(info) and info.serial:
        signs.append(f"network and miner name MAC {info.mac} and serial {info.serial}")
    return tuple(signs)


def _nameplate_hs(info: DeviceInfo, status: MinerStatus) -> float | None:
    told_hs = wire.nameplate_of(status)
    if told_hs is not None:
        return told_hs
    model = find_model(info.model)
    return None if model is None else model.nameplate_hashrate_hs


def _profiles(info: DeviceInfo, status: MinerStatus) -> tuple[Profile, ...]:
    """None where neither the machine nor the table of models says what the whole draws."""
    model: HardwareModel | None = find_model(info.model)
    nameplate_w = None if model is None else model.nameplate_power_w
    rated_w = wire.rated_power_w(wire.power_limit_of(status), nameplate_w)
    nameplate_hs = _nameplate_hs(info, status)
    if rated_w is None or nameplate_hs is None:
        return ()
    return wire.profiles_of(rated_w, nameplate_hs, is_fast_boot=info.is_fast_boot)


def _delays(system: Reply) -> tuple[MinerFault, ...]:
    delay_s = wire.start_delay_of(system)
    if delay_s <= 0:
        return ()
    words = (
        f"Starts and stops are delayed at random by up to {delay_s:g} s: "
        "set time-randomized to 0 in WhatsMinerTool, or a stop comes too late."
    )
    return (MinerFault(code="time-randomized", words=words),)
