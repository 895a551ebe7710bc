"""LuxOS (Luxor) over TCP 4028: fast reads in one exchange, writes under the machine's session lock.

A write needs a session; the machine has one, drops it after 60 s without use and answers 402 while
somebody else holds it (docs.luxor.tech, LuxOS API). The session is a lock, not a login. Writes here
are absolute and may be repeated; the firmware's relative forms ("+1") are never sent, and neither
is ``wakeup mode=unsafe``. ATM is the operator's: it is reported, never switched.
"""

import asyncio
import logging
import re
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from drivers.errors import (
    BadReplyError,
    BusyError,
    DriverError,
    RefusedError,
    UnknownOutcomeError,
    UnreachableError,
    UnsupportedError,
    WrongDeviceError,
)
from drivers.link.ending import to_the_end
from drivers.link.tcp import NoAnswerError, TcpExchange
from drivers.miners.models import nameplate_hs
from drivers.readings import MinerDetails, MinerIdentity, MinerReading
from drivers.wire import luxos as wire
from drivers.wire import luxos_health as health
from drivers.wire.cgminer import Answer, decode_answer, encode_command

FAMILY = "luxos"
DEFAULT_PORT = 4028

# A config older than this says nothing about which machine would receive a write.
IDENTITY_FRESH_S = 30.0
MODE_FRESH_S = 5.0
LOGOFF_LIMIT_S = 3.0

_FAST = ("devs", "power", "config")
_FULL = ("version", "config", "devs", "profiles", "pools", "fans", "summary")
# Asked one by one, because not every firmware has them: events since 2023, psuget since 2026.
_HEALTH = ("events", "atm", "psuget")
_RELATIVE_OR_COMPOSED = re.compile(r"[+-]|.*,|\s*\Z", re.DOTALL)

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answers:
    """Accepted answers by command, and the times around the exchanges that brought them."""

    by_command: Mapping[str, Answer]
    requested_at_s: float
    replied_at_s: float


class LuxosMiner:
    """One machine. ``mac`` pins it: every read and every write checks who answers."""

    def __init__(self, *, miner_id: str, link: TcpExchange, mac: str | None) -> None:
        self.miner_id = miner_id
        self._link = link
        self._mac = mac
        # Joined commands ("a+b") are one exchange instead of three; None: not tried yet.
        self._can_join: bool | None = None
        self._writing = asyncio.Lock()
        self._identity: MinerIdentity | None = None
        self._config: wire.LuxosConfig | None = None
        self._config_at_s = 0.0
        self._tuned_names: frozenset[str] = frozenset()

    async def identify(self) -> MinerIdentity:
        """Who answers. Two signs: the program's name in ``version``, the system in ``config``."""
        self._can_join = self._can_join or None
        version = await self._sign("version")
        config = await self._sign("config")
        self._identity = self._identity_of(version, config)
        return self._identity

    async def read(self) -> MinerReading:
        """``devs``, ``power`` and ``config``, in one exchange where the firmware joins commands."""
        answers = await self._ask_all(_FAST)
        config = self._recognised(answers.by_command["config"], answers.requested_at_s)
        devs = answers.by_command["devs"]
        boards = wire.boards_of(devs)
        power_w, provenance = wire.power_of(answers.by_command["power"])
        rated_hs = nameplate_hs(config.model, config.nameplate_hashrate_hs)
        return MinerReading(
            miner_id=self.miner_id,
            requested_at_s=answers.requested_at_s,
            replied_at_s=answers.replied_at_s,
            taken_at_ms=time.time_ns() // 1_000_000,
            activity=wire.activity_of(config, boards, devs),
            hashrate_hs=wire.believed_hashrate_hs(boards, rated_hs),
            power_w=power_w,
            power_provenance=provenance,
            profile=config.profile or None,
            boards=boards,
        )

    async def read_details(self) -> MinerDetails:
        """Everything that changes rarely."""
        answers = await self._ask_all(_FULL)
        of = answers.by_command
        more = {name: await self._sign(name) for name in _HEALTH}
        self._recognised(of["config"], answers.requested_at_s)
        self._identity = self._identity_of(of["version"], of["config"])
        profiles = wire.profiles_of(of["profiles"])
        self._tuned_names = frozenset(one.name for one in profiles if one.is_tuned)
        return MinerDetails(
            identity=self._identity,
            pools=wire.pools_of(of["pools"]),
            profiles=profiles,
            board_serials=tuple(
                board.serial for board in wire.boards_of(of["devs"]) if board.serial is not None
            ),
            fan_speeds_rpm=wire.fan_speeds_of(of["fans"]),
            uptime_s=wire.uptime_of(of["summary"]),
            faults=health.faults_of(more["events"], more["psuget"]),
            power_limit_w=health.power_limit_of(more["atm"]),
            power_supply_serial=health.supply_serial_of(more["psuget"]),
        )

    async def switch_board(self, board: int, *, is_on: bool) -> None:
        """Switch one hashboard, by its number in ``devs``."""
        async with self.writing() as session:
            await session.switch_board(board, is_on=is_on)

    async def select_profile(self, name: str) -> None:
        """Choose an operating point of the machine's own list. Refused while ATM is on."""
        async with self.writing() as session:
            await session.select_profile(name)

    async def sleep(self) -> None:
        """Curtail: boards and PSU output off, the control board stays up."""
        async with self.writing() as session:
            await session.sleep()

    async def wake(self) -> None:
        """End the curtailment; the machine ramps as after a restart."""
        async with self.writing() as session:
            await session.wake()

    async def locate(self, *, is_on: bool) -> None:
        """Let the red light blink, or put it out."""
        async with self.writing() as session:
            await session.locate(is_on=is_on)

    @asynccontextmanager
    async def writing(self) -> AsyncIterator["LuxosSession"]:
        """Several writes under one session: logon, writes, logoff, one exchange each.

        The logoff is sent whatever happens, a cancellation included. Raises BusyError where
        somebody else holds the session and WrongDeviceError where another machine answers.
        """
        async with self._writing:
            await self._ensure_writable()
            session = LuxosSession(miner=self, session_id=await self._logon())
            try:
                yield session
            finally:
                await to_the_end(self._logoff(session.session_id))

    async def close(self) -> None:
        """Nothing stays open between exchanges."""

    async def ask(self, command: str, parameter: str | None = None) -> Answer:
        """One command, one exchange, the answer whatever its verdict."""
        reply = await self._link.ask(encode_command(command, parameter))
        return decode_answer(reply.reply)

    async def logon_again(self) -> str:
        """A new session in place of one that the machine dropped."""
        return await self._logon()

    async def refuse_profile(self, name: str) -> None:
        """Raise unless the machine would take this profile and keep it."""
        if _RELATIVE_OR_COMPOSED.match(name):
            raise UnsupportedError(
                f"{name!r} is not the name of a profile: relative and composed forms are not used."
            )
        if name not in self._tuned_names:
            profiles = wire.profiles_of((await self.ask("profiles")).accepted("profiles"))
            self._tuned_names = frozenset(one.name for one in profiles if one.is_tuned)
        if name not in self._tuned_names:
            raise RefusedError(
                f"Machine {self.miner_id} has no tuned profile {name!r}: choose one that it has, "
                "or let LuxOS tune it first."
            )
        config = await self._fresh_config(MODE_FRESH_S)
        if config.is_atm_enabled:
            raise RefusedError(
                f"ATM is on at machine {self.miner_id} and would override the profile: "
                "turn ATM off in LuxOS, then try again."
            )

    async def _sign(self, command: str) -> Answer | None:
        """An answer that not every machine has; a refusal is its absence."""
        try:
            return (await self.ask(command)).accepted(command)
        except BusyError:
            raise
        except RefusedError:
            return None

    def _identity_of(self, version: Answer | None, config: Answer | None) -> MinerIdentity:
        signs = []
        luxminer = None if version is None else wire.luxminer_version_of(version)
        if luxminer is not None:
            signs.append(f"version answers as LUXminer {luxminer}")
        is_luxos = config is not None and wire.is_luxos(config)
        if not signs and not is_luxos:
            raise WrongDeviceError(
                f"What answers at {self._link.address} is not LuxOS: "
                "check the address and the family of the configuration."
            )
        if config is None:
            raise BadReplyError(
                f"The machine at {self._link.address} refuses config: it may still be starting."
            )
        found = self._recognised(config, _now_s())
        if is_luxos and found.mac and found.serial:
            signs.append(f"config names LuxOS, MAC {found.mac} and serial {found.serial}")
        return MinerIdentity(
            family=FAMILY,
            model=found.model,
            mac=found.mac,
            serial=found.serial,
            firmware=luxminer or "",
            board_count=found.board_count,
            nameplate_hashrate_hs=nameplate_hs(found.model, found.nameplate_hashrate_hs),
            signs=tuple(signs),
        )

    def _recognised(self, answer: Answer, asked_at_s: float) -> wire.LuxosConfig:
        """The configuration of the pinned machine. Raises WrongDeviceError for any other."""
        config = wire.config_of(answer)
        if self._mac is not None and config.mac != self._mac:
            self._identity = self._config = None
            raise WrongDeviceError(
                f"Machine {self.miner_id} should have the MAC {self._mac}, but "
                f"{config.mac or 'a machine without one'} answers at {self._link.address}: "
                "check the address, or pin the new MAC if the machine was exchanged."
            )
        self._config, self._config_at_s = config, asked_at_s
        return config

    async def _fresh_config(self, age_limit_s: float) -> wire.LuxosConfig:
        if self._config is not None and _now_s() - self._config_at_s <= age_limit_s:
            return self._config
        asked_at_s = _now_s()
        return self._recognised((await self.ask("config")).accepted("config"), asked_at_s)

    async def _ensure_writable(self) -> None:
        """Two signs, and the same machine a moment ago: less never justifies a write."""
        identity = self._identity or await self.identify()
        if not identity.is_writable:
            raise WrongDeviceError(
                f"Machine {self.miner_id} is not certain to be LuxOS "
                f"(only: {'; '.join(identity.signs)}): it is read, but not written to."
            )
        config = await self._fresh_config(IDENTITY_FRESH_S)
        if config.mac != identity.mac:
            self._identity = None
            raise WrongDeviceError(
                f"Another machine ({config.mac}) answers at {self._link.address} than was "
                f"identified there ({identity.mac}): identify it again."
            )

    async def _logon(self) -> str:
        answer = await self.ask("logon")
        if answer.status is not None and wire.is_session_lost(answer.status):
            # Older firmware says in words what newer firmware says as 402.
            raise BusyError(
                f"Machine {self.miner_id} is held by another session: try again in a minute.",
                reply=answer.reply,
            )
        return wire.session_id_of(answer.accepted("logon"))

    async def _logoff(self, session_id: str) -> None:
        try:
            async with asyncio.timeout(LOGOFF_LIMIT_S):
                (await self.ask("logoff", session_id)).accepted("logoff")
        except (DriverError, TimeoutError) as error:
            # The machine drops the session by itself after 60 s; the write stands as it is.
            _log.debug("event=logoff_failed miner=%s error=%s", self.miner_id, error)

    async def _ask_all(self, commands: tuple[str, ...]) -> _Answers:
        """All answers, joined in one exchange if the firmware can, else one by one."""
        if self._can_join is not False:
            answers = await self._ask_joined(commands)
            if answers is not None:
                return answers
        limit_s = 2 * self._link.exchange_limit_s
        try:
            async with asyncio.timeout(limit_s):
                return await self._ask_one_by_one(commands)
        except TimeoutError as error:
            raise UnreachableError(
                f"{self._link.address} did not answer {len(commands)} questions within "
                f"{limit_s:g} s."
            ) from error

    async def _ask_joined(self, commands: tuple[str, ...]) -> _Answers | None:
        """None where this firmware turns out not to join commands, which is remembered."""
        try:
            timed = await self._link.ask(encode_command("+".join(commands)))
            answer = decode_answer(timed.reply)
        except NoAnswerError:
            # Silence may be a fault or the firmware: the next read asks one by one, and
            # identify() after the outage tries again.
            self._can_join = self._can_join or False
            raise
        except BadReplyError:
            if self._can_join:
                raise
            self._can_join = False
            return None
        parts = answer.parts
        if not parts.keys() >= set(commands):
            if not self._can_join:
                self._can_join = False
                return None
            answer.accepted("a joined command")
            raise BadReplyError("The machine left out a part of its answer.", reply=answer.reply)
        self._can_join = True
        return _Answers(
            by_command={name: parts[name].accepted(name) for name in commands},
            requested_at_s=timed.requested_at_s,
            replied_at_s=timed.replied_at_s,
        )

    async def _ask_one_by_one(self, commands: tuple[str, ...]) -> _Answers:
        requested_at_s = _now_s()
        answers = {name: (await self.ask(name)).accepted(name) for name in commands}
        return _Answers(by_command=answers, requested_at_s=requested_at_s, replied_at_s=_now_s())


class LuxosSession:
    """The machine's one session, held for a few writes. It has the abilities of its miner."""

    def __init__(self, *, miner: LuxosMiner, session_id: str) -> None:
        self.session_id = session_id
        self._miner = miner

    async def switch_board(self, board: int, *, is_on: bool) -> None:
        """Switch one hashboard, by its number in ``devs``."""
        await self._write("enableboard" if is_on else "disableboard", str(board))

    async def select_profile(self, name: str) -> None:
        """Choose an operating point of the machine's own list. Refused while ATM is on."""
        await self._miner.refuse_profile(name)
        await self._write("profileset", name)

    async def sleep(self) -> None:
        """Curtail: boards and PSU output off."""
        await self._write("curtail", "sleep")

    async def wake(self) -> None:
        """End the curtailment, ramping plainly."""
        await self._write("curtail", "wakeup")

    async def locate(self, *, is_on: bool) -> None:
        """The red light: the firmware's own signals are green."""
        await self._write("ledset", "red,blink" if is_on else "red,off")

    async def _write(self, command: str, parameter: str) -> None:
        """Send one absolute write; log on again once if the machine dropped the session."""
        answer = await self._send(command, parameter)
        if answer.status is not None and wire.is_session_lost(answer.status):
            self.session_id = await self._miner.logon_again()
            answer = await self._send(command, parameter)
        answer.accepted(command)

    async def _send(self, command: str, parameter: str) -> Answer:
        """The answer with a verdict. Anything less than one leaves the outcome unknown."""
        try:
            answer = await self._miner.ask(command, f"{self.session_id},{parameter}")
        except (NoAnswerError, BadReplyError) as error:
            raise _unknown(self._miner.miner_id, command, error.reply) from error
        if answer.status is None:
            raise _unknown(self._miner.miner_id, command, answer.reply)
        return answer


def _unknown(miner_id: str, command: str, reply: bytes) -> UnknownOutcomeError:
    return UnknownOutcomeError(
        f"{command} was sent to machine {miner_id} and no usable answer came: "
        "read back what it did before sending anything else.",
        reply=reply,
    )


def _now_s() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)
