"""What people say of a meter's place, as the core holds its meters against it."""

from collections.abc import Sequence

from agent.core.commissioning import Nameplate
from agent.core.reference import Reference
from agent.posts import MeterPost
from agent.settings import Settings
from agent.settings_devices import MeterSettings
from agent.settings_points import MeterPointSettings
from drivers.meters.profile import MeterProfile
from drivers.meters.sunspec import SunSpecProfile

CLASS_SHARE = 0.01  # of a meter whose class nobody wrote down


def nameplate_of(
    meter: MeterSettings, profile: MeterProfile | SunSpecProfile, rated_w: float
) -> Nameplate:
    return Nameplate(
        nominal_voltage_v=profile.nominal_voltage_v,
        rated_power_w=rated_w,
        may_export=meter.may_export,
        ct_ratio=meter.ct_ratio,
    )


def reference_of(
    settings: Settings, point: MeterPointSettings, posts: Sequence[MeterPost]
) -> Reference | None:
    """The second meter of a point, with what may lie between it and the first."""
    if not point.reference:
        return None
    pair = [post.traits for post in posts if post.meter_id in (point.meter, point.reference)]
    shares = [m.error_share for m in settings.meters if m.id in (point.meter, point.reference)]
    return Reference(
        meter_id=point.reference,
        error_share=sum(max(share, CLASS_SHARE) for share in shares),
        step_wh=sum(traits.step_wh for traits in pair),
        refresh_s=max(traits.refresh_s for traits in pair),
    )
