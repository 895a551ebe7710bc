"""The site meter: integrates true power and publishes it the way a real meter does.

Both registers change only at refresh instants; energy is truncated to the register's step.
"""

import math
from dataclasses import dataclass, field


@dataclass(slots=True, kw_only=True)
class Meter:
    """What one meter shows. Its faults are switches on it, not in the server that reads it out."""

    meter_id: str
    serial: int
    refresh_s: float
    step_kwh: float
    start_kwh: float
    gain_error: float
    next_refresh_s: float
    feeds: tuple[int, ...] = ()  # machines by their places; none: the whole site
    energy_kwh: float = field(init=False)
    power_w: float = 0.0
    is_energy_frozen: bool = False
    is_power_frozen: bool = False
    offset_kwh: float = 0.0
    refreshes: int = 0

    def __post_init__(self) -> None:
        self.energy_kwh = self._register(self.start_kwh)

    def publish(self, *, energy_wh: float, power_w: float) -> None:
        """Refresh the registers and set the next refresh."""
        gain = 1.0 + self.gain_error
        if not self.is_energy_frozen:
            raw_kwh = self.start_kwh + self.offset_kwh + energy_wh * gain / 1000.0
            self.energy_kwh = self._register(raw_kwh)
        if not self.is_power_frozen:
            self.power_w = power_w * gain
        self.refreshes += 1
        self.next_refresh_s += self.refresh_s

    def _register(self, kwh: float) -> float:
        # A billionth of a step: 1234.5 / 0.01 must not lose a step to binary fractions.
        return math.floor(kwh / self.step_kwh + 1e-9) * self.step_kwh
