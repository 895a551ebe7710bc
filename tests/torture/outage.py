"""Days without a broker in virtual time: what the journal holds afterwards, and how it drains.

First some minutes of a farm are recorded by the agent's own keeper, governor and books on simulated
machines. Then what each second wrote is handed over again, second by second, for as many hours as
asked, to a recorder and a journal whose clock goes with it, while a publisher finds no broker. At
last there is one: everything has to arrive, with live images beside it.

    python tests/torture/outage.py [--machines N] [--hours H] [--max-bytes B] [--json FILE]

Exit 0: it held what stands under ``claims``; 1: it did not.
"""

import argparse
import asyncio
import json
import logging
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from socket import create_server
from typing import Any

import orjson
from rich.console import Console
from rich.progress import Progress

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS / "bench"), str(TESTS / "simulator" / "replay")]

from bench_journal import live_latency_s  # noqa: E402 – a program beside this one
from conftest import Recorded  # noqa: E402 – the farm in virtual time on a real journal

from agent.broker import parse_broker  # noqa: E402
from agent.core.note import parse_vkey  # noqa: E402
from agent.journal import Journal, open_journal  # noqa: E402
from agent.keys import LogKey, create_log_key  # noqa: E402
from agent.publisher import Publisher, PublisherSettings  # noqa: E402
from agent.recorder import Recorder  # noqa: E402
from agent.records import NewRecord, parse_record  # noqa: E402
from agent.siteclock import KernelClock, SiteClock  # noqa: E402
from agent.store import JournalSettings  # noqa: E402
from agent.verify import Keys, verify  # noqa: E402
from simulator.scenario import Scenario  # noqa: E402
from simulator.signed_note import load_or_make_cosigner  # noqa: E402
from simulator.troubled_broker import troubled_broker  # noqa: E402
from simulator.virtual.wallclock import START_MS  # noqa: E402
from simulator.witness import Registry, Witness  # noqa: E402

ORIGIN = "pool.example/edge/farm-1-edge-1/1"
READINGS = frozenset({"meter", "tick", "frame", "gap"})
"""Kinds that the agent hands over as readings, which may be thinned."""
DAY_BYTES, DAY_BYTES_PER_MACHINE = 50_000_000, 125_000
"""What a day may take in records: 125 MB for the sweeps of a thousand machines, and 50 MB for the
meter point's readings each second, its books, and what its machines are told."""
HOUR_S = 3600
CHANGE_EVERY_S = 6 * HOUR_S
QUIET_S = 60
PAGE_BYTES = 4_000_000
DRAIN_TIMES_REAL = 50
MEMORY = Path("/dev/shm")
"""A quarter of a million syncs are an hour of waiting for a disk, and this is not about them."""
LIVE_S = 2.0


@dataclass(frozen=True, slots=True)
class Second:
    """What one tick left: readings, evidence, and the frame that there is once an hour."""

    readings: tuple[NewRecord, ...]
    evidence: tuple[NewRecord, ...]
    frames: tuple[NewRecord, ...]


@dataclass(slots=True)
class Outage:
    """The run: its clock, what was told to be durable, and what came of it."""

    folder: Path
    key: LogKey
    now_s: float = 0.0
    told: dict[int, bytes] = field(default_factory=dict)
    handed: Counter[str] = field(default_factory=Counter)
    figures: dict[str, Any] = field(default_factory=dict)
    _prints: dict[int, bytes] = field(default_factory=dict)

    def print_of(self, record: NewRecord) -> bytes:
        """Of a record of the sample, which lives as long as the run: the same ones come again."""
        known = self._prints.get(id(record))
        if known is None:
            known = self._prints[id(record)] = fingerprint(record.kind, record.data)
        return known

    def clock(self) -> SiteClock:
        return SiteClock(
            wall_ns=lambda: START_MS * 1_000_000 + int(self.now_s * 1e9),
            boottime_ns=lambda: int(self.now_s * 1e9),
            kernel=lambda: KernelClock(is_synchronised=True, max_error_us=100),
        )

    def keep(self, recorder: Recorder, records: Sequence[NewRecord], *, is_evidence: bool) -> None:
        def note(indices: range) -> None:
            for at, record in zip(indices, records, strict=True):
                self.told[at] = self.print_of(record)

        self.handed["evidence" if is_evidence else "readings"] += len(records)
        recorder.keep(records, is_evidence=is_evidence, then=note)


def fingerprint(kind: str, data: Any) -> bytes:
    return sha256(kind.encode() + orjson.dumps(data, option=orjson.OPT_SORT_KEYS)).digest()[:8]


def scenario_of(machines: int, minutes: int) -> Scenario:
    """An hour's purchase that asks for throttling, and a meter that is silent for a while."""
    return Scenario.model_validate(
        {
            "title": "an outage",
            "story": "a farm as it runs while nobody listens",
            "minutes": minutes,
            "seed": 7,
            "site": {
                "rated_kw": 4.5 * machines,
                "base_load_kw": 2,
                "base_load_wander_kw": 0.2,
                "base_load_max_kw": 4,
                "miner_poll_s": 5.0,
            },
            "machines": [{"family": "luxos", "model": "s21", "count": machines}],
            "series": {"from_min": 0.5, "each_min": 60, "kwh": [2.6 * machines]},
            "faults": [{"what": "meter_silent", "at_min": minutes / 2, "for_s": 15}],
        }
    )


async def sample(folder: Path, machines: int, minutes: int) -> list[Second]:
    """What the agent writes in each second of some minutes of this farm."""
    rig = Recorded(folder / "sample.sqlite", {"mp-1": scenario_of(machines, minutes)})
    ends = []
    lines: list[bytes] = []
    async with rig.boot() as life:
        await life.go(5)
        await life.buy()
        journal = life.recorder._journal
        for _ in range(minutes * 60 - 5):
            await life.go(1, is_durable=True)
            await life.recorder.flush()
            ends.append(journal.size)
        while len(lines) < journal.size:
            lines += await journal.read(len(lines), PAGE_BYTES)
    seconds = []
    for start, end in pairwise(ends):
        records = [parse_record(line) for line in lines[start:end]]
        new = [
            NewRecord(kind=r.kind, source=r.source, state=r.state, data=r.data)
            for r in records
            if r.data.get("what") != "a second"  # the sample's own mark
        ]
        seconds.append(
            Second(
                readings=tuple(r for r in new if r.kind in READINGS - {"frame"}),
                evidence=tuple(r for r in new if r.kind not in READINGS),
                frames=tuple(r for r in new if r.kind == "frame"),
            )
        )
    return seconds


def hours_of(seconds: Sequence[Second], hours: float) -> Iterator[tuple[int, Second]]:
    """The sampled seconds, in which every machine is told something, four times a day, and between
    them the last of these, in which all is as it should be; a frame once an hour."""
    frames = next((one.frames for one in seconds if one.frames), ())
    quiet = seconds[-QUIET_S:]
    for number in range(int(hours * HOUR_S)):
        at = number % CHANGE_EVERY_S
        one = seconds[at] if at < len(seconds) else quiet[at % len(quiet)]
        is_hour = number % HOUR_S == 0
        yield number, Second(one.readings, one.evidence, frames if is_hour else ())


async def write(
    run: Outage, recorder: Recorder, seconds: Sequence[Second], hours: float, every_s: int
) -> None:
    """A commit each ``every_s``, and nobody listens. The agent makes one a second; where the disk
    does not keep up it takes what waits into one, as here."""
    total = int(hours * HOUR_S)
    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("outage", total=total)
        for number, one in hours_of(seconds, hours):
            run.now_s = number + 1.0
            run.keep(recorder, [*one.frames, *one.readings], is_evidence=False)
            run.keep(recorder, one.evidence, is_evidence=True)
            if number % every_s == 0:
                await recorder.flush()
            if number % (HOUR_S // 4) == 0:
                bar.update(task, completed=number)
                if not console.is_terminal and number % HOUR_S == 0:
                    console.print(f"{number // HOUR_S} of {hours:g} hours")
        await recorder.flush()


@asynccontextmanager
async def delivering(run: Outage, journal: Journal, pool: Any, port: int) -> AsyncIterator[Any]:
    publisher = Publisher(
        journal=journal,
        clock=run.clock(),
        origin=ORIGIN,
        pool=parse_vkey(pool.vkey.text()),
        settings=PublisherSettings(
            farm="farm-1",
            agent="edge-1",
            brokers=(parse_broker(f"mqtt://127.0.0.1:{port}"),),
            retry_max_s=5.0,
        ),
    )
    async with asyncio.TaskGroup() as group:
        task = group.create_task(publisher.run(group))
        try:
            yield publisher
        finally:
            task.cancel()


async def compare(run: Outage, journal: Journal, witness: Witness) -> dict[str, Any]:
    """Whether what was told to be durable is stored, and what is stored is with the pool."""
    held, at, wrong, told, size = witness.records(ORIGIN), 0, 0, 0, 0
    kinds: Counter[str] = Counter()
    weight: Counter[str] = Counter()
    gaps: Counter[str] = Counter()
    while at < journal.size:
        for line in await journal.read(at, PAGE_BYTES):
            record = parse_record(line)
            kinds[record.kind] += 1
            size += len(line)
            weight[record.kind] += len(line)
            if record.data.get("event") == "thinned":
                gaps.update(record.data["kinds"])
            if at in run.told:
                told += 1
                wrong += run.told[at] != fingerprint(record.kind, record.data)
            wrong += at < len(held) and held[at] != line
            at += 1
    return {
        "records": at,
        "record_bytes": size,
        "bytes_of_kinds": dict(weight.most_common(6)),
        "acknowledged": len(run.told),
        "acknowledged_and_stored": told,
        "wrong": wrong,
        "with_the_pool": len(held),
        "thinned_records": gaps.total(),
        "thinned_gaps": kinds["gap"],
    }


async def suffer(run: Outage, given: argparse.Namespace) -> None:
    hours, max_bytes = given.hours, given.max_bytes
    seconds = await sample(run.folder, given.machines, given.sample_min)
    cosigner = load_or_make_cosigner(run.folder / "pool.key", "pool.example/witness")
    (run.folder / "agents.json").write_text(
        json.dumps({"agents": {"edge-1": run.key.verifier.text}})
    )
    registry = Registry(path=run.folder / "agents.json")
    witness = Witness(directory=None, registry=registry, cosigner=cosigner)
    settings = JournalSettings(
        path=run.folder / "journal.sqlite", max_bytes=max_bytes, version="0.1.0"
    )
    started_s = time.monotonic()
    async with AsyncExitStack() as stack:
        journal = await stack.enter_async_context(open_journal(settings, run.key, run.clock()))
        recorder = Recorder(journal)
        with create_server(("127.0.0.1", 0)) as gone:
            port = gone.getsockname()[1]
        async with delivering(run, journal, cosigner, port):
            await write(run, recorder, seconds, hours, given.commit_s)
        run.figures |= {
            "write_s": round(time.monotonic() - started_s, 1),
            "cosigned_meanwhile": journal.cosigned_size,
            "commits": journal.stats.commits,
            "thinned_by_recorder": recorder.lost,
            "thinned_untold": recorder._thinned.total(),
            "waiting": recorder._count,
            "is_full": recorder.is_full,
        }
        broker = await stack.enter_async_context(troubled_broker(witness))
        backlog, at_s = journal.size, time.monotonic()
        async with delivering(run, journal, cosigner, broker.port) as publisher:
            latency_s = await live_latency_s(publisher, broker, journal, backlog)
            took_s = time.monotonic() - at_s
        run.figures |= {
            "drain_s": round(took_s, 1),
            "drain_times_real": round(hours * HOUR_S / took_s),
            "live_images": len(latency_s),
            "live_latency_max_s": round(max(latency_s, default=0.0), 3),
            "cosigned_of_backlog": min(journal.cosigned_size, backlog),
            "backlog": backlog,
        }
        run.figures |= await compare(run, journal, witness)
        run.figures["equivocations"] = witness.state()["equivocations"]
    run.figures["file_bytes"] = settings.path.stat().st_size
    run.figures["max_bytes"] = max_bytes
    pool = parse_vkey(cosigner.vkey.text())
    report = verify(settings.path, Keys(device=run.key.verifier, pool=pool))
    run.figures["defects"] = [defect.words for defect in report.defects][:5]


def claims(run: Outage, machines: int, hours: float) -> dict[str, bool]:
    """What has to hold after any outage."""
    it = run.figures
    handed = run.handed.total()
    days = max(hours, CHANGE_EVERY_S / HOUR_S) / 24
    budget = (DAY_BYTES + DAY_BYTES_PER_MACHINE * machines) * days
    return {
        "within the byte budget": it["record_bytes"] <= budget,
        "within max_bytes": it["file_bytes"] <= it["max_bytes"],
        "nobody confirmed anything while nobody was there": it["cosigned_meanwhile"] == 0,
        "what was handed over was told durable, was thinned, or waits for room": handed
        == it["acknowledged"] + it["thinned_by_recorder"] + it["waiting"],
        "what was thinned is in a signed gap, or will be once there is room": it[
            "thinned_by_recorder"
        ]
        == it["thinned_records"] + it["thinned_untold"]
        and (it["is_full"] or it["thinned_untold"] + it["waiting"] == 0),
        "acknowledged is stored": it["acknowledged"] == it["acknowledged_and_stored"]
        and it["wrong"] == 0,
        "all of it arrived": it["cosigned_of_backlog"] == it["backlog"] <= it["with_the_pool"],
        "stored is proven": not it["defects"] and it["equivocations"] == 0,
        f"drained {DRAIN_TIMES_REAL} times as fast": it["drain_times_real"] >= DRAIN_TIMES_REAL,
        f"live images within {LIVE_S} s": it["live_images"] > 0
        and it["live_latency_max_s"] < LIVE_S,
    }


def main() -> int:
    logging.getLogger("agent").setLevel(logging.CRITICAL)  # that the broker is gone is known
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--machines", type=int, default=1000)
    parser.add_argument("--hours", type=float, default=72.0)
    parser.add_argument("--sample-min", type=int, default=10)
    parser.add_argument("--commit-s", type=int, default=1)
    parser.add_argument("--max-bytes", type=int, default=4_000_000_000)
    parser.add_argument(
        "--folder",
        type=Path,
        default=MEMORY if MEMORY.is_dir() else None,
        help="where to write; default: in memory, where a sync costs nothing",
    )
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        folder = Path(name)
        run = Outage(folder=folder, key=create_log_key(folder / "outage.key", ORIGIN))
        asyncio.run(suffer(run, given))
    held = claims(run, given.machines, given.hours)
    figures = {
        "machines": given.machines,
        "hours": given.hours,
        "commit_s": given.commit_s,
        **run.figures,
        "claims": held,
    }
    text = json.dumps(figures, indent=2)
    sys.stdout.write(text + "\n")
    if given.json is not None:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(text + "\n")
    return 0 if all(held.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
