"""Canaan's Avalon machines over TCP 4028: one question per connection, never two at once.

The server is single-threaded and knows no login: whoever reaches it may stop the machine. What a
plan may use: sleep and wake as ``softoff`` and ``softon``, and on the Avalon Q the work modes eco,
standard and super. The commands carry the time at which they take effect, counted on the machine's
own clock, as it told it a moment before: many machines have no time of day and count from their
start.

What is not offered: work modes of the A series, because no source says what they draw and on older
firmware they need a reboot; single boards, for which there is no command. What is never sent:
``hashpower``, ``worklevel``, frequencies and voltages, pools, passwords, reboots.

A yes is only an acceptance, and older firmware says yes to a ``softon`` that only a reboot would
carry out: the read-back shows it. A connection that closes after a write without a word leaves its
outcome unknown, and nothing is repeated here.
"""

import asyncio
import math
import time
from dataclasses import dataclass

from drivers.errors import (
    BadReplyError,
    UnknownOutcomeError,
    UnreachableError,
    UnsupportedError,
    WrongDeviceError,
)
from drivers.link.tcp import NoAnswerError, TcpExchange, TimedReply
from drivers.link.within import Within
from drivers.miners.models import find_model
from drivers.readings import MinerDetails, MinerIdentity, MinerReading
from drivers.wire import avalon as wire
from drivers.wire.avalon_reply import (
    accepted_write,
    clock_of,
    decode,
    encode_question,
    is_unknown_command,
)
from drivers.wire.avalon_report import Report, Version, is_report_of, report_of, version_of
from drivers.wire.cgminer import Answer

FAMILY = "avalon"
DEFAULT_PORT = 4028

READ_LIMIT_S = 9.0
WRITE_LIMIT_S = 15.0
# How far ahead a softoff is told: a time that has passed when it arrives may mean never. Whoever
# reads back and tells again a second later must find it done by then.
LEAD_S = 2

_PROMPT_S = 0.5

# The same report, the shortest first; not every firmware has each.
_REPORTS = ("litestats", "estats", "stats")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """One recognised machine: who it is, what it reports, and the times around the questions.

    ``answer_s``: whole seconds by which its last answer was slower than a prompt one.
    """

    version: Version
    report: Report
    clock_s: int
    answer_s: int
    requested_at_s: float
    replied_at_s: float


class AvalonMiner:
    """One machine. ``mac`` pins it: every read and every write checks who answers."""

    def __init__(self, *, miner_id: str, link: TcpExchange, mac: str | None) -> None:
        self.miner_id = miner_id
        self._link = link
        self._mac = mac
        self._report_command: str | None = None
        # Whose report carries this DNA was asked once; the fast read compares it.
        self._known: tuple[str, Version] | None = None
        self._writing = asyncio.Lock()

    async def identify(self) -> MinerIdentity:
        """Who answers. Two signs: the product in ``version``, the same model in the report."""
        async with Within(self._link, READ_LIMIT_S):
            return self._identity_of(await self._asked())

    async def read(self) -> MinerReading:
        """One question as long as the report's DNA is that of the machine recognised before."""
        async with Within(self._link, READ_LIMIT_S):
            seen = await self._recognised()
            hashrate_hs, replied_at_s = await self._hashrate(seen)
        activity = wire.activity_of(seen.report, hashrate_hs)
        believed_hs = wire.believed_hashrate_hs(hashrate_hs, _nameplate_hs(seen.version))
        power_w, provenance = wire.power_of(seen.report, hashrate_hs)
        return MinerReading(
            miner_id=self.miner_id,
            requested_at_s=seen.requested_at_s,
            replied_at_s=replied_at_s,
            taken_at_ms=time.time_ns() // 1_000_000,
            activity=activity,
            hashrate_hs=believed_hs,
            power_w=wire.believed_power_w(power_w, _nameplate_w(seen.version)),
            power_provenance=provenance,
            profile=wire.profile_of(seen.report, seen.version),
            boards=wire.boards_of(seen.report, believed_hs, activity),
        )

    async def read_details(self) -> MinerDetails:
        """Everything that changes rarely. The family tells no serials of boards and supply."""
        async with Within(self._link, READ_LIMIT_S):
            seen = await self._asked()
            pools, _ = await self._ask("pools")
        report = seen.report
        return MinerDetails(
            identity=self._identity_of(seen),
            pools=wire.pools_of(pools.accepted("pools")),
            profiles=wire.profiles_of(seen.version),
            board_serials=(),
            fan_speeds_rpm=wire.fan_speeds_of(report),
            uptime_s=wire.uptime_of(report),
            faults=wire.faults_of(report),
            power_limit_w=wire.power_limit_of(report),
            power_supply_serial=None,
            chip_temperatures=wire.chip_temperatures_of(report),
        )

    async def select_profile(self, name: str) -> None:
        """Choose one of the Q's work modes."""
        number = wire.mode_number(name)
        if number is None:
            raise UnsupportedError(f"{name!r} is not the name of a work mode of {self.miner_id}.")
        await self._write("workmode", f"set,{number}")

    async def sleep(self) -> None:
        """Stop hashing; the control board stays up."""
        await self._write("softoff")

    async def wake(self) -> None:
        """Resume hashing; the machine settles within minutes."""
        await self._write("softon")

    async def locate(self, *, is_on: bool) -> None:
        """Light its lamp, or leave it to the firmware."""
        await self._write("led", "1-1" if is_on else "1-0")

    async def close(self) -> None:
        """Nothing stays open between questions."""

    async def _write(self, option: str, value: str | None = None) -> None:
        """One write, after the machine was recognised anew and without the cache."""
        is_sent = False
        async with self._writing:
            try:
                async with asyncio.timeout(WRITE_LIMIT_S):
                    seen = await self._seen_now()
                    self._require_writable(seen)
                    if value is None:
                        value = f"1:{seen.clock_s + LEAD_S + seen.answer_s}"
                    elif option == "workmode" and not wire.profiles_of(seen.version):
                        raise UnsupportedError(
                            f"What the work modes of an {seen.version.name} draw is not known: "
                            "plan without them."
                        )
                    is_sent = True
                    answer, _ = await self._ask("ascset", f"0,{option},{value}")
                    accepted_write(answer, option)
            except (NoAnswerError, BadReplyError) as error:
                if is_sent:
                    raise self._unknown(option, error.reply) from error
                raise
            except TimeoutError as error:
                if is_sent:
                    raise self._unknown(option, b"") from error
                raise UnreachableError(
                    f"{self._link.address} did not answer within {WRITE_LIMIT_S:g} s; "
                    f"{option} was not sent."
                ) from error

    async def _ask(self, command: str, parameter: str | None = None) -> tuple[Answer, TimedReply]:
        """One question on a connection of its own, the answer whatever its verdict."""
        timed = await self._link.ask(encode_question(command, parameter))
        return decode(timed.reply), timed

    async def _asked(self) -> _Seen:
        """The machine, recognised by ``version`` now. Raises WrongDeviceError for another one."""
        version, clock_s, asked = await self._version()
        report, told = await self._report()
        return self._remember(version, report, clock_s, asked, told)

    async def _seen_now(self) -> _Seen:
        """The machine as it is asked just before a write: its clock last, so that it is young."""
        if self._known is None:
            await self._version()
        report, told = await self._report()
        version, clock_s, asked = await self._version()
        return self._remember(version, report, clock_s, told, asked)

    async def _recognised(self) -> _Seen:
        """The machine, recognised by its report's DNA if that was seen beside its MAC before."""
        report, told = await self._report()
        dna = report.text("DNA")
        if self._known is not None and dna and dna == self._known[0]:
            return _Seen(
                version=self._known[1],
                report=report,
                clock_s=0,
                answer_s=0,
                requested_at_s=told.requested_at_s,
                replied_at_s=told.replied_at_s,
            )
        version, clock_s, asked = await self._version()
        return self._remember(version, report, clock_s, told, asked)

    def _remember(
        self, version: Version, report: Report, clock_s: int, first: TimedReply, last: TimedReply
    ) -> _Seen:
        self._known = (report.text("DNA"), version)
        return _Seen(
            version=version,
            report=report,
            clock_s=clock_s,
            answer_s=math.ceil(last.replied_at_s - last.requested_at_s - _PROMPT_S),
            requested_at_s=first.requested_at_s,
            replied_at_s=last.replied_at_s,
        )

    async def _version(self) -> tuple[Version, int, TimedReply]:
        answer, timed = await self._ask("version")
        if is_unknown_command(answer) or "VERSION" not in answer.sections:
            raise self._wrong_family()
        version = version_of(answer.accepted("version"))
        if not version.is_avalon:
            raise self._wrong_family()
        if self._mac is not None and version.mac != self._mac:
            self._known = None
            raise WrongDeviceError(
                f"Machine {self.miner_id} should have the MAC {self._mac}, but "
                f"{version.mac or 'a machine without one'} answers at {self._link.address}: "
                "check the address, or pin the new MAC if the machine was exchanged."
            )
        return version, clock_of(answer), timed

    async def _report(self) -> tuple[Report, TimedReply]:
        """The report by the command that this firmware has, which is remembered."""
        if self._report_command is None:
            for command in _REPORTS[:-1]:
                answer, timed = await self._ask(command)
                if not is_unknown_command(answer):
                    self._report_command = command
                    return report_of(answer.accepted(command)), timed
            self._report_command = _REPORTS[-1]
        command = self._report_command
        answer, timed = await self._ask(command)
        if is_unknown_command(answer):
            # Another firmware, or another machine: the next read tries all of them again.
            self._report_command = None
        return report_of(answer.accepted(command)), timed

    async def _hashrate(self, seen: _Seen) -> tuple[float, float]:
        """H/s now and when that was told: older firmware has it in ``summary`` only."""
        told_hs = wire.hashrate_of(seen.report)
        if told_hs is not None:
            return told_hs, seen.replied_at_s
        answer, timed = await self._ask("summary")
        return wire.summary_hashrate_of(answer.accepted("summary")), timed.replied_at_s

    def _identity_of(self, seen: _Seen) -> MinerIdentity:
        version = seen.version
        return MinerIdentity(
            family=FAMILY,
            model=version.name,
            mac=version.mac,
            serial=version.dna,
            firmware=version.firmware,
            board_count=wire.board_count_of(seen.report),
            nameplate_hashrate_hs=_nameplate_hs(version),
            signs=_signs(seen),
        )

    def _require_writable(self, seen: _Seen) -> None:
        signs = _signs(seen)
        if len(signs) < 2:
            raise WrongDeviceError(
                f"Machine {self.miner_id} is not certain to be the one meant "
                f"(only: {'; '.join(signs)}): it is read, but not written to."
            )

    def _wrong_family(self) -> WrongDeviceError:
        return WrongDeviceError(
            f"What answers at {self._link.address} is no Avalon: "
            "check the address and the family of the configuration."
        )

    def _unknown(self, option: str, reply: bytes) -> UnknownOutcomeError:
        return UnknownOutcomeError(
            f"{option} was sent to machine {self.miner_id} and no usable answer came: "
            "read back what it did before sending anything else.",
            reply=reply,
        )


def _signs(seen: _Seen) -> tuple[str, ...]:
    version = seen.version
    signs = [f"version answers as {version.product} with MAC {version.mac or 'unknown'}"]
    if version.mac and is_report_of(seen.report, version):
        signs.append(f"its module reports as {seen.report.text('Ver')} with DNA {version.dna}")
    return tuple(signs)


def _nameplate_hs(version: Version) -> float | None:
    model = find_model(version.name)
    return version.bin_hashrate_hs or (None if model is None else model.nameplate_hashrate_hs)


def _nameplate_w(version: Version) -> float | None:
    model = find_model(version.name)
    return None if model is None else model.nameplate_power_w
