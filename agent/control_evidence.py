"""The control socket's route for bundles: some purchases or a span of time, as one zip."""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
from aiohttp import web

from agent.control import EXPORT_S, READ_S, denied, peer_uid
from agent.core.note import VerifierKey
from agent.handover.export import export_zip
from agent.handover.ocmfkey import OcmfSigner
from agent.handover.selection import SelectionError, Wanted
from agent.handover.source import Source
from agent.keys import KeyFileError
from agent.records import JournalError

NAMES_MAX = 1000

_log = logging.getLogger(__name__)


def add_evidence_routes(
    app: web.Application,
    source: Source,
    device: VerifierKey,
    pool: VerifierKey | None,
    ocmf: Callable[[], OcmfSigner] | None = None,
) -> None:
    """Mount them on an app whose caller has decided who may reach it.

    ``ocmf`` reads or makes the key of the OCMF records, when it is needed.
    """

    async def bundle(request: web.Request) -> web.Response:
        try:
            file, wanted = await _request_from(request)
        except TimeoutError:
            return denied(408, "the request did not arrive in time; send it again")
        except (SelectionError, ValueError, KeyError, TypeError, AttributeError) as error:
            return denied(400, f"that is no request for evidence: {error}")
        try:
            async with asyncio.timeout(EXPORT_S):
                signer = None if ocmf is None else await asyncio.to_thread(ocmf)
                exported = await export_zip(
                    source, file, wanted, device=device, pool=pool, ocmf=signer
                )
        except (SelectionError, JournalError, KeyFileError, OSError) as error:
            return _refused(file, error)
        _log.info("event=evidence_exported uid=%s records=%d", peer_uid(request), exported.records)
        return web.Response(body=orjson.dumps(exported), content_type="application/json")

    app.router.add_post("/control/v1/evidence/zip", bundle)


async def _request_from(request: web.Request) -> tuple[Path, Wanted]:
    """Raises TimeoutError, and ValueError and the like where the request is none."""
    async with asyncio.timeout(READ_S):
        sent: Any = orjson.loads(await request.read())
    names = [str(name) for name in sent.get("transactions", [])]
    times = [sent.get("from_ms"), sent.get("to_ms")]
    if len(names) > NAMES_MAX or any(type(at) not in (int, type(None)) for at in times):
        raise ValueError("it names no purchases and no times")
    file = Path(sent["file"])
    if not file.is_absolute():
        raise ValueError(f"{file} is not an absolute path, and the daemon runs elsewhere")
    return file, Wanted(transactions=tuple(names), from_ms=times[0], to_ms=times[1])


def _refused(file: Path, error: Exception) -> web.Response:
    if isinstance(error, TimeoutError):
        return denied(503, "the export took too long; ask for a shorter span of time")
    if isinstance(error, OSError):
        words = f"{file} cannot be written ({error.strerror})"
        return denied(409, f"{words}; name a new file where the daemon may write")
    return denied(409, str(error))
