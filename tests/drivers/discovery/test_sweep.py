"""A /22 of three hundred machines, silent listeners and empty addresses, looked over in time."""

import asyncio
import os
import subprocess
import sys
import time
from collections import Counter

from drivers.discovery.stranger import Asking, Found, Verdict
from drivers.discovery.sweep import CONCURRENT, files_for, sweep
from drivers.link.knock import Patience
from simulator.clock import started_now
from simulator.farm import build_farm
from simulator.farm_file import FarmFile
from simulator.luxos import LuxosFarm
from simulator.network import Network

BASE = f"127.{64 + os.getpid() % 64}"  # every test process has addresses of its own
HOSTS = [f"{BASE}.{third}.{last}" for third in range(4) for last in range(256)][1:-1]
NOWHERE = 1
FARM = {
    "addresses": {"base": f"{BASE}.0.0", "has_web": False},
    "machines": [
        {"model": "s21", "count": 150},
        {"family": "whatsminer-v3", "model": "m60s", "count": 150},
    ],
    "meters": [{"id": "site", "port": 0, "serial": 12345678}],
}


class Mute(asyncio.Protocol):
    """Takes connections and says nothing; counts them, and how many there are at once."""

    now = most = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        Mute.now += 1
        Mute.most = max(Mute.most, Mute.now)

    def connection_lost(self, exc: Exception | None) -> None:
        Mute.now -= 1


async def mutes(count: int) -> list[asyncio.Server]:
    loop = asyncio.get_running_loop()
    hosts = [f"{BASE}.3.{last}" for last in range(1, count + 1)]
    return [
        await loop.create_server(Mute, host, port, reuse_address=True)
        for host in hosts
        for port in (4433, 4028)
    ]


async def test_a_whole_network_is_known_in_time_and_nothing_is_written() -> None:
    network = Network(farm=build_farm(FarmFile.model_validate(FARM), started_now()))
    await network.open()
    servers = await mutes(200)
    found: dict[str, Found] = {}

    def tell(one: Found) -> None:
        assert one.address not in found
        found[one.address] = one

    try:
        how = Asking(ports={80: NOWHERE}, patience=Patience(answer_s=1.0))
        started_s = time.monotonic()
        is_whole = await sweep(HOSTS, how, concurrent=CONCURRENT, limit_s=26.0, tell=tell)
        took_s = time.monotonic() - started_s
    finally:
        for server in servers:
            server.close()
        await network.close()
    assert is_whole
    assert took_s < 15.0
    assert len(found) == len(HOSTS) == 1022
    counts = Counter(one.verdict for one in found.values())
    assert counts == {Verdict.IDENTIFIED: 300, Verdict.SILENT: 200, Verdict.REFUSING: 522}
    for label in network.farm.labels:
        identity = found[label.address].identity
        assert identity is not None
        assert (identity.family, identity.mac) == (label.family, label.mac)
    assert network.farm.plant.totals().commands == 0
    luxos = network.dialects["luxos"]
    assert isinstance(luxos, LuxosFarm)
    assert luxos.sessions._by_machine == {}


async def test_so_many_at_a_time_and_no_more() -> None:
    Mute.most = 0
    servers = await mutes(60)
    try:
        how = Asking(ports={80: NOWHERE}, patience=Patience(answer_s=0.1))
        hosts = [f"{BASE}.3.{last}" for last in range(1, 61)]
        assert await sweep(hosts, how, concurrent=7, limit_s=20.0, tell=lambda _: None)
    finally:
        for server in servers:
            server.close()
    assert Mute.most == 7


async def test_the_time_ends_even_where_every_address_takes_its_own() -> None:
    servers = await mutes(50)
    told: list[Found] = []
    try:
        how = Asking(ports={80: NOWHERE}, patience=Patience(answer_s=0.2))
        hosts = [f"{BASE}.3.{last}" for last in range(1, 51)]
        started_s = time.monotonic()
        is_whole = await sweep(hosts, how, concurrent=10, limit_s=0.7, tell=told.append)
        assert time.monotonic() - started_s < 1.5
    finally:
        for server in servers:
            server.close()
    assert not is_whole
    assert 10 <= len(told) < 50


def test_the_limit_of_open_files_is_kept_and_raised_where_that_is_allowed() -> None:
    script = (
        "import resource, sys; from drivers.discovery.sweep import files_for;"
        "resource.setrlimit(resource.RLIMIT_NOFILE, tuple(map(int, sys.argv[1:3])));"
        "print(files_for(256), resource.getrlimit(resource.RLIMIT_NOFILE)[0])"
    )

    def said(soft: int, hard: int) -> str:
        command = [sys.executable, "-c", script, str(soft), str(hard)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    assert said(100, 100) == "36 100"
    assert said(100, 200) == "136 200"
    assert said(100, 4096) == "256 320"
    assert said(1000, 4096) == "256 1000"
    assert files_for(5) == 5
