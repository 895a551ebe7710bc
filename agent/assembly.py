"""How a configuration becomes the daemon's parts: posts, parameters, publisher, keeper."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from agent.accreditation import Accreditation, accreditation_on
from agent.actuator import Actuator
from agent.alarmboard import AlarmBoard
from agent.bookkeeper import Bookkeeper
from agent.broker import credentials_of, parse_broker
from agent.bundle import export_bundle
from agent.complaints import complaints
from agent.core.cards import CARDS
from agent.core.decisions import Command, RelayOrder
from agent.core.fleet import Memory
from agent.core.ledger import QUARTER_MS, Ledger
from agent.core.machinesums import Watch
from agent.core.note import VerifierKey
from agent.core.samples import MeterTraits
from agent.core.site import Parameters, SiteState
from agent.delivered import delivery_conditions, delivery_view
from agent.feeder import Feeder
from agent.feederwatch import open_feeders
from agent.follower import Follower
from agent.journal import Journal
from agent.keeper import Keeper
from agent.keys import LogKey
from agent.learnedlog import recover_learned
from agent.limitdesk import LimitDesk
from agent.limitlog import recover_limits
from agent.nameplate import nameplate_of, reference_of
from agent.neighbours import teller_of, webhook_conditions
from agent.point import Point, Realm
from agent.policy import Policy, cap_wh_at
from agent.poller import Poller
from agent.posts import Limits, MeterPost, MinerPost
from agent.publisher import Publisher, PublisherSettings
from agent.purchases import PurchaseReader
from agent.recorder import Recorder
from agent.records import NewRecord
from agent.recovery import recover, seeded, statement_of, statements_since
from agent.relaylog import recover_relays
from agent.settings import DEFAULT_PROFILE_DIRS, Settings
from agent.settings_discovery import hosts_of
from agent.settings_points import MeterPointSettings
from agent.siteclock import SiteClock
from agent.standing_limits import StandingLimits
from agent.status.portrait import STATEMENTS_KEPT, Facts, Frame
from agent.status.rack import rack_of
from agent.testimony import config_record
from agent.wearlog import recover_wear
from agent.webhook import Webhook
from drivers.meters.profile_file import ProfileError
from drivers.meters.registry import open_meter
from drivers.miners.registry import FAMILIES, open_miner

POWER_ERROR_SHARE = 0.01
COMMAND_LATENCY_S = 1.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """What everything else is built on. ``version`` is the program's.

    ``is_shadow``: whatever is decided, nothing is sent to a machine. ``moved`` is filled by the
    follower: where machines answer that have left the configuration's address.
    """

    settings: Settings
    policy: Policy
    version: str
    key: LogKey
    pool_key: VerifierKey | None
    clock: SiteClock
    journal: Journal
    recorder: Recorder
    is_shadow: bool = False
    moved: dict[str, str] = field(default_factory=dict)


def meter_posts(settings: Settings) -> list[MeterPost]:
    posts = []
    directories = settings.drivers.meter_profile_dirs
    if directories == DEFAULT_PROFILE_DIRS:
        directories = tuple(path for path in directories if path.is_dir())
    ratings_w = {point.meter: point.rated_power_w for point in settings.meter_points}
    for meter in settings.meters:
        # A meter that is only read may stand anywhere: all connections together bound it.
        rated_w = ratings_w.get(meter.id, sum(ratings_w.values()))
        device = open_meter(
            meter.uri,
            meter_id=meter.id,
            serial=meter.serial,
            rated_power_w=rated_w,
            profile_dirs=directories,
            is_budget=meter.id in ratings_w,
        )
        profile = device.profile
        if meter.id in ratings_w and profile.unfit:
            raise ProfileError(f"Meter {meter.id} keeps no purchase: {profile.unfit}")
        traits = MeterTraits(
            refresh_s=profile.refresh_s,
            step_wh=profile.energy_step_wh(0),
            power_error_share=POWER_ERROR_SHARE,
            rated_power_w=rated_w,
            modulus_wh=profile.modulus_wh,
            may_export=meter.may_export,
        )
        posts.append(
            MeterPost(
                meter_id=meter.id,
                address=meter.uri,
                profile=meter.profile,
                poll_s=meter.poll_s,
                device=device,
                traits=traits,
                step_wh=profile.energy_step_wh,
                nameplate=nameplate_of(meter, profile, rated_w) if meter.id in ratings_w else None,
            )
        )
    return posts


def miner_posts(settings: Settings) -> list[MinerPost]:
    return [
        MinerPost(
            miner_id=miner.id,
            address=miner.uri,
            family=miner.uri.partition("://")[0],
            device=open_miner(
                miner.uri, miner_id=miner.id, mac=miner.mac, password_file=miner.password_file
            ),
            limits=_limits(miner.uri),
            meter_point=miner.meter_point,
        )
        for miner in settings.miners
    ]


def open_follower(base: Base, posts: Sequence[MinerPost]) -> Follower | None:
    """Who looks for machines that have moved; None where no network is named for that."""
    networks = base.settings.discovery.networks
    if not networks:
        return None
    return Follower(
        clock=base.clock,
        posts=posts,
        miners={miner.id: miner for miner in base.settings.miners},
        hosts=hosts_of(networks),
        moved=base.moved,
    )


def _limits(uri: str) -> Limits:
    family = FAMILIES[uri.partition("://")[0]]
    return Limits(fast_s=family.fast_read_s, full_s=family.full_read_s)


def open_publisher(base: Base) -> Publisher | None:
    """Delivery to the pool; None where no broker is configured."""
    settings, mqtt = base.settings, base.settings.mqtt
    if mqtt is None or base.pool_key is None:
        return None
    publisher_settings = PublisherSettings(
        farm=settings.site.farm,
        agent=settings.site.agent,
        brokers=tuple(parse_broker(broker.url) for broker in mqtt.brokers),
        version=mqtt.version,
        credentials=credentials_of(mqtt),
    )
    return Publisher(
        journal=base.journal,
        clock=base.clock,
        settings=publisher_settings,
        origin=base.key.origin,
        pool=base.pool_key,
    )


async def open_keeper(
    base: Base,
    poller: Poller,
    actuator: Actuator | None,
    feeder: Feeder,
    publisher: Publisher | None,
    *,
    webhook: Webhook | None,
) -> Keeper:
    """Rebuild the books from the journal and hand them to the tick. Raises JournalError."""
    settings, clock, journal = base.settings, base.clock, base.journal
    submit = _refuse if actuator is None else actuator.submit
    keeper = Keeper(
        clock=clock,
        points=[
            await _open_point(base, point, poller, submit, feeder.submit)
            for point in settings.meter_points
        ],
        zone=settings.site.zone,
        recorder=base.recorder,
        journal=journal,
        snapshot=poller.snapshot,
        facts=lambda: _facts(base, poller),
        delivery=lambda: delivery_view(base.journal, base.key.origin, publisher),
        faults=lambda: [*delivery_conditions(journal, publisher), *webhook_conditions(webhook)],
        cap_wh=lambda at_ms: cap_wh_at(base.policy, at_ms, settings.site.zone),
        export=lambda directory: export_bundle(
            journal, directory, device=base.key.verifier, pool=base.pool_key
        ),
        alarms=AlarmBoard(settings.alarms),
        tell=teller_of(webhook),
    )
    keeper.heed(feeder.conditions)
    keeper.heed(lambda: complaints(poller.miners, _accreditation(base), keeper.has_lowered))
    return keeper


def _facts(base: Base, poller: Poller) -> Facts:
    return Facts(
        meters={post.meter_id: post.identity for post in poller.meters},
        details={post.miner_id: post.details for post in poller.miners},
        accreditation=_accreditation(base),
    )


def _accreditation(base: Base) -> Accreditation:
    """What the policy of today, of the site's own day, says about pools."""
    day = datetime.fromtimestamp(base.clock.now_ms() / 1000, ZoneInfo(base.settings.site.zone))
    return accreditation_on(base.policy, day.date())


def traits_at(meter: MeterPost, ledger: Ledger) -> MeterTraits:
    """What is known of a meter, with the step that its register had when it was booked last."""
    if ledger.booked_wh is None:
        return meter.traits
    step_wh = meter.step_wh(ledger.booked_wh - ledger.offset_wh)
    return replace(meter.traits, step_wh=max(meter.traits.step_wh, step_wh))


async def _open_point(
    base: Base,
    point: MeterPointSettings,
    poller: Poller,
    submit: Callable[[Sequence[Command]], None],
    switch: Callable[[Sequence[RelayOrder]], None],
) -> Point:
    """One point as the journal has it. Raises JournalError."""
    settings, clock, journal = base.settings, base.clock, base.journal
    realm = realm_of(settings, point)
    meter = next(post for post in poller.meters if post.meter_id == point.meter)
    recovered = await recover(journal, meter_point=point.id, meter_id=point.meter)
    clock.require_after(recovered.last_at_ms)
    now_s, now_ms = clock.now_s(), clock.now_ms()
    miners = [post for post in poller.miners if post.miner_id in realm.miner_ids]
    cards = {miner.miner_id: CARDS[miner.family] for miner in miners}
    wear = await recover_wear(journal, cards, now_s=now_s, now_ms=now_ms)
    names = {relay.id for relay in settings.relays}
    relays = await recover_relays(journal, names, now_s=now_s, now_ms=now_ms)
    found = await recover_learned(
        journal, meter_point=point.id, meter_id=point.meter, now_ms=now_ms
    )
    state = SiteState(
        watch=Watch(found=found),
        fusion=seeded(traits_at(meter, recovered.ledger), recovered, now_s=now_s, now_ms=now_ms),
        ledger=recovered.ledger,
        memories={miner_id: Memory(wear=one) for miner_id, one in wear.items()},
        relays=relays,
        is_recovering=recovered.ledger.booked_wh is not None,
        quarter=recovered.quarter,
    )
    rows = await statements_since(journal, now_ms - STATEMENTS_KEPT * QUARTER_MS, now_ms)
    known = [statement_of(row) for row in rows if row["meter_point"] == point.id]
    return Point(
        realm=realm,
        parameters=replace(
            parameters_of(settings, point, is_shadow=base.is_shadow),
            reference=reference_of(settings, point, poller.meters),
        ),
        state=state,
        desk=await _open_desk(base, point),
        bookkeeper=Bookkeeper(
            journal=journal,
            recorder=base.recorder,
            meter_id=point.meter,
            recovered=recovered,
            state=state,
        ),
        statements=[*known, *recovered.statements],
        frame=_frame(base, point),
        clock=clock,
        recorder=base.recorder,
        submit=submit,
        switch=switch,
        feeders=await open_feeders(settings, point, poller.meters, journal, now_ms),
    )


def realm_of(settings: Settings, point: MeterPointSettings) -> Realm:
    """Which devices a point has.

    A meter of no point decides nothing; the first point takes its readings along, so that they are
    on record and shown once.
    """
    meters = {point.meter, point.reference, *(m.id for m in settings.feeders_of(point))} - {""}
    if point == settings.meter_points[0]:
        owned = {one for p in settings.meter_points for one in (p.meter, p.reference)}
        meters |= {m.id for m in settings.meters if not m.feeds and m.id not in owned}
    return Realm(
        meter_ids=frozenset(meters),
        miner_ids=frozenset(miner.id for miner in settings.miners_of(point)),
    )


async def _open_desk(base: Base, point: MeterPointSettings) -> LimitDesk:
    book, reached = await recover_limits(
        base.journal, meter_point=point.id, rated_w=point.rated_power_w
    )
    return LimitDesk(
        meter_point=point.id,
        clock=base.clock,
        recorder=base.recorder,
        standing=StandingLimits(point, ZoneInfo(base.settings.site.zone)).at,
        book=book,
        reached=reached,
    )


def _refuse(commands: Sequence[Command]) -> None:
    """Where nothing may be sent there is nobody to send it: a command that gets here is a bug."""
    if commands:
        raise AssertionError("a shadow run was about to send a command")


def parameters_of(
    settings: Settings, point: MeterPointSettings, *, is_shadow: bool = False
) -> Parameters:
    """The core's parameters, from the configuration; the limits are the desk's, at each tick."""
    governor = settings.governor
    floor_w = governor.on_missing_floor_w if governor.on_missing == "floor_kw" else None
    meter = next(meter for meter in settings.meters if meter.id == point.meter)
    return Parameters(
        meter_id=point.meter,
        tick_s=governor.tick_s,
        rated_power_w=point.rated_power_w,
        base_load_max_w=point.base_load_max_w,
        reserve_share=governor.reserve_share,
        meter_error_share=meter.error_share,
        power_error_share=POWER_ERROR_SHARE,
        power_margin_share=governor.power_margin_share,
        meter_stale_s=governor.meter_stale_s,
        blind_floor_after_s=governor.blind_floor_after_s,
        rise_interval_s=governor.rise_interval_s,
        command_latency_s=COMMAND_LATENCY_S,
        missing_floor_w=floor_w or 0.0,
        cards={family: CARDS[family] for family in FAMILIES},
        limits=(),
        is_shadow=is_shadow,
    )


def _frame(base: Base, point: MeterPointSettings) -> Frame:
    settings, site = base.settings, base.settings.site
    addresses = {meter.id: meter.uri for meter in settings.meters}
    return Frame(
        farm=site.farm,
        agent=site.agent,
        version=base.version,
        zone=site.zone,
        started_at_ms=base.clock.now_ms(),
        is_shadow=base.is_shadow,
        meter_point=point.id,
        meter_id=point.meter,
        rated_power_w=point.rated_power_w,
        meter_profiles={meter.id: meter.profile for meter in settings.meters},
        addresses=addresses | {miner.id: miner.uri for miner in settings.miners},
        moved=base.moved,
        racks={miner.id: rack_of(miner.id, miner.rack) for miner in settings.miners},
        macs={miner.id: miner.mac for miner in settings.miners},
    )


def first_record(base: Base) -> NewRecord:
    """By which configuration and policy the agent goes from here on."""
    digest = hashlib.sha256(base.settings.path.read_bytes()).hexdigest()
    policy_from = base.policy.at(datetime.now(UTC).date()).valid_from.isoformat()
    return config_record(
        digest=digest, policy_from=policy_from, version=base.version, is_shadow=base.is_shadow
    )


def purchase_reader(settings: Settings) -> PurchaseReader:
    """Reads purchases with this site's only meter point and its zone where they name none."""
    return PurchaseReader(
        meter_points=tuple(point.id for point in settings.meter_points),
        zone=ZoneInfo(settings.site.zone),
    )
