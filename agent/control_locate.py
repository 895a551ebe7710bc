"""The control socket's route for finding a machine in the hall: its light blinks.

It is the one write that no set point stands behind. It changes nothing of what a machine draws,
and it gives way: a machine that is being told a set point is not spoken to for a light.
"""

import asyncio
import logging
from collections.abc import Mapping

import orjson
from aiohttp import web

from agent.control import READ_S, denied, peer_uid
from agent.core.decisions import Stage
from agent.posts import MinerPost
from drivers.device import Locates
from drivers.errors import DriverError, RefusedError, UnsupportedError, WrongDeviceError
from drivers.miners.registry import FAMILIES

_log = logging.getLogger(__name__)

# A set point that comes meanwhile waits for no longer than this.
LOCATE_S = 5.0
_UNDER_WAY = frozenset({Stage.SENT, Stage.ACCEPTED, Stage.APPLIED})


def add_locate_route(
    app: web.Application, miners: Mapping[str, MinerPost], *, is_shadow: bool
) -> None:
    """Mount it on an app whose caller has decided who may reach it."""

    async def locate(request: web.Request) -> web.Response:
        miner_id = request.match_info["miner"]
        try:
            async with asyncio.timeout(READ_S):
                is_on = orjson.loads(await request.read())["is_on"]
        except TimeoutError:
            return denied(408, "the request did not arrive in time; send it again")
        except (ValueError, KeyError, TypeError):
            return denied(400, 'the request does not say whether; send {"is_on": true}')
        if not isinstance(is_on, bool):
            return denied(400, 'is_on is neither true nor false; send {"is_on": true}')
        post = miners.get(miner_id)
        if post is None:
            return denied(404, f"there is no miner {miner_id[:64]!r}; `kwota miners` lists them")
        if is_shadow:
            return denied(409, "this is a shadow run, which writes to no machine")
        answer = await _located(post, is_on=is_on)
        _log.info(
            "miner=%s event=locate is_on=%s uid=%s status=%d",
            miner_id,
            is_on,
            peer_uid(request),
            answer.status,
        )
        return answer

    app.router.add_post("/control/v1/miners/{miner}/locate", locate)


def _no_light(post: MinerPost) -> str:
    """Why it cannot blink, and how it is found all the same."""
    if FAMILIES[post.family].takes_password:
        return (
            f"{post.miner_id} ({post.family}) is only read: give it a password_file to let its "
            "light blink"
        )
    return (
        f"machines of the family {post.family} have no light that can be told to blink: look for "
        f"{post.miner_id} by the label on its rack"
    )


async def _located(post: MinerPost, *, is_on: bool) -> web.Response:
    device = post.device
    if not isinstance(device, Locates):
        return denied(409, _no_light(post))
    is_told = post.mailbox is not None or (
        post.pending is not None and post.pending.stage in _UNDER_WAY
    )
    if is_told:
        return denied(409, f"{post.miner_id} is being told a set point; try again in a minute")
    try:
        async with asyncio.timeout(LOCATE_S):
            await device.locate(is_on=is_on)
    except (RefusedError, UnsupportedError, WrongDeviceError) as error:
        return denied(409, str(error))
    except DriverError as error:
        return denied(503, str(error))
    except TimeoutError:
        return denied(503, f"{post.miner_id} did not answer within {LOCATE_S:g} s; try again")
    body = orjson.dumps({"miner_id": post.miner_id, "is_on": is_on})
    return web.Response(body=body, content_type="application/json")
