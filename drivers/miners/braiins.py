"""Braiins OS+ over its REST API (firmware 25.07 and later): HTTP port 80 under /api/v1.

What a plan may use: single hashboards, power targets as profiles ("2400W"; absolute, minutes to
follow, kept over a restart), and pause and resume with the machine's own quick ramping. What is
never sent: increments, decrements and percents of a target, stop, restart, reboot, tuner modes,
DPS, pools, passwords, licences, resets, updates.

A login gives a token, which goes into each request as it is; a token that has run out is renewed
once. Without a password the machine is asked without a login, as far as that goes, and not written
to. Every write comes right after two signs of who answers and the pinned MAC. All of them are
absolute: that the HTTP client may send a PUT once more on a connection that was closed meanwhile
does no harm. A yes is only an acceptance; silence after a write is an unknown outcome.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
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
from drivers.link.braiins_pages import BraiinsPages, Known, table_in
from drivers.link.held import Held
from drivers.link.http import HttpLink, HttpReply
from drivers.link.tcp import NoAnswerError
from drivers.link.within import Within
from drivers.miners.models import HardwareModel, find_spelt_model
from drivers.readings import MinerDetails, MinerIdentity, MinerReading, Profile
from drivers.wire import braiins as wire
from drivers.wire import braiins_reply as envelope
from drivers.wire import braiins_target as target
from drivers.wire.braiins_standing import Standing, standing_of
from drivers.wire.cgminer import Row

FAMILY = "braiins"
DEFAULT_PORT = 80

READ_LIMIT_S = 9.0
DETAILS_LIMIT_S = 20.0
WRITE_LIMIT_S = 14.0

_STATS = "miner/stats"
_BOARDS = "miner/hw/hashboards"
_CONFIGURATION = "configuration/miner"
_CONSTRAINTS = "configuration/constraints"
_TUNER = "performance/tuner-state"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Order:
    """One write. ``is_taken`` says of the body of a yes whether it is one to this write."""

    method: str
    path: str
    is_taken: Callable[[bytes], bool]
    body: bytes | None = None


class BraiinsReader:
    """One machine that is read, never written to. ``mac`` pins it."""

    def __init__(
        self, *, miner_id: str, link: HttpLink, mac: str | None, password: str | None = None
    ) -> None:
        self.miner_id = miner_id
        self._pages = BraiinsPages(miner_id=miner_id, link=link, mac=mac, password=password)
        self._held: Held[Standing] = Held()

    async def identify(self) -> MinerIdentity:
        """Who answers. Two signs: API with firmware, and one MAC in two places."""
        async with self._bounded(READ_LIMIT_S):
            known = await self._pages.recognised()
            boards = wire.boards_of(await self._pages.table(_BOARDS))
        return self._identity_of(known, len(boards))

    async def read(self) -> MinerReading:
        """Watts and boards; where it does not stand (drivers/wire/braiins_standing.py) the power
        target; and where they leave it open what the machine says of itself, and its tuner."""
        async with self._bounded(READ_LIMIT_S):
            requested_at_s = _now_s()
            stats, listed = await self._pages.reply(_STATS), await self._pages.reply(_BOARDS)
            power_w, provenance = wire.power_of(table_in(stats, _STATS))
            boards = wire.boards_of(table_in(listed, _BOARDS))
            held, details = self._held.take(), self._seen_on(stats, listed)
            state: int | None = None
            if details is not None and held is not None and held.holds(boards, power_w, _now_s()):
                settings = held.settings
            else:
                held = None
                settings = target.configuration_of(await self._pages.table(_CONFIGURATION))
                is_risen = wire.is_risen(boards, power_w, settings.target_w)
                is_settled = self._held.is_settled(requested_at_s)
                if not (details and details.may_hash and is_risen and is_settled):
                    details = await self._pages.details()
                if details.may_hash and not is_risen:
                    state = wire.tuner_state_of(await self._pages.table(_TUNER))
                    boards = wire.with_ramps(boards, state, power_w, settings.target_w)
            replied_at_s = _now_s()
            model = _model(details)
            nameplate_w = None if model is None else model.nameplate_power_w
            wire.believe_power(power_w, nameplate_w, settings.target_w)
            reading = MinerReading(
                miner_id=self.miner_id,
                requested_at_s=requested_at_s,
                replied_at_s=replied_at_s,
                taken_at_ms=time.time_ns() // 1_000_000,
                activity=wire.activity_of(details, state, boards),
                hashrate_hs=wire.believed_hashrate_hs(boards, _nameplate_hs(details)),
                power_w=power_w,
                power_provenance=provenance,
                profile=_profile_name(settings),
                boards=boards,
            )
        if held is None and details.may_hash:
            held = standing_of(settings, boards, power_w, asked_at_s=requested_at_s)
        self._held.keep(held, requested_at_s=requested_at_s)
        return reading

    def _seen_on(self, *replies: HttpReply) -> wire.DeviceDetails | None:
        """What the machine said of itself on the one connection on which all of this came."""
        seen = [self._pages.seen.on(reply.connection) for reply in replies]
        return None if None in seen else seen[0]

    async def read_details(self) -> MinerDetails:
        """Everything that changes rarely."""
        async with self._bounded(DETAILS_LIMIT_S):
            known = await self._pages.recognised()
            listed = await self._pages.table(_BOARDS)
            boards = wire.boards_of(listed)
            settings = target.configuration_of(await self._pages.table(_CONFIGURATION))
            limits = await self._pages.table(_CONSTRAINTS)
            tuned = None
            if known.details.may_hash:
                tuned = target.tuned_of(await self._pages.table(_TUNER))
            groups = envelope.tables_of(await self._pages.body("pools/"), "pools")
            cooling = await self._pages.table("cooling/state")
            errors = await self._pages.table("miner/errors")
            licence = await self._pages.table_if_any("license/license")
        pause_s = target.pause_s_of(settings, limits)
        return MinerDetails(
            identity=self._identity_of(known, len(boards)),
            pools=wire.pools_of(groups),
            profiles=_profiles(known.details, settings, limits, tuned),
            board_serials=tuple(one.serial for one in boards if one.serial is not None),
            fan_speeds_rpm=wire.fan_speeds_of(cooling),
            uptime_s=known.details.uptime_s,
            faults=(
                *target.setting_faults(settings, pause_s),
                *(() if licence is None else wire.licence_faults(licence)),
                *wire.faults_of(errors),
            ),
            power_limit_w=settings.target_w,
            power_supply_serial=known.details.power_supply_serial,
            chip_temperatures=wire.chip_temperatures_of(listed),
        )

    async def close(self) -> None:
        """Close the connection."""
        await self._pages.close()

    @asynccontextmanager
    async def _bounded(self, limit_s: float) -> AsyncIterator[None]:
        """Several reads, bounded as a whole. After one that fails nobody is recognised."""
        with self._pages.seen.lasting():
            async with Within(self._pages, limit_s):
                yield

    def _identity_of(self, known: Known, board_count: int) -> MinerIdentity:
        details = known.details
        return MinerIdentity(
            family=FAMILY,
            model=details.model,
            mac=details.mac,
            serial=details.serial,
            firmware=details.firmware,
            board_count=board_count,
            nameplate_hashrate_hs=_nameplate_hs(details),
            signs=known.signs,
        )


class BraiinsMiner(BraiinsReader):
    """One machine with its password: boards, power targets, pause and resume."""

    async def switch_board(self, board: int, *, is_on: bool) -> None:
        """Switch one hashboard, by its number in ``miner/hw/hashboards``."""

        async def has_board() -> None:
            boards = wire.boards_of(await self._pages.table(_BOARDS))
            if board not in {one.board for one in boards}:
                raise UnsupportedError(f"Machine {self.miner_id} has no board {board}.")

        def is_taken(body: bytes) -> bool:
            answer = envelope.table_of(body, "answer")
            return wire.board_states_of(answer).get(board) is is_on

        body = envelope.encode_board(board, is_on=is_on)
        await self._write(
            _Order(method="PATCH", path=_BOARDS, body=body, is_taken=is_taken), has_board
        )

    async def select_profile(self, name: str) -> None:
        """Set an absolute power target within the machine's own limits."""
        watts = target.target_of(name)
        if watts is None:
            raise UnsupportedError(
                f"{name!r} is not the name of a profile: only absolute watts are used, as 2400W."
            )

        async def may_be_set() -> None:
            settings = target.configuration_of(await self._pages.table(_CONFIGURATION))
            if settings.target_w is None:
                raise RefusedError(
                    f"No power target rules machine {self.miner_id}: set its tuner to the mode "
                    "power target in Braiins OS, then try again."
                )
            limits = target.range_of(await self._pages.table(_CONSTRAINTS))
            if limits is None or not limits.least_w <= watts <= limits.most_w:
                raise RefusedError(
                    f"{watts} W is not within the limits of machine {self.miner_id}: "
                    "choose one of the profiles that it lists."
                )

        def is_taken(body: bytes) -> bool:
            return envelope.number_of(envelope.table_of(body, "answer"), "watt") == watts

        body = envelope.encode_power_target(watts)
        path = "performance/power-target"
        await self._write(_Order(method="PUT", path=path, body=body, is_taken=is_taken), may_be_set)

    async def sleep(self) -> None:
        """Pause: the boards ramp down as quickly as the machine is set to; the system stays up."""
        await self._write(_Order(method="PUT", path="actions/pause", is_taken=wire.is_yes_or_no))

    async def wake(self) -> None:
        """Resume, to the power target that is set."""
        await self._write(_Order(method="PUT", path="actions/resume", is_taken=wire.is_yes_or_no))

    async def locate(self, *, is_on: bool) -> None:
        """Let both lights blink, or leave them to the firmware."""
        path, body = "actions/locate", envelope.encode_flag(is_on=is_on)
        await self._write(_Order(method="PUT", path=path, body=body, is_taken=wire.is_yes_or_no))

    async def _write(
        self, order: _Order, check: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        """One write to the machine that was recognised a moment before."""
        is_sent = False
        try:
            async with asyncio.timeout(WRITE_LIMIT_S):
                await self._require_writable()
                if check is not None:
                    await check()
                token = await self._pages.token()
                is_sent = True
                reply = await self._once(order, token)
                if reply.status == HTTPStatus.UNAUTHORIZED:
                    # Turned away at the door: nothing was carried out.
                    is_sent = False
                    token = await self._pages.token(worn=token)
                    is_sent = True
                    reply = await self._once(order, token)
                if reply.is_ok and not order.is_taken(reply.body):
                    raise self._unknown(order, reply.body)
        except (NoAnswerError, BadReplyError) as error:
            if is_sent:
                raise self._unknown(order, error.reply) from error
            raise
        except TimeoutError as error:
            if is_sent:
                raise self._unknown(order, b"") from error
            raise UnreachableError(
                f"{self._pages.address} did not answer within {WRITE_LIMIT_S:g} s; "
                f"{order.path} was not sent."
            ) from error
        if reply.is_ok:
            return
        refusal = envelope.refusal_of(reply.status, reply.body, order.path)
        # An error of the machine's own says nothing about what it had done by then.
        raise self._unknown(order, reply.body) if isinstance(refusal, BadReplyError) else refusal

    async def _once(self, order: _Order, token: str) -> HttpReply:
        with self._held.writing():
            return await self._pages.once(
                order.method, order.path, token=token, body=order.body, answer_s=WRITE_LIMIT_S
            )

    async def _require_writable(self) -> None:
        known = await self._pages.recognised()
        if len(known.signs) < 2:
            raise WrongDeviceError(
                f"Machine {self.miner_id} is not certain to be the one meant "
                f"(only: {'; '.join(known.signs)}): it is read, but not written to."
            )

    def _unknown(self, order: _Order, reply: bytes) -> UnknownOutcomeError:
        return UnknownOutcomeError(
            f"{order.path} was sent to machine {self.miner_id} and no usable answer came: "
            "read back what it did before sending anything else.",
            reply=reply,
        )


def _model(details: wire.DeviceDetails) -> HardwareModel | None:
    """The row of this model; the spelling differs from the makers' own in capitals."""
    return find_spelt_model(details.model.casefold().removesuffix(" nopic"))


def _now_s() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _profile_name(settings: target.Configuration) -> str | None:
    return None if settings.target_w is None else target.profile_name(settings.target_w)


def _nameplate_hs(details: wire.DeviceDetails) -> float | None:
    if details.nameplate_hs is not None:
        return details.nameplate_hs
    model = _model(details)
    return None if model is None else model.nameplate_hashrate_hs


def _profiles(
    details: wire.DeviceDetails,
    settings: target.Configuration,
    constraints: Row,
    tuned: target.Tuned | None,
) -> tuple[Profile, ...]:
    """None where no power target rules, or nobody says what the machine hashes."""
    limits, nameplate_hs = target.range_of(constraints), _nameplate_hs(details)
    if limits is None or nameplate_hs is None or settings.target_w is None:
        return ()
    return target.profiles_of(limits, settings.target_w, tuned, nameplate_hs)
