"""A pool that misbehaves: what it says wrongly is refused and recorded, and nothing is lost."""

import asyncio
import json
from contextlib import asynccontextmanager
from pathlib import Path
from zoneinfo import ZoneInfo

import orjson
import pytest

from agent.broker import Broker, Message, Session, parse_broker
from agent.core.merkle import Frontier, leaf_hash
from agent.core.note import Checkpoint, parse_vkey, sign_text
from agent.downlink import Downlink, DownlinkSettings
from agent.mqtt import connect
from agent.pooldesk import PoolDesk, PoolKeys
from agent.poolnote import Addressee
from agent.publisher import Publisher, PublisherSettings
from agent.purchases import PurchaseReader
from agent.records import NewRecord, parse_record
from agent.siteclock import SiteClock
from agent.uplink import Pace
from simulator.misdeeds import Misdeed
from simulator.pool import Pool, open_pool

ORIGIN = "pool.example/edge/farm-1-edge-1/1"
SITE = Addressee(farm="farm-1", agent="edge-1")
PACE = Pace(interval_s=0.02, ack_only_s=0.1, receipt_s=0.6, pause_s=0.1)
METER = NewRecord(kind="meter", source="site", data={"power_mw": 1})


class NoBooks:
    """Nobody buys here."""

    async def add_transactions(self, candidates):
        raise AssertionError("no purchase was sent")


class Company:
    """A journal, its publisher and the reference pool on one broker."""

    def __init__(self, rig, journal, pool: Pool, publisher: Publisher, desk: PoolDesk) -> None:
        self.rig, self.journal, self.pool = rig, journal, pool
        self.publisher, self.desk = publisher, desk

    def misbehave(self, *misdeeds: Misdeed) -> None:
        self.pool.witness.misdeeds.active.clear()
        self.pool.witness.misdeeds.active.update(misdeeds)

    async def write(self, count: int = 1) -> int:
        for _ in range(count):
            await self.journal.append([METER])
        return self.journal.size

    async def go_on(self) -> None:
        """A reading now and then, as of a meter."""
        while True:
            await self.write()
            await asyncio.sleep(0.1)

    async def receipted(self, size: int) -> None:
        await self.rig.until(lambda: self.journal.cosigned_size >= size, 8.0)

    async def fault(self, code: str) -> str:
        found: list[str] = []

        def is_there() -> bool:
            found[:] = [one.words for one in self.publisher.delivery.faults if one.code == code]
            return bool(found)

        await self.rig.until(is_there, 8.0)
        assert code in await self.rig.alarms(self.journal)
        return found[0]

    async def told(self) -> list[dict[str, object]]:
        return [parse_record(line).data for line in await self.journal.tail(100, "pool")]


@asynccontextmanager
async def company_on(mosquitto, rig, folder: Path):
    directory = folder / "pool"
    directory.mkdir()
    (directory / "registry.json").write_text(json.dumps({"farm-1/edge-1": rig.key.verifier.text}))
    async with mosquitto() as broker, rig.journal() as journal:
        url = f"mqtt://127.0.0.1:{broker.port}"
        pool = open_pool(directory, directory / "registry.json", "pool.example", url)
        keys = PoolKeys(
            signing=parse_vkey((directory / "signing.vkey").read_text()),
            cosigning=parse_vkey((directory / "pool.vkey").read_text()),
        )
        reader = PurchaseReader(meter_points=("mp-1",), zone=ZoneInfo("Asia/Almaty"))
        desk = PoolDesk(
            journal=journal, clock=SiteClock(), books=NoBooks(), reader=reader, site=SITE, keys=keys
        )
        await desk.recover()
        common = {"farm": "farm-1", "agent": "edge-1", "brokers": (parse_broker(url),)}
        publisher = Publisher(
            journal=journal,
            clock=SiteClock(),
            settings=PublisherSettings(**common, pace=PACE, ack_every_s=60.0, retry_min_s=0.05),
            origin=ORIGIN,
            pool=keys.cosigning,
        )
        downlink = Downlink(desk, DownlinkSettings(**common, retry_min_s=0.05))
        pool.start()
        try:
            await rig.until(lambda: pool.is_connected)
            async with rig.delivering(publisher), rig.running(downlink.run()):
                await rig.until(lambda: downlink.is_connected)
                company = Company(rig, journal, pool, publisher, desk)
                await company.receipted(1)
                yield company
        finally:
            pool.stop()


@pytest.fixture
def opening(mosquitto, rig, tmp_path: Path):
    """What ``async with`` opens: everybody on one broker."""
    return company_on(mosquitto, rig, tmp_path)


async def test_a_pool_that_stalls_is_an_alarm_and_gets_all_again(opening) -> None:
    async with opening as company:
        company.misbehave(Misdeed.STALLS)
        size = await company.write(3)
        assert "no receipt" in await company.fault("NO_RECEIPT")
        assert company.journal.cosigned_size < size
        company.misbehave()
        await company.receipted(size)


async def test_a_pool_that_forgets_what_it_receipted_is_an_alarm(opening) -> None:
    async with opening as company:
        before = company.journal.cosigned_size
        company.misbehave(Misdeed.FORGETS)
        async with company.rig.running(company.go_on()):
            # Nothing shows that a pool forgets but what is sent to it afterwards.
            await company.fault("NO_RECEIPT")
        known = company.journal.cosigned_size
        assert known > before
        assert company.pool.state()["rejects"]["gap"] > 0
        assert len(company.pool.witness.records(ORIGIN)) < known
        company.misbehave()
        await company.write()
        await asyncio.sleep(0.3)
        assert company.journal.cosigned_size == known


@pytest.mark.parametrize(
    ("misdeed", "words"),
    [(Misdeed.WRONG_KEY, "not cosigned by"), (Misdeed.STALE, "time went back")],
)
async def test_a_receipt_that_cannot_be_believed_is_an_alarm(
    opening, misdeed: Misdeed, words: str
) -> None:
    async with opening as company:
        before = company.journal.cosigned_size
        company.misbehave(misdeed)
        await company.write()
        assert words in await company.fault("RECEIPT_REFUSED")
        assert company.journal.cosigned_size == before


async def test_a_pool_that_goes_back_in_size_is_an_alarm(opening) -> None:
    async with opening as company:
        size = await company.write(3)
        await company.receipted(size)
        company.misbehave(Misdeed.GOES_BACK)
        await company.write()
        assert "less after more" in await company.fault("POOL_WENT_BACK")
        assert company.journal.cosigned_size == size


@pytest.mark.parametrize("misdeed", [Misdeed.REPLAYS, Misdeed.REORDERS])
async def test_an_old_receipt_is_recorded_and_moves_nothing(
    opening, schemas, misdeed: Misdeed
) -> None:
    async with opening as company:
        size = await company.write(3)
        await company.receipted(size)
        company.misbehave(misdeed)
        async with asyncio.timeout(8):
            while not await company.told():
                await company.write()
                await asyncio.sleep(0.1)
        lines = await company.journal.tail(10, "pool")
        assert [schemas.faults(orjson.loads(line)) for line in lines] == [[]] * len(lines)
        (record,) = await company.told()
        assert (record["event"], record["topic"], record["reason"]) == (
            "refused",
            "receipt",
            "stale",
        )
        assert company.journal.cosigned_size >= size


def forged(rig, records: list[bytes], size: int) -> bytes:
    """What another holder of the key would send to the pool: the last record is another one."""
    others = [*records[: size - 1], b'{"forged":true}']
    frontier = Frontier()
    for one in others:
        frontier = frontier.append(leaf_hash(one))
    head = Checkpoint(origin=ORIGIN, size=size, root=frontier.root())
    note = sign_text(head.encode(), rig.key.verifier, rig.key.sign).encode()
    header = {"v": 1, "origin": ORIGIN, "from": 0, "to": size, "checkpoint": note}
    return b"\n".join((json.dumps(header).encode(), *others))


@pytest.mark.parametrize("back", [0, 2])
async def test_two_logs_under_one_name_are_reported_recorded_and_an_alarm(
    opening, rig, schemas, wire, back: int
) -> None:
    async with opening as company:
        await company.receipted(await company.write(4))
        await company.rig.until(lambda: company.journal.cosigned_size == company.journal.size)
        size = company.journal.size
        records = await company.journal.read(0, 1_000_000)
        host, port = company.pool.broker.removeprefix("mqtt://").split(":")
        session = Session(broker=Broker(host=host, port=int(port), is_tls=False), client_id="thief")
        async with connect(session) as thief:
            await thief.subscribe("kwota/v1/+/+/equivocation")
            payload = forged(rig, records, size - back)
            await thief.publish(Message(topic="kwota/v1/farm-1/edge-1/evidence", payload=payload))
            report = await thief.next_message()
        assert wire.faults(report.topic, report.payload) == []
        await rig.until(lambda: bool(list(company.desk.conditions())), 8.0)
        (condition,) = company.desk.conditions()
        assert (condition.code, condition.severity) == ("LOG_EQUIVOCATION", "critical")
        (told,) = await company.told()
        reason = "went_back" if back else "another_root"
        assert (told["event"], told["reason"]) == ("equivocation", reason)
        assert told["note"].encode() == report.payload
        line = (await company.journal.tail(1, "pool"))[0]
        assert schemas.faults(orjson.loads(line)) == []
        await company.receipted(await company.write())
        assert company.pool.state()["equivocations"] == 1
