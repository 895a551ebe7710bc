"""The grid operator's orders of a scenario as limits of the core, on record from when they come."""

from agent.core.limits import Limit
from simulator.scenario import OrderTable
from simulator.virtual.wallclock import START_MS


def connection_limit(rated_w: float) -> Limit:
    """What the connection can carry."""
    return Limit(
        kind="connection",
        source="site.rated_power_w",
        power_w=rated_w,
        safe_w=rated_w,
        expires_ms=None,
        words="the connection's rating",
    )


def limit_of(order: OrderTable, rated_w: float) -> Limit:
    """An order as the agent is given it; its end is part of it, so that all is allowed after."""
    return Limit(
        kind="dispatch_order",
        source="grid operator",
        limit_id=f"order-{order.at_min:g}",
        power_w=order.kw * 1000.0,
        safe_w=rated_w,
        from_ms=START_MS + round(order.at_min * 60_000),
        expires_ms=START_MS + round((order.at_min + order.for_min) * 60_000),
        words=f"the grid operator ordered {order.kw:.0f} kW at most",
    )
