"""True cumulative energy over the last hours: what the site really drew up to any instant."""

from array import array
from bisect import bisect_right


class EnergyHistory:
    """Points (seconds, Wh) in rising order; between two of them energy runs in a straight line."""

    def __init__(self, *, max_points: int) -> None:
        self._max_points = max_points
        self._at_s = array("d")
        self._energy_wh = array("d")

    def append(self, at_s: float, energy_wh: float) -> None:
        """Add the newest point. Forgets the oldest half when twice the bound is reached."""
        self._at_s.append(at_s)
        self._energy_wh.append(energy_wh)
        if len(self._at_s) >= 2 * self._max_points:
            del self._at_s[: -self._max_points]
            del self._energy_wh[: -self._max_points]

    @property
    def first_s(self) -> float:
        """The oldest instant that can be asked for."""
        return self._at_s[0]

    @property
    def last_s(self) -> float:
        """The newest instant that can be asked for."""
        return self._at_s[-1]

    def energy_wh(self, at_s: float) -> float:
        """Energy up to an instant. Raises LookupError outside of what is kept."""
        if not self._at_s or not self._at_s[0] <= at_s <= self._at_s[-1]:
            raise LookupError("this instant is outside of the kept history")
        after = bisect_right(self._at_s, at_s)
        if after == len(self._at_s):
            return self._energy_wh[-1]
        left_s, right_s = self._at_s[after - 1], self._at_s[after]
        left_wh, right_wh = self._energy_wh[after - 1], self._energy_wh[after]
        return left_wh + (right_wh - left_wh) * (at_s - left_s) / (right_s - left_s)
