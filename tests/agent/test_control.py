import asyncio
import json
import os
import socket
import stat
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from aiohttp import web

from agent.control import Control, ControlError, NotNowError, Why, open_control
from agent.control_client import NoDaemonError, RefusedError, ask, ask_why, send_purchases
from agent.core.decisions import Because
from agent.core.ledger import Admission, Transaction
from agent.purchases import PurchaseReader

NOW_MS = 1_770_000_000_000
READER = PurchaseReader(meter_points=("mp-1",), zone=ZoneInfo("Asia/Almaty"))


class Books:
    """A daemon of three purchases at most, two machines and five records."""

    def __init__(self) -> None:
        self.taken: list[Transaction] = []
        self.excuse: str | None = None
        self.delay_s = 0.0

    async def add_transactions(self, candidates: Sequence[Transaction]) -> Sequence[Admission]:
        if self.excuse is not None:
            raise NotNowError(self.excuse)
        return [self._admitted(candidate) for candidate in candidates]

    def _admitted(self, candidate: Transaction) -> Admission:
        name = candidate.transaction_id
        known = [replace(one, received_at_ms=0) for one in self.taken]
        if replace(candidate, received_at_ms=0) in known:
            return Admission(transaction_id=name, result="unchanged", reason="known")
        if len(self.taken) == 3:
            return Admission(transaction_id=name, result="refused", reason="the books are full")
        self.taken.append(candidate)
        return Admission(transaction_id=name, result="accepted", reason="in the books")

    def why(self, miner_id: str) -> Why | None:
        reason = Because(limit="energy", source="tx-1", words="held", numbers={"left_wh": 5})
        reasons = {"r1-s01": reason, "r1/s02": None}
        if miner_id not in reasons:
            return None
        return Why(miner_id=miner_id, words="two boards are off", because=reasons[miner_id])

    async def journal_tail(self, count: int, kind: str | None) -> Sequence[bytes]:
        kinds = ["boot", "meter", "decision", "meter", "ledger"]
        lines = [b'{"i":%d,"k":"%s"}' % (at, name.encode()) for at, name in enumerate(kinds)]
        chosen = [line for line, name in zip(lines, kinds, strict=True) if kind in (None, name)]
        return chosen[-count:]


def add_version(app: web.Application) -> None:
    async def version(_request: web.Request) -> web.Response:
        return web.Response(body=b'{"version":"1"}')

    app.router.add_get("/api/v1/status", version)


@asynccontextmanager
async def serving(path: Path, books: Books) -> AsyncIterator[None]:
    control = Control(target=books, reader=READER, now_ms=lambda: NOW_MS)
    async with open_control(path, control, add_version):
        yield


def purchase(name: str, **changes: object) -> dict[str, object]:
    item = {
        "transaction_id": name,
        "start": "2026-02-02T12:00",
        "for": "1h",
        "energy": "1 MWh",
        "price_kzt_per_kwh": "24,5",
    }
    return {**item, **changes}


async def send(path: Path, items: object) -> list[dict[str, Any]]:
    content = json.dumps(items).encode()
    return await asyncio.to_thread(send_purchases, path, content, "application/json")


async def test_each_purchase_gets_its_own_answer_in_the_order_it_was_handed_in(
    tmp_path: Path,
) -> None:
    path, books = tmp_path / "kwota.sock", Books()
    async with serving(path, books):
        items = [
            purchase("a"),
            purchase("b", energy="1 MW"),
            purchase("a"),
            purchase("c"),
            purchase("d"),
            purchase("e"),
            7,
        ]
        results = await send(path, items)
    assert [(row["item"], row["transaction_id"], row["result"]) for row in results] == [
        (1, "a", "accepted"),
        (2, "b", "refused"),
        (3, "a", "unchanged"),
        (4, "c", "accepted"),
        (5, "d", "accepted"),
        (6, "e", "refused"),
        (7, "", "refused"),
    ]
    assert "power, not energy" in results[1]["reason"]
    assert results[5]["reason"] == "the books are full"
    assert books.taken[0].received_at_ms == NOW_MS
    assert books.taken[0].meter_point == "mp-1"


async def test_a_file_of_purchases_is_taken_in_every_way_to_write_it(tmp_path: Path) -> None:
    path, books = tmp_path / "kwota.sock", Books()
    toml = (
        b'[[transactions]]\nid = "t"\nstart = 2026-02-02T12:00:00\nend = "open"\nenergy_kwh = 5\n'
    )
    table = b"id;start;for;energy_kwh;price_kzt_per_kwh\nc;02.02.2026 12:00;1h;0,5;24,5"
    async with serving(path, books):
        for content, content_type in (
            (toml + b"price_kzt_per_kwh = 24.5", "application/toml"),
            (table, "text/csv; charset=utf-8"),
        ):
            (row,) = await asyncio.to_thread(send_purchases, path, content, content_type)
            assert row["result"] == "accepted"
    assert [one.energy_wh for one in books.taken] == [5000, 500]


@pytest.mark.parametrize(
    ("content", "content_type", "status", "word"),
    [
        (b"{", "application/json", 400, "not JSON"),
        (b"[]", "application/json", 400, "no purchase"),
        (b"x", "image/png", 415, "image/png"),
    ],
)
async def test_what_holds_no_purchases_is_refused_with_a_sentence(
    tmp_path: Path, content: bytes, content_type: str, status: int, word: str
) -> None:
    path = tmp_path / "kwota.sock"
    async with serving(path, Books()):
        with pytest.raises(RefusedError, match=word) as caught:
            await asyncio.to_thread(send_purchases, path, content, content_type)
    assert caught.value.status == status


async def test_a_daemon_that_cannot_take_purchases_now_says_why(tmp_path: Path) -> None:
    path, books = tmp_path / "kwota.sock", Books()
    books.excuse = "the journal is full; make room"
    async with serving(path, books):
        with pytest.raises(RefusedError, match="the journal is full; make room") as caught:
            await send(path, [purchase("a")])
    assert caught.value.status == 503
    assert books.taken == []


async def test_a_text_beyond_the_bound_is_refused_and_the_daemon_lives_on(tmp_path: Path) -> None:
    path = tmp_path / "kwota.sock"
    async with serving(path, Books()):
        with pytest.raises((RefusedError, NoDaemonError)):
            await asyncio.to_thread(send_purchases, path, b" " * 5_000_000, "application/json")
        assert (await send(path, [purchase("a")]))[0]["result"] == "accepted"


async def test_why_is_a_sentence_and_the_reason_in_fields(tmp_path: Path) -> None:
    path = tmp_path / "kwota.sock"
    async with serving(path, Books()):
        answer = json.loads(await asyncio.to_thread(ask_why, path, "r1-s01"))
        slashed = json.loads(await asyncio.to_thread(ask_why, path, "r1/s02"))
        with pytest.raises(RefusedError, match="no miner") as caught:
            await asyncio.to_thread(ask_why, path, "r9")
    assert answer["words"] == "two boards are off"
    assert answer["because"]["numbers"] == {"left_wh": 5}
    assert slashed["because"] is None
    assert caught.value.status == 404


async def test_the_tail_of_the_journal_comes_as_its_exact_lines(tmp_path: Path) -> None:
    path = tmp_path / "kwota.sock"
    async with serving(path, Books()):

        async def tail(**query: str | int) -> bytes:
            return await asyncio.to_thread(ask, path, "/control/v1/journal", **query)

        assert await tail(tail=2) == b'{"i":3,"k":"meter"}\n{"i":4,"k":"ledger"}\n'
        assert await tail(tail=1, kind="meter") == b'{"i":3,"k":"meter"}\n'
        assert await tail(kind="alarm") == b""
        for wrong in ({"tail": 0}, {"tail": 1001}, {"tail": "x"}, {"tail": "²"}, {"kind": "A'b"}):
            with pytest.raises(RefusedError) as caught:
                await tail(**wrong)
            assert caught.value.status == 400


async def test_the_read_api_is_mounted_beside_the_control_routes(tmp_path: Path) -> None:
    path = tmp_path / "kwota.sock"
    async with serving(path, Books()):
        assert await asyncio.to_thread(ask, path, "/api/v1/status") == b'{"version":"1"}'
        with pytest.raises(RefusedError, match="404"):
            await asyncio.to_thread(ask, path, "/api/v1/nothing")


async def test_owner_and_group_may_open_the_socket_and_nobody_else(tmp_path: Path) -> None:
    path = tmp_path / "kwota.sock"
    before = os.umask(0o022)
    os.umask(before)
    async with serving(path, Books()):
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        now = os.umask(before)
    assert now == before
    assert not path.exists()


async def test_the_socket_of_a_dead_daemon_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "kwota.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    assert path.exists()
    async with serving(path, Books()):
        assert await asyncio.to_thread(ask, path, "/api/v1/status")


async def test_a_second_daemon_is_told_of_the_first_and_leaves_it_alone(tmp_path: Path) -> None:
    path = tmp_path / "kwota.sock"
    async with serving(path, Books()):
        with pytest.raises(ControlError, match=r"answers on .* already"):
            async with serving(path, Books()):
                pass
        assert await asyncio.to_thread(ask, path, "/api/v1/status")


async def test_a_file_in_the_way_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "kwota.sock"
    path.write_text("precious")
    with pytest.raises(ControlError, match="not a socket"):
        async with serving(path, Books()):
            pass
    assert path.read_text() == "precious"


async def test_a_folder_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ControlError, match="folder"):
        async with serving(tmp_path / "none" / "kwota.sock", Books()):
            pass


async def test_a_daemon_does_not_remove_the_socket_of_its_successor(tmp_path: Path) -> None:
    path = tmp_path / "kwota.sock"
    async with serving(path, Books()):
        path.unlink()
        async with serving(path, Books()):
            pass
        path.touch()
    assert path.exists()


def test_without_a_daemon_the_operator_is_asked_whether_it_runs(tmp_path: Path) -> None:
    path = tmp_path / "kwota.sock"
    with pytest.raises(NoDaemonError, match=r"is kwota\.service running\?"):
        ask(path, "/api/v1/status")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with pytest.raises(NoDaemonError, match=r"is kwota\.service running\?"):
        ask(path, "/api/v1/status")


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"SSH-2.0-x\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Len",
        b'HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{"half":1}',
    ],
)
def test_something_else_behind_the_socket_is_no_daemon(tmp_path: Path, answer: bytes) -> None:
    path = tmp_path / "kwota.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def reply() -> None:
            peer, _ = listener.accept()
            with peer:
                peer.recv(4096)
                peer.sendall(answer)

        thread = threading.Thread(target=reply)
        thread.start()
        with pytest.raises((NoDaemonError, RefusedError)):
            ask(path, "/api/v1/status")
        thread.join()
