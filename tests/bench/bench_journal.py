"""What a durable, signed record costs beside the same rows in plain SQLite, and how fast a day
of backlog drains.

A benchmark and no test: it fails at nothing. Plain SQLite stands in the same run, with the same
rows, indices and synchronous = FULL, and takes turns with the journal, because disks differ more
than programs. Both are called as the agent calls its journal: from an event loop, on a thread of
their own.

    python tests/bench/bench_journal.py [--json FILE] [--seconds S] [--backlog-h H]
"""

import argparse
import asyncio
import json
import os
import platform
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from agent.broker import parse_broker
from agent.core.note import parse_vkey
from agent.journal import Journal, open_journal
from agent.keys import LogKey, create_log_key
from agent.publisher import Publisher, PublisherSettings
from agent.records import NewRecord
from agent.siteclock import SiteClock
from agent.store import JournalSettings
from agent.verify import Keys, verify
from simulator.signed_note import load_or_make_cosigner
from simulator.troubled_broker import troubled_broker
from simulator.witness import Registry, Witness

ORIGIN = "pool.example/edge/farm-1-edge-1/1"
SIZES = (1, 1000)
TEXT = "x" * 300
TICK_S = 30
TICK_COLUMN = 1000
TICK_COLUMNS = ("power", "hashrate", "chip", "board", "inlet", "fan", "profile", "state", "age")
LIVE_EVERY_S = 0.2


def meter(number: int) -> NewRecord:
    return NewRecord(kind="meter", source="site", data={"n": number, "text": TEXT})


def journal_at(folder: Path, key: LogKey):
    settings = JournalSettings(path=folder / "j.sqlite", max_bytes=4_000_000_000, version="0")
    return open_journal(settings, key, SiteClock())


class Plain:
    """One table and its index as the journal has them, synchronous = FULL, on one thread."""

    def __init__(self, path: Path) -> None:
        self._thread = ThreadPoolExecutor(1)
        self._path = path
        self._next = 0
        self._connection: sqlite3.Connection

    async def open(self) -> None:
        await self._on_thread(self._open)

    async def append(self, bodies: Sequence[bytes]) -> None:
        await self._on_thread(lambda: self._append(bodies))

    async def close(self) -> None:
        await self._on_thread(self._connection.close)
        self._thread.shutdown()

    async def _on_thread(self, call: Any) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, call)

    def _open(self) -> None:
        self._connection = sqlite3.connect(self._path, isolation_level=None)
        for pragma in ("locking_mode = EXCLUSIVE", "journal_mode = WAL", "synchronous = FULL"):
            self._connection.execute(f"PRAGMA {pragma}").fetchall()
        self._connection.execute(
            "CREATE TABLE records (i INTEGER PRIMARY KEY, kind TEXT NOT NULL,"
            " source TEXT NOT NULL, body BLOB NOT NULL, leaf BLOB NOT NULL) STRICT"
        )
        self._connection.execute("CREATE INDEX kinds ON records (kind)")

    def _append(self, bodies: Sequence[bytes]) -> None:
        rows = [
            (at, "meter", "site", body, bytes(32)) for at, body in enumerate(bodies, self._next)
        ]
        self._next += len(rows)
        self._connection.execute("BEGIN IMMEDIATE")
        self._connection.executemany("INSERT INTO records VALUES (?, ?, ?, ?, ?)", rows)
        self._connection.execute("COMMIT")


async def compare(folder: Path, size: int, seconds: float) -> dict[str, Any]:
    """Take turns, so that both meet the same moods of the disk."""
    key = create_log_key(folder / "log.key", ORIGIN)
    plain = Plain(folder / "plain.sqlite")
    await plain.open()
    ours_s: list[float] = []
    plain_s: list[float] = []
    cpu_s = {"ours": 0.0, "plain": 0.0}  # on a busy machine the times say little, this says more
    async with journal_at(folder, key) as journal:
        until_s = time.monotonic() + seconds
        while time.monotonic() < until_s or len(ours_s) < 5:
            records = [meter(number) for number in range(size)]
            at_s, at_cpu_s = time.perf_counter(), time.process_time()
            written = await journal.append(records)
            ours_s.append(time.perf_counter() - at_s)
            cpu_s["ours"] += time.process_time() - at_cpu_s
            bodies = await journal.read(written.start, 100_000_000)
            at_s, at_cpu_s = time.perf_counter(), time.process_time()
            await plain.append(bodies)
            plain_s.append(time.perf_counter() - at_s)
            cpu_s["plain"] += time.process_time() - at_cpu_s
    await plain.close()
    ours_ms, plain_ms = (statistics.median(one) * 1000 for one in (ours_s, plain_s))
    return {
        "rows": size,
        "commits": len(ours_s),
        "ours_ms": round(ours_ms, 3),
        "plain_ms": round(plain_ms, 3),
        "ours_p99_ms": round(sorted(ours_s)[len(ours_s) * 99 // 100] * 1000, 3),
        "plain_p99_ms": round(sorted(plain_s)[len(plain_s) * 99 // 100] * 1000, 3),
        "times_plain": round(ours_ms / plain_ms, 2),
        "times_plain_at_most": 2.0,
        "times_plain_cpu": round(cpu_s["ours"] / cpu_s["plain"], 2),
    }


async def fill(journal: Journal, hours: float) -> None:
    """A backlog as a thousand machines make it: a tick and some readings each half minute."""
    columns = {name: list(range(TICK_COLUMN)) for name in TICK_COLUMNS}
    tick = NewRecord(kind="tick", source="site", data=columns)
    for _ in range(int(hours * 3600 / TICK_S)):
        await journal.append([tick, *(meter(number) for number in range(6))], urgent=True)


async def drain(folder: Path, hours: float) -> dict[str, Any]:
    """Deliver a backlog to the reference pool, with live images going out beside it."""
    key = create_log_key(folder / "log.key", ORIGIN)
    cosigner = load_or_make_cosigner(folder / "pool.key", "pool.example/witness")
    (folder / "agents.json").write_text(json.dumps({"agents": {"edge-1": key.verifier.text}}))
    registry = Registry(path=folder / "agents.json")
    witness = Witness(directory=None, registry=registry, cosigner=cosigner)
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(troubled_broker(witness))
        journal = await stack.enter_async_context(journal_at(folder, key))
        await fill(journal, hours)
        backlog = journal.size
        publisher = Publisher(
            journal=journal,
            clock=SiteClock(),
            origin=ORIGIN,
            pool=parse_vkey(cosigner.vkey.text()),
            settings=PublisherSettings(
                farm="farm-1",
                agent="edge-1",
                brokers=(parse_broker(f"mqtt://127.0.0.1:{broker.port}"),),
            ),
        )
        at_s = time.monotonic()
        async with asyncio.TaskGroup() as group:
            delivery = group.create_task(publisher.run(group))
            latency_s = await live_latency_s(publisher, broker, journal, backlog)
            took_s = time.monotonic() - at_s
            delivery.cancel()
    report = verify(folder / "j.sqlite", Keys(device=key.verifier))
    return {
        "backlog_h": hours,
        "records": backlog,
        "bytes": (folder / "j.sqlite").stat().st_size,
        "took_s": round(took_s, 2),
        "times_real_time": round(hours * 3600 / took_s, 1),
        "times_real_time_at_least": 50,
        "live_images": len(latency_s),
        "live_latency_max_s": round(max(latency_s, default=0.0), 3),
        "live_latency_below_s": 2.0,
        "is_sound": report.is_sound,
    }


async def live_latency_s(
    publisher: Publisher, broker: Any, journal: Journal, backlog: int
) -> list[float]:
    """How long each live image took to arrive, while the backlog drains."""
    latency_s: list[float] = []
    while journal.cosigned_size < backlog:
        seen, at_s = broker.live, time.monotonic()
        publisher.set_live(json.dumps({"at_s": at_s}).encode())
        while broker.live == seen and journal.cosigned_size < backlog:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        if broker.live > seen:
            latency_s.append(time.monotonic() - at_s)
        await asyncio.sleep(LIVE_EVERY_S)
    return latency_s


async def measure(seconds: float, hours: float) -> dict[str, Any]:
    commits = []
    for size in SIZES:
        with tempfile.TemporaryDirectory() as folder:
            commits.append(await compare(Path(folder), size, seconds))
    with tempfile.TemporaryDirectory() as folder:
        drained = await drain(Path(folder), hours)
    with closing(sqlite3.connect(":memory:")) as connection:
        (sqlite,) = connection.execute("SELECT sqlite_version()").fetchone()
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "sqlite": sqlite,
        "commits": commits,
        "drain": drained,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--backlog-h", type=float, default=24.0)
    arguments = parser.parse_args()
    text = json.dumps(asyncio.run(measure(arguments.seconds, arguments.backlog_h)), indent=2)
    sys.stdout.write(text + "\n")
    if arguments.json is not None:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
