"""``kwota discover`` over a loopback network of simulated machines, on real sockets."""

import asyncio
import contextlib
import json
import os
import pty
import subprocess
import sys
import tomllib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from agent.cli import main
from agent.commands import discover
from agent.settings import load_settings
from simulator.clock import started_now
from simulator.farm import build_farm
from simulator.farm_file import FarmFile
from simulator.network import Network

BASE = f"127.{64 + os.getpid() % 64}"  # every test process has addresses of its own
NETWORK = f"{BASE}.0.0/28"
EXAMPLE = Path(__file__).parents[3] / "config" / "site.example.toml"
FARM = {
    "addresses": {"base": f"{BASE}.0.0", "has_web": False},
    "machines": [
        {"model": "s21", "count": 3},
        {"family": "whatsminer-v3", "model": "m60s", "count": 2},
    ],
    "meters": [{"id": "site", "port": 0, "serial": 12345678, "refresh_s": 0.1}],
}
NO_WEB = ("--port", "80=1")


@pytest_asyncio.fixture
async def network() -> AsyncIterator[Network]:
    network = Network(farm=build_farm(FarmFile.model_validate(FARM), started_now()))
    await network.open()
    yield network
    assert network.farm.plant.totals().commands == 0, "whatever was asked for, nothing is written"
    await network.close()


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A site's file with one machine that is at none of the simulated addresses."""
    path = tmp_path / "site.toml"
    path.write_text(EXAMPLE.read_text("utf-8") + "\n# the last line", "utf-8")
    return path


def text_of(path: Path) -> str:
    return path.read_text("utf-8")


def put(path: Path, text: str) -> None:
    path.write_text(text, "utf-8")


async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Takes what comes and says nothing."""
    await reader.read()
    writer.close()


class Shell:
    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    async def run(self, *arguments: str) -> tuple[int, str, str]:
        """The verb in a thread of its own: the machines live on this loop."""

        def call() -> int:
            with pytest.raises(SystemExit) as end:
                main(["discover", *arguments])
            return int(end.value.code or 0)

        code = await asyncio.to_thread(call)
        captured = self._capsys.readouterr()
        assert "Traceback" not in captured.err
        return code, captured.out, captured.err


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(capsys)


def expected(network: Network) -> list[dict[str, str]]:
    return [
        {
            "id": f"{label.family}-{label.mac.replace(':', '')}",
            "uri": f"{label.family}://{label.address}",
            "mac": label.mac,
        }
        for label in network.farm.labels
    ]


async def test_what_is_printed_is_a_piece_of_a_sites_file(network: Network, shell: Shell) -> None:
    code, out, err = await shell.run(NETWORK, *NO_WEB)
    assert code == 0
    assert tomllib.loads(out)["miners"] == expected(network)
    assert "# Antminer S21, " in out
    assert f"serial {network.farm.labels[0].serial}" in out
    assert "5 machines (3 luxos, 2 whatsminer-v3), 9 refusing" in err
    assert err.startswith("14 addresses in ")
    assert err.count("\n") == 1, "without a terminal there is no progress to be shown"


async def test_json_is_one_document_with_everybody_who_answers(
    network: Network, shell: Shell
) -> None:
    async def router(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.write(b"HTTP/1.1 403 No\r\n\r\n")
        writer.close()

    silent = await asyncio.start_server(mute, f"{BASE}.0.9", 4028)
    strange = await asyncio.start_server(router, f"{BASE}.0.10", 4028)
    async with silent, strange:
        code, out, _ = await shell.run(NETWORK, *NO_WEB, "--json")
    answer = json.loads(out)
    assert code == 0
    assert (answer["addresses"], answer["is_complete"], answer["written"]) == (14, True, None)
    assert answer["counts"]["identified"] == 5
    assert answer["silent"] == [f"{BASE}.0.9"]
    first, last = answer["machines"][0], answer["machines"][-1]
    assert first["identity"]["mac"] == network.farm.labels[0].mac
    assert first["uri"] == f"luxos://{network.farm.labels[0].address}"
    assert (last["address"], last["verdict"]) == (f"{BASE}.0.10", "unknown")
    assert "403 No" in last["words"]


async def test_new_machines_are_written_below_what_is_there_and_once(
    network: Network, shell: Shell, site: Path
) -> None:
    before = text_of(site)
    code, out, err = await shell.run(NETWORK, *NO_WEB, "--write", str(site))
    assert (code, out) == (0, "")
    assert "luxos://" in err
    after = text_of(site)
    assert after.startswith(before)
    miners = load_settings(site).miners
    assert len(miners) == 1 + 5
    assert {miner.mac for miner in miners} >= {label.mac for label in network.farm.labels}
    code, _, _ = await shell.run(NETWORK, *NO_WEB, "--write", str(site), "--json")
    assert code == 0
    assert text_of(site) == after


async def test_a_machine_that_has_moved_is_written_at_its_new_address(
    network: Network, shell: Shell, site: Path
) -> None:
    label = network.farm.labels[0]
    text = text_of(site).replace("62:f7:5e:b7:10:46", label.mac)
    assert label.mac in text
    put(site, text)
    code, out, _ = await shell.run(NETWORK, *NO_WEB, "--write", str(site), "--json")
    written = json.loads(out)["written"]
    assert code == 0
    was = tomllib.loads(text)["miners"][0]
    assert written["moved"] == [
        f"{was['id']} has moved from {was['uri']} to luxos://{label.address}."
    ]
    assert len(written["added"]) == 4
    assert load_settings(site).miners[0].uri == f"luxos://{label.address}"


async def test_an_address_of_another_row_is_refused_and_the_rest_is_written(
    network: Network, shell: Shell, site: Path
) -> None:
    address = network.farm.labels[0].address
    text = text_of(site).replace("luxos://10.1.1.11", f"luxos://{address}")
    put(site, text)
    code, _, err = await shell.run(NETWORK, *NO_WEB, "--write", str(site))
    assert code == 1
    assert "correct or remove r1-s01 first" in err
    assert len(load_settings(site).miners) == 1 + 4


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda text: text + "\n[[miners]\n", "is not TOML"),
        (lambda text: text.replace('zone = "Asia/Almaty"', 'zone = "Mars"'), "site.zone"),
        (lambda text: text.replace("[[meters]]", "[[meterz]]"), "meterz"),
        (lambda text: text + '\n[[miners]]\nid = "x"\n', "miners[1].uri"),
        (lambda _: "", "site"),
    ],
)
async def test_a_damaged_file_is_left_as_it_is_and_every_fault_of_it_named(
    network: Network, shell: Shell, site: Path, spoil: Any, words: str
) -> None:
    put(site, spoil(text_of(site)))
    before = text_of(site)
    code, out, err = await shell.run(NETWORK, *NO_WEB, "--write", str(site))
    assert (code, out) == (2, "")
    assert "was left as it is" in err
    assert words in err
    assert text_of(site) == before
    assert list(site.parent.iterdir()) == [site]


async def test_a_file_that_is_not_there_or_not_text_is_refused(
    network: Network, shell: Shell, tmp_path: Path
) -> None:
    path = tmp_path / "none.toml"
    code, _, err = await shell.run(NETWORK, *NO_WEB, "--write", str(path))
    assert code == 2
    assert "there is no such file" in err
    path.write_bytes(b"\xff\xfe")
    code, _, err = await shell.run(NETWORK, *NO_WEB, "--write", str(path))
    assert code == 2
    assert "not UTF-8" in err


async def test_meters_are_asked_only_where_somebody_wants_it(
    network: Network, shell: Shell
) -> None:
    host, port = network.meter_address(0)
    hidden = (*NO_WEB, "--port", f"502={port}", "--port", "4028=1", "--port", "4433=1")
    _, out, _ = await shell.run(host, *hidden)
    assert "modbus" not in out
    assert network.meters[0].requests == 0
    code, out, _ = await shell.run(host, *hidden, "--meters")
    assert code == 0
    assert f"# modbus://{host}:{port}/1?profile=sdm630: " in out
    assert "serial 12345678" in out
    assert tomllib.loads(out) == {}


@pytest.mark.parametrize(
    "arguments",
    [
        ["10.1.0.0/x"],
        ["10.1.0.5/22"],
        ["10.0.0.0/8"],
        ["8.8.8.0/24"],
        ["224.0.0.0/24"],
        ["10.0.0.0/16", "10.1.0.0/16"],
        ["127.0.0.1", "--port", "80"],
        ["127.0.0.1", "--port", "80=99999"],
        ["127.0.0.1", "--password-file", "luxos=x"],
        ["127.0.0.1", "--password-file", "whatsminer-v3="],
    ],
)
async def test_what_makes_no_sense_is_refused_in_one_sentence(
    shell: Shell, arguments: list[str]
) -> None:
    code, out, err = await shell.run(*arguments)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1


def test_a_22_ends_within_thirty_seconds_by_itself() -> None:
    assert discover.BLOCK_LIMIT_S + 4.0 <= 30.0  # and the time that Python takes to start
    assert discover.BLOCK_ADDRESSES >= 1022


async def test_what_was_not_asked_in_time_is_said_and_no_success(
    network: Network, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(discover, "BLOCK_LIMIT_S", 0.6)

    async with await asyncio.start_server(mute, f"{BASE}.0.9", 4028):
        code, out, err = await shell.run(NETWORK, *NO_WEB)
    assert code == 1
    assert "the time ran out with 1 not asked to the end: name smaller networks" in err
    assert len(tomllib.loads(out)["miners"]) == 5


async def test_a_terminal_is_shown_how_far_it_is(network: Network) -> None:
    ours, theirs = pty.openpty()
    script = "import sys; from agent.cli import main; main(sys.argv[1:])"
    command = [sys.executable, "-c", script, "discover", NETWORK, *NO_WEB]
    try:
        process = await asyncio.create_subprocess_exec(
            *command, stdout=subprocess.PIPE, stderr=theirs, env=os.environ | {"TERM": "xterm"}
        )
        os.close(theirs)
        out, _ = await process.communicate()
        shown = b""
        with contextlib.suppress(OSError):  # the end of a terminal whose owner has left
            while piece := os.read(ours, 65_536):
                shown += piece
    finally:
        os.close(ours)
    assert len(tomllib.loads(out.decode())["miners"]) == 5
    assert b"machines" in shown
    assert b"14/14" in shown
    assert b"14 addresses in " in shown
