"""The control socket's routes for limits: told, cleared, one at a time.

``?meter_point=`` names the point; where there is only one it may be left out.
"""

import asyncio
import re
from collections.abc import Mapping
from zoneinfo import ZoneInfo

import orjson
from aiohttp import web

from agent.control import READ_S, NotNowError, denied, peer_uid
from agent.core.limitbook import Answer
from agent.limit_reader import LimitReader
from agent.limitdesk import LimitDesk
from agent.purchase_values import Unreadable
from agent.siteclock import SiteClock

_ID = re.compile(r"[!-~]{1,64}")


def add_limit_routes(
    app: web.Application, desks: Mapping[str, LimitDesk], zone: ZoneInfo, clock: SiteClock
) -> None:
    """Mount them on an app whose caller has decided who may reach it. ``desks`` are by point."""

    async def tell(request: web.Request) -> web.Response:
        try:
            desk = _desk(request, desks)
            reader = LimitReader(zone=zone, rated_w=desk.book.rated_w)
            async with asyncio.timeout(READ_S):
                content = await request.read()
            offered = reader.read(
                content,
                told_by=_who(request),
                manual_id=desk.next_id,
                now_ms=clock.now_ms(),
            )
            return _answered(await desk.tell(offered))
        except TimeoutError:
            return denied(408, "the limit did not arrive in time; send it again")
        except Unreadable as error:
            return denied(400, str(error))
        except NotNowError as error:
            return denied(503, str(error))

    async def lift(request: web.Request) -> web.Response:
        limit_id = request.match_info["limit"]
        if _ID.fullmatch(limit_id) is None:
            return denied(400, "that is no id of a limit; `kwota limit list` shows them")
        try:
            desk = _desk(request, desks)
            return _answered(await desk.lift(limit_id, told_by=_who(request)))
        except Unreadable as error:
            return denied(400, str(error))
        except NotNowError as error:
            return denied(503, str(error))

    app.router.add_post("/control/v1/limits", tell)
    app.router.add_delete("/control/v1/limits/{limit}", lift)


def _desk(request: web.Request, desks: Mapping[str, LimitDesk]) -> LimitDesk:
    """Whose limit it is. Raises Unreadable with the points that there are."""
    wanted, known = request.query.get("meter_point"), ", ".join(desks)
    if wanted is None and len(desks) == 1:
        (only,) = desks.values()
        return only
    if wanted is None:
        raise Unreadable(f"there are several meter points; give --meter-point, one of {known}")
    if wanted not in desks:
        raise Unreadable(f"there is no meter point {wanted[:64]!r}; there is {known}")
    return desks[wanted]


def _answered(answer: Answer) -> web.Response:
    return web.Response(body=orjson.dumps(answer), content_type="application/json")


def _who(request: web.Request) -> str:
    """Who is at the other end, as the kernel knows it."""
    uid = peer_uid(request)
    return "somebody on this controller" if uid is None else f"uid {uid}"
