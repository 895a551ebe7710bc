"""``kwota-sim serve`` as a process: ready file, signals, ports in use, death of the parent."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from simulator.parent import is_orphan

FARM = """
[addresses]
has_web = false
[[machines]]
model = "s19k-pro"
count = 3
[[meters]]
id = "site"
port = 0
serial = 77
"""


@pytest.fixture
def farm_path(tmp_path) -> Path:
    path = tmp_path / "farm.toml"
    path.write_text(FARM)
    return path


def command(farm_path, *options) -> list[str]:
    line = [sys.executable, "-m", "simulator", "serve", str(farm_path), "--address-base", "free"]
    return [*line, *map(str, options)]


def run(farm_path, *options) -> subprocess.CompletedProcess[str]:
    line = command(farm_path, *options)
    return subprocess.run(line, check=False, capture_output=True, text=True, timeout=15.0)


def wait_for(path, process=None) -> dict:
    deadline_s = time.monotonic() + 12.0
    while not path.exists():
        assert time.monotonic() < deadline_s, "no ready file in time"
        assert process is None or process.poll() is None, "it ended early"
        time.sleep(0.05)
    return json.loads(path.read_text())


def ask(url, body=None) -> dict:
    with urllib.request.urlopen(url, data=body, timeout=5.0) as reply:
        return json.load(reply)


@pytest.mark.system
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_says_where_everything_is_and_stops_at_a_signal(farm_path, tmp_path, number) -> None:
    ready = tmp_path / "ready.json"
    options = ("--ready-file", ready, "--miners", 5, "--seed", 9)
    with subprocess.Popen(
        command(farm_path, *options), stderr=subprocess.PIPE, text=True
    ) as process:
        document = wait_for(ready, process)
        assert document["pid"] == process.pid
        assert len(document["machines"]) == 5
        assert ":09:" in document["machines"][0]["mac"]
        host, port = document["meters"][0]["address"].split(":")
        socket.create_connection((host, int(port)), timeout=2.0).close()
        for row in document["machines"]:
            socket.create_connection((row["address"], row["port"]), timeout=2.0).close()
        assert ask(document["control_url"] + "/v1/truth")["machines_total"] == 5
        process.send_signal(number)
        _, errors = process.communicate(timeout=8.0)
    assert process.returncode == 0
    assert "machines 5" in errors
    assert "Traceback" not in errors
    assert not ready.exists()


@pytest.mark.system
def test_a_port_in_use_is_one_sentence_and_exit_code_two(farm_path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for option in ("--meter-port", "--control-port"):
            result = run(farm_path, option, port)
            assert result.returncode == 2
            assert len(result.stderr.strip().splitlines()) == 1
            assert f"127.0.0.1:{port} (Address already in use)" in result.stderr


@pytest.mark.system
def test_wrong_farm_files_and_pools_without_directory_end_with_code_two(
    farm_path, tmp_path
) -> None:
    missing = run(tmp_path / "none.toml")
    elsewhere = run(farm_path, "--address-base", "10.0.0.0")
    assert elsewhere.returncode == 2
    assert "loopback network" in elsewhere.stderr
    poolless = run(farm_path, "--broker", "mqtt://127.0.0.1:1")
    assert (missing.returncode, poolless.returncode) == (2, 2)
    assert "cannot be read" in missing.stderr
    assert "--pool-dir" in poolless.stderr


def limited(files: int, line: list[str]) -> list[str]:
    return ["bash", "-c", f'ulimit -n {files} && exec "$@"', "bash", *line]


@pytest.mark.system
def test_files_for_every_door_must_be_had_and_for_every_caller_should(farm_path, tmp_path) -> None:
    ready = tmp_path / "ready.json"
    line = command(farm_path, "--miners", 100, "--ready-file", ready)
    few = subprocess.run(
        limited(600, line), check=False, capture_output=True, text=True, timeout=15.0
    )
    assert (few.returncode, few.stderr.count("\n")) == (2, 1)
    assert "100 machines need 612 open files, the limit is 600" in few.stderr
    for files, words in ((650, "650 open files are too few for a caller"), (712, "")):
        ready.unlink(missing_ok=True)
        with subprocess.Popen(limited(files, line), stderr=subprocess.DEVNULL) as process:
            warnings = wait_for(ready, process)["warnings"]
            process.send_signal(signal.SIGTERM)
            assert process.wait(10.0) == 0
        assert any(words in warning for warning in warnings) if words else warnings == []


@pytest.mark.system
def test_it_stops_when_the_process_that_started_it_dies(farm_path, tmp_path) -> None:
    ready = tmp_path / "ready.json"
    line = command(farm_path, "--ready-file", ready, "--exit-with-parent")
    starter = f"import subprocess,time;p=subprocess.Popen({line!r});time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", starter]) as parent:
        pid = wait_for(ready, parent)["pid"]
        parent.kill()
    deadline_s = time.monotonic() + 6.0
    while Path(f"/proc/{pid}").exists() and _is_running(pid):
        assert time.monotonic() < deadline_s, "it outlived its parent"
        time.sleep(0.05)


def test_another_parent_means_that_the_first_one_has_gone() -> None:
    assert not is_orphan(os.getppid())
    assert is_orphan(os.getppid() + 1)


def _is_running(pid) -> bool:
    try:
        return " Z " not in Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.system
def test_the_pool_runs_inside_and_alone(farm_path, tmp_path, broker) -> None:
    ready, pool_dir = tmp_path / "ready.json", tmp_path / "pool"
    options = ("--ready-file", ready, "--broker", broker, "--pool-dir", pool_dir)
    with subprocess.Popen(command(farm_path, *options), stderr=subprocess.DEVNULL) as process:
        document = wait_for(ready, process)
        state = ask(document["control_url"] + "/v1/pool")
        assert Path(document["pool"]["vkey_file"]).read_text().strip() == state["vkey"]
        process.terminate()
    line = [sys.executable, "-m", "simulator", "pool", "--broker", broker]
    with subprocess.Popen(
        [*line, "--pool-dir", str(pool_dir)], stderr=subprocess.PIPE, text=True
    ) as process:
        assert "vkey" in process.stderr.readline()
        process.terminate()
        process.communicate(timeout=8.0)
    assert process.returncode == 0
    assert (pool_dir / "pool.vkey").read_text().strip() == state["vkey"]


@pytest.mark.system
def test_farms_that_start_together_take_networks_of_their_own(farm_path, tmp_path) -> None:
    readies = [tmp_path / f"ready-{number}.json" for number in range(6)]
    farms = [
        subprocess.Popen(command(farm_path, "--ready-file", ready, "--exit-with-parent"))
        for ready in readies
    ]
    try:
        said = [wait_for(ready, farm) for ready, farm in zip(readies, farms, strict=True)]
    finally:
        for farm in farms:
            farm.terminate()
        assert [farm.wait(10) for farm in farms] == [0] * 6
    assert len({farm["machines"][0]["address"] for farm in said}) == 6


@pytest.mark.system
def test_a_farm_whose_machines_are_gone_keeps_their_addresses(farm_path, tmp_path) -> None:
    ready = tmp_path / "ready.json"
    with subprocess.Popen(command(farm_path, "--ready-file", ready)) as farm:
        try:
            said = wait_for(ready, farm)
            gone = {"kind": "miner_gone", "target": [0, 1, 2]}
            ask(f"{said['control_url']}/v1/faults", json.dumps(gone).encode())
            first = said["machines"][0]
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection((first["address"], first["port"]), timeout=2.0)
            base = first["address"].rsplit(".", 1)[0] + ".0"
            other = run(farm_path, "--address-base", base)
        finally:
            farm.terminate()
    assert other.returncode == 2
    assert f"cannot have {base}:{first['port']} (Address already in use)" in other.stderr
    assert "--address-base" in other.stderr
