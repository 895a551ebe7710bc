"""Antminers with Bitmain's own firmware: reads over TCP 4028 and, with a password, the web pages.

What a plan may use: sleep and wake, and the low-power mode of models that are known to have one.
Watts are absent from most of these machines; where the firmware tells them, or the service on TCP
6060 does, they are its estimate. What it cannot do: boards, watts, percents. What is never sent:
pools of our own, frequencies, passwords, resets, reboots.

Without a password the API alone is read: it knows no MAC, so one sign of identity is missing and
nothing is written. With it the MAC is checked: by fast reads on each new connection, else always.
What the pages said of MAC and mode stands for a minute while the machine hashes on in the same run.

The mode is one field of a form that also holds the pools: the form is posted as it was read. The
answer takes 20 s and more, and a yes is only an acceptance; what the machine does is read later.
Modes are kept in flash: a write that raises the power comes 15 minutes after the last write at the
soonest. One that lowers it is never kept waiting: energy that is not bought weighs more.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from drivers.errors import (
    BadReplyError,
    RefusedError,
    UnreachableError,
    WrongDeviceError,
)
from drivers.link.antminer_api import AntminerApi
from drivers.link.cgi import CgiPages, LoginRefusedError
from drivers.link.held import Held
from drivers.link.power_service import PowerService
from drivers.link.recognition import Recognition, require_mac
from drivers.link.tcp import NoAnswerError, TcpExchange
from drivers.link.within import Within
from drivers.miners.models import HardwareModel, find_model
from drivers.readings import (
    Activity,
    MinerDetails,
    MinerFault,
    MinerIdentity,
    MinerReading,
    PoolReading,
    PowerProvenance,
)
from drivers.wire import antminer as wire
from drivers.wire import antminer_modes as modes
from drivers.wire import antminer_stats, antminer_web
from drivers.wire.antminer_look import Look
from drivers.wire.antminer_standing import Standing, sight_of, standing_of
from drivers.wire.cgminer import decode_answer

FAMILY = "antminer"
DEFAULT_PORT = 4028
WEB_PORT = 80
USER = "root"

READ_LIMIT_S = 9.0
FORM_LIMIT_S = 30.0  # the answer takes some 21 s
WRITE_LIMIT_S = READ_LIMIT_S + FORM_LIMIT_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Links:
    """The ways to one machine; ``pages`` are None without a password."""

    rpc: TcpExchange
    service: PowerService
    pages: CgiPages | None = None


@dataclass(slots=True, kw_only=True)
class _Known:
    """What is kept of a machine between two looks."""

    model: HardwareModel | None = None
    ideal_hs: float | None = None
    dark_since_s: float | None = None
    told: modes.Told | None = None


class AntminerReader:
    """One machine without a password: its API is read, nothing is written to it."""

    def __init__(self, *, miner_id: str, links: Links, mac: str | None) -> None:
        self.miner_id = miner_id
        self._links = links
        self._api = AntminerApi(links.rpc)
        self._mac = mac
        self._known = _Known()
        self._seen: Recognition[antminer_web.SystemInfo] = Recognition()
        self._held: Held[Standing] = Held()

    async def identify(self) -> MinerIdentity:
        """Who answers. The API is one sign; it knows no MAC."""
        async with self._in_time():
            return await self._identity(await self._look())

    async def read(self) -> MinerReading:
        """Statistics, watts where there are any; the pages where what they said does not stand."""
        async with self._in_time():
            look, held = await self._fast_look()
            power_w = await self._power_w(look.stats)
            hashrate_hs = wire.believed_hashrate_hs(look.stats, self._nameplate_hs())
            activity = wire.activity_of(
                is_asleep=look.is_asleep,
                hashrate_hs=hashrate_hs,
                stats=look.stats,
                dark_s=self._dark_s(hashrate_hs, look),
            )
            is_ramping = activity is Activity.RAMPING
            reading = MinerReading(
                miner_id=self.miner_id,
                requested_at_s=look.requested_at_s,
                replied_at_s=_now_s(),
                taken_at_ms=time.time_ns() // 1_000_000,
                activity=activity,
                hashrate_hs=hashrate_hs,
                power_w=power_w,
                power_provenance=PowerProvenance.ABSENT
                if power_w is None
                else PowerProvenance.FIRMWARE_ESTIMATE,
                profile=modes.profile_of(look.mode, self._low_mode()),
                boards=wire.boards_of(look.stats, self._board_count(), is_ramping=is_ramping),
            )
        self._held.keep(held, requested_at_s=look.requested_at_s)
        return reading

    async def read_details(self) -> MinerDetails:
        """Everything that changes rarely; also finds out anew what this machine has."""
        self._api.try_flag()
        async with self._in_time():
            look = await self._look()
            identity = await self._identity(look)
            pools = await self._pools(look)
            faults = await self._faults() + await self._links.service.look()
        boards = wire.boards_of(look.stats, self._board_count(), is_ramping=False)
        return MinerDetails(
            identity=identity,
            pools=pools,
            profiles=wire.profiles_of(self._rated_w(), self._nameplate_hs(), self._low_mode()),
            board_serials=tuple([board.serial for board in boards if board.serial is not None]),
            fan_speeds_rpm=look.stats.fan_speeds_rpm,
            uptime_s=look.stats.elapsed_s,
            faults=faults,
            chip_temperatures=wire.chip_temperatures_of(look.stats),
        )

    async def close(self) -> None:
        """Close the connections to the web pages."""
        await self._links.service.close()
        if self._links.pages is not None:
            await self._links.pages.close()

    async def _fast_look(self) -> tuple[Look, Standing | None]:
        """The machine as a fast read needs it, and what may stand after it if all of it succeeds.
        Where something is held the statistics come first, and show whether it still stands."""
        requested_at_s = _now_s()
        held = self._held.take()
        if held is not None:
            stats = await self._stats(may_be_closed=True) if held.is_young(requested_at_s) else None
            if stats is not None and held.holds(sight_of(stats, seen_at_s=_now_s())):
                return held.look(stats, requested_at_s=requested_at_s), held
            self._seen.forget()
        look = await self._look(is_fast=True)
        return look, standing_of(look, seen_at_s=_now_s())

    async def _look(self, *, is_fast: bool = False) -> Look:
        """The machine as it is now, recognised. Raises WrongDeviceError for any but the pinned."""
        requested_at_s, pages = _now_s(), self._links.pages
        self._held.forget()
        info = config = None
        if pages is not None:
            info = None if is_fast else await self._info(pages)
            page = await pages.page("get_miner_conf")
            info = info or self._seen.on(page.connection) or await self._info(pages)
            config = antminer_web.config_of(page.body)
        is_asleep = config is not None and config.mode in modes.SLEEP_MODES
        stats = await self._stats(may_be_closed=is_asleep)
        look = Look(
            stats=stats or antminer_stats.NO_STATS,
            info=info,
            config=config,
            is_running=stats is not None,
            requested_at_s=requested_at_s,
        )
        self._known.model = find_model(look.stats.type_name) or self._known.model
        if look.mode in (None, modes.NORMAL_MODE) and look.stats.ideal_hs is not None:
            self._known.ideal_hs = look.stats.ideal_hs
        return look

    async def _stats(self, *, may_be_closed: bool) -> antminer_stats.Stats | None:
        """None where the port is closed, as some firmware may end its mining program in sleep."""
        try:
            return await self._api.stats()
        except UnreachableError as error:
            if may_be_closed and isinstance(error.__cause__, ConnectionRefusedError):
                return None
            raise

    async def _info(self, pages: CgiPages) -> antminer_web.SystemInfo:
        page = await pages.page("get_system_info")
        info = antminer_web.info_of(page.body)
        require_mac(info.mac, pinned=self._mac, miner_id=self.miner_id, address=pages.address)
        self._known.model = find_model(info.type_name) or self._known.model
        self._seen.keep(info, page.connection)
        return info

    async def _identity(self, look: Look) -> MinerIdentity:
        name, firmware, info = "", "", look.info
        if look.is_running:
            name, firmware = await self._api.version()
            self._known.model = find_model(name) or self._known.model
        signs = [f"version answers as the API of an {name}"] if name else []
        if info is not None:
            firmware = info.firmware or firmware
            signs += await self._web_signs(info, has_api=bool(name))
        return MinerIdentity(
            family=FAMILY,
            model=name or ("" if info is None else info.type_name),
            mac="" if info is None or not info.has_mac else info.mac,
            serial="" if info is None else info.serial,
            firmware=firmware,
            board_count=self._board_count() or len(look.stats.chains),
            nameplate_hashrate_hs=self._nameplate_hs(),
            signs=tuple(signs),
        )

    async def _web_signs(self, info: antminer_web.SystemInfo, *, has_api: bool) -> list[str]:
        """The pages' own signs; the login's realm counts where the API is down, as in sleep."""
        signs = []
        if info.type_name and info.has_mac:
            signs.append(f"get_system_info tells of an {info.type_name} with the MAC {info.mac}")
        if not has_api and self._links.pages is not None:
            challenge = await self._links.pages.challenge()
            if antminer_web.is_antminer_realm(challenge):
                signs.append("the web page asks for the login of an Antminer")
        return signs

    async def _pools(self, look: Look) -> tuple[PoolReading, ...]:
        if look.is_running or look.config is None:
            return wire.pools_of(await self._api.ask("pools"))
        return antminer_web.resting_pools_of(look.config)

    async def _faults(self) -> tuple[MinerFault, ...]:
        if self._links.pages is None:
            return wire.faults_of(await self._api.ask("summary", has_flag=True))
        return wire.faults_of(decode_answer((await self._links.pages.page("summary")).body))

    async def _power_w(self, stats: antminer_stats.Stats) -> float | None:
        """Watts of the statistics or of the service that was found; None where there is none."""
        told_w = stats.power_w
        power_w = await self._links.service.power_w() if told_w is None else told_w
        return None if power_w is None else wire.believed_power_w(power_w, self._rated_w())

    @asynccontextmanager
    async def _in_time(self) -> AsyncIterator[None]:
        """Bounds a look as a whole. After one that fails nobody is recognised."""
        with self._seen.lasting():
            async with Within(self._links.rpc, READ_LIMIT_S):
                yield

    def _nameplate_hs(self) -> float | None:
        table_hs = None if self._known.model is None else self._known.model.nameplate_hashrate_hs
        return wire.likely_nameplate_hs(table_hs, self._known.ideal_hs)

    def _rated_w(self) -> float | None:
        nameplate_w = None if self._known.model is None else self._known.model.nameplate_power_w
        return wire.rated_power_w(nameplate_w, self._nameplate_hs())

    def _low_mode(self) -> int | None:
        return None if self._known.model is None else self._known.model.low_mode

    def _board_count(self) -> int | None:
        return None if self._known.model is None else self._known.model.board_count

    def _dark_s(self, hashrate_hs: float, look: Look) -> float:
        """For how long the machine has been seen awake without a hash."""
        known = self._known
        known.dark_since_s = look.dark_since_s(hashrate_hs, known.dark_since_s)
        return 0.0 if known.dark_since_s is None else look.requested_at_s - known.dark_since_s


class AntminerMiner(AntminerReader):
    """One machine with its password: it sleeps, wakes and takes its low-power mode, if any."""

    async def sleep(self) -> None:
        """Stop hashing; the control board stays up."""
        await self.change(modes.Order(is_awake=False))

    async def wake(self) -> None:
        """Mine again in the normal mode."""
        await self.change(modes.Order(is_awake=True))

    async def select_profile(self, name: str) -> None:
        """Choose a mode that ``read_details`` listed; a sleeper is not woken by it."""
        await self.change(modes.Order(profile=name))

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[modes.Wishes]:
        """Several wishes, one form: a wake into the low-power mode is one write to the flash."""
        session = modes.Wishes()
        yield session
        if session.order is not None:
            await self.change(session.order)

    async def change(self, order: modes.Order) -> None:
        """Post the mode that an order means, unless the machine is in it."""
        pages, before, is_sent = self._links.pages, self._known.told, False
        assert pages is not None
        try:
            async with asyncio.timeout(WRITE_LIMIT_S):
                form = await self._form(order)
                if form is None:
                    return
                is_sent = True
                with self._held.writing():
                    reply = await pages.post("set_miner_conf", form, answer_s=FORM_LIMIT_S)
                antminer_web.require_done(reply)
        except (NoAnswerError, BadReplyError) as error:
            if is_sent:
                raise antminer_web.unknown(self.miner_id, error.reply) from error
            raise
        except (UnreachableError, LoginRefusedError):
            self._known.told = before  # nothing was sent, or nothing was taken
            raise
        except TimeoutError as error:
            if is_sent:
                raise antminer_web.unknown(self.miner_id, b"") from error
            raise UnreachableError(
                f"{pages.address} did not answer within {WRITE_LIMIT_S:g} s; no mode was sent."
            ) from error

    async def locate(self, *, is_on: bool) -> None:
        """Let the light blink, or leave it to the firmware; nothing of it is kept in flash."""
        pages = self._links.pages
        assert pages is not None
        await self._certain()
        form = antminer_web.encode_blink(is_on=is_on)
        try:
            with self._held.writing():
                reply = await pages.post("blink", form, answer_s=READ_LIMIT_S)
        except (NoAnswerError, BadReplyError) as error:
            raise antminer_web.unknown(
                self.miner_id, error.reply, what="An order for its light"
            ) from error
        antminer_web.require_blink(reply, is_on=is_on)

    async def _certain(self) -> Look:
        """The machine as it is now. Raises WrongDeviceError for one that may be another."""
        async with self._in_time():
            look = await self._look()
            signs = (await self._identity(look)).signs
        if len(signs) < 2:
            raise WrongDeviceError(
                f"Machine {self.miner_id} is not certain to be the one meant "
                f"(only: {'; '.join(signs)}): it is read, but not written to."
            )
        return look

    async def _form(self, order: modes.Order) -> bytes | None:
        """The form to post; None where there is nothing to change. The machine was recognised."""
        look = await self._certain()
        assert look.config is not None
        at_mode = look.config.mode
        mode = modes.mode_of(order, at_mode=at_mode, low_mode=self._low_mode())
        told, now_s = self._known.told, _now_s()
        is_ignored = modes.is_ignored(told, mode, is_hashing=look.is_hashing, now_s=now_s)
        if mode == at_mode and not is_ignored:
            return None
        if mode != modes.SLEEP_MODE and self._rated_w() is None:
            raise RefusedError(
                f"Nobody knows what machine {self.miner_id} draws, so it is not woken: let it hash "
                "once while kwota reads it, or use a model that kwota knows."
            )
        told = modes.due(told, mode, at_mode=at_mode, now_s=now_s)
        form = antminer_web.encode_form(look.config, mode, is_text=told.is_text)
        self._known.told = told
        return form


def _now_s() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)
