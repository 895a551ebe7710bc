"""A quantity that moves in straight lines over time and holds still before and after them.

Every ramp of the plant is one of these, so energy is an exact area, not a sum of steps.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence


class Trajectory:
    """Points (seconds, value) in rising order of time; at least one."""

    __slots__ = ("_at_s", "_values")

    def __init__(self, points: Iterable[tuple[float, float]]) -> None:
        pairs = list(points)
        self._at_s = [at_s for at_s, _ in pairs]
        self._values = [value for _, value in pairs]
        if not pairs or any(b < a for a, b in zip(self._at_s, self._at_s[1:], strict=False)):
            raise ValueError("a trajectory needs points in rising order of time")

    @property
    def points_s(self) -> Sequence[float]:
        """The instants at which the slope changes."""
        return self._at_s

    @property
    def end_s(self) -> float:
        """From here on the value holds still."""
        return self._at_s[-1]

    @property
    def final(self) -> float:
        """The value after the last point."""
        return self._values[-1]

    def value(self, at_s: float) -> float:
        """The value at an instant."""
        times, values = self._at_s, self._values
        if at_s >= times[-1]:
            return values[-1]
        after = bisect_right(times, at_s)
        if after == 0:
            return values[0]
        span_s = times[after] - times[after - 1]
        share = (at_s - times[after - 1]) / span_s
        return values[after - 1] + (values[after] - values[after - 1]) * share

    def integral(self, from_s: float, to_s: float) -> float:
        """The area under the line, in value seconds."""
        if from_s >= self._at_s[-1]:
            return self._values[-1] * (to_s - from_s)
        area = 0.0
        left_s, left = from_s, self.value(from_s)
        for index in range(bisect_right(self._at_s, from_s), len(self._at_s)):
            right_s = self._at_s[index]
            if right_s >= to_s:
                break
            right = self._values[index]
            area += (left + right) / 2.0 * (right_s - left_s)
            left_s, left = right_s, right
        return area + (left + self.value(to_s)) / 2.0 * (to_s - left_s)

    def redirected(self, now_s: float, points: Iterable[tuple[float, float]]) -> "Trajectory":
        """The same past, another future: from the value at ``now_s`` through ``points``."""
        return Trajectory([(now_s, self.value(now_s)), *points])


def still(value: float, at_s: float = 0.0) -> Trajectory:
    """A quantity that does not move."""
    return Trajectory([(at_s, value)])


def summed(parts: Sequence[Trajectory], now_s: float) -> Trajectory:
    """The sum of several lines from ``now_s`` on."""
    instants = {now_s}
    for part in parts:
        instants.update(at_s for at_s in part.points_s if at_s > now_s)
    return Trajectory((at_s, sum(part.value(at_s) for part in parts)) for at_s in sorted(instants))
