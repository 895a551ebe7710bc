"""Many addresses at once: so many at a time, one connection each, and an end in time."""

import asyncio
import logging
import resource
from collections.abc import Callable, Iterable

from drivers.discovery.stranger import Asking, Found, Verdict, ask

# A third of a /22, and less than half of what Linux remembers of neighbours by default.
CONCURRENT = 352
# Open files besides the connections: terminal, configuration, name service, library files.
_SPARE_FILES = 64

_log = logging.getLogger(__name__)


async def sweep(
    addresses: Iterable[str],
    how: Asking,
    *,
    concurrent: int,
    limit_s: float,
    tell: Callable[[Found], None],
) -> bool:
    """Ask every address, ``tell`` each as it is known. False where the time ran out before."""
    waiting = iter(addresses)

    async def work() -> None:
        for address in waiting:
            tell(await asked(address, how))

    try:
        async with asyncio.timeout(limit_s), asyncio.TaskGroup() as group:
            for number in range(concurrent):
                group.create_task(work(), name=f"discover {number}")
    except TimeoutError:
        return False
    return True


async def asked(address: str, how: Asking) -> Found:
    """One address; a stranger whose answer a driver cannot bear is unknown, like any other."""
    (answer,) = await asyncio.gather(ask(address, how), return_exceptions=True)
    if isinstance(answer, Found):
        return answer
    if not isinstance(answer, Exception):
        raise answer
    _log.error("address=%s event=driver_bug", address, exc_info=answer)
    words = f"A driver failed on its answer ({type(answer).__name__}); report it."
    return Found(address=address, verdict=Verdict.UNKNOWN, words=words)


def files_for(wanted: int) -> int:
    """How many connections the system's limit of open files allows, at most ``wanted``."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + _SPARE_FILES
    if soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return max(1, min(wanted, soft - _SPARE_FILES))
