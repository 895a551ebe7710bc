"""``kwota meters reconcile`` and ``poll dlms://``: from a foreign meter into the journal."""

import json
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from dlms_bench import CLOCK, EXPORT, IMPORT, PASSWORD, SERIAL, Peer, line_to, started_peer

from agent.calibrationdesk import CalibrationDesk, Candidate
from agent.control_calibration import add_calibration_routes
from agent.core.calibration import Yardstick
from agent.core.statement import Statement
from agent.journal import Journal
from agent.recorder import Recorder
from agent.records import parse_record
from agent.status.routes import add_read_routes
from agent.testimony import statement_record

FIRST_MS = 1_772_355_600_000  # 2026-03-01 14:00 in Almaty
QUARTER_MS = 900_000
YARDSTICK = Yardstick(error_share=0.01, step_wh=10, refresh_s=1.0)


class Wall:
    """The wall clock of this process, somewhere else; who sleeps finds that the time has passed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._true_ns = time.time_ns
        self._ahead_ns = 0
        monkeypatch.setattr("time.time_ns", lambda: self._true_ns() + self._ahead_ns)
        monkeypatch.setattr("time.sleep", self.sleep)

    def put(self, at_ms: int) -> None:
        self._ahead_ns = at_ms * 1_000_000 - self._true_ns()

    def sleep(self, for_s: float) -> None:
        self._ahead_ns += round(for_s * 1e9)


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peer]:
    with started_peer(tmp_path_factory.mktemp("dlms")) as peer:
        yield peer


@pytest.fixture
def peer(process: Peer) -> Peer:
    process.hold()
    return process


@pytest.fixture
def wall(monkeypatch: pytest.MonkeyPatch) -> Wall:
    return Wall(monkeypatch)


@pytest.fixture
def uri(peer: Peer, tmp_path: Path) -> str:
    secret = tmp_path / "askue.password"
    secret.touch(mode=0o600)
    secret.write_text(f"{PASSWORD}\n")
    return f"dlms://127.0.0.1:{peer.port}?client=32&password_file={secret}"


@pytest.fixture
def site(rig: Any, daemon: Any, terminal: Any, tmp_path: Path, uri: str) -> Any:
    """The desk behind a socket and the verb at it: ``async with site() as (journal, verb)``."""
    kept = str(tmp_path / "askue.json")

    async def reconcile(*options: str, at: str = uri) -> Any:
        return await terminal.ask("meters", "reconcile", "site", at, "--kept", kept, *options)

    @asynccontextmanager
    async def run(quarters: int = 16) -> AsyncIterator[tuple[Journal, Any]]:
        terminal.socket = tmp_path / "d.sock"
        async with rig.journal() as journal:
            recorder = Recorder(journal)
            meter = Candidate(meter_point="mp-1", yardstick=YARDSTICK, serial=lambda: "77")
            desk = CalibrationDesk(
                meters={"site": meter},
                journal=journal,
                recorder=recorder,
                now_ms=lambda: FIRST_MS + 40 * QUARTER_MS,
                known={},
            )
            app = web.Application()
            add_read_routes(app, daemon)
            add_calibration_routes(app, desk)
            runner = web.AppRunner(app)
            await runner.setup()
            await web.UnixSite(runner, str(terminal.socket)).start()
            await journal.append([stated(n) for n in range(quarters)], urgent=True)
            try:
                async with rig.running(recorder.run()):
                    yield journal, reconcile
            finally:
                await runner.cleanup()
                await recorder.flush()

    return run


def stated(number: int) -> Any:
    """A signed quarter of a steady megawatt."""
    start_ms = FIRST_MS + number * QUARTER_MS
    statement = Statement(start_ms=start_ms, end_ms=start_ms + QUARTER_MS, metered_wh=250_000)
    return statement_record("mp-1", statement)


async def test_what_the_billing_meter_counted_is_compared_as_if_typed_with_its_source(
    peer, wall, site, uri, tmp_path
) -> None:
    async with site() as (journal, reconcile):
        wall.put(FIRST_MS - 400_000)
        peer.hold(imported=[3, IMPORT, 5_000_000, 1, 30])
        told = await reconcile()
        assert told.code == 0, told.err
        assert f"kept: 50000.000 kWh of the meter {SERIAL} at 2026-03-01 14:00:00" in told.out
        assert "its register is read at 2026-03-01 14:00:00" in told.err
        wall.put(FIRST_MS + 16 * QUARTER_MS + 500)
        stale = [8, CLOCK, "2026-03-01T17:55:00", 0, 0]
        peer.hold(imported=[3, IMPORT, 5_401_200, 1, 30], clock=stale)
        told = await reconcile("--reason", "daily")
        assert told.code == 0
        assert "the billing meter's clock shows 2026-03-01 17:55:00, " in told.err
        assert re.search(r" 30[0-2] s behind this computer", told.err)
        assert "this comparison is not" in told.err
        assert "factor 1.00300 give or take" in told.out
        (line,) = await journal.tail(10, "calibration")
        data = parse_record(line).data
    assert data["readings"] == [[FIRST_MS, FIRST_MS + 16 * QUARTER_MS, 4_012_000]]
    assert (data["rounding_wh"], data["reason"]) == (10, "daily")
    assert data["read_from"] == f"dlms://127.0.0.1:{peer.port} serial {SERIAL}"
    assert data["told_by"].startswith("uid ")
    kept = json.loads((tmp_path / "askue.json").read_text())
    assert (kept["at_ms"], kept["count"]) == (FIRST_MS + 16 * QUARTER_MS, 5_401_200)
    assert PASSWORD not in line.decode() + json.dumps(kept)


async def test_a_meter_outside_its_class_ends_with_its_own_code(peer, wall, site) -> None:
    async with site() as (journal, reconcile):
        wall.put(FIRST_MS)
        first = await reconcile("--json")
        assert json.loads(first.out)["kept"]["serial"] == SERIAL
        wall.put(FIRST_MS + 16 * QUARTER_MS)
        peer.hold(imported=[3, IMPORT, 1_234_567 + 4_200_000, 0, 30])
        told = await reconcile("--json")
        assert (told.code, json.loads(told.out)["calibration"]["verdict"]) == (1, "outside")
        assert len(await journal.tail(10, "calibration")) == 1


async def test_what_no_statement_covers_is_not_compared_and_the_next_run_goes_on_from_there(
    peer, wall, site, tmp_path
) -> None:
    async with site(quarters=3) as (journal, reconcile):
        wall.put(FIRST_MS)
        assert (await reconcile()).code == 0
        wall.put(FIRST_MS + 4 * QUARTER_MS)
        told = await reconcile()
        assert told.code == 4
        assert "nothing could be compared" in told.err
        assert "the signed statements do not cover it whole" in told.out
        assert not await journal.tail(10, "calibration")
    kept = json.loads((tmp_path / "askue.json").read_text())
    assert kept["at_ms"] == FIRST_MS + 4 * QUARTER_MS


@pytest.mark.parametrize(
    ("held", "words"),
    [
        ({"serial": [1, "0.0.96.1.0.255", "999", 0, 0]}, f"of the meter {SERIAL}, this is 999"),
        ({"imported": [3, IMPORT, 1_234_566, 0, 30]}, "shows less than the kept reading"),
        ({"imported": [3, IMPORT, 1_234_567, 1, 30]}, "scaler or ratio= has changed"),
    ],
)
async def test_a_reading_that_does_not_follow_from_the_kept_one_is_refused_and_not_kept(
    *, peer, wall, site, tmp_path, held, words
) -> None:
    async with site() as (journal, reconcile):
        wall.put(FIRST_MS)
        assert (await reconcile()).code == 0
        before = (tmp_path / "askue.json").read_text()
        peer.hold(**held)
        wall.put(FIRST_MS + 4 * QUARTER_MS)
        told = await reconcile()
        assert (told.code, words in told.err) == (4, True), told.err
        assert not await journal.tail(10, "calibration")
    assert (tmp_path / "askue.json").read_text() == before


async def test_a_meter_that_cannot_be_read_costs_nothing(peer, wall, site, uri, tmp_path) -> None:
    async with site() as (_, reconcile):
        wall.put(FIRST_MS - 400_000)
        peer.hold(imported=None)
        told = await reconcile()
        assert (told.code, "has no object 1.0.1.8.0.255" in told.err) == (4, True)
        peer.hold(password="changed!")
        told = await reconcile()
        assert (told.code, "refuses client 32" in told.err) == (4, True)
        assert PASSWORD not in told.err + told.out
        told = await reconcile(at="dlms://127.0.0.1:1")
        assert (told.code, "No connection to 127.0.0.1:1" in told.err) == (3, True)
    assert not (tmp_path / "askue.json").exists()


async def test_an_answer_that_comes_too_late_after_the_quarter_is_not_kept(
    peer, wall, site, tmp_path
) -> None:
    def change(_count: int, answer: bytes) -> tuple[bytes, bool]:
        wall.sleep(3)  # the association and the register: six seconds
        return answer, False

    async with site() as (_, reconcile), line_to(peer.port, change) as port:
        wall.put(FIRST_MS)
        told = await reconcile(at=f"dlms://127.0.0.1:{port}")
    assert (told.code, "after the quarter of an hour, which is too late" in told.err) == (3, True)
    assert not (tmp_path / "askue.json").exists()


async def test_a_meter_that_the_daemon_does_not_know_is_refused_at_once(
    peer, site, terminal, uri, tmp_path
) -> None:
    peer.questions()
    async with site():
        told = await terminal.ask("meters", "reconcile", "x", uri, "--kept", str(tmp_path / "k"))
    assert (told.code, "there is no meter 'x', only 'site'" in told.err) == (4, True), told.err
    assert not peer.questions()


@pytest.mark.parametrize(
    ("mode", "content", "words"),
    [
        (0o644, "secret\n", "chmod 600"),
        (0o600, "\n", "holds no password"),
        (0o600, None, "does not exist"),
    ],
)
async def test_a_loose_or_empty_password_file_is_refused(
    *, wall, site, tmp_path, mode, content, words
) -> None:
    file = tmp_path / "loose"
    if content is not None:
        file.write_text(content)
        file.chmod(mode)
    async with site() as (_, reconcile):
        told = await reconcile(at=f"dlms://127.0.0.1:1?password_file={file}")
    assert (told.code, words in told.err) == (2, True), told.err


@pytest.mark.parametrize(
    "content", ["x", "[]", "{}", '{"v":2,"serial":"1","at_ms":0,"count":1,"step_wh":"1"}',
                '{"v":1,"serial":"1","at_ms":0,"count":1,"step_wh":"1/0"}',
                '{"v":1,"serial":"1","at_ms":0,"count":-1,"step_wh":"1"}'],
)  # fmt: skip
async def test_a_file_that_holds_no_reading_is_not_overwritten(
    wall, site, tmp_path, content: str
) -> None:
    (tmp_path / "askue.json").write_text(content)
    async with site() as (_, reconcile):
        told = await reconcile()
    assert (told.code, "askue.json" in told.err) == (2, True), told.err
    assert (tmp_path / "askue.json").read_text() == content


async def test_without_a_daemon_the_meter_is_not_asked(peer, terminal, uri, tmp_path) -> None:
    peer.questions()
    told = await terminal.ask("meters", "reconcile", "site", uri, "--kept", str(tmp_path / "k"))
    assert told.code == 3
    assert not peer.questions()


def test_poll_prints_what_a_billing_meter_shows(peer, terminal, uri) -> None:
    told = terminal.run("poll", uri, "--json")
    assert (told.code, told.err) == (0, "")
    answer = json.loads(told.out)
    assert answer["identity"]["serial"] == SERIAL
    assert answer["clock"]["shows"] == "2026-03-01 14:00:05"
    assert abs(answer["clock"]["ahead_s"]) > 86_400
    energy, exported = answer["quantities"]
    assert (energy["name"], energy["value"], energy["unit"]) == ("energy", 1_234_567.0, "Wh")
    assert exported["name"] == "energy_export"
    peer.hold(clock=None, exported=None)
    told = terminal.run("poll", uri)
    assert told.code == 0
    assert "has no object 0.0.1.0.0.255" in told.out
    assert f"has no object {EXPORT}" in told.out


def test_the_raw_bytes_of_a_poll_hide_the_password(peer, terminal, uri) -> None:
    told = terminal.run("poll", uri, "--raw", "--json")
    assert told.code == 0
    raw = json.loads(told.out)["raw"]
    assert len(raw) > 10
    assert all(PASSWORD.encode().hex() not in one["hex"] for one in raw)
    assert PASSWORD not in told.out


def test_the_agent_starts_without_the_package(tmp_path: Path) -> None:
    script = (
        "import sys; sys.modules['dlms_cosem'] = sys.modules['structlog'] = None\n"
        "import agent.app, agent.commands.meters\n"
        "from agent.cli import main\n"
        "main(['poll', 'dlms://127.0.0.1:1'])"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=50, check=False
    )
    assert ended.returncode == 3
    assert "pip install 'kwota[dlms]'" in ended.stderr
    assert "Traceback" not in ended.stderr
