"""A verb bounded as a whole: everything that it asks of one machine shares so much time."""

from types import TracebackType
from typing import Protocol

from drivers.errors import UnreachableError
from drivers.link.deadlines import Limit


class _Link(Protocol):
    @property
    def address(self) -> str:
        """Where the machine is, as people write it."""


class Within:
    """``async with``: no more than ``limit_s``. Raises UnreachableError where it takes longer."""

    __slots__ = ("_limit", "_limit_s", "_link")

    def __init__(self, link: _Link, limit_s: float) -> None:
        self._link = link
        self._limit_s = limit_s
        self._limit = Limit(limit_s)

    async def __aenter__(self) -> None:
        await self._limit.__aenter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            await self._limit.__aexit__(kind, error, trace)
            if isinstance(error, TimeoutError):
                raise error
        except TimeoutError as late:
            raise UnreachableError(
                f"{self._link.address} did not answer everything within {self._limit_s:g} s."
            ) from late
