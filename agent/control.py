"""The daemon's own door: a unix socket through which its operator asks and tells.

Who may open the socket is the file system's business (0660, owner and group of the daemon). What
is said is judged item by item; nothing here decides anything, the daemon's target does. The read
API of the status page is mounted beside it, so that the command line needs no other way in.
"""

import asyncio
import contextlib
import errno
import logging
import os
import socket
import stat
import struct
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Protocol

import orjson
from aiohttp import web

from agent.admitting import admitted
from agent.control_client import TAIL_MAX
from agent.core.decisions import Because
from agent.core.ledger import Admission, Transaction
from agent.core.register import RegisterEvent
from agent.purchases import TEXT_BYTES_MAX, PurchaseFormat, PurchaseReader, PurchasesError
from agent.records import KINDS

_log = logging.getLogger(__name__)

READ_S = 10.0
ANSWER_S = 30.0
EXPORT_S = 600.0
KEEPALIVE_S = 15.0
SHUTDOWN_S = 2.0
PROBE_S = 1.0
BACKLOG = 16
REASON_CHARS_MAX = 500
REGISTER_WH_MAX = 10**15
SOCKET_UMASK = 0o117  # what bind() makes is 0660

_REGISTERS = ("old_register_wh", "new_register_wh")
_FORMATS = {
    "application/json": PurchaseFormat.JSON,
    "application/toml": PurchaseFormat.TOML,
    "text/csv": PurchaseFormat.CSV,
}


class ControlError(Exception):
    """The socket cannot be opened. The message is one sentence with the way out."""


class NotNowError(Exception):
    """What a target raises when it cannot do as asked now: one sentence for the operator."""


class DirectoryError(Exception):
    """What a target raises for a directory that it cannot write to: one sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Why:
    """Why a machine runs as it does: a sentence, and the decision's reason where one ruled."""

    miner_id: str
    words: str
    because: Because | None


class ControlTarget(Protocol):
    """What the daemon does with what comes in. Each raises only the errors above."""

    async def add_transactions(self, candidates: Sequence[Transaction]) -> Sequence[Admission]:
        """One admission for each candidate, in their order, after they are durably recorded."""

    def why(self, miner_id: str) -> Why | None:
        """Why that machine runs as it does; None where there is no such machine."""

    async def journal_tail(self, count: int, kind: str | None) -> Sequence[bytes]:
        """The newest records, oldest of them first, as the exact lines of the journal."""

    async def export_evidence(self, directory: Path) -> int:
        """Write everything up to now into a new directory; how many records there are."""

    async def accept_register(self, meter_id: str, reason: str) -> RegisterEvent:
        """Believe a held register from here on, once that is durably recorded."""

    async def exchange_meter(
        self, meter_id: str, *, old_register_wh: int, new_register_wh: int, reason: str
    ) -> RegisterEvent:
        """Go on at a new meter by the figures of both, once that is durably recorded."""

    async def statements(self, day: date) -> Sequence[Mapping[str, Any]]:
        """The statements of the quarters of one day of the site, in order of time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """What the routes need: the target, how purchases are read, and the site's clock."""

    target: ControlTarget
    reader: PurchaseReader
    now_ms: Callable[[], int]


@contextlib.asynccontextmanager
async def open_control(
    path: Path, control: Control, add_read_routes: Callable[[web.Application], None]
) -> AsyncIterator[None]:
    """Serve the control routes on a unix socket until the block is left. Raises ControlError."""
    app = web.Application(client_max_size=TEXT_BYTES_MAX + 1024)
    add_control_routes(app, control)
    add_read_routes(app)
    with listening(path) as listener:
        runner = web.AppRunner(
            app, access_log=None, keepalive_timeout=KEEPALIVE_S, shutdown_timeout=SHUTDOWN_S
        )
        await runner.setup()
        try:
            await web.SockSite(runner, listener, backlog=BACKLOG).start()
            _log.info("event=control_open socket=%s", path)
            yield
        finally:
            await runner.cleanup()


def add_control_routes(app: web.Application, control: Control) -> None:
    """Mount ``/control/v1/…`` on an app whose caller has decided who may reach it."""

    async def transactions(request: web.Request) -> web.Response:
        return await _transactions(request, control)

    async def why(request: web.Request) -> web.Response:
        return _why(request.match_info["miner"], control.target)

    async def journal(request: web.Request) -> web.Response:
        return await _journal(request, control.target)

    async def evidence(request: web.Request) -> web.Response:
        return await _evidence(request, control.target)

    async def statements(request: web.Request) -> web.Response:
        return await _statements(request, control.target)

    async def register(request: web.Request) -> web.Response:
        return await _register(request, control.target)

    app.router.add_get("/control/v1/statements", statements)
    app.router.add_post("/control/v1/meters/{meter}/{action:accept|exchange}", register)
    app.router.add_post("/control/v1/transactions", transactions)
    app.router.add_get("/control/v1/why/{miner}", why)
    app.router.add_get("/control/v1/journal", journal)
    app.router.add_post("/control/v1/evidence", evidence)


async def _transactions(request: web.Request, control: Control) -> web.Response:
    written_as = _FORMATS.get(request.content_type)
    if written_as is None:
        known = ", ".join(_FORMATS)
        return denied(415, f"purchases cannot be read as {request.content_type}; send {known}")
    try:
        async with asyncio.timeout(READ_S):
            content = await request.read()
    except TimeoutError:
        return denied(408, "the purchases did not arrive in time; send them again")
    try:
        batch = control.reader.read(content, written_as, received_at_ms=control.now_ms())
    except PurchasesError as error:
        return denied(400, str(error))
    try:
        results = await admitted(control.target, batch)
    except TimeoutError:
        return denied(503, "the daemon did not answer in time; send the same again")
    except NotNowError as error:
        return denied(503, str(error))
    _log.info("event=transactions_received uid=%s items=%d", peer_uid(request), len(results))
    return web.Response(body=orjson.dumps({"results": results}), content_type="application/json")


def _why(miner_id: str, target: ControlTarget) -> web.Response:
    answer = target.why(miner_id)
    if answer is None:
        return denied(404, f"there is no miner {miner_id[:64]!r}; `kwota miners` lists them")
    return web.Response(body=orjson.dumps(answer), content_type="application/json")


async def _journal(request: web.Request, target: ControlTarget) -> web.Response:
    tail = request.query.get("tail", "20")
    kind = request.query.get("kind")
    is_count = tail.isascii() and tail.isdigit() and len(tail) <= 6
    if not is_count or not 1 <= int(tail) <= TAIL_MAX:
        return denied(400, f"tail is not a number from 1 to {TAIL_MAX}; correct it")
    if kind is not None and kind not in KINDS:
        return denied(400, f"there is no such kind of record; there are {', '.join(sorted(KINDS))}")
    try:
        async with asyncio.timeout(ANSWER_S):
            records = await target.journal_tail(int(tail), kind)
    except TimeoutError:
        return denied(503, "the journal did not answer in time; try again")
    except NotNowError as error:
        return denied(503, str(error))
    body = b"".join(record + b"\n" for record in records)
    return web.Response(body=body, content_type="application/x-ndjson")


async def _statements(request: web.Request, target: ControlTarget) -> web.Response:
    try:
        day = date.fromisoformat(request.query.get("date", ""))
    except ValueError:
        return denied(400, "date is not a day; write it like 2026-01-31")
    try:
        async with asyncio.timeout(ANSWER_S):
            rows = await target.statements(day)
    except TimeoutError:
        return denied(503, "the journal did not answer in time; try again")
    return web.Response(body=orjson.dumps(list(rows)), content_type="application/json")


async def _register(request: web.Request, target: ControlTarget) -> web.Response:
    """A person vouches for a register: ``accept`` with a reason, ``exchange`` with two values."""
    meter_id, action = request.match_info["meter"], request.match_info["action"]
    figures: dict[str, int] = {}
    try:
        async with asyncio.timeout(READ_S):
            wanted = orjson.loads(await request.read())
        reason = str(wanted["reason"]).strip()
        if action == "exchange":
            figures = {name: _register_wh(wanted, name) for name in _REGISTERS}
    except TimeoutError:
        return denied(408, "the request did not arrive in time; send it again")
    except (ValueError, KeyError, TypeError):
        known = ", ".join(["reason", *(_REGISTERS if action == "exchange" else ())])
        return denied(400, f"the request does not hold what it needs; send {known}")
    if not reason or len(reason) > REASON_CHARS_MAX:
        return denied(400, f"the reason is empty or above {REASON_CHARS_MAX} letters; say why")
    try:
        if action == "exchange":
            event = await target.exchange_meter(meter_id, reason=reason, **figures)
        else:
            event = await target.accept_register(meter_id, reason)
    except NotNowError as error:
        return denied(409, str(error))
    _log.warning("event=register_%s uid=%s meter=%s", action, peer_uid(request), meter_id)
    return web.Response(body=orjson.dumps(event), content_type="application/json")


def _register_wh(wanted: Mapping[str, object], name: str) -> int:
    value = wanted[name]
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < REGISTER_WH_MAX:
        raise ValueError(name)
    return value


async def _evidence(request: web.Request, target: ControlTarget) -> web.Response:
    try:
        async with asyncio.timeout(READ_S):
            wanted = orjson.loads(await request.read())
        directory = Path(wanted["directory"])
    except TimeoutError:
        return denied(408, "the request did not arrive in time; send it again")
    except (ValueError, KeyError, TypeError):
        return denied(400, 'the request names no directory; send {"directory": "/path"}')
    if not directory.is_absolute():
        return denied(400, f"{directory} is not an absolute path; the daemon runs elsewhere")
    try:
        async with asyncio.timeout(EXPORT_S):
            records = await target.export_evidence(directory)
    except TimeoutError:
        return denied(503, "the export took too long; remove what is there and try again")
    except DirectoryError as error:
        return denied(409, str(error))
    body = orjson.dumps({"directory": str(directory), "records": records})
    return web.Response(body=body, content_type="application/json")


def denied(status: int, sentence: str) -> web.Response:
    """A no: one sentence for the operator, as JSON."""
    body = orjson.dumps({"error": sentence})
    return web.Response(status=status, body=body, content_type="application/json")


def peer_uid(request: web.Request) -> int | None:
    """Who is at the other end, as the kernel says; None where the transport hides its socket."""
    peer = request.get_extra_info("socket")
    if peer is None:
        return None
    credentials = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    uid: int = struct.unpack("3i", credentials)[1]
    return uid


@contextlib.contextmanager
def listening(path: Path, key: str = "status.socket") -> Iterator[socket.socket]:
    """A bound socket at ``path``, whose file goes when the block is left, if it is still ours.

    ``key`` is what the configuration calls it. Raises ControlError.
    """
    _remove_stale(path, key)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        umask = os.umask(SOCKET_UMASK)
        try:
            listener.bind(os.fspath(path))
        except OSError as error:
            raise ControlError(_bind_words(path, key, error)) from error
        finally:
            os.umask(umask)
        made = path.stat()
        listener.setblocking(False)
        try:
            yield listener
        finally:
            with contextlib.suppress(FileNotFoundError):
                now = path.stat()
                if (now.st_dev, now.st_ino) == (made.st_dev, made.st_ino):
                    path.unlink()


def _bind_words(path: Path, key: str, error: OSError) -> str:
    if error.errno == errno.ENOENT:
        return f"the folder of the control socket {path} is not there; make it or move {key}"
    if error.errno == errno.EADDRINUSE:
        return f"another kwota took the control socket {path} just now; stop one of the two"
    reason = error.strerror or str(error)
    return f"the control socket {path} cannot be made: {reason}; check the rights of its folder"


def _remove_stale(path: Path, key: str) -> None:
    """Remove the socket of a daemon that died. Raises ControlError where one answers."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise ControlError(_bind_words(path, key, error)) from error
    if not stat.S_ISSOCK(mode):
        raise ControlError(f"{path} is in the way and is not a socket; move it or {key}")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(PROBE_S)
        try:
            probe.connect(os.fspath(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
        except FileNotFoundError:
            return
        except TimeoutError:
            pass  # somebody holds it and is too busy to answer
        except OSError as error:
            raise ControlError(_bind_words(path, key, error)) from error
    raise ControlError(f"a daemon answers on {path} already; stop it first, or use another socket")
