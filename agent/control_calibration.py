"""The control socket's route for readings of the commercial meter."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Protocol

import orjson
from aiohttp import web

from agent.calibrationdesk import Compared
from agent.commercial import READINGS_MAX
from agent.control import (
    ANSWER_S,
    READ_S,
    REASON_CHARS_MAX,
    REGISTER_WH_MAX,
    NotNowError,
    denied,
    peer_uid,
)
from agent.core.calibration import CommercialReading
from agent.core.ledger import QUARTER_MS

AT_MS_MAX = 4_102_444_800_000  # the year 2100
_FIELDS = ("start_ms", "end_ms", "energy_wh", "rounding_wh")
_QUARTERS_MAX = 366 * 24 * 4


class ComparesReadings(Protocol):
    """Who compares commercial readings. Raises NotNowError."""

    async def compare(
        self,
        meter_id: str,
        readings: Sequence[CommercialReading],
        *,
        told_by: str,
        reason: str,
        read_from: str,
    ) -> Compared:
        """Compare with the statements and put on record."""


def add_calibration_routes(app: web.Application, desk: ComparesReadings) -> None:
    """Mount it on an app whose caller has decided who may reach it."""

    async def calibrate(request: web.Request) -> web.Response:
        try:
            async with asyncio.timeout(READ_S):
                sent = orjson.loads(await request.read())
            readings = [_reading(item) for item in sent["readings"]]
            reason = str(sent.get("reason", "")).strip()
            read_from = str(sent.get("read_from", "")).strip()
        except TimeoutError:
            return denied(408, "the readings did not arrive in time; send them again")
        except (ValueError, KeyError, TypeError, AttributeError):
            known = ", ".join(_FIELDS)
            return denied(400, f"that is no list of readings, each with {known}; correct it")
        longest = max(len(reason), len(read_from))
        if not 0 < len(readings) <= READINGS_MAX or longest > REASON_CHARS_MAX:
            return denied(400, f"send 1 to {READINGS_MAX} readings, with a short reason")
        uid = peer_uid(request)
        told_by = "somebody on this controller" if uid is None else f"uid {uid}"
        meter_id = request.match_info["meter"]
        try:
            async with asyncio.timeout(ANSWER_S):
                compared = await desk.compare(
                    meter_id, readings, told_by=told_by, reason=reason, read_from=read_from
                )
        except TimeoutError:
            return denied(503, "the daemon did not answer in time; look at the journal, try again")
        except NotNowError as error:
            return denied(409, str(error))
        return web.Response(body=orjson.dumps(_answer(compared)), content_type="application/json")

    app.router.add_post("/control/v1/meters/{meter}/calibrate", calibrate)


def _answer(compared: Compared) -> dict[str, Any]:
    found = compared.calibration
    left_out = [{"item": at, "reason": why} for at, why in sorted(compared.reasons.items())]
    return {"calibration": None if found is None else asdict(found), "left_out": left_out}


def _reading(item: Mapping[str, object]) -> CommercialReading:
    """Raises ValueError, KeyError or TypeError for what is none."""
    start_ms, end_ms, energy_wh, rounding_wh = (_whole(item[name]) for name in _FIELDS)
    if max(start_ms, end_ms) > AT_MS_MAX or end_ms - start_ms > _QUARTERS_MAX * QUARTER_MS:
        raise ValueError("the times")
    return CommercialReading(
        start_ms=start_ms, end_ms=end_ms, energy_wh=energy_wh, rounding_wh=rounding_wh
    )


def _whole(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < REGISTER_WH_MAX:
        raise ValueError(value)
    return value
