"""A real broker on a free port of the loopback, and the certificates for it."""

import asyncio
import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

MOSQUITTO = shutil.which("mosquitto", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@dataclass
class Mosquitto:
    """One broker that a test starts, stops and starts again on the same port."""

    directory: Path
    port: int = field(default_factory=free_port)
    lines: tuple[str, ...] = ("allow_anonymous true",)
    process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        config = self.directory / "mosquitto.conf"
        config.write_text("\n".join([f"listener {self.port} 127.0.0.1", *self.lines, ""]))
        with (self.directory / "mosquitto.log").open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                str(MOSQUITTO), "-c", str(config), stdout=log, stderr=log
            )
        async with asyncio.timeout(5):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                except OSError:
                    await asyncio.sleep(0.02)
                else:
                    writer.close()
                    return

    async def stop(self) -> None:
        if self.process is not None:
            if self.process.returncode is None:
                self.process.kill()
            await self.process.wait()
            self.process = None


@pytest.fixture
def mosquitto(tmp_path: Path):
    """A factory: ``async with mosquitto("a config line") as broker``."""
    if MOSQUITTO is None:
        pytest.skip("mosquitto is not installed: nothing about MQTT is tested")

    @asynccontextmanager
    async def run(*lines: str) -> AsyncIterator[Mosquitto]:
        # Run as root it would change to a user that cannot read the test's files.
        broker = Mosquitto(directory=tmp_path)
        broker.lines = ("user root", *(lines or ("allow_anonymous true",)))
        await broker.start()
        try:
            yield broker
        finally:
            await broker.stop()

    return run
