"""What the site draws besides its machines: nobody can switch it. Constant, wander, steps."""

import random
from dataclasses import dataclass, field

# How strongly the wander is pulled back to zero at each knot.
_PULL = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadStep:
    """A change of the load at a time after the start."""

    after_s: float
    delta_w: float


@dataclass(slots=True, kw_only=True)
class BaseLoad:
    """Seeded, so that the same seed gives the same load. Never below zero."""

    constant_w: float
    wander_w: float
    knot_s: float
    steps: tuple[LoadStep, ...]
    seed: int
    now_s: float
    _rng: random.Random = field(init=False)
    _left: float = field(init=False, default=0.0)
    _right: float = field(init=False)
    _left_s: float = field(init=False)
    _due: list[tuple[float, float]] = field(init=False)

    def __post_init__(self) -> None:
        self._rng = random.Random(f"base-load-{self.seed}")
        self._left_s = self.now_s
        self._right = self._next_knot(0.0)
        pairs = sorted((step.after_s, step.delta_w) for step in self.steps)
        self._due = [(self.now_s + after_s, delta_w) for after_s, delta_w in pairs]

    def power_w(self) -> float:
        """The load at the instant up to which this has been advanced."""
        share = (self.now_s - self._left_s) / self.knot_s
        wander = self._left + (self._right - self._left) * share
        return max(0.0, self.constant_w + wander)

    def advance(self, to_s: float) -> float:
        """Move to an instant and return the watt seconds on the way."""
        energy_ws = 0.0
        while self.now_s < to_s:
            stop_s = min(to_s, self._left_s + self.knot_s)
            if self._due:
                stop_s = min(stop_s, max(self._due[0][0], self.now_s))
            before_w, from_s = self.power_w(), self.now_s
            self.now_s = stop_s
            energy_ws += (before_w + self.power_w()) / 2.0 * (stop_s - from_s)
            self._turn()
        return energy_ws

    def set_constant(self, constant_w: float) -> None:
        """Replace the constant part at once."""
        self.constant_w = constant_w

    def _turn(self) -> None:
        while self._due and self._due[0][0] <= self.now_s:
            self.constant_w += self._due.pop(0)[1]
        if self.now_s >= self._left_s + self.knot_s:
            self._left_s += self.knot_s
            self._left, self._right = self._right, self._next_knot(self._right)

    def _next_knot(self, value: float) -> float:
        step = self._rng.gauss(0.0, 1.0) * self.wander_w * 0.3
        wanted = value * (1.0 - _PULL) + step
        return max(-self.wander_w, min(self.wander_w, wanted))
