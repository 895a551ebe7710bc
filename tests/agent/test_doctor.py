"""The doctor against planted faults: each is found, and what it says to do makes it well."""

import asyncio
import os
import shlex
import shutil
import socket
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import pytest_asyncio
from ports import free_port

from agent.core.note import VerifierKey
from agent.doctor.examination import configuration, examine
from agent.doctor.finding import Finding, Grade
from agent.keys import enroll
from simulator.clock import started_now
from simulator.farm import build_farm
from simulator.farm_file import FarmFile
from simulator.faults import FaultKind
from simulator.network import Network

NET = f"127.{64 + os.getpid() % 64}.0.0"  # every test process has addresses of its own
POLICY = Path(__file__).parents[2] / "config" / "policy.kz.toml"
FARM = {
    "addresses": {"base": NET, "has_web": False},
    "machines": [
        {"model": "s21", "count": 2},
        {"family": "whatsminer-v3", "model": "m60s", "count": 1},
    ],
    "meters": [{"id": "site", "port": 0, "serial": 12345678, "refresh_s": 0.1}],
}


@dataclass
class Site:
    """A site that is well, on a disk and on sockets, and what a test changes of it."""

    directory: Path
    network: Network
    broker_port: int
    page_port: int
    changes: dict[str, str] = field(default_factory=dict)
    sockets: list[socket.socket] = field(default_factory=list)
    remedies: list[str] = field(default_factory=list)

    @property
    def config(self) -> Path:
        return self.directory / "site.toml"

    def write(self) -> None:
        text = self.text()
        for old, new in self.changes.items():
            assert old in text, old
            text = text.replace(old, new)
        self.config.write_text(text)

    def text(self) -> str:
        host, port = self.network.meter_address(0)
        lines = [
            "[site]\nfarm = 'f'\nagent = 'a'\nzone = 'Asia/Almaty'",
            f"[policy]\nfile = '{self.directory}/policy.toml'",
            f"[journal]\npath = '{self.directory}/journal/journal.sqlite'",
            "origin_domain = 'pool.example'\nkey_file = 'log.key'\nmax_bytes = 16_000_000",
            f"[mqtt]\nbrokers = ['mqtt://127.0.0.1:{self.broker_port}']",
            "pool_vkey_file = 'pool.vkey'",
            f"[status]\nlisten = '127.0.0.1:{self.page_port}'\nsocket = 'kwota.sock'",
            "[governor]\n[[meter_points]]\nid = 'mp'",
            "rated_power_w = 20_000\nbase_load_max_w = 500",
            f"[[meters]]\nid = 'site'\nuri = 'modbus://{host}:{port}/1?profile=sdm630'",
            "serial = '12345678'",
        ]
        for label in self.network.farm.labels:
            uri = self.network.machine_uri(label.index)
            lines.append(f"[[miners]]\nid = 'm{label.index}'\nuri = '{uri}'\nmac = '{label.mac}'")
        lines.append("password_file = 'super.password'")
        return "\n".join(lines) + "\n"

    async def examined(self) -> dict[tuple[str, str], Finding]:
        """What is not fine, by check and subject; the clock of a test machine is its own."""
        self.write()
        settings, findings = configuration(self.config)
        if settings is not None:
            findings = [*findings, *await examine(settings, lambda: None)]
        return {
            (one.check, one.subject): one
            for one in findings
            if one.grade is not Grade.FINE and one.check not in {"clock", "load", "temperature"}
        }


@pytest_asyncio.fixture
async def site(mosquitto: Callable[..., object], tmp_path: Path) -> AsyncIterator[Site]:
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(mosquitto())  # type: ignore[arg-type]
        network = Network(farm=build_farm(FarmFile.model_validate(FARM), started_now()))
        await network.open()
        stack.push_async_callback(network.close)
        here = Site(tmp_path, network, broker.port, free_port())
        (tmp_path / "journal").mkdir()
        shutil.copy(POLICY, tmp_path / "policy.toml")
        enroll(tmp_path / "log.key", "pool.example/edge/f-a/1")
        vkey = VerifierKey(name="pool.example", algorithm=4, public_key=bytes(32)).text
        (tmp_path / "pool.vkey").write_text(vkey)
        secret = tmp_path / "super.password"
        secret.touch(mode=0o600)
        secret.write_text("farm-pass\n")
        yield here
        for one in here.sockets:
            one.close()


# Only what depends on this machine may be said of a site that is well.
OWN = {("policy", "policy.toml"), ("daemon", "kwota.sock"), ("disk", "journal")}


def trouble(found: dict[tuple[str, str], Finding]) -> dict[tuple[str, str], Finding]:
    return {
        (check, subject): one
        for (check, subject), one in found.items()
        if one.grade is Grade.FAILED or (check, Path(subject).name) not in OWN
    }


async def test_a_site_that_is_well_has_nothing_to_mend(site: Site) -> None:
    assert trouble(await site.examined()) == {}
    truth = site.network.farm.plant.totals()
    assert truth.commands == 0  # looked at, never written to


async def test_a_meters_clock_that_is_off_is_a_warning_and_no_more(site: Site) -> None:
    server = site.network.meters[0]
    server.table = server.table.model_copy(update={"model": "pm5000"})
    site.changes = {"profile=sdm630": "profile=pm5000", "serial = '12345678'": ""}
    assert ("meter", "site") not in await site.examined()
    for kind, words in (
        (FaultKind.METER_CLOCK_OFF, "300 s ahead of this computer"),
        (FaultKind.METER_CLOCK_UNSET, "shows no time"),
    ):
        site.network.farm.switch_fault(kind, [0], is_active=True, value=300.0)
        found = (await site.examined())["meter", "site"]
        assert (found.grade, words in found.words) == (Grade.WARNING, True), found.words


def loosen(site: Site) -> None:
    (site.directory / "log.key").chmod(0o644)


def never_enroll(site: Site) -> None:
    for file in site.directory.glob("log.*"):
        file.unlink()


def lose_secret(site: Site) -> None:
    (site.directory / "super.password").chmod(0o640)


def break_policy(site: Site) -> None:
    (site.directory / "policy.toml").write_text("country = 'KZ'\n")


def mend_policy(site: Site) -> None:
    shutil.copy(POLICY, site.directory / "policy.toml")


def remove_folder(site: Site) -> None:
    (site.directory / "journal").rmdir()


def damage_journal(site: Site) -> None:
    path = site.directory / "journal" / "journal.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE t (a)")
    path.write_bytes(b"no journal at all" * 500)


def move_journal(site: Site) -> None:
    (site.directory / "journal" / "journal.sqlite").rename(site.directory / "kept.sqlite")


def close_broker(site: Site) -> None:
    site.changes = {f":{site.broker_port}'": ":1'"}


def wrong_serial(site: Site) -> None:
    site.changes = {"serial = '12345678'": "serial = '87654321'"}


def wrong_unit(site: Site) -> None:
    site.changes = {"/1?profile": "/9?profile"}


def wrong_mac(site: Site) -> None:
    labels = site.network.farm.labels
    site.changes = {labels[0].mac: "62:f7:5e:00:00:01"}


def write_right(site: Site) -> None:
    site.changes = {}


def garble_pool_key(site: Site) -> None:
    (site.directory / "pool.vkey").write_text("nothing of the kind")


def mend_pool_key(site: Site) -> None:
    vkey = VerifierKey(name="pool.example", algorithm=4, public_key=bytes(32)).text
    (site.directory / "pool.vkey").write_text(vkey)


def take_page_port(site: Site) -> None:
    taken = socket.socket()
    taken.bind(("127.0.0.1", site.page_port))
    taken.listen()
    site.sockets.append(taken)


def free_page_port(site: Site) -> None:
    site.sockets.pop().close()


def forget_site(site: Site) -> None:
    site.changes = {"zone = 'Asia/Almaty'": "zone = 'Asia/Nowhere'"}


def silence(site: Site) -> None:
    farm = site.network.farm
    farm.switch_fault(FaultKind.MINER_GARBAGE, [1], is_active=True, value=None)


def cure(site: Site) -> None:
    site.network.farm.clear_faults()


def as_printed(site: Site) -> None:
    """The remedy is a command: it is run to the letter, up to the words that explain it."""
    (remedy,) = site.remedies
    program, *words = shlex.split(remedy.partition(", ")[0])
    ours = [sys.executable, "-m", "agent"] if program == "kwota" else [program]
    subprocess.run([*ours, *words], check=True, capture_output=True)


PLANTED = {
    "key that others can read": (loosen, "log key", "chmod 600", as_printed),
    "no key of the log": (never_enroll, "file", "kwota enroll", as_printed),
    "secret that others can read": (lose_secret, "secret", "chmod 600", as_printed),
    "policy without versions": (break_policy, "policy", "version", mend_policy),
    "no folder for the journal": (remove_folder, "journal", "mkdir -m 700", as_printed),
    "journal that is none": (damage_journal, "journal", "move it away", move_journal),
    "broker that is not there": (close_broker, "broker", "firewall", write_right),
    "meter that was exchanged": (wrong_serial, "meter", "pin", write_right),
    "unit that nobody is": (wrong_unit, "meter", "unit", write_right),
    "machine that was exchanged": (wrong_mac, "miner", "pin", write_right),
    "key of a pool that is none": (garble_pool_key, "pool key", "ask the pool", mend_pool_key),
    "page's port taken": (take_page_port, "page", "status.listen", free_page_port),
    "zone that is none": (forget_site, "configuration", "", write_right),
    "machine that talks nonsense": (silence, "miner", "check power", cure),
}


@pytest.mark.parametrize("name", PLANTED)
async def test_a_planted_fault_is_found_and_its_remedy_works(site: Site, name: str) -> None:
    plant, check, remedy, mend = PLANTED[name]
    plant(site)
    found = trouble(await site.examined())
    assert {one for one, _ in found} == {check}, found
    (finding,) = found.values()
    assert finding.grade is Grade.FAILED
    assert remedy in finding.remedy
    assert finding.words
    site.remedies = [finding.remedy]
    mend(site)
    assert trouble(await site.examined()) == {}


async def test_a_machine_without_its_password_is_a_warning(site: Site) -> None:
    site.changes = {"password_file = 'super.password'\n": ""}
    ((key, finding),) = trouble(await site.examined()).items()
    assert key == ("miner", "m2")
    assert finding.grade is Grade.WARNING
    assert "password_file" in finding.remedy


async def test_everything_at_once_is_found_at_once(site: Site) -> None:
    """One fault hides no other, and devices that hang take their time together."""
    loosen(site)
    break_policy(site)
    site.changes = {
        f":{site.broker_port}'": ":1'",
        site.network.farm.labels[0].mac: "62:f7:5e:00:00:01",
        "serial = '12345678'": "serial = '1'",
    }
    with suppress(TimeoutError):
        async with asyncio.timeout(15.0):
            found = trouble(await site.examined())
            checks = {check for check, _ in found}
            assert checks == {"log key", "policy", "broker", "miner", "meter"}
            return
    raise AssertionError("it took longer than 15 s")
