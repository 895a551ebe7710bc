"""The site meter: integrates true power and publishes it the way a real meter does.

Both registers change only at refresh instants; energy is truncated to the register's step. What it
has counted it saves now and then: a meter that loses its supply goes on from what it had saved.
"""

import math
from dataclasses import dataclass, field


@dataclass(slots=True, kw_only=True)
class Meter:
    """What one meter shows. Its faults are switches on it, not in the server that reads it out.

    ``clock_ms`` is what its own clock shows now, as milliseconds of UTC; None: no time.
    """

    meter_id: str
    serial: int
    refresh_s: float
    step_kwh: float
    start_kwh: float
    gain_error: float
    next_refresh_s: float
    feeds: tuple[int, ...] = ()  # machines by their places; none: the whole site
    save_s: float = 300.0
    energy_kwh: float = field(init=False)
    power_w: float = 0.0
    is_energy_frozen: bool = False
    is_power_frozen: bool = False
    is_off: bool = False
    offset_kwh: float = 0.0
    lost_kwh: float = 0.0
    refreshes: int = 0
    clock_ms: int | None = None
    _counted_kwh: float = field(init=False)
    _saved_kwh: float = field(init=False)
    _saved_s: float = field(init=False)

    def __post_init__(self) -> None:
        self._counted_kwh = self._saved_kwh = self.start_kwh
        self._saved_s = self.next_refresh_s
        self.energy_kwh = self._register(self.start_kwh)

    def publish(self, *, energy_wh: float, power_w: float) -> None:
        """Refresh the registers and set the next refresh."""
        gain = 1.0 + self.gain_error
        self._counted_kwh = self.start_kwh + energy_wh * gain / 1000.0
        if not self.is_off:
            if not self.is_energy_frozen:
                raw_kwh = self._counted_kwh - self.lost_kwh + self.offset_kwh
                self.energy_kwh = self._register(raw_kwh)
            if not self.is_power_frozen:
                self.power_w = power_w * gain
            if self.next_refresh_s - self._saved_s >= self.save_s:
                self._saved_kwh = self._counted_kwh - self.lost_kwh
                self._saved_s = self.next_refresh_s
        self.refreshes += 1
        self.next_refresh_s += self.refresh_s

    def feed(self, *, is_fed: bool) -> None:
        """Its own supply goes, or comes back: then all is gone that it had not saved."""
        if is_fed and self.is_off:
            self.lost_kwh = self._counted_kwh - self._saved_kwh
            self.energy_kwh = self._register(self._saved_kwh + self.offset_kwh)
            self._saved_s = self.next_refresh_s
        self.is_off = not is_fed

    def _register(self, kwh: float) -> float:
        # A billionth of a step: 1234.5 / 0.01 must not lose a step to binary fractions.
        return math.floor(kwh / self.step_kwh + 1e-9) * self.step_kwh
