"""A whole site for one test: a broker, the simulated farm with its pool, and the daemon.

Everything is a process of its own on loopback. What is true is what the farm says; what the agent
claims is read from its API, its journal and its log. ``site`` makes one; everything it started is
gone when the test is over.
"""

import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from ports import free_port

from agent.control_client import NoDaemonError, RefusedError, ask
from agent.demo.child import Child, start, start_python
from agent.demo.site import (
    Window,
    lead_in,
    plan_windows,
    purchases_json,
    write_config,
    write_key,
)

REPO = Path(__file__).resolve().parents[2]
PROGRAMS = (os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin")
MOSQUITTO = shutil.which("mosquitto", path=":".join(PROGRAMS))
START_LIMIT_S = 60.0
DEMO_FARM = REPO / "simulator" / "farms" / "demo.toml"
DEMO: pytest.StashKey["subprocess.Popen[bytes]"] = pytest.StashKey()


def now_ms() -> int:
    return time.time_ns() // 1_000_000


@dataclass(slots=True, kw_only=True)
class Site:
    """One farm and what runs on it. Nothing is started before it is asked for."""

    directory: Path
    stack: ExitStack
    broker_port: int = field(default_factory=free_port)
    page_port: int = field(default_factory=free_port)
    ready: dict[str, Any] = field(default_factory=dict)
    full_power_w: float = 0.0
    windows: list[Window] = field(default_factory=list)
    judged: list[Window] = field(default_factory=list)
    agent: Child | None = None
    starts: int = 0
    _broker: Child | None = None

    @property
    def broker(self) -> str:
        return f"mqtt://127.0.0.1:{self.broker_port}"

    @property
    def socket(self) -> Path:
        return self.directory / "kwota.sock"

    @property
    def config(self) -> Path:
        return self.directory / "site.toml"

    @property
    def journal(self) -> Path:
        return self.directory / "journal.sqlite"

    def start_broker(self, *lines: str) -> None:
        """A broker that drops nothing of what it is given, on the same port every time."""
        config = self.directory / "mosquitto.conf"
        said = lines or ("allow_anonymous true",)
        fixed = ("persistence false", "max_queued_messages 0")
        listener = f"listener {self.broker_port} 127.0.0.1"
        config.write_text("\n".join([listener, *fixed, *said, ""]))
        command = [str(MOSQUITTO), "-c", str(config)]
        self._broker = self.stack.enter_context(start(self.directory, "broker", command))
        self._broker.wait_for(self._broker_listens, 10.0, "the broker did not come up")

    def kill_broker(self) -> None:
        assert self._broker is not None
        self._broker.process.kill()
        self._broker.process.wait()

    def _broker_listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.broker_port)) == 0

    def start_farm(self, miners: int, farm_file: Path = DEMO_FARM) -> None:
        """The farm at full power, its pool, and the agent's key known to the pool."""
        write_key(self.directory)
        ready_file, pool = self.directory / "farm.json", self.directory / "pool"
        farm = self.stack.enter_context(
            start_python(
                self.directory,
                "farm",
                *("-m", "simulator", "serve", str(farm_file)),
                *("--miners", str(miners), "--meter-port", "0", "--exit-with-parent"),
                *("--address-base", "free", "--ready-file", str(ready_file)),
                *("--broker", self.broker, "--pool-dir", str(pool)),
                *("--pool-registry", str(pool / "registry.json")),
            )
        )
        farm.wait_for(ready_file.exists, START_LIMIT_S, "the farm did not come up")
        self.ready = json.loads(ready_file.read_text())
        self.full_power_w = float(self.truth()["power_w"])
        write_config(
            self.directory,
            ready=self.ready,
            broker=self.broker,
            policy=REPO / "config" / "policy.kz.toml",
            page_port=self.page_port,
            full_power_w=self.full_power_w,
        )
        (self.directory / "purchases.json").write_bytes(purchases_json([_long()]))

    def buy(self, *, count: int, window_s: int, lead_in_s: int = 12) -> None:
        """Purchases from now on, without a hole: lead-in, ``count`` judged ones, lead-out."""
        first = lead_in(start_ms=now_ms(), full_power_w=self.full_power_w, length_s=lead_in_s)
        rest = plan_windows(
            first_start_ms=first.end_ms,
            window_s=window_s,
            count=count + 1,
            full_power_w=self.full_power_w,
        )
        self.windows, self.judged = [first, *rest], rest[:count]
        (self.directory / "purchases.json").write_bytes(purchases_json(self.windows))

    def change_config(self, old: str, new: str) -> None:
        text = self.config.read_text()
        assert old in text
        self.config.write_text(text.replace(old, new))

    def start_agent(self, *options: str, **environ: str) -> Child:
        """The daemon, up when its first status can be asked for."""
        self.starts += 1
        arguments = ("-m", "agent", "run", "--config", str(self.config), *options)
        name = f"agent-{self.starts}"
        child = self.stack.enter_context(
            start_python(self.directory, name, *arguments, environ=environ)
        )
        self.agent = child
        child.wait_for(self._agent_answers, START_LIMIT_S, "the agent did not come up")
        return child

    def _agent_answers(self) -> bool:
        try:
            return bool(self.api("status"))
        except (NoDaemonError, RefusedError):
            return False

    def api(self, name: str) -> Any:
        """What the agent shows under ``/api/v1``."""
        return json.loads(ask(self.socket, f"/api/v1/{name}"))

    def truth(self, path: str = "/v1/truth") -> dict[str, Any]:
        """What the farm says, which is what is true."""
        url = f"{self.ready['control_url']}{path}"
        with urllib.request.urlopen(url, timeout=5) as reply:
            answer: dict[str, Any] = json.loads(reply.read())
        return answer

    def fault(self, kind: str, target: str | list[int] = "site", **more: Any) -> list[int]:
        """Switch a fault on (or off with ``active=False``). Returns whom it hits."""
        body = json.dumps({"kind": kind, "target": target, **more}).encode()
        request = urllib.request.Request(
            f"{self.ready['control_url']}/v1/faults",
            data=body,
            headers={"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=35) as reply:
                targets: list[int] = json.loads(reply.read())["targets"]
        except urllib.error.HTTPError as error:
            with error:
                raise AssertionError(error.read().decode()) from None
        return targets

    def pool(self, path: str, order: dict[str, Any]) -> dict[str, Any]:
        """Tell the farm's pool; what it answers, or the error with its sentence."""
        request = urllib.request.Request(
            f"{self.ready['control_url']}/v1/pool/{path}",
            data=json.dumps(order).encode(),
            headers={"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=40) as reply:
                answer: dict[str, Any] = json.loads(reply.read())
        except urllib.error.HTTPError as error:
            with error:
                raise AssertionError(error.read().decode()) from None
        return answer

    def name_of(self, index: int) -> str:
        """How the configuration calls the farm's machine."""
        return f"r{index // 20 + 1}-s{index % 20 + 1:02d}"

    def wait_until(self, at_ms: int) -> None:
        """Let time pass, and notice at once where the agent ends by itself."""
        while now_ms() < at_ms:
            if self.agent is not None:
                self.agent.check()
            time.sleep(min(0.2, max(at_ms - now_ms(), 1) / 1000))

    def wait_for(self, is_so: Callable[[], bool], limit_s: float, otherwise: str) -> float:
        """Wait until something is true; how many seconds it took."""
        started_s = time.monotonic()
        while not is_so():
            if self.agent is not None:
                self.agent.check()
            passed_s = time.monotonic() - started_s
            assert passed_s < limit_s, f"{otherwise} within {limit_s:.0f} s"
            time.sleep(0.1)
        return time.monotonic() - started_s

    def true_wh(self, window: Window) -> float:
        """What truly flowed in a window that is over."""
        ends = (window.end_ms, window.start_ms)
        after, before = (self.truth(f"/v1/truth/energy?at_ms={at}")["energy_wh"] for at in ends)
        return float(after - before)

    def margins_wh(self) -> dict[str, float]:
        """What was left of each judged purchase in truth; below zero it was overrun."""
        assert self.judged
        return {w.transaction_id: w.energy_wh - self.true_wh(w) for w in self.judged}

    def wait_for_receipts(self, limit_s: float = 30.0) -> None:
        """Until the pool has cosigned everything that is written now."""
        wanted = self.api("status")["delivery"]["journal_size"]

        def has_all() -> bool:
            return bool(self.api("status")["delivery"]["cosigned_size"] >= wanted)

        self.wait_for(has_all, limit_s, f"the pool did not cosign {wanted} records")

    def records(self, kind: str | None = None) -> list[dict[str, Any]]:
        """The journal of the stopped agent, record by record."""
        with closing(sqlite3.connect(f"{self.journal.as_uri()}?mode=ro", uri=True)) as opened:
            rows = opened.execute("SELECT body FROM records ORDER BY i").fetchall()
        parsed = [json.loads(body) for (body,) in rows]
        return [record for record in parsed if kind in (None, record["k"])]

    def kwota(self, *words: str, environ: dict[str, str] | None = None) -> Any:
        """Run the command line as a person would."""
        return subprocess.run(
            [sys.executable, "-m", "agent", *words],
            cwd=self.directory,
            env=os.environ | (environ or {}) | {"KWOTA_SOCKET": str(self.socket)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def verify(self, journal: Path | None = None) -> tuple[int, dict[str, Any]]:
        """``kwota verify`` with both public keys: exit code and report."""
        keys = ("--key", "log.vkey", "--pool-key", "pool/pool.vkey")
        done = self.kwota("verify", str(journal or self.journal), *keys, "--json")
        assert done.stdout, done.stderr
        return done.returncode, json.loads(done.stdout)


def _long() -> Window:
    """A purchase for tests that are not about purchases: nothing has to be lowered for it."""
    at_ms = now_ms()
    return Window(
        transaction_id="long", start_ms=at_ms, end_ms=at_ms + 3_600_000, energy_wh=1_000_000
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest begin first, so that they run side by side; the demonstration's is the last."""
    items.sort(key=_turn)


def _turn(item: pytest.Item) -> float:
    limit = item.get_closest_marker("timeout")
    if item.path.stem == "test_demo":
        return 1.0
    return 0.0 if limit is None else -float(limit.args[0])


@contextmanager
def new_site() -> Iterator[Site]:
    """One site; a short path, since a unix socket's name has to be short."""
    if MOSQUITTO is None:
        pytest.skip("mosquitto is not installed: no site can be built")
    with ExitStack() as stack:
        directory = Path(stack.enter_context(TemporaryDirectory(prefix="kwota-sys-")))
        yield Site(directory=directory, stack=stack)


@pytest.fixture
def site() -> Iterator[Site]:
    """A site of this test's own."""
    with new_site() as made:
        yield made


@pytest.fixture(scope="module")
def shared_site() -> Iterator[Site]:
    """A site of all tests of one file, none of which may hurt it."""
    with new_site() as made:
        yield made


@pytest.fixture(scope="session", autouse=True)
def demo_directory(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Where the one long demonstration writes what it says.

    It takes longer than any other test of this folder, so it begins with the first of them and
    runs beside the others, whichever process they run in. ``make check`` begins it even before
    and says where, in ``KWOTA_DEMO``.
    """
    begun = os.environ.get("KWOTA_DEMO")
    if begun:
        return Path(begun)
    base = tmp_path_factory.getbasetemp()
    directory: Path = (base if _is_alone() else base.parent) / "demo"
    if any(item.path.name == "test_demo.py" for item in request.session.items):
        with suppress(FileExistsError):
            directory.mkdir()
            request.config.stash[DEMO] = start_demo(directory)
    return directory


def _is_alone() -> bool:
    return "PYTEST_XDIST_WORKER" not in os.environ


def pytest_sessionfinish(session: pytest.Session) -> None:
    """The demonstration outlives the last test of the process that began it, and no session.

    Where there are other processes, one of them may still wait for it. No test's time-out is over
    this.
    """
    process = session.config.stash.get(DEMO, None)
    if process is not None and process.poll() is None:
        if _is_alone():
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(30 if _is_alone() else 900)


def start_demo(directory: Path) -> "subprocess.Popen[bytes]":
    """``kwota demo`` in a group of its own; its exit code is in ``code`` once it has ended."""
    return subprocess.Popen(
        [str(REPO / "tests" / "system" / "demo.sh"), str(directory), sys.executable],
        cwd=REPO,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )
