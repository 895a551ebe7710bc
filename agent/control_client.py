"""The operator's end of the control socket: ask the daemon, get bytes or one sentence.

Synchronous and small, since a command line asks once and ends.
"""

import http.client
import json
import os
import socket
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from agent.core.calibration import CommercialReading

TAIL_MAX = 1000  # records in one answer
ANSWER_BYTES_MAX = 64 * 1024 * 1024
EXPORT_S = 620.0
ANSWER_S = 45.0  # longer than the daemon allows itself, so that its own sentence arrives


class NoDaemonError(Exception):
    """Nobody answers on the socket."""


class RefusedError(Exception):
    """The daemon answered and said no. ``status`` is the HTTP status."""

    def __init__(self, sentence: str, *, status: int) -> None:
        super().__init__(sentence)
        self.status = status


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, limit_s: float) -> None:
        super().__init__("localhost", timeout=limit_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(os.fspath(self._path))


def ask(path: Path, resource: str, **query: str | int | None) -> bytes:
    """The body of a GET. Raises NoDaemonError or RefusedError."""
    given = {key: value for key, value in query.items() if value is not None}
    target = f"{quote(resource)}?{urlencode(given)}" if given else quote(resource)
    return _exchange(path, "GET", target, None, {})


def ask_why(path: Path, miner_id: str) -> bytes:
    """Why a machine runs as it does, as JSON. Raises NoDaemonError or RefusedError."""
    return _exchange(path, "GET", f"/control/v1/why/{quote(miner_id, safe='')}", None, {})


def vouch(path: Path, meter_id: str, action: str, **fields: str | int) -> dict[str, Any]:
    """Vouch for a register: ``accept`` with a reason, ``exchange`` with the two values as well.

    The event as it was recorded. Raises NoDaemonError or RefusedError.
    """
    target = f"/control/v1/meters/{quote(meter_id, safe='')}/{action}"
    headers = {"Content-Type": "application/json"}
    body = _exchange(path, "POST", target, json.dumps(fields).encode(), headers)
    event: dict[str, Any] = json.loads(body)
    return event


def calibrate_meter(
    path: Path,
    meter_id: str,
    readings: Sequence[CommercialReading],
    reason: str,
    read_from: str = "",
) -> dict[str, Any]:
    """Hand in what the commercial meter counted; what came of it, and which were left out.

    ``read_from`` names the billing meter where no person typed the figures.

    Raises NoDaemonError or RefusedError.
    """
    sent = {"readings": [asdict(one) for one in readings], "reason": reason}
    if read_from:
        sent["read_from"] = read_from
    content = json.dumps(sent)
    target = f"/control/v1/meters/{quote(meter_id, safe='')}/calibrate"
    headers = {"Content-Type": "application/json"}
    answer: dict[str, Any] = json.loads(_exchange(path, "POST", target, content.encode(), headers))
    return answer


def export_evidence(path: Path, directory: Path) -> int:
    """Have the daemon write its evidence into a new directory; how many records there are.

    Raises NoDaemonError or RefusedError.
    """
    content = json.dumps({"directory": str(directory.absolute())}).encode()
    headers = {"Content-Type": "application/json"}
    body = _exchange(path, "POST", "/control/v1/evidence", content, headers, limit_s=EXPORT_S)
    records: int = json.loads(body)["records"]
    return records


def export_zip(path: Path, file: Path, **wanted: list[str] | int | None) -> dict[str, Any]:
    """Have the daemon write a bundle into a new file; what stands in it.

    Raises NoDaemonError or RefusedError.
    """
    content = json.dumps({"file": str(file.absolute()), **wanted}).encode()
    headers = {"Content-Type": "application/json"}
    body = _exchange(path, "POST", "/control/v1/evidence/zip", content, headers, limit_s=EXPORT_S)
    exported: dict[str, Any] = json.loads(body)
    return exported


def send_purchases(path: Path, content: bytes, content_type: str) -> list[dict[str, Any]]:
    """Hand in purchases; one result per item. Raises NoDaemonError or RefusedError."""
    headers = {"Content-Type": content_type}
    body = _exchange(path, "POST", "/control/v1/transactions", content, headers)
    results: list[dict[str, Any]] = json.loads(body)["results"]
    return results


def tell_limit(
    path: Path, fields: dict[str, str], meter_point: str | None = None
) -> dict[str, str]:
    """Hand in one limit; what became of it. Raises NoDaemonError or RefusedError."""
    headers = {"Content-Type": "application/json"}
    content = json.dumps(fields).encode()
    answer: dict[str, str] = json.loads(
        _exchange(path, "POST", _of_point("/control/v1/limits", meter_point), content, headers)
    )
    return answer


def clear_limit(path: Path, limit_id: str, meter_point: str | None = None) -> dict[str, str]:
    """Lift one limit; what became of it. Raises NoDaemonError or RefusedError."""
    target = _of_point(f"/control/v1/limits/{quote(limit_id, safe='')}", meter_point)
    answer: dict[str, str] = json.loads(_exchange(path, "DELETE", target, None, {}))
    return answer


def blink(path: Path, miner_id: str, *, is_on: bool) -> dict[str, Any]:
    """Let a machine's light blink, or end that. Raises NoDaemonError or RefusedError."""
    target = f"/control/v1/miners/{quote(miner_id, safe='')}/locate"
    headers = {"Content-Type": "application/json"}
    content = json.dumps({"is_on": is_on}).encode()
    told: dict[str, Any] = json.loads(_exchange(path, "POST", target, content, headers))
    return told


def _of_point(target: str, meter_point: str | None) -> str:
    return target if meter_point is None else f"{target}?{urlencode({'meter_point': meter_point})}"


def _exchange(
    path: Path,
    method: str,
    target: str,
    content: bytes | None,
    headers: dict[str, str],
    *,
    limit_s: float = ANSWER_S,
) -> bytes:
    connection = _UnixConnection(path, limit_s)
    try:
        connection.request(method, target, body=content, headers=headers)
        response = connection.getresponse()
        body = _whole_body(response)
    except TimeoutError as error:
        raise NoDaemonError(f"the daemon on {path} does not answer; is it healthy?") from error
    except PermissionError as error:
        sentence = f"you may not talk to the daemon on {path}; join the group kwota or use sudo"
        raise NoDaemonError(sentence) from error
    except (OSError, http.client.HTTPException) as error:
        sentence = f"no daemon answers on {path}; is kwota.service running?"
        raise NoDaemonError(sentence) from error
    finally:
        connection.close()
    if response.status != http.HTTPStatus.OK:
        raise RefusedError(_sentence(body, response.status), status=response.status)
    return body


def _whole_body(response: http.client.HTTPResponse) -> bytes:
    """The body to its stated end: half an answer is none, since it may look like a short one."""
    if response.length is None or response.length > ANSWER_BYTES_MAX:
        raise http.client.HTTPException("the answer has no length, or too much of it")
    length = response.length
    body = response.read(length) if length else b""
    if len(body) != length:
        raise http.client.IncompleteRead(body, length - len(body))
    return body


def _sentence(body: bytes, status: int) -> str:
    try:
        return str(json.loads(body)["error"])
    except (ValueError, KeyError, TypeError):
        text = body.decode("utf-8", "replace").strip()
    if status == http.HTTPStatus.SERVICE_UNAVAILABLE and text:
        return text
    return f"the daemon answered with status {status}; look at its log"
