"""Works on a journal in a folder until it is killed, and writes into a file elsewhere what it was
told was durable: a line of JSON for each append, ``[[index, name, kind], …]``.

    python imagewriter.py FOLDER KEY TOLD SEED HOW        HOW: as_shipped, normal
"""

import asyncio
import json
import os
import random
import sys
from pathlib import Path

from agent.journal import Journal, open_journal
from agent.keys import load_log_key
from agent.records import NewRecord
from agent.siteclock import SiteClock
from agent.store import JournalSettings, Store

ORIGIN = "pool.example/edge/farm-1-edge-1/1"
WORKERS = 3


def record(rng: random.Random, name: str) -> NewRecord:
    data = {"name": name, "text": "x" * rng.choice((10, 300, 3000))}
    if rng.random() < 0.1:
        data |= {"event": "purchase", "id": name}
        return NewRecord(kind="ledger", source="agent", data=data)
    return NewRecord(kind="meter", source="site", data=data)


async def work(journal: Journal, rng: random.Random, worker: str, told: int) -> None:
    number = 0
    while True:
        number += 1
        count = rng.choice((1, 1, 1, 2, 5))
        records = [record(rng, f"{worker}-{number}-{at}") for at in range(count)]
        written = await journal.append(records, urgent=rng.random() < 0.6)
        line = [[at, one.data["name"], one.kind] for at, one in zip(written, records, strict=True)]
        os.write(told, json.dumps(line).encode() + b"\n")
        await asyncio.sleep(rng.random() * 0.004)


async def main(folder: Path, key_file: Path, told_file: Path, seed: int, how: str) -> None:
    rng = random.Random(seed)
    settings = JournalSettings(
        path=folder / "journal.sqlite",
        max_bytes=50_000_000,
        version="0",
        group_commit_s=0.002,
        carry_over_pages=rng.choice((30, 100, 1000)),
    )
    told = os.open(told_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    async with open_journal(settings, load_log_key(key_file, ORIGIN), SiteClock()) as journal:
        if how == "normal":
            await journal._ask(sync_less)
        await asyncio.gather(
            *(
                work(journal, random.Random(rng.random()), f"{seed}-{worker}", told)
                for worker in range(WORKERS)
            )
        )


def sync_less(store: Store) -> None:
    store._connection.execute("PRAGMA synchronous = NORMAL").fetchall()


arguments = sys.argv[1:]
paths = [Path(text) for text in arguments[:3]]
asyncio.run(main(paths[0], paths[1], paths[2], int(arguments[3]), arguments[4]))
