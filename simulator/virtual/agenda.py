"""What happens when: a heap of instants and calls. Virtual time moves from one to the next."""

import heapq
from collections.abc import Callable
from itertools import count


class Agenda:
    """Calls in order of their time; of equal times the one that was noted first."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = count()

    def at(self, at_s: float, call: Callable[[], None]) -> None:
        """Note a call for an instant; one in the past is due at once."""
        heapq.heappush(self._heap, (max(at_s, self.now_s), next(self._numbers), call))

    def after(self, delay_s: float, call: Callable[[], None]) -> None:
        """Note a call for so many seconds from now."""
        heapq.heappush(self._heap, (self.now_s + delay_s, next(self._numbers), call))

    def run_until(self, to_s: float) -> None:
        """Make every call that is due up to an instant, and arrive there."""
        heap = self._heap
        while heap and heap[0][0] <= to_s:
            self.now_s, _, call = heapq.heappop(heap)
            call()
        self.now_s = to_s
