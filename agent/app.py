"""The daemon: opens everything on one exit stack, starts one task group, and nothing else."""

import asyncio
import logging
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version as package_version
from zoneinfo import ZoneInfo

from aiohttp import web

from agent.actuator import Actuator
from agent.assembly import (
    Base,
    first_record,
    meter_posts,
    miner_posts,
    open_follower,
    open_keeper,
    open_publisher,
    purchase_reader,
)
from agent.broker import MqttFileError
from agent.calibrationdesk import CalibrationDesk, open_calibration_desk
from agent.clockwatch import ClockWatch, open_clock_watch
from agent.control import Control, ControlError, listening, open_control
from agent.control_calibration import add_calibration_routes
from agent.control_evidence import add_evidence_routes
from agent.control_limits import add_limit_routes
from agent.control_locate import add_locate_route
from agent.downlink import Downlink
from agent.feeder import Feeder
from agent.follower import Follower
from agent.handover.ocmfkey import ocmf_key_file, ocmf_signer
from agent.homeassistant import HomeAssistant
from agent.hostwatch import HostWatch
from agent.journal import open_journal
from agent.keeper import Keeper
from agent.keys import KeyFileError, load_log_keys, load_vkey, read_private_file
from agent.lanes import Lanes, Sizes
from agent.neighbours import open_homeassistant, open_webhook
from agent.orders import actuation_record
from agent.policy import load_policy
from agent.poller import Poller
from agent.poolside import open_downlink
from agent.posts import MeterPost, MinerPost
from agent.process import prepare
from agent.proof import proof_of
from agent.publisher import Publisher
from agent.purchases import PurchasesError, read_file
from agent.recorder import Recorder
from agent.records import JournalError
from agent.relaypost import RelayPost, relay_posts
from agent.sdnotify import SdNotifier, SdNotifyError, watchdog_interval_s
from agent.settings import Settings
from agent.settings_faults import SettingsError
from agent.siteclock import SiteClock
from agent.status.routes import add_read_routes
from agent.status.server import StatusError, open_status_server, serve_status_on
from agent.store import JournalSettings
from agent.tally import tally_of
from agent.webhook import Webhook

CLOSE_DEVICE_S = 2.0
LINGER_S = 8.0
BALLAST_BYTES = 16 * 1024 * 1024
EXIT_OK, EXIT_FAILED = 0, 1

_log = logging.getLogger(__name__)

_CLEAR_ERRORS = (
    ControlError,
    JournalError,
    KeyFileError,
    MqttFileError,
    PurchasesError,
    SdNotifyError,
    SettingsError,
    StatusError,
    ValueError,
)


class _ShutdownError(Exception):
    """Raised inside the task group to end it in order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parts:
    """What was opened and runs."""

    base: Base
    poller: Poller
    follower: Follower | None
    actuator: Actuator | None
    feeder: Feeder
    publisher: Publisher | None
    downlink: Downlink | None
    webhook: Webhook | None
    home: HomeAssistant | None
    keeper: Keeper
    host: HostWatch
    clocks: ClockWatch
    notifier: SdNotifier


def run(settings: Settings, *, is_shadow: bool = False) -> int:
    """Run the daemon until SIGTERM or SIGINT. Returns the exit code; says why if it is not 0.

    A shadow run has no actuator at all: it decides and journals, and there is nobody to act.
    """
    code = EXIT_OK
    prepare()
    try:
        asyncio.run(_main(settings, is_shadow=is_shadow))
    except* _CLEAR_ERRORS as errors:
        for error in _leaves(errors):
            sys.stderr.write(f"kwota: {error}\n")
        code = EXIT_FAILED
    return code


def _leaves(errors: BaseExceptionGroup[Exception]) -> list[BaseException]:
    found: list[BaseException] = []
    for error in errors.exceptions:
        found += _leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found


async def _main(settings: Settings, *, is_shadow: bool) -> None:
    async with AsyncExitStack() as stack:
        parts = await _open(stack, settings, is_shadow=is_shadow)
        try:
            async with asyncio.TaskGroup() as group:
                _start(group, parts)
                await _take_first_purchases(parts)
                parts.notifier.ready()
                _log.info("event=ready miners=%d", len(parts.poller.miners))
                if parts.base.is_shadow:
                    _log.warning("event=shadow nothing is sent to any machine")
        except* _ShutdownError:
            _log.info("event=stopping")
        parts.notifier.stopping()
        parts.keeper.finish()
        await parts.base.recorder.flush()


def _start(group: asyncio.TaskGroup, parts: _Parts) -> None:
    """Every long-running part, as one task each."""
    group.create_task(_until_signalled(), name="signals")
    group.create_task(parts.base.journal.run(), name="journal")
    group.create_task(parts.base.recorder.run(), name="recorder")
    for meter in parts.poller.meters:
        group.create_task(parts.poller.poll_meter(meter), name=f"meter {meter.meter_id}")
    miners = parts.poller.miners
    for place, miner in enumerate(miners):
        poll = parts.poller.poll_miner(miner, place=place)
        group.create_task(poll, name=f"poll {miner.miner_id}")
        if parts.actuator is not None:
            group.create_task(parts.actuator.drive(miner), name=f"drive {miner.miner_id}")
    for relay in parts.feeder.posts:
        group.create_task(parts.feeder.drive(relay), name=f"relay {relay.relay_id}")
    if parts.publisher is not None:
        group.create_task(parts.publisher.run(group), name="publisher")
        group.create_task(_show_live(parts), name="live")
    if parts.downlink is not None:
        group.create_task(parts.downlink.run(), name="downlink")
    if parts.webhook is not None:
        group.create_task(parts.webhook.run(), name="webhook")
    if parts.home is not None:
        group.create_task(parts.home.run(), name="homeassistant")
    if parts.follower is not None:
        group.create_task(parts.follower.run(), name="follower")
    group.create_task(parts.keeper.run(), name="tick")
    group.create_task(parts.host.run(), name="host")
    group.create_task(parts.clocks.run(), name="meters' clocks")
    group.create_task(_feed_watchdog(parts), name="watchdog")


async def _open(stack: AsyncExitStack, settings: Settings, *, is_shadow: bool) -> _Parts:
    """Open everything that can fail to open. Raises one of the errors with a clear sentence."""
    base = await _open_base(stack, settings, is_shadow=is_shadow)
    meters, miners = meter_posts(settings), miner_posts(settings)
    # A shadow run touches no relay: to ask one keeps its board from opening by itself.
    relays = [] if is_shadow else relay_posts(settings)
    stack.push_async_callback(_close_devices, (*meters, *miners, *relays))
    feeder = Feeder(
        clock=base.clock, posts=relays, tell=lambda record: base.recorder.keep([record])
    )
    poller = _poller(base, meters, miners, feeder)
    actuator = None if is_shadow else _actuator(base, miners)
    publisher = open_publisher(base)
    webhook = open_webhook(settings, base.clock.now_ms)
    base.recorder.keep([first_record(base)])
    keeper = await open_keeper(base, poller, actuator, feeder, publisher, webhook=webhook)
    desk = await open_calibration_desk(
        settings,
        meters,
        journal=base.journal,
        recorder=base.recorder,
        now_ms=base.clock.now_ms,
    )
    host = HostWatch(settings.journal.path, base.recorder)
    clocks = open_clock_watch(settings, meters, base.clock, base.recorder)
    for conditions in (desk.conditions, host.conditions, clocks.conditions):
        keeper.heed(conditions)
    feeder.feed_on(keeper.is_healthy)
    await _open_doors(stack, base, keeper, desk, miners)
    notifier = SdNotifier()
    stack.callback(notifier.close)
    return _Parts(
        base=base,
        poller=poller,
        follower=open_follower(base, miners),
        actuator=actuator,
        feeder=feeder,
        publisher=publisher,
        downlink=await open_downlink(base, keeper),
        webhook=webhook,
        home=open_homeassistant(settings, base.version, keeper.view, keeper.is_healthy),
        keeper=keeper,
        host=host,
        clocks=clocks,
        notifier=notifier,
    )


def _poller(
    base: Base, meters: Sequence[MeterPost], miners: Sequence[MinerPost], feeder: Feeder
) -> Poller:
    period_s = base.settings.governor.miner_poll_s
    return Poller(
        clock=base.clock,
        meters=meters,
        miners=miners,
        miner_period_s=period_s,
        lanes=Lanes(Sizes.of_fleet(len(miners) / period_s)),
        relays=feeder.views,
    )


def _actuator(base: Base, miners: Sequence[MinerPost]) -> Actuator:
    return Actuator(
        clock=base.clock,
        posts={post.miner_id: post for post in miners},
        tell=lambda actuation: base.recorder.keep([actuation_record(actuation)]),
    )


async def _open_base(stack: AsyncExitStack, settings: Settings, *, is_shadow: bool) -> Base:
    """Clock, policy, keys and journal: without them there is no daemon."""
    clock = SiteClock()
    policy = load_policy(settings.policy.file)
    key = load_log_keys(settings.journal.key_file, settings.origin)
    if settings.mqtt is not None and settings.mqtt.tls_key_file is not None:
        read_private_file(settings.mqtt.tls_key_file)  # refused now, not at the first connection
    version = package_version("kwota")
    journal_settings = JournalSettings(
        path=settings.journal.path,
        max_bytes=settings.journal.max_bytes,
        version=version,
        second_copy=settings.journal.second_copy_path,
        ballast_bytes=BALLAST_BYTES,
    )
    journal = await stack.enter_async_context(open_journal(journal_settings, key, clock))
    return Base(
        settings=settings,
        policy=policy,
        version=version,
        key=journal.key,
        pool_key=None if settings.mqtt is None else load_vkey(settings.mqtt.pool_vkey_file),
        clock=clock,
        journal=journal,
        recorder=Recorder(journal, tally_of(settings.journal.path)),
        is_shadow=is_shadow,
    )


async def _open_doors(
    stack: AsyncExitStack,
    base: Base,
    keeper: Keeper,
    desk: CalibrationDesk,
    miners: Sequence[MinerPost],
) -> None:
    """The page on its address and on a socket of its own, and the operator's unix socket."""
    status = base.settings.status
    await stack.enter_async_context(
        open_status_server(keeper, status.listen.host, status.listen.port, proof=proof_of(status))
    )
    if status.page_socket is not None:
        listener = stack.enter_context(listening(status.page_socket, "status.page_socket"))
        await stack.enter_async_context(serve_status_on(keeper, listener))
    control = Control(
        target=keeper, reader=purchase_reader(base.settings), now_ms=base.clock.now_ms
    )

    def mount(app: web.Application) -> None:
        add_read_routes(app, keeper)
        zone = ZoneInfo(base.settings.site.zone)
        add_limit_routes(app, keeper.desks, zone, base.clock)
        add_calibration_routes(app, desk)
        ocmf = partial(ocmf_signer, ocmf_key_file(base.settings.journal), base.key)
        add_evidence_routes(app, base.journal, base.key.verifier, base.pool_key, ocmf)
        posts = {post.miner_id: post for post in miners}
        add_locate_route(app, posts, is_shadow=base.is_shadow)

    door = open_control(status.socket, control, mount)
    await stack.enter_async_context(door)


async def _close_devices(posts: Sequence[MeterPost | MinerPost | RelayPost]) -> None:
    """All at once: a hall of dead machines must not hold up the stop one by one."""
    await asyncio.gather(*(_close_device(post) for post in posts))


async def _close_device(post: MeterPost | MinerPost | RelayPost) -> None:
    try:
        async with asyncio.timeout(CLOSE_DEVICE_S):
            await post.device.close()
    except TimeoutError:
        _log.warning("device=%s event=close_timeout", post.address)


async def _take_first_purchases(parts: _Parts) -> None:
    """The purchases file of the configuration; what was imported before changes nothing."""
    settings = parts.base.settings
    if settings.purchases is None:
        return
    batch = await asyncio.to_thread(
        read_file,
        settings.purchases.import_file,
        purchase_reader(settings),
        received_at_ms=parts.base.clock.now_ms(),
    )
    for refusal in batch.refusals:
        _log.warning("purchase=%s event=refused reason=%r", refusal.transaction_id, refusal.reason)
    for admission in await parts.keeper.add_transactions(batch.candidates):
        _log.info(
            "purchase=%s event=%s reason=%r",
            admission.transaction_id,
            admission.result,
            admission.reason,
        )


async def _show_live(parts: _Parts) -> None:
    """Hand the newest status document to the publisher once a second."""
    assert parts.publisher is not None
    while True:
        view = parts.keeper.view()
        if view is not None:
            parts.publisher.set_live(view.status.model_dump_json().encode())
        await asyncio.sleep(1.0)


async def _feed_watchdog(parts: _Parts) -> None:
    """Only a loop that ticks feeds the watchdog."""
    interval_s = watchdog_interval_s()
    while True:
        if parts.keeper.is_healthy():
            parts.notifier.watchdog()
        await asyncio.sleep(interval_s or 3600.0)


async def _until_signalled() -> None:
    """Wait for SIGTERM or SIGINT, then end the task group in order."""
    loop = asyncio.get_running_loop()
    async with _signals(loop) as signalled:
        await signalled.wait()
    loop.call_later(LINGER_S, _tell_who_lingers)
    raise _ShutdownError


def _tell_who_lingers() -> None:
    """Name what does not end: the service manager's patience is longer than ours."""
    names = sorted(task.get_name() for task in asyncio.all_tasks() if not task.done())
    _log.error("event=stop_lingers after_s=%.0f tasks=%s", LINGER_S, ",".join(names))


@asynccontextmanager
async def _signals(loop: asyncio.AbstractEventLoop) -> AsyncIterator[asyncio.Event]:
    signalled = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, signalled.set)
    try:
        yield signalled
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
