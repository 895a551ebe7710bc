"""A light that blinks: from the control socket over the driver to a simulated machine."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from agent.commands import locate as locating
from agent.control_client import NoDaemonError, RefusedError, blink
from agent.control_locate import add_locate_route
from agent.core.decisions import Setpoint, Stage
from agent.core.snapshot import PendingCommand
from agent.posts import MinerPost
from drivers.miners.registry import open_miner
from simulator.clock import started_now
from simulator.farm import build_farm
from simulator.farm_file import FarmFile
from simulator.faults import FaultKind
from simulator.network import Network

NET = f"127.{64 + os.getpid() % 64}.0.0"  # every test process has addresses of its own
MODELS = {
    "luxos": "s21",
    "whatsminer-v3": "m60s",
    "whatsminer-v2": "m50",
    "antminer": "s19j-pro",
    "avalon": "a1566",
    "braiins": "s19-xp",
    "vnish": "s19j-pro",
    "epic": "s19-xp",
    "bitaxe": "gamma",
}
FARM = {
    "addresses": {"base": NET, "has_web": False, "web_port": 8080},
    "machines": [
        {"family": family, "model": model, "count": 1} for family, model in MODELS.items()
    ],
    "meters": [{"id": "site", "port": 0, "serial": 12345678, "refresh_s": 0.1}],
}
FAMILIES = list(MODELS)
LIT = [family for family in FAMILIES if family != "bitaxe"]
LUXOS, WHATSMINER, READ_ONLY = "luxos", "whatsminer-v3", "a machine without its password"


class Hall:
    """A hall of one machine a family, its daemon's door, and whoever asks there."""

    def __init__(self, directory: Path) -> None:
        self.socket = directory / "kwota.sock"
        self.network = Network(farm=build_farm(FarmFile.model_validate(FARM), started_now()))
        self.passwords = {family: self._password(directory, family) for family in FAMILIES}
        self.posts = {family: self.post(family, family) for family in FAMILIES}
        self.passwords[WHATSMINER] = None
        self.posts[READ_ONLY] = self.post(READ_ONLY, WHATSMINER)

    def _password(self, directory: Path, family: str) -> Path | None:
        password = self.network.machine_password(FAMILIES.index(family))
        if password is None:
            return None
        file = directory / family
        file.touch(mode=0o600)
        file.write_text(f"{password}\n")
        return file

    def post(self, name: str, family: str, *, mac: str | None = None) -> MinerPost:
        place = FAMILIES.index(family)
        uri = self.network.machine_uri(place)
        device = open_miner(
            uri,
            miner_id=name,
            mac=mac or self.network.farm.labels[place].mac,
            password_file=self.passwords[family],
        )
        return MinerPost(miner_id=name, address=uri, family=family, device=device)

    async def blink(self, name: str, *, is_on: bool = True) -> dict[str, Any]:
        return await asyncio.to_thread(blink, self.socket, name, is_on=is_on)

    async def denied(self, name: str) -> RefusedError:
        with pytest.raises(RefusedError) as caught:
            await self.blink(name)
        return caught.value

    def is_blinking(self, name: str) -> bool:
        place, dialects = FAMILIES.index(name), self.network.dialects
        match name:
            case "whatsminer-v3":
                return dialects[name].whatsminers.traits(place).led == "manual"
            case "antminer":
                return dialects[name].traits(place).is_blinking
            case "braiins":
                return dialects[name].machines.traits(place).is_located
        return place in self.network.farm.blinking

    @asynccontextmanager
    async def door(self, *, is_shadow: bool = False) -> AsyncIterator[None]:
        app = web.Application()
        add_locate_route(app, self.posts, is_shadow=is_shadow)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.UnixSite(runner, str(self.socket)).start()
        try:
            yield
        finally:
            await runner.cleanup()


@pytest.fixture
async def hall(tmp_path: Path) -> AsyncIterator[Hall]:
    opened = Hall(tmp_path)
    await opened.network.open()
    try:
        yield opened
    finally:
        for post in opened.posts.values():
            await post.device.close()
        await opened.network.close()


def state_of(hall: Hall) -> list[tuple[object, ...]]:
    return [
        (one.is_awake, one.point.name, *(board.is_enabled for board in one.boards))
        for one in hall.network.farm.plant.machines
    ]


@pytest.mark.parametrize("name", LIT)
async def test_its_light_blinks_and_is_left_again_and_nothing_else_changes(
    hall: Hall, name: str
) -> None:
    before = state_of(hall)
    async with hall.door():
        assert await hall.blink(name) == {"miner_id": name, "is_on": True}
        assert [one for one in LIT if hall.is_blinking(one)] == [name]
        await hall.blink(name)  # absolute: told twice, it blinks on
        assert hall.is_blinking(name)
        await hall.blink(name, is_on=False)
    assert not hall.is_blinking(name)
    assert state_of(hall) == before


async def test_a_family_without_a_light_says_so_in_one_sentence(hall: Hall) -> None:
    async with hall.door():
        error = await hall.denied("bitaxe")
    assert error.status == 409
    assert "machines of the family bitaxe have no light" in str(error)


@pytest.mark.parametrize("name", LIT)
async def test_another_machine_at_the_address_is_not_told(hall: Hall, name: str) -> None:
    await hall.posts[name].device.close()
    if name == WHATSMINER:
        hall.passwords[name] = hall.socket.with_name(name)
    hall.posts[name] = hall.post(name, name, mac="02:00:00:00:00:01")
    async with hall.door():
        error = await hall.denied(name)
    assert error.status == 409
    assert "should have the MAC" in str(error)
    assert not hall.is_blinking(name)


async def test_what_cannot_blink_is_refused_with_the_reason(hall: Hall) -> None:
    async with hall.door():
        error = await hall.denied(READ_ONLY)
        assert error.status == 409
        assert "password_file" in str(error)
        assert (await hall.denied("nobody")).status == 404


async def test_a_machine_that_is_being_told_a_set_point_has_no_time_for_a_light(hall: Hall) -> None:
    setpoint = Setpoint(is_awake=False, profile=None, boards_on=frozenset())
    post = hall.posts[LUXOS]
    post.pending = PendingCommand(
        setpoint=setpoint, sent_at_s=0.0, stage=Stage.ACCEPTED, detail="", origin=None
    )
    async with hall.door():
        error = await hall.denied(LUXOS)
        assert (error.status, "set point" in str(error)) == (409, True)
        post.pending = None
        await hall.blink(LUXOS)


async def test_a_shadow_run_writes_to_no_machine(hall: Hall) -> None:
    async with hall.door(is_shadow=True):
        error = await hall.denied(LUXOS)
    assert (error.status, "shadow" in str(error)) == (409, True)
    assert not hall.is_blinking(LUXOS)


async def test_a_machine_that_does_not_answer_is_said_within_seconds(hall: Hall) -> None:
    hall.network.farm.switch_fault(FaultKind.MINER_SILENT, [0], is_active=True, value=None)
    async with hall.door(), asyncio.timeout(10):
        assert (await hall.denied(LUXOS)).status == 503


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"is_on": 1}', b"\xff"])
async def test_what_is_no_request_is_refused(hall: Hall, body: bytes) -> None:
    async with hall.door():
        reader, writer = await asyncio.open_unix_connection(hall.socket)
        head = f"POST /control/v1/miners/{LUXOS}/locate HTTP/1.1\r\nHost: a\r\n"
        writer.write(f"{head}Connection: close\r\nContent-Length: {len(body)}\r\n\r\n".encode())
        writer.write(body)
        assert b" 400 " in await reader.readline()
        await reader.read()
        writer.close()
    assert not hall.is_blinking(LUXOS)


async def test_the_verb_blinks_for_its_time_and_ends_early_at_ctrl_c(hall: Hall) -> None:
    async with hall.door(), asyncio.timeout(18):
        for seconds, number in (("1", None), ("3000", signal.SIGINT)):
            verb = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "agent", "locate", LUXOS, "--for", seconds, "--json"),
                *("--socket", str(hall.socket)),
                stdout=asyncio.subprocess.PIPE,
            )
            await blinks(hall)
            if number is not None:
                verb.send_signal(number)
            told, _ = await verb.communicate()
            assert (verb.returncode, json.loads(told)["is_on"]) == (0, False)
            assert not hall.is_blinking(LUXOS)


def test_ctrl_c_in_the_moment_in_which_it_begins_ends_it_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told: list[bool] = []

    def blinking(_path: Path, _miner: str, *, is_on: bool) -> dict[str, bool]:
        told.append(is_on)
        if is_on:
            os.kill(os.getpid(), signal.SIGINT)
        return {"is_on": is_on}

    monkeypatch.setattr(locating, "blink", blinking)
    try:
        locating.locate(LUXOS, seconds=3000, is_json=True, socket=tmp_path / "none.sock")
    except KeyboardInterrupt:
        pytest.fail("it went, and the light goes on blinking")
    assert told == [True, False]
    assert json.loads(capsys.readouterr().out) == {"is_on": False}


async def blinks(hall: Hall) -> None:
    for _ in range(800):
        if hall.is_blinking(LUXOS):
            return
        await asyncio.sleep(0.02)
    pytest.fail("the light does not blink")


def test_without_a_daemon_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(NoDaemonError):
        blink(tmp_path / "none.sock", LUXOS, is_on=True)
