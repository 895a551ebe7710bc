"""Farms on their own loopback addresses, and a device that signs its own log."""

import asyncio
import base64
import hashlib
import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from ports import free_port

from simulator.clock import started_now
from simulator.farm import Farm, build_farm
from simulator.farm_file import FarmFile
from simulator.network import Network

# Every test process has addresses of its own, so that several can run at once.
OWN_NET = f"127.{128 + os.getpid() % 64}.0.0"

FAST = {
    "board_on_s": 0.4,
    "board_off_s": 0.1,
    "board_reboot_s": 0.1,
    "profile_s": 0.3,
    "sleep_s": 0.2,
    "wake_s": 0.6,
    "wake_unsafe_s": 0.2,
    "reboot_s": 0.5,
    "session_idle_s": 0.5,
    "self_wake_s": 0.2,
}


def farm_document(**changes: Any) -> dict[str, Any]:
    """A farm file as a document; tables of ``changes`` replace those here."""
    document: dict[str, Any] = {
        "addresses": {"base": OWN_NET, "has_web": False},
        "timings": FAST,
        "base_load": {"constant_w": 1000.0, "wander_w": 20.0},
        "machines": [{"model": "s19k-pro", "count": 2}, {"model": "s21", "count": 1}],
        "meters": [{"id": "site", "port": 0, "serial": 12345678, "refresh_s": 0.1}],
    }
    return {**document, **changes}


@dataclass(slots=True, kw_only=True)
class Site:
    """A farm with its sockets open."""

    farm: Farm
    network: Network

    @property
    def meter_port(self) -> int:
        return self.network.meter_address(0)[1]

    def address(self, index: int) -> str:
        return self.farm.labels[index].address

    async def raw(self, index: int, request: bytes, *, has_eof: bool = False) -> bytes:
        """Bytes to a machine, bytes back to EOF."""
        async with asyncio.timeout(8.0):
            reader, writer = await asyncio.open_connection(self.address(index), 4028)
            writer.write(request)
            if has_eof:
                writer.write_eof()
            reply = await reader.read()
            writer.close()
            return reply

    async def ask(self, index: int, command: str, parameter: str | None = None) -> dict[str, Any]:
        """One command, one parsed answer."""
        request = {"command": command} | ({"parameter": parameter} if parameter else {})
        reply = await self.raw(index, json.dumps(request).encode())
        assert reply.endswith(b"\x00")
        document: dict[str, Any] = json.loads(reply[:-1])
        return document

    async def order(self, index: int, command: str, *rest: str) -> dict[str, Any]:
        """One write under a session of its own."""
        logon = await self.ask(index, "logon")
        session_id = logon["SESSION"][0]["SessionID"]
        document = await self.ask(index, command, ",".join([session_id, *rest]))
        await self.ask(index, "logoff", session_id)
        return document


OpenSite = Callable[..., Any]


@pytest_asyncio.fixture
async def open_site() -> AsyncIterator[OpenSite]:
    opened: list[Network] = []

    async def make(**changes: Any) -> Site:
        farm = build_farm(FarmFile.model_validate(farm_document(**changes)), started_now())
        network = Network(farm=farm)
        opened.append(network)
        await network.open()
        return Site(farm=farm, network=network)

    yield make
    for network in opened:
        await network.close()


def tree_hash(leaves: list[bytes]) -> bytes:
    """RFC 6962, 2.1, as it is written there: by halves."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    pair = tree_hash(leaves[:split]) + tree_hash(leaves[split:])
    return hashlib.sha256(b"\x01" + pair).digest()


@dataclass(slots=True, kw_only=True)
class Device:
    """An edge agent's log as the wire document describes it, signed with its own key."""

    origin: str = "pool.example/edge/farm-1-edge-1/1"
    records: list[bytes] = field(default_factory=list)
    private: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)

    def write(self, count: int) -> None:
        for _ in range(count):
            index = len(self.records)
            self.records.append(b'{"v":1,"i":%d,"k":"meter","d":{"wh":%d}}' % (index, index * 7))

    def key_id(self) -> bytes:
        public = self.private.public_key().public_bytes_raw()
        return hashlib.sha256(self.origin.encode() + b"\n\x01" + public).digest()[:4]

    def vkey(self) -> str:
        public = self.private.public_key().public_bytes_raw()
        encoded = base64.b64encode(b"\x01" + public).decode()
        return f"{self.origin}+{self.key_id().hex()}+{encoded}"

    def checkpoint(self, size: int, root: bytes | None = None) -> str:
        root = tree_hash(self.records[:size]) if root is None else root
        text = f"{self.origin}\n{size}\n{base64.b64encode(root).decode()}\n"
        blob = base64.b64encode(self.key_id() + self.private.sign(text.encode())).decode()
        return f"{text}\n— {self.origin} {blob}\n"

    def message(self, start: int, end: int, *, note: str | None = None) -> bytes:
        header = {
            "v": 1,
            "origin": self.origin,
            "from": start,
            "to": end,
            "checkpoint": self.checkpoint(end) if note is None else note,
        }
        lines = [json.dumps(header).encode(), *self.records[start:end]]
        return b"\n".join(lines)


@pytest.fixture
def device() -> Device:
    return Device()


@pytest.fixture
def other_device() -> Device:
    return Device(origin="pool.example/edge/farm-1-edge-2/1")


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[str]:
    """A real mosquitto with its own configuration on a free port."""
    program = shutil.which("mosquitto", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        pytest.skip("mosquitto is not installed: the pool is not tested against a broker")
    port = free_port()
    config = tmp_path / "mosquitto.conf"
    config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\n")
    with subprocess.Popen([program, "-c", str(config)], stderr=subprocess.DEVNULL) as process:
        deadline_s = time.monotonic() + 5.0
        while time.monotonic() < deadline_s:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=0.2).close()
                break
            except OSError:
                time.sleep(0.05)
        yield f"mqtt://127.0.0.1:{port}"
        process.terminate()
