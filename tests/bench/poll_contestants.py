"""One contestant of the polling benchmark, in a process of its own: reads, and says what it took.

Every block of a contestant's polls is followed by a block of raw exchanges of the recorded bytes:
what else runs on the computer weighs on both alike, so their ratio means something where the
seconds do not. The task comes as JSON on the standard input, the figures go out the same way.
"""

import asyncio
import importlib
import json
import resource
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from poll_tape import RawExchange, unpacked

from agent.lanes import Lanes, Sizes
from agent.poller import Poller
from agent.posts import Limits, MinerPost
from agent.process import prepare
from agent.siteclock import SiteClock
from drivers.miners.registry import FAMILIES, open_miner

CONCURRENT, STRANGERS_CONCURRENT = 32, 8

Poll = Callable[[], Awaitable[Any]]
Task = dict[str, Any]


def resident_mb() -> float:
    """What this process holds now."""
    for line in Path("/proc/self/status").read_text("ascii").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024.0
    raise LookupError("the kernel does not say how much memory this process holds")


def most_mb() -> float:
    """The most that this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0


async def block(polls: Sequence[Poll], begin: int, count: int, concurrent: int) -> float:
    """CPU seconds of so many polls, taken in turn."""
    numbers = iter(range(begin, begin + count))

    async def worker() -> None:
        for number in numbers:
            await polls[number % len(polls)]()

    started_s = time.process_time()
    await asyncio.gather(*[worker() for _ in range(min(concurrent, len(polls)))])
    return time.process_time() - started_s


def raw_of(task: Task) -> list[Poll]:
    """The recorded bytes, exchanged again."""
    tape = unpacked(task["tape"])
    return [
        RawExchange(tape, task["tape_ports"], machine).read
        for machine in task["machines"][: task["raw_machines"]]
    ]


async def compared(polls: Sequence[Poll], task: Task, *, concurrent: int, size: int) -> Task:
    """CPU of a poll, of a raw exchange beside it, and of one in the other."""
    raw, beside = raw_of(task), min(concurrent, len(polls))
    await block(raw, 0, 4 * beside, beside)
    await block(polls, 0, min(size, len(polls)), concurrent)
    rows, began_s, done = [], time.monotonic(), 0
    while len(rows) < 3 or time.monotonic() - began_s < task["budget_s"]:
        own_s = await block(polls, done, size, concurrent) / size
        raw_s = await block(raw, 0, task["raw_polls"], beside) / task["raw_polls"]
        done += size
        rows.append((own_s, raw_s, own_s / raw_s))
    own_s, raw_s, ratio = [statistics.median(column) for column in zip(*rows, strict=True)]
    return {
        "polls": done,
        "cpu_us_per_poll": round(own_s * 1e6, 1),
        "raw_us_per_poll": round(raw_s * 1e6, 1),
        "times_raw": round(ratio, 3),
        "polls_per_cpu_s": round(1.0 / own_s, 1),
        "raw_polls_per_cpu_s": round(1.0 / raw_s, 1),
        "machines": len(polls),
        "rss_mb": round(resident_mb(), 1),
    }


def opened(uri: str, machine: Task) -> Any:
    """The driver of a simulated machine."""
    takes = FAMILIES[machine["family"]].takes_password and machine["password"] is not None
    with tempfile.NamedTemporaryFile("w", encoding="utf-8") as secret:
        secret.write(f"{machine['password']}\n")
        secret.flush()
        return open_miner(
            uri,
            miner_id=f"m{machine['index']}",
            mac=machine["mac"],
            password_file=Path(secret.name) if takes else None,
        )


def posts_of(task: Task) -> list[MinerPost]:
    """Posts as the daemon makes them of its configuration."""
    posts = []
    for machine in task["machines"]:
        family = FAMILIES[machine["family"]]
        query = f"?{family.second[0]}={machine['second_port']}" if family.second else ""
        uri = f"{machine['family']}://{machine['address']}:{machine['port']}{query}"
        device = opened(uri, machine)
        limits = Limits(fast_s=family.fast_read_s, full_s=family.full_read_s)
        posts.append(
            MinerPost(
                miner_id=f"m{machine['index']}",
                address=uri,
                family=machine["family"],
                device=device,
                limits=limits,
            )
        )
    return posts


def poller_of(task: Task) -> Poller:
    posts = posts_of(task)
    period_s = task["period_s"]
    lanes = Lanes(Sizes.of_fleet(len(posts) / period_s))
    return Poller(clock=SiteClock(), meters=(), miners=posts, miner_period_s=period_s, lanes=lanes)


async def closed(poller: Poller) -> None:
    await asyncio.gather(*[post.device.close() for post in poller.miners])


async def asking(polls: Sequence[Poll], task: Task) -> float:
    """CPU of a read in which nothing stands any more, over that of a raw exchange of the tape."""
    raw, size = raw_of(task), min(task["polls"], len(polls))
    await block(raw, 0, task["raw_polls"], size)
    await asyncio.sleep(task["asks_again_s"])
    rows = []
    for begin in range(0, len(polls) - size + 1, size):
        own_s = await block(polls, begin, size, CONCURRENT) / size
        rows.append(own_s * task["raw_polls"] / await block(raw, 0, task["raw_polls"], CONCURRENT))
    return statistics.median(rows)


async def kwota(task: Task) -> Task:
    """Fast reads as the daemon makes them: seat, driver, post. Where a family asks some things only
    now and then, ``mean_times_raw`` is over reads ten seconds apart of which so many ask."""
    prepare()
    empty_mb = resident_mb()
    poller = poller_of(task)

    async def poll(post: MinerPost, *, is_full: bool) -> None:
        error = await poller.poll_once(post, is_full=is_full)
        if error is not None:
            raise error

    first = [lambda post=post: poll(post, is_full=True) for post in poller.miners]
    started_s = time.process_time()
    await block(first, 0, len(first), CONCURRENT)
    full_s = (time.process_time() - started_s) / len(first)
    polls = [lambda post=post: poll(post, is_full=False) for post in poller.miners]
    await block(polls, 0, len(polls), CONCURRENT)
    found = await compared(polls, task, concurrent=CONCURRENT, size=task["polls"])
    if task["asks_again_s"]:
        reads = task["asks_again_s"] / task["period_s"]
        times, asking_times = found["times_raw"], await asking(polls, task)
        found["asking_times_raw"] = round(asking_times, 3)
        found["mean_times_raw"] = round(times + (asking_times - times) / reads, 3)
    await closed(poller)
    return {**found, "full_us_per_poll": round(full_s * 1e6, 1), "rss_empty_mb": round(empty_mb, 1)}


async def settled(poller: Poller, task: Task) -> float:
    """Wait for everybody's first reads, no longer than the task says, and for three periods more,
    until what they made late is made up for; how long it took."""
    began_s = time.monotonic()
    while any(post.reading is None or post.details is None for post in poller.miners):
        await asyncio.sleep(min(task["period_s"], 1.0))
        if time.monotonic() - began_s > task["settle_s"]:
            break
    await asyncio.sleep(3.0 * task["period_s"])
    return time.monotonic() - began_s


async def daemon(task: Task) -> Task:
    """The poller's own loops at their period, and a snapshot a second as the governor takes it.

    Watched once all have had their first reads, the full ones too; where a family asks some things
    only now and then, for long enough that each machine is asked for them.
    """
    prepare()
    empty_mb = resident_mb()
    poller = poller_of(task)
    count = len(poller.miners)
    loops = [
        asyncio.ensure_future(poller.poll_miner(post, place=place))
        for place, post in enumerate(poller.miners)
    ]
    settled_s = await settled(poller, task)
    before_s, began_s = time.process_time(), time.monotonic()
    seen, polls, oldest_s = dict.fromkeys(range(count)), 0, 0.0
    watch_s = max(task["watch_s"], task["asks_again_s"])
    while time.monotonic() - began_s < watch_s:
        snapshot = poller.snapshot()
        for place, view in enumerate(snapshot.miners):
            if view.reading is not None and view.reading is not seen[place]:
                seen[place], polls = view.reading, polls + 1
                oldest_s = max(oldest_s, view.reading.replied_at_s - view.reading.requested_at_s)
        await asyncio.sleep(1.0)
    spent_s, lasted_s = time.process_time() - before_s, time.monotonic() - began_s
    ages_s = [
        poller.clock.now_s() - (0.0 if post.reading is None else post.reading.replied_at_s)
        for post in poller.miners
    ]
    for loop in loops:
        loop.cancel()
    await asyncio.gather(*loops, return_exceptions=True)
    await closed(poller)
    return {
        "machines": count,
        "period_s": task["period_s"],
        "core_share": round(spent_s / lasted_s, 4),
        "polls_per_s": round((polls - count) / lasted_s, 1),
        "settled_s": round(settled_s, 1),
        "median_reading_s": round(statistics.median(ages_s), 1),
        "p90_reading_s": round(sorted(ages_s)[int(0.9 * count)], 1),
        "oldest_reading_s": round(max(ages_s), 1),
        "slowest_exchange_s": round(oldest_s, 3),
        "faults": sum(post.fault is not None for post in poller.miners),
        "rss_mb": round(resident_mb(), 1),
        "rss_most_mb": round(most_mb(), 1),
        "rss_empty_mb": round(empty_mb, 1),
    }


async def pyasic(task: Task) -> Task:
    """pyasic, both with all it reads and with what a fast read of kwota has."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        library = importlib.import_module("pyasic")
    empty_mb = resident_mb()
    addresses = [machine["address"] for machine in task["machines"]]
    first = await library.get_miner(addresses[0])
    if first is None:
        return {"absent": "it does not identify the machine"}
    miners = [first] + [type(first)(address) for address in addresses[1:]]
    options = library.DataOptions
    wanted = [options.HASHRATE, options.WATTAGE, options.HASHBOARDS, options.MAC]
    wanted.append(options.IS_MINING)
    fast = [lambda miner=miner: miner.get_data(include=list(wanted)) for miner in miners]
    whole = [lambda miner=miner: miner.get_data() for miner in miners]
    size = task["strangers_polls"]
    for polls in (fast, whole):
        # Every object is used once, so that the memory is that of machines that are read.
        await block(polls, 0, min(len(polls), task["strangers_warm"]), STRANGERS_CONCURRENT)
    return {
        "fast": await compared(fast, task, concurrent=STRANGERS_CONCURRENT, size=size),
        "whole": await compared(whole, task, concurrent=STRANGERS_CONCURRENT, size=size),
        "rss_empty_mb": round(empty_mb, 1),
    }


async def pyasic_rs(task: Task) -> Task:
    """pyasic_rs with all it reads; it has no way to ask for several things but not all."""
    library = importlib.import_module("pyasic_rs")
    empty_mb = resident_mb()
    factory = library.MinerFactory()
    addresses = [machine["address"] for machine in task["machines"]][: task["strangers_warm"]]
    found: list[Any] = []

    async def identify(address: str) -> None:
        found.append(await factory.get_miner(address))

    await block([lambda a=a: identify(a) for a in addresses], 0, len(addresses), 16)
    miners = [miner for miner in found if miner is not None]
    if not miners:
        return {"absent": "it does not identify the machine"}
    polls = [lambda miner=miner: miner.get_data() for miner in miners]
    size = task["strangers_polls"]
    whole = await compared(polls, task, concurrent=STRANGERS_CONCURRENT, size=size)
    return {"whole": whole, "rss_empty_mb": round(empty_mb, 1)}


CONTESTANTS = {"kwota": kwota, "daemon": daemon, "pyasic": pyasic, "pyasic_rs": pyasic_rs}


def main() -> None:
    task = json.loads(sys.stdin.read())
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    warnings.simplefilter("ignore")
    figures = asyncio.run(CONTESTANTS[sys.argv[1]](task))
    sys.stdout.write(json.dumps(figures) + "\n")


if __name__ == "__main__":
    main()
