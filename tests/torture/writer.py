"""Works on a journal in a folder until it is done, and says on the recorded disk what it was told
was durable. Run under the preloaded ``disk.c``; see conftest.py.

    python writer.py FOLDER SEED HOW        HOW: as_shipped, normal
"""

import asyncio
import ctypes
import json
import random
import sys
from pathlib import Path

from agent.journal import Journal, open_journal
from agent.keys import load_log_key
from agent.records import NewRecord
from agent.siteclock import SiteClock
from agent.store import JournalSettings

ORIGIN = "pool.example/edge/farm-1-edge-1/1"
DISK = ctypes.CDLL(None)


def record(rng: random.Random, name: str) -> NewRecord:
    data = {"name": name, "text": "x" * rng.choice((10, 300, 3000, rng.randrange(20_000)))}
    if rng.random() < 0.1:
        data |= {"event": "purchase", "id": name}
        return NewRecord(kind="ledger", source="agent", data=data)
    return NewRecord(kind="meter", source="site", data=data)


async def work(journal: Journal, rng: random.Random, worker: str) -> None:
    for number in range(rng.randint(1, 12)):
        count = rng.choice((1, 1, 1, 2, 5, 30))
        records = [record(rng, f"{worker}-{number}-{at}") for at in range(count)]
        written = await journal.append(records, urgent=rng.random() < 0.6)
        told = [[at, one.data["name"], one.kind] for at, one in zip(written, records, strict=True)]
        DISK.disk_say(json.dumps(told).encode())
        if rng.random() < 0.1:
            head = await journal.checkpoint_at_or_after(written.stop)
            await journal.set_cosigned(head.size, head.note)


async def main(folder: Path, seed: int, how: str) -> None:
    rng = random.Random(seed)
    key = load_log_key(folder / "log.key", ORIGIN)
    for start in range(rng.randint(1, 3)):
        settings = JournalSettings(
            path=folder / "journal.sqlite",
            max_bytes=50_000_000,
            version="0",
            group_commit_s=0.002,
            carry_over_pages=rng.choice((1, 30, 100, 1000)),
        )
        async with open_journal(settings, key, SiteClock()) as journal:
            if how == "normal":
                await journal._ask(sync_less)
            seeds = [rng.randrange(2**32) for _ in range(3)]
            await asyncio.gather(
                *(
                    work(journal, random.Random(one), f"{seed}-{start}-{number}")
                    for number, one in enumerate(seeds)
                )
            )


def sync_less(store) -> None:
    store._connection.execute("PRAGMA synchronous = NORMAL").fetchall()


asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]))
