"""Works on a journal while the disk fails at one call after the other, and prints what happened.

    python failing.py FOLDER PART ERRNO TIMES

PART is commit, carry_over, creation, start, stop, or killed: a commit, and no orderly end after it.
Run under the preloaded ``disk.c``. One line of JSON for every write, sync, truncation, creation and
removal of a part: this one fails TIMES times with ERRNO, everything before it goes through.
"""

import asyncio
import ctypes
import functools
import json
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from agent.journal import Journal, open_journal
from agent.keys import LogKey, load_log_key
from agent.records import JournalError, JournalFullError, NewRecord, parse_record
from agent.siteclock import SiteClock
from agent.store import JournalSettings

ORIGIN = "pool.example/edge/farm-1-edge-1/1"
DISK = ctypes.CDLL(None)
DISK.disk_hit.restype = ctypes.c_char_p


class Farm:
    """One journal in a folder, and everything that it said was durable."""

    def __init__(self, folder: Path, part: str) -> None:
        self.key: LogKey = load_log_key(folder / "log.key", ORIGIN)
        self.part = part
        self.settings = JournalSettings(
            path=folder / "journal.sqlite",
            max_bytes=50_000_000,
            version="0",
            carry_over_pages=1 if part == "carry_over" else 1000,
        )
        self.told: dict[int, str] = {}
        self.count = 0

    def journal(self):
        return open_journal(self.settings, self.key, SiteClock())

    async def append(self, journal: Journal) -> str:
        """Three records; answers with what became of them."""
        names = [f"{self.count}-{at}" for at in range(3)]
        self.count += 1
        records = [
            NewRecord(kind="meter", source="site", data={"name": name, "text": "x" * 300})
            for name in names
        ]
        try:
            written = await journal.append(records)
        except JournalFullError as error:
            return f"full: {error}"
        except JournalError as error:
            return f"ended: {error}"
        self.told |= zip(written, names, strict=True)
        told = [[at, name, "meter"] for at, name in zip(written, names, strict=True)]
        DISK.disk_say(json.dumps(told).encode())
        return "written"

    async def lost(self, journal: Journal) -> int:
        held = {}
        async for line in journal.records_of(["meter"]):
            record = parse_record(line)
            held[record.index] = record.data["name"]
        return sum(held.get(at) != name for at, name in self.told.items())


async def has_ended(journal: Journal) -> bool:
    with suppress(TimeoutError):
        async with asyncio.timeout(0.01):
            try:
                await journal.run()
            except JournalError:
                return True
    return False


async def attempt(farm: Farm, fail: Callable[[], None]) -> dict[str, object]:
    """Let the disk fail once in the part, then let the disk work again and start once more."""
    found: dict[str, object] = {"first": "written", "second": "written"}
    if farm.part in ("creation", "start"):
        fail()
    try:
        async with farm.journal() as journal:
            if farm.part in ("creation", "start"):
                found["hit"] = healed()
                found["second"] = await farm.append(journal)
            else:
                await work(farm, journal, found, fail)
    except JournalError as failure:
        found["first"] = f"not opened: {failure}"
    found.setdefault("hit", healed())
    async with farm.journal() as journal:
        found["lost"] = await farm.lost(journal)
        found["again"] = await farm.append(journal)
    return found


async def work(
    farm: Farm, journal: Journal, found: dict[str, object], fail: Callable[[], None]
) -> None:
    await farm.append(journal)
    await journal.tail(1)  # the journal's thread has nothing to do any more
    fail()
    if farm.part == "stop":
        return
    found["first"] = await farm.append(journal)
    with suppress(JournalError):
        await journal.tail(1)
    found["hit"] = healed()
    found["second"] = await farm.append(journal)
    found["has_ended"] = await has_ended(journal)
    if farm.part == "killed":
        say(found)
        os.kill(os.getpid(), signal.SIGKILL)


def healed() -> str:
    """Let the disk work again; answers which calls did not."""
    hit = DISK.disk_hit().decode()
    DISK.disk_fail(0, 0, 0, 0)
    return hit


async def main(folder: Path, part: str, error: int, times: int) -> None:
    farm = Farm(folder, part)
    for letter in "S" if part == "killed" else "WSDCTU":
        for at in range(100):
            if part == "creation":
                for name in ("journal.sqlite", "journal.sqlite-wal"):
                    (folder / name).unlink(missing_ok=True)
                farm.told.clear()
            fail = functools.partial(DISK.disk_fail, ord(letter), at, times, error)
            found = await attempt(farm, fail)
            if not found["hit"]:
                break
            say(found)


def say(found: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(found) + "\n")
    sys.stdout.flush()


asyncio.run(main(Path(sys.argv[1]), sys.argv[2], *map(int, sys.argv[3:])))
