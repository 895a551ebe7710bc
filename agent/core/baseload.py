"""What a site draws beside its machines, learned from the meter while no machine is on the move."""

from collections.abc import Collection
from typing import NamedTuple

from agent.core.fleet import Machine

SETTLE_S = 2.0  # so long the meter may still show a move that has ended
UNSETTLED_TOO_LONG_S = 20.0
SMOOTHING = 0.2


class BaseLoad(NamedTuple):
    """What is known of it: the power (None: nothing yet), since when a machine has been on the move
    (None: none is), and from when on the meter shows the machines at rest."""

    power_w: float | None
    unsettled_since_s: float | None
    settled_at_s: float


def followed(
    known: BaseLoad,
    machines: Collection[Machine],
    measured_w: float | None,
    now_s: float,
    *,
    is_starting: bool,
) -> BaseLoad:
    """The base load after one more tick. ``measured_w`` None: the meter is not to be relied on.

    A machine that has never been read counts as base load: the meter sees it all the same. While
    the machines are being read for the first time, that would be most of them.
    """
    power_w, since_s, settled_s = known
    if measured_w is None or (is_starting and not all(machine.is_known for machine in machines)):
        return known
    if any(machine.is_in_transit or machine.rising_w > 0 for machine in machines):
        since_s = now_s if since_s is None else since_s
        settled_s = now_s + SETTLE_S
        if power_w is not None and now_s - since_s < UNSETTLED_TOO_LONG_S:
            return BaseLoad(power_w, since_s, settled_s)
    elif power_w is not None and now_s < settled_s:
        return known
    else:
        since_s = None
    residual_w = max(measured_w - sum([machine.at_w for machine in machines]), 0.0)
    if power_w is not None:
        residual_w = power_w + SMOOTHING * (residual_w - power_w)
    return BaseLoad(residual_w, since_s, settled_s)
