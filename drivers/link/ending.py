"""The end of a conversation that has to be said, whatever becomes of its caller."""

import asyncio
from collections.abc import Coroutine
from typing import Any


async def to_the_end(last_words: Coroutine[Any, Any, None]) -> None:
    """Finish a short, bounded coroutine even if the caller is cancelled meanwhile."""
    ending = asyncio.ensure_future(last_words)
    try:
        await asyncio.shield(ending)
    except asyncio.CancelledError:
        await asyncio.wait((ending,))
        raise
