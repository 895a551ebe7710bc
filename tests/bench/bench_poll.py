"""What polling costs: CPU and memory for 1 to 5 000 machines of each family, beside other readers.

A benchmark and no test: it fails at nothing. For every family that has a driver and a simulator,
the simulator runs in one process and each contestant in another:

- kwota: fast reads as the daemon makes them (seat, driver, post);
- raw: the bytes of such a read, recorded and exchanged again with asyncio's streams alone, in turn
  with every contestant, in its process;
- pyasic and pyasic_rs reading the same machines: all that they read, and (pyasic) no more than a
  fast read has;
- daemon: the poller's own loops, each machine every ten seconds, with a snapshot a second.

    python tests/bench/bench_poll.py [--json FILE] [--families luxos,…] [--counts 1,100,…] [--quick]
"""

import argparse
import asyncio
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from poll_contestants import opened
from poll_tape import Recorder, packed

from drivers.miners.registry import FAMILIES
from simulator.dialects import DIALECTS
from simulator.families import model_keys
from simulator.model import machine_models

COUNTS = (1, 100, 1000, 5000)
PLAIN_TCP = frozenset({"luxos", "whatsminer-v3", "whatsminer-v2", "avalon"})
HERE = Path(__file__).parent
ROOT = HERE.parent.parent
START_S, CONTESTANT_S = 60.0, 300.0
WEB_PORT = 80 if os.geteuid() == 0 else 8080
FULL = {
    "polls": 400,
    "raw_polls": 400,
    "raw_machines": 500,
    "strangers_polls": 24,
    "strangers_warm": 200,
    "budget_s": 6.0,
    "period_s": 10.0,
    "settle_s": 150.0,
    "watch_s": 30.0,
}
# Families that ask some things only once in so many seconds.
ASKS_AGAIN_S = {"whatsminer-v2": 60.0, "braiins": 60.0, "antminer": 60.0}
QUICK = FULL | {
    "polls": 8,
    "raw_polls": 8,
    "strangers_polls": 2,
    "strangers_warm": 2,
    "budget_s": 0.1,
    "period_s": 0.2,
    "settle_s": 10.0,
    "watch_s": 1.2,
}
# Where the readers of others try one password, the machines have that one.
PASSWORDS = {"vnish": "admin", "braiins": "root"}
# What pyasic alone asks for, and so has a farm with it of its own: a port more a machine.
PYASIC_ALONE = {"braiins": "has_grpc"}
PYASIC_ALONE_COUNT = 1000
FARM = """
[addresses]
web_port = {web_port}
{table}

[[machines]]
family = "{family}"
model = "{model}"
count = {count}

[[meters]]
id = "site"
port = 0
serial = 1
"""

Figures = dict[str, Any]


def families() -> list[str]:
    """Those that the simulator speaks and a driver reads."""
    return [family for family in FAMILIES if family in DIALECTS]


@contextmanager
def farm(family: str, count: int, *, is_pyasics: bool = False) -> Iterator[list[Figures]]:
    """A simulated farm in a process of its own; gives its machines."""
    model = next(iter(machine_models() if family == "luxos" else model_keys(family)))
    password = PASSWORDS.get(family)
    table = "" if password is None else f'[{family}]\npassword = "{password}"\n'
    if family in PYASIC_ALONE:
        table += f"{PYASIC_ALONE[family]} = {str(is_pyasics).lower()}\n"
    text = FARM.format(family=family, model=model, count=count, web_port=WEB_PORT, table=table)
    with tempfile.TemporaryDirectory() as folder:
        path, ready = Path(folder) / "farm.toml", Path(folder) / "ready.json"
        path.write_text(text, encoding="utf-8")
        command = [sys.executable, "-m", "simulator", "serve", str(path), "--exit-with-parent"]
        command += ["--address-base", "free", "--ready-file", str(ready)]
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            deadline_s = time.monotonic() + START_S
            while not ready.exists():
                if process.poll() is not None or time.monotonic() > deadline_s:
                    raise RuntimeError(f"the simulator of {count} {family} did not start")
                time.sleep(0.05)
            document = json.loads(ready.read_text(encoding="utf-8"))
            second = FAMILIES[family].second
            port = 0 if second is None else WEB_PORT if second[0] == "web" else second[1]
            yield [{**machine, "second_port": port} for machine in document["machines"]]
        finally:
            process.terminate()
            process.wait(20)


async def recorded(machine: Figures) -> list[Figures]:
    """The tape of the third fast read: by then everything that is kept is kept."""
    recorder = Recorder(host=machine["address"])
    ports = [await recorder.relay(0, machine["port"])]
    second = FAMILIES[machine["family"]].second
    if second is not None:
        ports.append(await recorder.relay(1, machine["second_port"]))
    query = f"?{second[0]}={ports[1]}" if second is not None else ""
    device = opened(f"{machine['family']}://127.0.0.1:{ports[0]}{query}", machine)
    try:
        await device.read_details()
        for _ in range(2):
            await device.read()
        recorder.begin()
        await device.read()
        await asyncio.sleep(0.05)  # until the machine's close has come through
        return packed(recorder.tape())
    finally:
        await device.close()
        await recorder.close()


@contextmanager
def tape_server(tape: list[Figures]) -> Iterator[list[int]]:
    """The recorded answers, played by a process of its own; gives its ports."""
    process = subprocess.Popen(
        [sys.executable, str(HERE / "poll_tape.py")],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(json.dumps(tape) + "\n")
        process.stdin.flush()
        yield json.loads(process.stdout.readline())
    finally:
        process.stdin.close()
        process.wait(20)
        process.stdout.close()


def contest(name: str, task: Figures) -> Figures:
    """What one contestant needed; ``absent`` says why there are no figures."""
    try:
        done = subprocess.run(
            [sys.executable, str(HERE / "poll_contestants.py"), name],
            cwd=ROOT,
            input=json.dumps(task),
            capture_output=True,
            text=True,
            timeout=CONTESTANT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {"absent": f"it was not done within {CONTESTANT_S:.0f} s"}
    if done.returncode != 0:
        return {"absent": (done.stderr.strip().splitlines() or ["it ended without a word"])[-1]}
    found: Figures = json.loads(done.stdout.splitlines()[-1])
    return found


def measured(family: str, count: int, settings: Figures, *, watches: bool) -> Figures:
    """All contestants on one farm."""
    with farm(family, count) as machines:
        tape = asyncio.run(recorded(machines[0]))
        with tape_server(tape) as ports:
            task = {**settings, "machines": machines, "tape": tape, "tape_ports": ports}
            task["asks_again_s"] = ASKS_AGAIN_S.get(family, 0.0)
            others = ("pyasic_rs",) if family in PYASIC_ALONE else ("pyasic", "pyasic_rs")
            found = {name: contest(name, task) for name in ("kwota", *others)}
            if watches:
                found["daemon"] = contest("daemon", task)
    if family in PYASIC_ALONE:
        own = farm(family, min(count, PYASIC_ALONE_COUNT), is_pyasics=True)
        with own as machines, tape_server(tape) as ports:
            task |= {"machines": machines, "tape_ports": ports}
            found["pyasic"] = contest("pyasic", task)
    sizes = [
        (len(asked) * 3 // 4, len(said) * 3 // 4) for row in tape for asked, said in row["turns"]
    ]
    exchange = {
        "connections": len(tape),
        "requests": len(sizes),
        "bytes_sent": sum(size for size, _ in sizes),
        "bytes_received": sum(size for _, size in sizes),
    }
    return {"exchange": exchange, **found}


def faster(figures: Figures, other: str, kind: str) -> float | None:
    """How many times as many polls per CPU second; both are measured against raw exchanges."""
    theirs = figures[other].get(kind)
    if theirs is None or "times_raw" not in figures["kwota"]:
        return None
    own = figures["kwota"]
    ratio: float = theirs["times_raw"] / own.get("mean_times_raw", own["times_raw"])
    return round(ratio, 1)


def judged(family: str, by_count: dict[str, Figures]) -> Figures:
    """The three bars, at the largest farm of this run."""
    figures = by_count[max(by_count, key=int)]
    watched = figures.get("daemon", {})
    times = figures["kwota"].get("times_raw")
    over = faster(figures, "pyasic", "fast")
    share, resident = watched.get("core_share"), watched.get("rss_most_mb")
    return {
        "is_plain_tcp": family in PLAIN_TCP,
        "times_raw": times,
        "times_raw_at_most": 1.5,
        "over_pyasic_fast": over,
        "over_pyasic_whole": faster(figures, "pyasic", "whole"),
        "over_pyasic_rs_whole": faster(figures, "pyasic_rs", "whole"),
        "over_pyasic_at_least": 10.0,
        "core_share": share,
        "core_share_below": 0.6,
        "rss_mb": resident,
        "rss_mb_below": 250.0,
    }


def computer() -> Figures:
    """What this ran on."""
    names = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        if line.startswith(("model name", "Model"))
    ]
    return {
        "processor": names[0] if names else platform.machine(),
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "load": [round(one, 2) for one in os.getloadavg()],
    }


def rows_of(family: str, count: str, figures: Figures) -> Iterator[str]:
    kinds = [("kwota", figures["kwota"])]
    for name in ("pyasic", "pyasic_rs"):
        kinds += [(f"{name} {kind}", figures[name].get(kind)) for kind in ("fast", "whole")]
    for name, one in kinds:
        if one is not None and "times_raw" in one:
            yield (
                f"{family:<15}{count:>5}  {name:<16}{one['cpu_us_per_poll']:>10.0f}"
                f"{one['raw_us_per_poll']:>8.0f}{one['times_raw']:>8.2f}"
                f"{one['polls_per_cpu_s']:>10.0f}{one['rss_mb']:>8.0f}"
            )
    if "asking_times_raw" in figures["kwota"]:
        own = figures["kwota"]
        yield (
            f"{family:<15}{count:>5}  kwota           {own['asking_times_raw']:.2f} x raw where it"
            f" asks everything, {own['mean_times_raw']:.2f} x on average"
        )
    for name in ("kwota", "pyasic", "pyasic_rs", "daemon"):
        if "absent" in figures.get(name, {}):
            yield f"{family:<15}{count:>5}  {name:<16}{figures[name]['absent']}"
    watched = figures.get("daemon", {})
    if "core_share" in watched:
        yield (
            f"{family:<15}{count:>5}  daemon          every {watched['period_s']:g} s:"
            f" {100 * watched['core_share']:.1f} % of a core, {watched['rss_most_mb']:.0f} MB,"
            f" {watched['polls_per_s']:.0f} polls/s, {watched['faults']} faults;"
            f" readings at the end {watched['median_reading_s']:.1f} s old in the middle,"
            f" {watched['p90_reading_s']:.1f} s nine of ten,"
            f" {watched['oldest_reading_s']:.1f} s the oldest;"
            f" settled after {watched['settled_s']:.0f} s"
        )


def chosen() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", type=Path, help="write the figures to this file as well")
    parser.add_argument("--families", default="all", help="only these, with commas between")
    parser.add_argument("--counts", default=",".join(map(str, COUNTS)))
    parser.add_argument("--quick", action="store_true", help="a glance: figures mean nothing")
    return parser.parse_args()


def main() -> None:
    asked = chosen()
    settings = QUICK if asked.quick else FULL
    names = families() if asked.families == "all" else asked.families.split(",")
    counts = sorted(int(count) for count in asked.counts.split(","))
    document: Figures = {
        "taken_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "computer": computer(),
        "families": {},
        "bars": {},
    }
    sys.stdout.write(
        f"{'family':<15}{'count':>5}  {'reader':<16}{'us/poll':>10}{'raw us':>8}{'x raw':>8}"
        f"{'per CPU s':>10}{'MB':>8}\n"
    )
    for family in names:
        by_count = document["families"][family] = {}
        for count in counts:
            figures = measured(family, count, settings, watches=count == counts[-1])
            by_count[str(count)] = figures
            for row in rows_of(family, str(count), figures):
                sys.stdout.write(row + "\n")
            sys.stdout.flush()
        document["bars"][family] = judged(family, by_count)
    document["computer"]["load_at_end"] = [round(one, 2) for one in os.getloadavg()]
    if asked.json is not None:
        asked.json.parent.mkdir(parents=True, exist_ok=True)
        asked.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
