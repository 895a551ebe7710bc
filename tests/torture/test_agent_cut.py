"""Power cuts of the whole agent at work: the image of its disk is copied at any instant.

A real ``kwota run`` governs a small simulated farm, delivers to a real broker with the reference
pool behind it, and is sold purchases without a pause; journal, second copy, tally and ballast lie
on the disk of ``diskimage``. Before each cut it is written down what the agent has let anybody
outside believe: the records that the pool has receipted, the purchases that the socket has
confirmed, and the number of records that the status has called durable. On the copy a second
agent, which only watches, has to find all of it and go on, and ``kwota verify`` has to find it
sound. After some cuts the agent dies with the disk still held, and the next life begins on that
copy, with the pool that knows what was sent before. Copies are looked at beside the next life.
"""

import itertools
import json
import os
import random
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from diskimage import ImageDisk, checked, copy_of, image_disk, mounted
from ports import free_port

from agent.control_client import NoDaemonError, RefusedError, ask, send_purchases
from agent.core.note import parse_vkey
from agent.demo.child import Broker, Child, ChildError, start_broker
from agent.demo.site import Window, purchases_json, write_config, write_key
from agent.keys import load_vkey
from agent.records import is_of_kind
from agent.verify import Keys, verify

HERE = Path(__file__).parent
REPO = HERE.parents[1]
INNER_BYTES = 64_000_000
MACHINES = 4
DOOR, COPY_DOOR = "kwota.sock", "copy.sock"
UP_S = 120.0
LIFE_CUTS = 4
SMALL_CUTS, TORTURE_PARTS, TORTURE_CUTS = 2, 10, 10
LOST_WITHIN = 4
CUT_WITHIN_S, BOUGHT_WITHIN_S = 1.2, 0.3
HOUR_MS = 3_600_000
PART_LIMIT_S = 1800
"""Of ten cuts and the lives between them: a minute or less on an idle machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What others had been told by the time of a cut: ``held`` is what the pool has receipted."""

    held: tuple[bytes, ...]
    purchases: tuple[str, ...]
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What was on a copy: how much of what was told is missing, and what an auditor says."""

    told: Told
    lost: int
    defects: tuple[str, ...]


@contextmanager
def program(directory: Path, name: str, *words: object) -> Iterator[Child]:
    """One process, which says what it has to say in ``<name>.log``; killed at the end."""
    log = directory / f"{name}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [str(word) for word in words],
            cwd=directory,
            env=os.environ | {"PYTHONPATH": str(REPO)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        yield Child(name=name, process=process, log=log)
    finally:
        process.kill()
        process.wait()


def stopped(child: Child) -> None:
    """Asked to end, it ends in order."""
    child.process.send_signal(signal.SIGTERM)
    assert child.process.wait(UP_S) == 0, child.log.read_text(errors="replace")


@dataclass(slots=True, kw_only=True)
class Site:
    """Farm, pool and broker, and the disk of the one agent that they belong to."""

    directory: Path
    disk: ImageDisk
    ready: dict[str, Any] = field(default_factory=dict)
    lives: int = 0
    confirmed: list[str] = field(default_factory=list)
    size: int = 0
    """How many records the status has called durable, at most."""
    is_over: threading.Event = field(default_factory=threading.Event)
    """Whether the agent of now may die: who buys from it is not to wonder."""
    _receipted: int = 0

    def start(self, stack: ExitStack) -> None:
        broker = stack.enter_context(start_broker(self.directory))
        pool, ready_file = self.directory / "pool", self.directory / "farm.json"
        write_key(self.directory)
        farm = stack.enter_context(
            program(
                self.directory,
                "farm",
                *(sys.executable, "-m", "simulator", "serve"),
                *(REPO / "simulator" / "farms" / "demo.toml", "--miners", MACHINES),
                *("--meter-port", 0, "--address-base", "free", "--exit-with-parent"),
                *("--ready-file", ready_file, "--broker", broker.url, "--pool-dir", pool),
                *("--pool-registry", pool / "registry.json"),
            )
        )
        farm.wait_for(ready_file.exists, UP_S, "the farm is not up")
        self.ready = json.loads(ready_file.read_text())
        self._configure(broker)
        self.disk.format()

    def _configure(self, broker: Broker) -> None:
        """One configuration for the agent, and one for who looks at copies and sends nothing."""
        full_power_w = float(self.truth("/v1/truth")["power_w"])
        now_ms = time.time_ns() // 1_000_000
        hour = Window(
            transaction_id="hour", start_ms=now_ms, end_ms=now_ms + HOUR_MS, energy_wh=1_000_000
        )
        (self.directory / "purchases.json").write_bytes(purchases_json([hour]))
        write_config(
            self.directory,
            ready=self.ready,
            broker=broker.url,
            mqtt_version=broker.mqtt_version,
            policy=REPO / "config" / "policy.kz.toml",
            page_port=free_port(),
            full_power_w=full_power_w,
        )
        text = (self.directory / "site.toml").read_text()
        text = text.replace(f"{self.directory}/journal.sqlite", str(self.journal("inner")))
        (self.directory / "site.toml").write_text(text)
        text = text.replace(str(self.journal("inner")), str(self.journal("copy")))
        text = text.replace('socket = "kwota.sock"', 'socket = "copy.sock"')
        text = re.sub(r"\[mqtt\]\n(?:[^\[].*\n)+", "", text)
        text = re.sub(r'listen = "127.0.0.1:\d+"', f'listen = "127.0.0.1:{free_port()}"', text)
        (self.directory / "copy.toml").write_text(text)

    def journal(self, where: str) -> Path:
        return self.directory / where / "journal.sqlite"

    def truth(self, path: str) -> Any:
        with urllib.request.urlopen(f"{self.ready['control_url']}{path}", timeout=10) as reply:
            return json.loads(reply.read())

    def size_by(self, door: str) -> int:
        """How many records are durable, as an agent says itself; 0: it does not answer."""
        try:
            answer = json.loads(ask(self.directory / door, "/api/v1/status"))
        except (NoDaemonError, RefusedError):
            return 0
        return int(answer["delivery"]["journal_size"])

    @property
    def receipted(self) -> int:
        """For how many records the pool has signed a receipt; it writes it before it sends it."""
        for file in (self.directory / "pool").glob("*.receipt"):
            lines = file.read_text().split("\n")
            if len(lines) > 2:  # else it is being written
                self._receipted = max(self._receipted, int(lines[1]))
        return self._receipted

    def told(self) -> Told:
        """What others believe by now."""
        size, receipted = self.size, self.receipted
        (records,) = (self.directory / "pool").glob("*.ndjson")
        return Told(
            held=tuple(records.read_bytes().split(b"\n")[:receipted]),
            purchases=tuple(self.confirmed),
            size=size,
        )

    @contextmanager
    def agent(self, how: str) -> Iterator[Child]:
        """One life of the agent, which is being sold purchases as long as it lives."""
        self.lives += 1
        self.is_over = threading.Event()
        before, first = self.receipted, len(self.confirmed)
        words = ["-m", "agent"] if how == "as_shipped" else [HERE / "carelessagent.py"]
        words = [sys.executable, *words, "run", "--config", "site.toml"]
        with program(self.directory, "agent", *words) as child:
            child.wait_for(lambda: self.size_by(DOOR) > 0, UP_S, "the agent is not up")
            customer = threading.Thread(target=self._buy, args=(self.is_over,))
            customer.start()
            try:
                child.wait_for(lambda: len(self.confirmed) > first, UP_S, "nothing is sold")
                child.wait_for(lambda: self.receipted > before, UP_S, "nothing is receipted")
                yield child
            finally:
                self.is_over.set()
                child.process.kill()
                customer.join()

    def _buy(self, is_over: threading.Event) -> None:
        """Purchases for hours to come, one after the other; each counts once it is confirmed."""
        rng = random.Random(self.lives)
        for number in itertools.count():
            start_ms = time.time_ns() // 1_000_000 + 2 * HOUR_MS
            window = Window(
                transaction_id=f"bought-{self.lives}-{number}",
                start_ms=start_ms,
                end_ms=start_ms + HOUR_MS,
                energy_wh=1000 + number,
            )
            content = purchases_json([window])
            try:
                (row,) = send_purchases(self.directory / DOOR, content, "application/json")
            except (NoDaemonError, RefusedError):
                if is_over.is_set():
                    return
                raise
            assert row["result"] == "accepted", row
            self.confirmed.append(window.transaction_id)
            self.size = max(self.size, self.size_by(DOOR))
            if is_over.wait(rng.random() * BOUGHT_WITHIN_S):
                return

    def look(self, copy: Path, told: Told) -> Found:
        """Start on a copy as a machine does, and see what is there and whether it goes on."""
        checked(copy)
        with mounted(copy, self.directory / "copy"):
            words = [sys.executable, "-m", "agent", "run", "--config", "copy.toml", "--shadow"]
            try:
                with program(self.directory, "watcher", *words) as child:
                    child.wait_for(lambda: self.size_by(COPY_DOOR) > 0, UP_S, "it does not start")
                    first = self.size_by(COPY_DOOR)
                    child.wait_for(
                        lambda: self.size_by(COPY_DOOR) > first, UP_S, "it does not go on"
                    )
                    stopped(child)
            except ChildError as error:
                found = Found(told=told, lost=told.size, defects=(str(error),))
            else:
                found = self._compare(self.journal("copy"), told)
        copy.unlink()
        return found

    def _compare(self, journal: Path, told: Told) -> Found:
        """The journal of the agent that went on, with what others believe of the one before."""
        with closing(sqlite3.connect(f"{journal.as_uri()}?mode=ro", uri=True)) as opened:
            rows = opened.execute("SELECT body FROM records ORDER BY i").fetchall()
            bought = {name for (name,) in opened.execute("SELECT id FROM purchases")}
        records = [body for (body,) in rows]
        if "epoch" in json.loads(records[0])["d"]:
            words = json.loads(records[0])["d"]["epoch"]["words"]
            return Found(told=told, lost=told.size, defects=(words,))
        kept = max(at for at, body in enumerate(records) if is_of_kind(body, "boot"))
        lost = sum(one != own for one, own in zip(told.held, records, strict=False))
        lost += max(0, max(len(told.held), told.size) - kept)
        lost += len(set(told.purchases) - bought)
        return Found(told=told, lost=lost, defects=self.defects(journal))

    def defects(self, journal: Path) -> tuple[str, ...]:
        device = parse_vkey((self.directory / "log.vkey").read_text())
        pool = load_vkey(self.directory / "pool" / "pool.vkey")
        report = verify(journal, Keys(device=device, pool=pool))
        return tuple(defect.words for defect in report.defects)

    def cuts(self, how: str, seed: int) -> Iterator[tuple[Path, Told]]:
        """Copies of the disk at any instants, with what others had been told before."""
        rng = random.Random(seed)
        for life in itertools.count():
            last = self.directory / "last.img"
            with self.disk.mounted(), self.agent(how) as child:
                for cut in range(LIFE_CUTS):
                    time.sleep(rng.random() * CUT_WITHIN_S)
                    child.check()
                    told, copy = self.told(), self.directory / f"cut-{life}-{cut}.img"
                    if cut < LIFE_CUTS - 1:
                        self.disk.cut(copy)
                    else:
                        self.disk.cut(copy, lambda: self._die(child))
                        copy_of(copy, last)
                    yield copy, told
            copy_of(last, self.disk.image)

    def _die(self, child: Child) -> None:
        """With the disk still held: what died with the power tells nobody anything after it."""
        self.is_over.set()
        child.process.kill()

    def go_on_to_the_end(self) -> None:
        """The last life: all arrives at the pool, which was never shown a second past."""
        with self.disk.mounted():
            with self.agent("as_shipped") as child:
                wanted = self.size
                child.wait_for(lambda: self.receipted >= wanted, UP_S, "the pool lacks records")
                self.is_over.set()
                stopped(child)
            assert self.defects(self.journal("inner")) == ()
        pool = self.truth("/v1/pool")
        assert (pool["equivocations"], pool["rejects"]) == (0, {}), pool["last_rejects"]


@pytest.fixture
def site() -> Iterator[Site]:
    """A short path, since a unix socket's name has to be short."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(TemporaryDirectory(prefix="kwota-cut-")))
        disk = stack.enter_context(image_disk(directory, INNER_BYTES))
        made = Site(directory=directory, disk=disk)
        made.start(stack)
        yield made


@pytest.fixture
def say(capsys) -> Callable[[str], None]:
    """A line for who waits: a hundred cuts take minutes."""

    def written(words: str) -> None:
        with capsys.disabled():
            sys.stderr.write(f"\n{words}")

    return written


def looked_at(
    site: Site, how: str, seed: int, count: int, say: Callable[[str], None] = str
) -> list[Found]:
    """So many cuts, each looked at beside those that follow."""
    going = []
    with ThreadPoolExecutor(1) as inspector, closing(site.cuts(how, seed)) as cuts:
        for copy, told in itertools.islice(cuts, count):
            going.append(inspector.submit(site.look, copy, told))
            say(f"cut {len(going)} of {count}, seed {seed}: {told.size} records told durable")
    return [one.result() for one in going]


def assert_nothing_lost(found: list[Found]) -> None:
    assert [one.defects for one in found if one.defects] == []
    assert [one.lost for one in found if one.lost] == []
    assert all(one.told.held and one.told.purchases and one.told.size for one in found)


@pytest.mark.system
@pytest.mark.timeout(400)
def test_a_power_cut_of_the_whole_agent_loses_nothing_that_anybody_was_told(site) -> None:
    assert_nothing_lost(looked_at(site, "as_shipped", 1, SMALL_CUTS))
    site.go_on_to_the_end()


@pytest.mark.torture
@pytest.mark.timeout(PART_LIMIT_S)
def test_the_copies_show_the_loss_where_the_agent_syncs_less(site) -> None:
    assert any(one.lost for one in looked_at(site, "careless", 2, LOST_WITHIN))


@pytest.mark.torture
@pytest.mark.timeout(PART_LIMIT_S)
@pytest.mark.parametrize("seed", range(200, 200 + TORTURE_PARTS))
def test_a_hundred_power_cuts_of_the_whole_agent_lose_nothing(site, say, seed: int) -> None:
    assert_nothing_lost(looked_at(site, "as_shipped", seed, TORTURE_CUTS, say))
    site.go_on_to_the_end()
