"""An event loop for which no time passes: whatever is due next is due at once."""

import asyncio
import selectors


class _Skipping(selectors.SelectSelector):
    """Waits for nothing: the time until something is due is over at once."""

    now_s = 1000.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.now_s += timeout or 0.0
        return super().select(0.0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """Hours of sleeping in a moment."""

    def __init__(self) -> None:
        self.skipping = _Skipping()
        super().__init__(self.skipping)

    def time(self) -> float:
        return self.skipping.now_s


class LoopClock:
    """The time of the loop as an agent's clock; of the wall it knows nothing."""

    is_trusted = True

    def now_s(self) -> float:
        return asyncio.get_running_loop().time()

    def now_ms(self) -> int:
        return 0
