"""Brokers that take nothing, answer nothing or have gone without a word: delivery says so, waits,
and goes on where the pool's last receipt stands."""

import asyncio
import json
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import pytest

from agent.broker import Broker, MqttError, Session, parse_broker
from agent.core.note import parse_vkey
from agent.journal import open_journal
from agent.keys import create_log_key
from agent.mqtt import connect
from agent.publisher import Publisher, PublisherSettings
from agent.records import NewRecord, parse_record
from agent.siteclock import SiteClock
from agent.store import JournalSettings
from agent.uplink import Pace
from simulator.signed_note import load_or_make_cosigner
from simulator.troubled_broker import (
    PAYLOAD_FORMAT_INVALID,
    QUOTA_EXCEEDED,
    Mood,
    troubled_broker,
)
from simulator.witness import Registry, Witness

ORIGIN = "pool.example/edge/farm-1-edge-1/1"
PACE = Pace(interval_s=0.01, ack_only_s=0.1, receipt_s=0.5, pause_s=0.1, pause_max_s=2.0)


class Site:
    """A journal, its publisher and a broker that a test may trouble."""

    def __init__(self, broker, journal, publisher) -> None:
        self.broker, self.journal, self.publisher = broker, journal, publisher

    async def append(self, count: int = 1) -> None:
        for _ in range(count):
            await self.journal.append([NewRecord(kind="meter", source="site", data={})])

    async def until(self, condition, within_s: float = 8.0) -> None:
        async with asyncio.timeout(within_s):
            while not condition():  # noqa: ASYNC110 – what is waited for tells nobody
                await asyncio.sleep(0.01)

    async def all_delivered(self) -> None:
        await self.until(lambda: self.journal.cosigned_size >= self.journal.content_size)

    async def alarms(self) -> list[str]:
        return [parse_record(one).data["code"] for one in await self.journal.tail(99, "alarm")]


@asynccontextmanager
async def site_in(folder: Path):
    key = create_log_key(folder / "log.key", ORIGIN)
    cosigner = load_or_make_cosigner(folder / "pool.key", "pool.example/witness")
    (folder / "agents.json").write_text(json.dumps({"agents": {"edge-1": key.verifier.text}}))
    witness = Witness(
        directory=None, registry=Registry(path=folder / "agents.json"), cosigner=cosigner
    )
    settings = JournalSettings(path=folder / "journal.sqlite", max_bytes=50_000_000, version="0")
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(troubled_broker(witness))
        journal = await stack.enter_async_context(open_journal(settings, key, SiteClock()))
        publisher = Publisher(
            journal=journal,
            clock=SiteClock(),
            origin=ORIGIN,
            pool=parse_vkey(cosigner.vkey.text()),
            settings=PublisherSettings(
                farm="farm-1",
                agent="edge-1",
                brokers=(parse_broker(f"mqtt://127.0.0.1:{broker.port}"),),
                pace=PACE,
                retry_min_s=0.02,
                retry_max_s=0.1,
                connect_s=0.5,
                acknowledge_s=0.5,
            ),
        )

        async def deliver() -> None:
            async with asyncio.TaskGroup() as group:
                await publisher.run(group)

        delivery = asyncio.get_running_loop().create_task(deliver())
        try:
            yield Site(broker, journal, publisher)
        finally:
            delivery.cancel()
            with suppress(asyncio.CancelledError):
                await delivery


async def test_a_quota_of_nothing_is_an_alarm_and_asked_again_ever_more_seldom(
    tmp_path: Path,
) -> None:
    async with site_in(tmp_path) as site:
        site.broker.mood = Mood(puback=QUOTA_EXCEEDED)
        await site.append(3)
        await site.until(lambda: site.broker.refusals >= 3)
        await asyncio.sleep(1.0)
        # 0.1, 0.2, 0.4, 0.8 s: without the doubling there would be ten in this second alone.
        assert site.broker.refusals <= 8
        (fault,) = site.publisher.delivery.faults
        assert (fault.code, fault.severity) == ("BROKER_REFUSED_97", "critical")
        assert await site.alarms() == ["BROKER_REFUSED_97"]
        assert site.journal.cosigned_size == 0
        site.broker.mood = Mood()
        await site.all_delivered()
        assert site.publisher.delivery.faults == ()


async def test_a_broker_that_wants_another_payload_is_told_apart_and_gets_the_same_bytes_again(
    tmp_path: Path,
) -> None:
    async with site_in(tmp_path) as site:
        site.broker.mood = Mood(puback=PAYLOAD_FORMAT_INVALID)
        await site.append(3)
        await site.until(lambda: site.broker.refusals >= 3)
        (fault,) = site.publisher.delivery.faults
        assert (fault.code, fault.severity) == ("BROKER_REFUSED_99", "critical")
        assert "as it was signed" in fault.remedy
        assert await site.alarms() == ["BROKER_REFUSED_99"]
        assert site.journal.cosigned_size == 0
        site.broker.mood = Mood()
        await site.all_delivered()
        held = site.broker.witness.records(ORIGIN)
        assert list(held) == (await site.journal.read(0, 10**6))[: len(held)]


@pytest.mark.parametrize("mood", [Mood(is_stalled=True), Mood(is_mute=True)])
async def test_a_broker_that_stands_still_is_left_and_nothing_is_skipped(
    tmp_path: Path, mood: Mood
) -> None:
    async with site_in(tmp_path) as site:
        await site.append()
        await site.all_delivered()
        before = site.broker.connections
        site.broker.mood = mood
        await site.append(3)
        await site.until(lambda: site.broker.connections > before)
        site.broker.mood = Mood()
        await site.all_delivered()
        held = site.broker.witness.records(ORIGIN)
        assert list(held) == (await site.journal.read(0, 10**6))[: len(held)]


async def test_a_peer_that_has_gone_without_a_word_is_noticed_by_the_silence(
    tmp_path: Path,
) -> None:
    """Half-open: nothing is under way, no FIN and no RST ever comes."""
    async with site_in(tmp_path) as site:
        broker = Broker(host="127.0.0.1", port=site.broker.port, is_tls=False)
        async with connect(Session(broker=broker, client_id="quiet", keepalive_s=1)) as connection:
            site.broker.mood = Mood(is_mute=True)
            async with asyncio.timeout(8):
                assert isinstance(await connection.ended(), MqttError)


async def test_what_was_acknowledged_and_thrown_away_is_sent_until_there_is_a_receipt(
    tmp_path: Path,
) -> None:
    async with site_in(tmp_path) as site:
        site.broker.mood = Mood(is_forgetful=True)
        await site.append(3)
        await site.until(lambda: bool(site.publisher.delivery.faults))
        assert site.publisher.delivery.faults[0].code == "NO_RECEIPT"
        assert site.journal.cosigned_size == 0
        site.broker.mood = Mood()
        await site.all_delivered()
