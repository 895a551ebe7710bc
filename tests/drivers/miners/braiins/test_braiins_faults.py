"""Broken machines with Braiins OS: what the driver reports, and that it repeats nothing."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web

from drivers.errors import (
    BadReplyError,
    BusyError,
    DriverError,
    RefusedError,
    UnknownOutcomeError,
    UnreachableError,
    UnsupportedError,
    WrongDeviceError,
)
from drivers.link.http import HttpLink
from drivers.link.tcp import NoAnswerError
from drivers.miners import braiins
from drivers.miners.braiins import BraiinsMiner, BraiinsReader
from drivers.readings import Activity
from simulator.faults import FaultKind

Open = Callable[..., Awaitable[Any]]
Listen = Callable[[Any], Awaitable[int]]
Fault = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

PAUSE, BOARDS, TARGET = "actions/pause", "miner/hw/hashboards", "performance/power-target"


def says(status: int = 200, body: bytes = b"") -> Fault:
    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(status=status, body=body)

    return answer


def raw(reply: bytes, hold_s: float = 0.0) -> Fault:
    """Bytes as they are, then the connection is cut."""

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        transport: Any = request.transport
        transport.write(reply)
        await asyncio.sleep(hold_s)
        transport.abort()
        raise ConnectionResetError

    return answer


def break_at(
    site: Any, method: str, path: str, fault: Fault, *, is_done: bool = False
) -> list[str]:
    """Put a fault in the place of one answer; gives the list of how often it was asked for."""
    whole, seen = site.dialect.callers.answer, []

    async def answer(index: int, request: web.BaseRequest) -> web.StreamResponse:
        if (request.method, request.path.rstrip("/")) != (method, f"/api/v1/{path}"):
            return await whole(index, request)
        seen.append(path)
        if is_done:
            await whole(index, request)
        return await fault(request)

    site.dialect.callers.answer = answer
    return seen


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (FaultKind.MINER_SILENT, NoAnswerError),
        (FaultKind.MINER_GONE, UnreachableError),
        (FaultKind.MINER_GARBAGE, DriverError),
    ],
)
async def test_a_broken_machine_is_a_driver_error_and_works_again_after_it(
    hall: Open, kind: FaultKind, expected: type[DriverError]
) -> None:
    site = await hall(asks_login=False)
    reader = site.reader(answer_s=0.3)
    await site.fault(kind)
    for _ in range(3):
        with pytest.raises(expected):
            await reader.read()
    site.network.farm.clear_faults()
    await site.network.apply_faults()
    assert (await reader.read()).activity is Activity.HASHING


async def test_a_rebooting_machine_is_unreachable_and_then_itself_again(hall: Open) -> None:
    site = await hall()
    site.machine.timings = replace(site.machine.timings, reboot_s=0.4)
    miner = site.miner()
    await miner.read()
    whole = site.dialect.callers.answer

    async def reboots(index: int, request: web.BaseRequest) -> web.StreamResponse:
        if request.path.endswith("miner/stats"):
            site.network.farm.act(0, lambda one, now_s: one.reboot_device(now_s=now_s))
            return await raw(b"HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\n{")(request)
        return await whole(index, request)

    site.dialect.callers.answer = reboots
    with pytest.raises(NoAnswerError):
        await miner.read()
    site.dialect.callers.answer = whole
    for verb in (miner.read, miner.sleep):
        with pytest.raises(UnreachableError):
            await verb()
    await asyncio.sleep(0.5)
    assert (await miner.read()).boards
    assert site.machine.is_awake


LOST: list[tuple[str, Fault]] = [
    ("nothing", raw(b"")),
    ("half", raw(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\ntr")),
    ("no HTTP", raw(b'{"STATUS":"S"}\0')),
    ("silence", raw(b"", hold_s=3.0)),
    ("empty", says()),
    ("page", says(body=b"<html>nginx</html>")),
    ("another answer", says(body=b'{"token":"x"}')),
    ("its own error", says(500, b"thread panicked")),
]


@pytest.mark.parametrize(("name", "fault"), LOST, ids=[name for name, _ in LOST])
async def test_a_write_without_a_usable_answer_is_unknown(
    hall: Open, monkeypatch: pytest.MonkeyPatch, name: str, fault: Fault
) -> None:
    monkeypatch.setattr(braiins, "WRITE_LIMIT_S", 1.0)
    site = await hall()
    miner = site.miner()
    await miner.identify()
    seen = break_at(site, "PATCH", BOARDS, fault, is_done=True)
    started_s = time.monotonic()
    with pytest.raises(UnknownOutcomeError, match="read back"):
        await miner.switch_board(2, is_on=False)
    assert time.monotonic() - started_s < 3.0
    assert len(seen) == 1
    assert not site.machine.boards[1].is_enabled  # it came through all the same


@pytest.mark.parametrize(("name", "fault"), LOST, ids=[name for name, _ in LOST])
async def test_a_pause_without_a_usable_answer_is_unknown(
    hall: Open, monkeypatch: pytest.MonkeyPatch, name: str, fault: Fault
) -> None:
    monkeypatch.setattr(braiins, "WRITE_LIMIT_S", 1.0)
    site = await hall()
    miner = site.miner()
    seen = break_at(site, "PUT", PAUSE, fault, is_done=True)
    with pytest.raises(UnknownOutcomeError, match="read back"):
        await miner.sleep()
    # The HTTP client may send a PUT anew on a connection that was kept; a pause is absolute.
    assert 1 <= len(seen) <= 2
    assert not site.machine.is_awake


OTHERS: list[tuple[int, bytes, type[DriverError], str]] = [
    (400, b"bad value", RefusedError, "bad value"),
    (401, b"", RefusedError, "password file"),
    (403, b"", RefusedError, "password file"),
    (404, b"", UnsupportedError, "firmware cannot"),
    (405, b"<html>", UnsupportedError, r"HTTP 405\)"),
    (409, b"", RefusedError, "state"),
    (412, b"DPS cooldown.", RefusedError, "DPS cooldown"),
    (429, b"", BusyError, "again in a minute"),
    (503, b"", BusyError, "again in a minute"),
]


@pytest.mark.parametrize(("status", "body", "expected", "words"), OTHERS)
async def test_a_no_is_told_in_words_and_asked_for_once(
    hall: Open, status: int, body: bytes, expected: type[DriverError], words: str
) -> None:
    site = await hall()
    seen = break_at(site, "PUT", PAUSE, says(status, body))
    with pytest.raises(expected, match=words) as caught:
        await site.miner().sleep()
    assert str(caught.value).endswith(".")
    assert len(seen) == (2 if status == 401 else 1)  # after a 401 once more, under a new token
    assert site.machine.is_awake


@pytest.mark.parametrize(
    "body", [b'{"watt":2500}', b'{"watt":null}', b'{"watt":"2400"}', b"{}", b"true", b"[]"]
)
async def test_a_target_that_the_machine_does_not_repeat_is_unknown(
    hall: Open, body: bytes
) -> None:
    site = await hall()
    break_at(site, "PUT", TARGET, says(body=body))
    with pytest.raises(UnknownOutcomeError):
        await site.miner().select_profile("2400W")


@pytest.mark.parametrize(
    "body",
    [
        b'{"hashboards":[]}',
        b'{"hashboards":[{"id":"2","is_enabled":true}]}',
        b'{"hashboards":[{"id":"3","is_enabled":false}]}',
        b'{"hashboards":{}}',
    ],
)
async def test_a_board_that_the_machine_does_not_repeat_is_unknown(hall: Open, body: bytes) -> None:
    site = await hall()
    break_at(site, "PATCH", BOARDS, says(body=body))
    with pytest.raises(UnknownOutcomeError):
        await site.miner().switch_board(2, is_on=False)


async def test_a_mac_in_capitals_is_the_same_mac(hall: Open) -> None:
    site = await hall()
    label = site.network.farm.labels[0]
    site.network.farm.labels[0] = replace(label, mac=label.mac.upper())
    identity = await site.miner(mac=label.mac).identify()
    assert (identity.mac, identity.is_writable) == (label.mac, True)


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (raw(b""), UnreachableError),
        (raw(b"", hold_s=1.0), UnreachableError),
        (raw(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{"), UnreachableError),
        (says(body=b'{"timeout_s":3600}'), BadReplyError),
        (says(body=b'{"token":"secret-token","timeout_s":0}'), BadReplyError),
        (says(body=b'{"token":"secret-token\\n","timeout_s":9}'), BadReplyError),
        (says(500, b"secret-token"), BadReplyError),
        (says(503), BusyError),
        (says(401, b"farm-pass is wrong"), RefusedError),
    ],
)
async def test_a_broken_login_is_no_unknown_write_and_tells_no_secret(
    hall: Open, fault: Fault, expected: type[DriverError]
) -> None:
    site = await hall()
    miner = BraiinsMiner(miner_id="b", link=site.link(0.4), mac=None, password="farm-pass")
    break_at(site, "POST", "auth/login", fault)
    with pytest.raises(expected) as caught:
        await miner.sleep()
    told = f"{caught.value}{caught.value.reply!r}"
    assert "secret-token" not in told
    assert "farm-pass" not in told
    assert site.machine.counters.commands == 0


async def test_a_login_that_breaks_between_check_and_write_is_no_unknown_write(
    hall: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = await hall()
    miner = site.miner()
    signs = miner._require_writable

    async def forgetful() -> None:
        await signs()
        site.dialect.traits(0).tokens.clear()
        break_at(site, "POST", "auth/login", says(body=b"{}"))

    monkeypatch.setattr(miner, "_require_writable", forgetful)
    with pytest.raises(BadReplyError, match="no usable token"):
        await miner.sleep()
    assert site.machine.counters.commands == 0


async def test_a_licence_page_that_is_not_there_is_no_fault(hall: Open) -> None:
    site = await hall(licence="none")
    miner = site.miner()
    assert [fault.code for fault in (await miner.read_details()).faults] == ["license-none"]
    break_at(site, "GET", "license/license", says(404))
    assert (await miner.read_details()).faults == ()


async def test_a_reading_in_another_unit_is_not_believed(hall: Open) -> None:
    site = await hall()
    watts = b'{"power_stats":{"approximated_consumption":{"watt":3010000}}}'
    break_at(site, "GET", "miner/stats", says(body=watts))
    with pytest.raises(BadReplyError, match="another unit"):
        await site.miner().read()


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (404, b'{"error":"not found"}', WrongDeviceError),
        (405, b"", WrongDeviceError),
        (200, b"<html><title>Braiins OS</title>", UnsupportedError),
        (200, b"<html>AxeOS", WrongDeviceError),
        (200, b'{"STATUS":"E"}', BadReplyError),
        (401, b"", RefusedError),
        (500, b"", BadReplyError),
        (307, b"", BadReplyError),
    ],
)
async def test_a_stranger_is_named_and_never_written_to(
    listen: Listen, status: int, body: bytes, expected: type[DriverError]
) -> None:
    asked: list[str] = []

    head = b"HTTP/1.1 %d X\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"

    async def stranger(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append((await reader.read(1000)).split(b" ")[0].decode())
        writer.write(head % (status, len(body)) + body)
        await writer.drain()

    link = HttpLink(host="127.0.0.1", port=await listen(stranger), answer_s=0.5)
    miner = BraiinsMiner(miner_id="b", link=link, mac=None, password="farm-pass")
    reader = BraiinsReader(miner_id="b", link=link, mac=None)
    with pytest.raises(expected):
        await reader.identify()
    for verb in (miner.identify, miner.sleep, miner.read):
        with pytest.raises(DriverError):
            await verb()
    assert set(asked) <= {"GET", "POST"}
    await link.close()
