"""The reference pool learns a new key from the log alone, whether it listened or not."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from agent.broker import parse_broker
from agent.journal import Journal, open_journal
from agent.keyring import short
from agent.keys import LogKey, create_log_key, load_vkey
from agent.publisher import Publisher, PublisherSettings
from agent.records import NewRecord
from agent.siteclock import SiteClock
from agent.store import JournalSettings
from agent.uplink import Pace
from agent.verify import Keys, verify
from simulator.pool import Pool
from simulator.witness import open_witness

ORIGIN = "pool.example/edge/farm-1-edge-1/1"
PACE = Pace(interval_s=0.05, ack_only_s=0.2, receipt_s=2.0, pause_s=0.1)


class Device:
    """A journal that may be delivered to a pool which was told of the first key and no other."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.old, self.new = (create_log_key(directory / f"{name}.key", ORIGIN) for name in "ab")
        registry = directory / "registry.json"
        registry.write_text(json.dumps({"farm-1/edge-1": self.old.verifier.text}))
        self.witness = open_witness(directory / "pool", registry, "pool.example")
        self.pool_key = load_vkey(directory / "pool" / "pool.vkey")

    @asynccontextmanager
    async def boot(self, key: LogKey, successor: LogKey | None = None) -> AsyncIterator[Journal]:
        path = self.directory / "journal.sqlite"
        options = JournalSettings(path=path, max_bytes=10_000_000, version="0.1.0")
        async with open_journal(options, replace(key, successor=successor), SiteClock()) as journal:
            await journal.append([NewRecord(kind="gap", source="agent", data={"why": "test"})])
            yield journal

    def publisher(self, journal: Journal, port: int) -> Publisher:
        settings = PublisherSettings(
            farm="farm-1",
            agent="edge-1",
            brokers=(parse_broker(f"mqtt://127.0.0.1:{port}"),),
            pace=PACE,
            retry_min_s=0.05,
            retry_max_s=0.2,
        )
        return Publisher(
            journal=journal,
            clock=SiteClock(),
            settings=settings,
            origin=ORIGIN,
            pool=self.pool_key,
        )

    def is_sound(self) -> bool:
        keys = Keys(device=self.old.verifier, pool=self.pool_key)
        report = verify(self.directory / "journal.sqlite", keys)
        assert report.is_sound, report.defects
        return True

    @property
    def known(self) -> list[str]:
        """The keys that the pool expects next."""
        logs = self.witness.state()["logs"]
        assert isinstance(logs, dict)
        return list(logs[ORIGIN]["keys"])


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return Device(tmp_path)


@asynccontextmanager
async def listening(witness, port: int) -> AsyncIterator[None]:
    pool = Pool(witness=witness, broker=f"mqtt://127.0.0.1:{port}")
    pool.start()
    try:
        yield
    finally:
        pool.stop()


async def deliver(rig, device: Device, journal: Journal, port: int) -> None:
    """Everything that is in the journal now."""
    wanted = journal.size
    async with rig.delivering(device.publisher(journal, port)):
        await rig.until(lambda: journal.cosigned_size >= wanted, within_s=15.0)


async def test_a_pool_that_slept_through_the_whole_change_still_learns_of_it(
    device: Device, rig, mosquitto
) -> None:
    for key, successor in ((device.old, None), (device.old, device.new)):
        async with device.boot(key, successor):
            pass
    async with (
        mosquitto() as broker,
        listening(device.witness, broker.port),
        device.boot(device.new) as journal,
    ):
        await deliver(rig, device, journal, broker.port)
        assert device.known == [short(device.new.verifier)]
    assert device.witness.state()["rejects"] == {}
    assert device.is_sound()


async def test_a_pool_that_listens_follows_each_step(device: Device, rig, mosquitto) -> None:
    old, new = short(device.old.verifier), short(device.new.verifier)
    async with mosquitto() as broker, listening(device.witness, broker.port):
        for key, successor, known in (
            (device.old, None, [old]),
            (device.old, device.new, [old, new]),
            (device.new, None, [new]),
        ):
            async with device.boot(key, successor) as journal:
                await deliver(rig, device, journal, broker.port)
            assert device.known == known
    assert device.witness.state()["rejects"] == {}
    assert device.is_sound()
