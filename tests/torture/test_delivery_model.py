"""Acknowledged is stored, stored is proven, and what has a receipt the pool really holds.

Drawn sequences of appends, restarts, broken brokers and pools, and receipts that are late, twice,
reversed or forged, against a real journal, a real publisher and real sockets.
"""

import asyncio
import contextlib
import json
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from agent.broker import parse_broker
from agent.core.note import cosigned_at_s, parse_checkpoint, parse_note, parse_vkey
from agent.journal import Journal, open_journal
from agent.keys import create_log_key
from agent.publisher import Publisher, PublisherSettings
from agent.records import NewRecord, parse_record
from agent.siteclock import SiteClock
from agent.store import JournalSettings
from agent.uplink import Pace
from agent.verify import Keys, verify
from simulator.signed_note import load_or_make_cosigner
from simulator.troubled_broker import (
    NO_SUBSCRIBERS,
    NOT_AUTHORISED,
    QUOTA_EXCEEDED,
    Mood,
    troubled_broker,
)
from simulator.witness import Registry, Witness

ORIGIN = "pool.example/edge/farm-1-edge-1/1"
PACE = Pace(
    batch_bytes=2000,
    interval_s=0.005,
    ack_only_s=0.05,
    receipt_s=0.1,
    pause_s=0.02,
    pause_max_s=0.1,
)
MOODS = (
    Mood(),
    Mood(puback=NOT_AUTHORISED),
    Mood(puback=QUOTA_EXCEEDED),
    Mood(puback=NO_SUBSCRIBERS),
    Mood(is_forgetful=True),
    Mood(is_stalled=True),
    Mood(is_mute=True),
    Mood(receipts="kept"),
    Mood(receipts="dropped"),
    Mood(receipts="forged"),
)


class Agent:
    """A journal and its publisher, which a test starts and stops."""

    def __init__(self, folder: Path, port: int, pool) -> None:
        self.key = create_log_key(folder / "log.key", ORIGIN)
        self.path = folder / "journal.sqlite"
        self.port, self.pool = port, pool
        self.told: dict[int, int] = {}
        self.count = 0
        self.journal: Journal
        self.publisher: Publisher
        self.stack = contextlib.AsyncExitStack()
        self.delivery: asyncio.Task[None]

    async def start(self) -> None:
        options = JournalSettings(path=self.path, max_bytes=50_000_000, version="0")
        self.journal = await self.stack.enter_async_context(
            open_journal(options, self.key, SiteClock())
        )
        self.publisher = Publisher(
            journal=self.journal,
            clock=SiteClock(),
            origin=ORIGIN,
            pool=self.pool,
            settings=PublisherSettings(
                farm="farm-1",
                agent="edge-1",
                brokers=(parse_broker(f"mqtt://127.0.0.1:{self.port}"),),
                pace=PACE,
                ack_every_s=0.05,
                retry_min_s=0.01,
                retry_max_s=0.05,
                connect_s=0.2,
                acknowledge_s=0.2,
            ),
        )
        self.delivery = asyncio.get_running_loop().create_task(self.deliver())

    async def deliver(self) -> None:
        async with asyncio.TaskGroup() as group:
            await self.publisher.run(group)

    async def stop(self) -> None:
        self.delivery.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.delivery
        await self.stack.aclose()

    async def append(self, count: int, size: int) -> None:
        numbers = range(self.count, self.count + count)
        self.count += count
        records = [
            NewRecord(kind="meter", source="site", data={"number": n, "text": "x" * size})
            for n in numbers
        ]
        self.told |= zip(await self.journal.append(records), numbers, strict=True)


class Delivery(RuleBasedStateMachine):
    """What may happen between a farm and its pool."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = TemporaryDirectory()
        self.runner = asyncio.Runner()
        self.stack = contextlib.AsyncExitStack()
        self.runner.run(self.begin(Path(self.folder.name)))

    async def begin(self, folder: Path) -> None:
        cosigner = load_or_make_cosigner(folder / "pool.key", "pool.example/witness")
        registry = Registry(path=folder / "agents.json")
        self.witness = Witness(directory=None, registry=registry, cosigner=cosigner)
        self.broker = await self.stack.enter_async_context(troubled_broker(self.witness))
        self.pool = parse_vkey(cosigner.vkey.text())
        self.agent = Agent(folder, self.broker.port, self.pool)
        vkeys = {"edge-1": self.agent.key.verifier.text}
        (folder / "agents.json").write_text(json.dumps({"agents": vkeys}))
        await self.agent.start()

    @rule(count=st.integers(1, 12), size=st.sampled_from((0, 300, 5000)))
    def append(self, count: int, size: int) -> None:
        self.runner.run(self.agent.append(count, size))

    @rule(mood=st.sampled_from(MOODS))
    def change_mood(self, mood: Mood) -> None:
        self.broker.mood = mood

    @rule()
    def cut(self) -> None:
        self.broker.cut()

    @rule(steps=st.integers(1, 4))
    def wait(self, steps: int) -> None:
        self.runner.run(asyncio.sleep(0.02 * steps))

    @rule(is_reversed=st.booleans())
    def hand_out_what_was_kept(self, is_reversed: bool) -> None:
        kept = self.broker.kept[::-1] if is_reversed else self.broker.kept
        for receipt in kept:
            self.broker.send_receipt(receipt)
        self.broker.kept = []
        self.runner.run(asyncio.sleep(0.01))

    @rule()
    def send_old_receipts_again(self) -> None:
        for receipt in self.broker.sent[:3]:
            self.broker.send_receipt(receipt)
        self.runner.run(asyncio.sleep(0.01))

    @rule()
    def restart(self) -> None:
        async def again() -> None:
            await self.agent.stop()
            await self.agent.start()

        self.runner.run(again())

    @invariant()
    def acknowledged_is_stored_is_proven(self) -> None:
        self.runner.run(self.check())

    async def check(self) -> None:
        journal = self.agent.journal
        stored = await journal.read(0, 50_000_000)
        for index, number in self.agent.told.items():
            assert parse_record(stored[index]).data["number"] == number
        held = self.witness.records(ORIGIN)
        assert list(held) == stored[: len(held)]
        size = journal.cosigned_size
        assert size <= len(held) <= len(stored)
        if size:
            note = parse_note(journal.cosigned_note)
            assert parse_checkpoint(note.text).size == size
            assert cosigned_at_s(note, self.pool) > 0

    def teardown(self) -> None:
        try:
            self.runner.run(self.end())
        finally:
            self.runner.close()
            self.folder.cleanup()

    async def end(self) -> None:
        """Once all is well again, everything arrives, and an auditor finds nothing."""
        self.broker.mood = Mood()
        journal = self.agent.journal
        try:
            async with asyncio.timeout(5):
                while journal.cosigned_size < journal.content_size:  # noqa: ASYNC110 – nobody tells
                    await asyncio.sleep(0.01)
            await self.check()
        finally:
            await self.agent.stop()
            await self.stack.aclose()
        assert self.witness.state()["equivocations"] == 0
        report = verify(self.agent.path, Keys(device=self.agent.key.verifier, pool=self.pool))
        assert report.is_sound, report.defects


@pytest.mark.timeout(120)
@pytest.mark.parametrize("examples", [6, pytest.param(300, marks=pytest.mark.torture)])
def test_acknowledged_is_stored_is_proven_whatever_broker_and_pool_do(examples: int) -> None:
    run_state_machine_as_test(
        Delivery,
        settings=settings(
            max_examples=examples,
            stateful_step_count=20,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            database=None,
        ),
    )
