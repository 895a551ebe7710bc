"""kill -9 proves that a stop at any instruction loses nothing that was acknowledged.

What a power cut does to unsynced pages cannot be shown by killing a process: the kernel keeps them.
"""

import asyncio
import random
import sys
from pathlib import Path

from agent.journal import open_journal
from agent.keys import create_log_key
from agent.records import parse_record
from agent.siteclock import SiteClock
from agent.store import JournalSettings
from agent.verify import Keys, verify

ORIGIN = "pool.example/edge/farm-1-edge-1/1"
WRITER = """
import asyncio, sys
from pathlib import Path
from agent.journal import open_journal
from agent.keys import load_log_key
from agent.records import NewRecord
from agent.siteclock import SiteClock
from agent.store import JournalSettings

async def main(directory):
    key = load_log_key(directory / "log.key", sys.argv[2])
    options = JournalSettings(path=directory / "j.sqlite", max_bytes=50_000_000, version="0")
    async with open_journal(options, key, SiteClock()) as journal:
        async def write(worker):
            for number in range(1_000_000):
                data = {"worker": worker, "number": number, "text": "x" * (number % 2000)}
                record = NewRecord(kind="meter", source="site", data=data)
                written = await journal.append([record], urgent=bool(number % 3))
                print(written.start, worker, number, flush=True)
        await asyncio.gather(*(write(worker) for worker in range(4)))

asyncio.run(main(Path(sys.argv[1])))
"""


async def killed_writer(directory: Path, after_s: float) -> list[tuple[int, int, int]]:
    """What a writer acknowledged before it was killed."""
    writer = await asyncio.create_subprocess_exec(
        sys.executable, "-c", WRITER, str(directory), ORIGIN, stdout=asyncio.subprocess.PIPE
    )
    assert writer.stdout is not None
    acknowledged = [await writer.stdout.readline()]
    asyncio.get_running_loop().call_later(after_s, writer.kill)
    while line := await writer.stdout.readline():
        acknowledged.append(line)
    assert await writer.wait() == -9
    complete = [line.split() for line in acknowledged if line.endswith(b"\n")]
    return [(int(index), int(worker), int(number)) for index, worker, number in complete]


async def test_nothing_acknowledged_is_lost_when_the_writer_is_killed(tmp_path: Path) -> None:
    key = create_log_key(tmp_path / "log.key", ORIGIN)
    rng = random.Random(7)
    acknowledged: list[tuple[int, int, int]] = []
    cycles = 4
    for _ in range(cycles):
        acknowledged += await killed_writer(tmp_path, rng.uniform(0.02, 0.3))
    assert len(acknowledged) > 50
    options = JournalSettings(path=tmp_path / "j.sqlite", max_bytes=50_000_000, version="0")
    async with open_journal(options, key, SiteClock()) as journal:
        records = [parse_record(line) async for line in journal.records_of(["meter"])]
        (boot,) = await journal.tail(1, "boot")
        assert parse_record(boot).data["previous_stop"] == "unclean"
        assert journal.boot == cycles + 1
    stored = {(r.index, r.data["worker"], r.data["number"]) for r in records}
    assert set(acknowledged) <= stored
    report = verify(tmp_path / "j.sqlite", Keys(device=key.verifier))
    assert report.is_sound, report.defects
    assert f"{cycles} starts after an unclean stop." in report.remarks
