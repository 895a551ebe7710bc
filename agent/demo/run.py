"""``kwota demo``: farm, broker, pool and agent as processes of their own, on loopback.

The farm is the simulator, the judge is the farm's own true energy, the agent is the daemon as it
runs on a controller. Nothing here decides anything; it starts, shows, judges and stops.
"""

import json
import shutil
import signal
import socket
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.console import Console

from agent.control_client import (
    NoDaemonError,
    RefusedError,
    ask,
    export_evidence,
    send_purchases,
)
from agent.demo.child import Child, ChildError, start_broker, start_python
from agent.demo.selling import sell_through_pool
from agent.demo.site import (
    LEAD_IN_S,
    Window,
    lead_in,
    plan_windows,
    purchases_json,
    write_config,
    write_key,
)
from agent.demo.table import LiveTable
from agent.keys import load_vkey
from agent.verify import Keys, verify

EXIT_OK, EXIT_BROKEN, EXIT_NOT_STARTED = 0, 1, 3
START_LIMIT_S = 60.0
RECEIPTS_LIMIT_S = 20.0
AFTER_LAST_S = 3.0
PLAN_AHEAD = 2
PAGE_PORT = 8480


@dataclass(slots=True, kw_only=True)
class Demo:
    """One run. ``windows`` are those that are judged."""

    directory: Path
    window_s: int
    console: Console
    control_url: str = ""
    page_url: str = ""
    full_power_w: float = 0.0
    sells_through_pool: bool = False
    windows: list[Window] = field(default_factory=list)
    agent: Child | None = None

    @property
    def socket(self) -> Path:
        return self.directory / "kwota.sock"

    def truth(self, path: str) -> dict[str, Any]:
        """Ask the farm what is true."""
        with urllib.request.urlopen(f"{self.control_url}{path}", timeout=5) as reply:  # noqa: S310
            answer: dict[str, Any] = json.loads(reply.read())
        return answer

    def status(self) -> dict[str, Any]:
        """Ask the agent how it is."""
        answer: dict[str, Any] = json.loads(ask(self.socket, "/api/v1/status"))
        return answer


def run_demo(
    *,
    farm: str,
    miners: int,
    window_s: int,
    windows: int,
    is_ending: bool,
    is_json: bool,
    keep: Path | None = None,
    sells_through_pool: bool = False,
) -> int:
    """Run the demonstration. Returns the exit code: 0 kept, 1 a promise broken, 3 not started.

    ``farm`` is the name of a farm that comes with the simulator, or a farm file. ``keep`` is a new
    directory that is left behind with journal, keys and logs. ``sells_through_pool``: the agent is
    sold its purchases over MQTT instead of importing a file.
    """
    console = Console(stderr=True)
    try:
        with ExitStack() as stack:
            directory = _directory(stack, keep)
            stack.enter_context(_interruptible())
            demo = Demo(
                directory=directory,
                window_s=window_s,
                console=console,
                sells_through_pool=sells_through_pool,
            )
            _start(stack, demo, farm=_farm_file(farm), miners=miners, windows=windows)
            _announce(demo)
            _watch(demo, is_ending=is_ending)
            verdict = _judge(demo)
    except ChildError as error:
        console.print(f"kwota demo: {error}", style="red", markup=False)
        return EXIT_NOT_STARTED
    except KeyboardInterrupt:
        console.print("Stopped; nothing is left running.")
        return EXIT_OK
    if is_json:
        sys.stdout.write(json.dumps(verdict) + "\n")
    else:
        _tell(console, verdict)
    return EXIT_OK if verdict["over_wh"] == 0 and verdict["verified"] else EXIT_BROKEN


def _directory(stack: ExitStack, keep: Path | None) -> Path:
    if keep is None:
        return Path(stack.enter_context(TemporaryDirectory(prefix="kwota-demo-")))
    try:
        keep.mkdir(mode=0o700)
    except OSError as error:
        raise ChildError(
            f"{keep} cannot be made ({error.strerror}); name a directory that does not exist yet"
        ) from error
    return keep.absolute()


@contextmanager
def _interruptible() -> Iterator[None]:
    """SIGTERM ends the demonstration as Ctrl-C does."""
    previous = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def _start(stack: ExitStack, demo: Demo, *, farm: Path, miners: int, windows: int) -> None:
    """Broker, farm with pool, agent: each is up before the next one starts."""
    demo.console.print("Starting a simulated farm …")
    broker = stack.enter_context(start_broker(demo.directory))
    write_key(demo.directory)
    ready = _start_farm(stack, demo, farm, broker=broker.url, miners=miners)
    demo.control_url = ready["control_url"]
    demo.full_power_w = float(demo.truth("/v1/truth")["power_w"])
    page_port = _free_port(PAGE_PORT)
    demo.page_url = f"http://127.0.0.1:{page_port}/"
    config = write_config(
        demo.directory,
        ready=ready,
        broker=broker.url,
        mqtt_version=broker.mqtt_version,
        policy=_policy(),
        page_port=page_port,
        full_power_w=demo.full_power_w,
    )
    first = lead_in(start_ms=_now_ms(), full_power_w=demo.full_power_w)
    demo.windows = plan_windows(
        first_start_ms=first.end_ms,
        window_s=demo.window_s,
        count=windows,
        full_power_w=demo.full_power_w,
    )
    rest = [*demo.windows, *_lead_out(demo)]
    bought = [first] if demo.sells_through_pool else [first, *rest]
    (demo.directory / "purchases.json").write_bytes(purchases_json(bought))
    agent = start_python(demo.directory, "agent", "-m", "agent", "run", "--config", str(config))
    demo.agent = stack.enter_context(agent)
    _wait_for_agent(demo, demo.agent)
    if demo.sells_through_pool:
        sell_through_pool(demo.control_url, rest)


def _start_farm(
    stack: ExitStack, demo: Demo, file: Path, *, broker: str, miners: int
) -> dict[str, Any]:
    ready_file = demo.directory / "farm.json"
    farm = stack.enter_context(
        start_python(
            demo.directory,
            "farm",
            *("-m", "simulator", "serve", str(file)),
            *("--miners", str(miners), "--meter-port", "0", "--exit-with-parent"),
            *("--address-base", "free"),
            *("--ready-file", str(ready_file), "--broker", broker),
            *("--pool-dir", str(demo.directory / "pool")),
            *("--pool-registry", str(demo.directory / "pool" / "registry.json")),
        )
    )
    farm.wait_for(ready_file.exists, START_LIMIT_S, "the simulated farm did not come up")
    document: dict[str, Any] = json.loads(ready_file.read_text())
    return document


def _wait_for_agent(demo: Demo, agent: Child) -> None:
    def answers() -> bool:
        try:
            return bool(demo.status())
        except (NoDaemonError, RefusedError):
            return False

    agent.wait_for(answers, START_LIMIT_S, "the agent did not come up")


def _lead_out(demo: Demo) -> list[Window]:
    """What is bought after the last judged window, as the next hour always is."""
    last_number = int(demo.windows[-1].transaction_id.rpartition("-")[2])
    return plan_windows(
        first_start_ms=demo.windows[-1].end_ms,
        window_s=demo.window_s,
        count=1,
        full_power_w=demo.full_power_w,
        first_number=last_number + 1,
    )


def _announce(demo: Demo) -> None:
    demo.console.print(f"Page      {demo.page_url}", markup=False, highlight=False)
    demo.console.print(f"Metrics   {demo.page_url}metrics", markup=False, highlight=False)
    call = f"{_own_command()} status --socket {demo.socket}"
    demo.console.print(f"CLI       {call}", markup=False, highlight=False, soft_wrap=True)
    demo.console.print(
        f"The first purchase opens in {LEAD_IN_S} s; Ctrl-C ends everything.", markup=False
    )


def _own_command() -> str:
    """How this program is called from here: in a clone it is not where a shell looks."""
    if shutil.which("kwota"):
        return "kwota"
    is_script = Path(sys.argv[0]).name == "kwota"
    return sys.argv[0] if is_script else f"{sys.executable} -m agent"


def _watch(demo: Demo, *, is_ending: bool) -> None:
    """Show the site until the last window has ended; without an end, buy on and on."""
    assert demo.agent is not None
    with LiveTable(demo.console) as table:
        while True:
            demo.agent.check()
            if _now_ms() > demo.windows[-1].end_ms + AFTER_LAST_S * 1000 and is_ending:
                return
            if not is_ending:
                _buy_ahead(demo)
            try:
                table.show(demo.status(), demo.windows)
            except (NoDaemonError, RefusedError) as error:
                table.tell(str(error))
            time.sleep(1.0)


def _buy_ahead(demo: Demo) -> None:
    """In an endless demonstration the next hours are always bought."""
    ahead_ms = demo.windows[-1].end_ms - _now_ms()
    if ahead_ms > PLAN_AHEAD * demo.window_s * 1000:
        return
    demo.windows += _lead_out(demo)
    if demo.sells_through_pool:
        sell_through_pool(demo.control_url, _lead_out(demo))
    else:
        send_purchases(demo.socket, purchases_json(_lead_out(demo)), "application/json")


def _judge(demo: Demo) -> dict[str, Any]:
    """Compare what was bought with what the farm truly burnt, and prove the journal."""
    assert demo.agent is not None
    _wait_for_receipts(demo)
    books = json.loads(ask(demo.socket, "/api/v1/transactions"))
    allocated = {row["transaction_id"]: row["allocated_wh"] for row in _rows(books)}
    per_window = [
        {
            "transaction_id": window.transaction_id,
            "purchased_wh": window.energy_wh,
            "true_wh": round(_true_wh(demo, window), 3),
            "allocated_wh": allocated[window.transaction_id],
        }
        for window in demo.windows
    ]
    status, truth = demo.status(), demo.truth("/v1/truth")
    export_evidence(demo.socket, demo.directory / "evidence")
    demo.agent.stop()
    records, verified, findings = _verified(demo)
    purchased_wh = sum(window.energy_wh for window in demo.windows)
    true_wh = sum(row["true_wh"] for row in per_window)
    over_wh = sum(max(row["true_wh"] - row["purchased_wh"], 0.0) for row in per_window)
    unused_wh = sum(max(row["purchased_wh"] - row["true_wh"], 0.0) for row in per_window)
    return {
        "windows": len(demo.windows),
        "purchased_wh": purchased_wh,
        "true_wh": round(true_wh, 3),
        "allocated_wh": sum(row["allocated_wh"] for row in per_window),
        "over_wh": round(over_wh, 3),
        "unused_share": round(unused_wh / purchased_wh, 5),
        "records": records,
        "receipts": demo.truth("/v1/pool")["receipts"],
        "cosigned": status["delivery"]["cosigned_size"],
        "verified": verified,
        "findings": findings,
        "board_switches": truth["board_switches"],
        "mining_restarts": truth["mining_restarts"],
        "per_window": per_window,
    }


def _rows(answer: Any) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = answer if isinstance(answer, list) else answer["transactions"]
    return rows


def _true_wh(demo: Demo, window: Window) -> float:
    def energy_wh(at_ms: int) -> float:
        return float(demo.truth(f"/v1/truth/energy?at_ms={at_ms}")["energy_wh"])

    return energy_wh(window.end_ms) - energy_wh(window.start_ms)


def _wait_for_receipts(demo: Demo) -> None:
    """Give the pool a moment to cosign what is written so far."""
    wanted = demo.status()["delivery"]["journal_size"]
    until_s = time.monotonic() + RECEIPTS_LIMIT_S
    while time.monotonic() < until_s:
        if demo.status()["delivery"]["cosigned_size"] >= wanted:
            return
        time.sleep(0.5)


def _verified(demo: Demo) -> tuple[int, bool, list[str]]:
    """Prove the stopped agent's journal with the two public keys, as an auditor would."""
    keys = Keys(
        device=load_vkey(demo.directory / "log.vkey"),
        pool=load_vkey(demo.directory / "pool" / "pool.vkey"),
    )
    report = verify(demo.directory / "journal.sqlite", keys)
    defects = [defect.words for defect in report.defects]
    return report.size, report.is_sound, defects


def _tell(console: Console, verdict: dict[str, Any]) -> None:
    console.print(json.dumps(verdict, indent=1), markup=False)


def _policy() -> Path:
    return Path(__file__).resolve().parents[2] / "config" / "policy.kz.toml"


def _farm_file(farm: str) -> Path:
    farms = Path(__file__).resolve().parents[2] / "simulator" / "farms"
    for path in (farms / f"{farm}.toml", Path(farm)):
        if path.is_file():
            return path.absolute()
    known = ", ".join(sorted(path.stem for path in farms.glob("*.toml")))
    raise ChildError(f"there is no farm {farm}: name one of {known}, or a farm file")


def _free_port(preferred: int) -> int:
    """The preferred port if nobody has it, else any free one."""
    for port in (preferred, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            found: int = probe.getsockname()[1]
            return found
    raise ChildError("no port is free on 127.0.0.1; end something that listens there")


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
