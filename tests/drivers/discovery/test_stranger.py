"""Asking one address, against machines of the simulator and against servers that lead astray."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from drivers.discovery import stranger
from drivers.discovery.meters import ask_meter
from drivers.discovery.stranger import Asking, Verdict, ask, uri_of
from drivers.discovery.sweep import asked
from drivers.link.knock import Patience
from drivers.miners import registry
from drivers.miners.registry import Family
from simulator.clock import started_now
from simulator.farm import build_farm
from simulator.farm_file import FarmFile
from simulator.faults import FaultKind
from simulator.network import Network

NET = f"127.{64 + os.getpid() % 64}.0.0"  # every test process has addresses of its own
QUICK = Patience(connect_s=0.5, answer_s=0.3)
NOWHERE = 1  # a port at which nobody listens

Listen = Callable[[Any], Awaitable[int]]
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest_asyncio.fixture
async def hall() -> AsyncIterator[Network]:
    """One machine of LuxOS, one Whatsminer, one meter."""
    document = {
        "addresses": {"base": NET, "has_web": False},
        "machines": [
            {"model": "s21", "count": 1},
            {"family": "whatsminer-v3", "model": "m60s", "count": 1},
        ],
        "meters": [{"id": "site", "port": 0, "serial": 12345678, "refresh_s": 0.1}],
    }
    async with AsyncExitStack() as stack:
        network = Network(farm=build_farm(FarmFile.model_validate(document), started_now()))
        await network.open()
        stack.push_async_callback(network.close)
        yield network


def saying(answer: bytes) -> Handler:
    """A server that answers whatever is asked."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1024)
        writer.write(answer)
        await writer.drain()
        writer.close()

    return serve


async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.read()


def at(rpc: int = NOWHERE, web: int = NOWHERE, v3: int = NOWHERE, **more: Any) -> Asking:
    return Asking(patience=QUICK, ports={4028: rpc, 80: web, 4433: v3}, **more)


async def test_a_machine_is_identified_by_the_driver_of_the_family_that_it_shows(
    hall: Network,
) -> None:
    for label in hall.farm.labels:
        found = await ask(label.address, Asking())
        assert found.verdict is Verdict.IDENTIFIED
        assert (found.family, found.uri) == (label.family, f"{label.family}://{label.address}")
        assert found.identity is not None
        assert (found.identity.mac, found.identity.serial) == (label.mac, label.serial)
        assert found.identity.is_writable
    assert hall.farm.plant.totals().commands == 0


async def test_a_silent_machine_an_empty_address_and_garbage_are_told_apart(hall: Network) -> None:
    how = Asking(patience=QUICK, ports={80: NOWHERE})
    first, second = (label.address for label in hall.farm.labels)
    hall.farm.switch_fault(FaultKind.MINER_SILENT, [0], is_active=True, value=None)
    hall.farm.switch_fault(FaultKind.MINER_GARBAGE, [1], is_active=True, value=None)
    assert (await ask(first, how)).verdict is Verdict.SILENT
    assert (await ask(second, how)).verdict is not Verdict.IDENTIFIED
    nobody = await ask(first.removesuffix(".1") + ".77", how)
    assert (nobody.verdict, nobody.uri) == (Verdict.REFUSING, "")


async def test_a_stranger_is_shown_with_what_it_answered(listen: Listen) -> None:
    page = b'HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm="Router\x1b[2J"\r\n\r\n'
    found = await ask("127.0.0.1", at(web=await listen(saying(page))))
    assert (found.verdict, found.family) == (Verdict.UNKNOWN, "")
    assert found.words.startswith("Port 80 answered: HTTP/1.1 401 Unauthorized")
    assert found.words.isprintable()


async def test_a_family_that_has_no_driver_is_named_all_the_same(
    listen: Listen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stranger, "FAMILIES", {})
    port = await listen(saying(b"HTTP/1.1 200 OK\r\n\r\n<title>AxeOS</title>"))
    found = await ask("127.0.0.1", at(web=port))
    assert (found.verdict, found.family, found.uri) == (Verdict.INCOMPLETE, "bitaxe", "")
    assert found.words == "It looks like bitaxe, which this version of kwota does not speak."


async def test_who_only_claims_to_be_a_machine_is_a_stranger(listen: Listen) -> None:
    port = await listen(saying(b'{"luxminer":"so they say","STATUS":[{"STATUS":"E"}]}\0'))
    found = await ask("127.0.0.1", at(rpc=port))
    assert (found.verdict, found.identity) == (Verdict.UNKNOWN, None)
    assert "luxminer" in found.words


async def test_a_machine_that_breaks_off_is_named_with_what_is_missing(listen: Listen) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if b"version" in await reader.readline():
            writer.write(b'{"STATUS":[{"STATUS":"S"}],"VERSION":[{"LUXminer":"1"}]}\0')
            await writer.drain()
        writer.close()

    found = await ask("127.0.0.1", at(rpc=await listen(serve)))
    assert (found.verdict, found.family) == (Verdict.INCOMPLETE, "luxos")
    assert "closed the connection" in found.words


async def test_a_driver_that_hangs_is_given_up(listen: Listen) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if b"version" in await reader.readline():
            writer.write(b'{"STATUS":[{"STATUS":"S"}],"VERSION":[{"LUXminer":"1"}]}\0')
        await reader.read()

    found = await ask("127.0.0.1", at(rpc=await listen(serve), identify_s=0.3))
    assert found.verdict is Verdict.INCOMPLETE
    assert found.words == "It looks like luxos and did not say who it is within 0.3 s."


async def test_a_password_that_is_wanted_and_missing_is_said(
    listen: Listen, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen: list[str | None] = []

    def make(opening: registry.Opening) -> Any:
        seen.append(opening.password)
        if opening.password is None:
            raise ValueError("Machine x tells nothing without its password_file.")
        raise ValueError("enough for this test")

    closed = Family(default_port=4028, make=make, takes_password=True)
    monkeypatch.setattr(stranger, "FAMILIES", {"luxos": closed})
    monkeypatch.setattr(registry, "FAMILIES", {"luxos": closed})
    port = await listen(saying(b"LUXminer\0"))
    found = await ask("127.0.0.1", at(rpc=port))
    assert (found.verdict, found.family) == (Verdict.INCOMPLETE, "luxos")
    assert found.words == "Machine x tells nothing without its password_file."
    secret = tmp_path / "secret"
    secret.write_text("hunter2\n")
    found = await ask("127.0.0.1", at(rpc=port, passwords={"luxos": secret}))
    assert seen == [None, "hunter2"]
    assert "hunter2" not in repr(found)


async def test_a_silent_port_is_asked_once_and_the_others_all_the_same(listen: Listen) -> None:
    calls = 0

    async def mute(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        nonlocal calls
        calls += 1
        await reader.read()

    page = await listen(saying(b"HTTP/1.1 200 OK\r\n\r\nhello"))
    found = await ask("127.0.0.1", at(rpc=await listen(mute), web=page))
    assert calls == 1
    assert (found.verdict, found.words) == (
        Verdict.UNKNOWN,
        "Port 80 answered: HTTP/1.1 200 OK hello",
    )


async def test_a_machine_that_speaks_http_at_the_port_of_others_is_asked_so(listen: Listen) -> None:
    requests: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        requests.append(await reader.read(1024))
        if requests[-1].startswith(b"GET /capabilities "):
            writer.write(b'HTTP/1.1 200 OK\r\n\r\n{"Model":"S19","Default Hashrate":90}')
            await writer.drain()
        writer.close()

    await ask("127.0.0.1", at(rpc=await listen(serve), families=frozenset({"epic"})))
    assert requests[0].startswith(b"GET /capabilities "), "others' questions are left out"


async def test_there_is_never_more_than_one_connection_to_an_address(listen: Listen) -> None:
    now = most = total = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal now, most, total
        now, total = now + 1, total + 1
        most = max(most, now)
        await reader.read(1024)
        writer.write(b"HTTP/1.1 404 Not Found\r\n\r\nno LUXminer, no AxeOS\0")
        await writer.drain()
        await reader.read()
        now -= 1

    port = await listen(serve)
    await ask("127.0.0.1", at(rpc=port, web=port, v3=port))
    assert most == 1
    assert total > 5


async def test_a_driver_that_fails_on_an_answer_does_not_end_the_search(
    listen: Listen, monkeypatch: pytest.MonkeyPatch
) -> None:
    def make(_: registry.Opening) -> Any:
        raise KeyError("a bug")

    broken = Family(default_port=4028, make=make)
    monkeypatch.setattr(stranger, "FAMILIES", {"luxos": broken})
    monkeypatch.setattr(registry, "FAMILIES", {"luxos": broken})
    found = await asked("127.0.0.1", at(rpc=await listen(saying(b"LUXminer\0"))))
    assert found.verdict is Verdict.UNKNOWN
    assert found.words == "A driver failed on its answer (KeyError); report it."


def test_a_uri_says_no_more_than_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert uri_of("luxos", "10.1.1.11", {}) == "luxos://10.1.1.11"
    assert uri_of("luxos", "10.1.1.11", {4028: 14028, 80: 8080}) == "luxos://10.1.1.11:14028"
    double = Family(default_port=4028, make=lambda _: None, second=("web", 80))  # type: ignore[arg-type,return-value]
    monkeypatch.setattr(stranger, "FAMILIES", {"double": double})
    assert uri_of("double", "10.1.1.11", {}) == "double://10.1.1.11"
    assert uri_of("double", "10.1.1.11", {80: 8080}) == "double://10.1.1.11?web=8080"


async def test_a_meter_is_proposed_profiles_and_other_servers_are_no_meters(
    hall: Network, listen: Listen
) -> None:
    host, port = hall.meter_address(0)
    meter = await ask_meter(host, (), port=port)
    assert meter is not None
    assert meter.uri == f"modbus://127.0.0.1:{port}/1"
    assert meter.proposals[0].profile == "sdm630"
    assert await ask_meter(host, (), port=NOWHERE, patience=QUICK) is None
    web = await listen(saying(b"HTTP/1.1 400 Bad Request\r\n\r\n"))
    assert await ask_meter(host, (), port=web, patience=QUICK) is None
    mute = await ask_meter(host, (), port=await listen(silent), patience=QUICK)
    assert mute is not None
    assert "unit 1 says nothing" in mute.words
