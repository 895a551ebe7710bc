"""What the bound keeps of the time in which a register was not believed."""

from agent.core.envelope import SECONDS_PER_HOUR
from agent.core.meterfusion import Fusion, MeterTraits, advance, interval_now, observe
from drivers.readings import MeterReading

RATED_W = 400_000.0
STEP_WH = 10


def reading(at_s: float, register_wh: int, power_w: float) -> MeterReading:
    return MeterReading(
        meter_id="site",
        requested_at_s=at_s,
        replied_at_s=at_s,
        taken_at_ms=0,
        power_w=power_w,
        energy_import_wh=register_wh,
        voltage_v=None,
        frequency_hz=None,
    )


def steady(power_w: float) -> Fusion:
    """Twenty seconds of even power, a reading each; a step of the register takes one of them."""
    traits = MeterTraits(
        refresh_s=0.5, step_wh=STEP_WH, power_error_share=0.01, rated_power_w=RATED_W
    )
    fusion = Fusion(traits=traits)
    for number in range(21):
        true_wh = 1000.0 + power_w * number / SECONDS_PER_HOUR
        shown_wh = int(true_wh) // STEP_WH * STEP_WH
        fusion = observe(fusion, reading(float(number), shown_wh, power_w))
        fusion = advance(fusion, now_s=float(number), power_upper_w=1.1 * power_w)
    return fusion


def test_what_flowed_while_nobody_believed_the_register_is_not_forgotten() -> None:
    """More flowed then than now: the power of now says nothing about that time."""
    fusion = advance(steady(36_000.0), now_s=20.0, power_upper_w=40_000.0)
    true_wh = fusion.latest.register_wh + 5.0
    for number in range(60):
        at_s = 21.0 + number
        power_w = 200_000.0 if number < 50 else 36_000.0
        true_wh += power_w / SECONDS_PER_HOUR
        fusion = observe(fusion, reading(at_s, fusion.latest.register_wh, 36_000.0))
        fusion = advance(fusion, now_s=at_s, power_upper_w=1.1 * power_w)
        assert interval_now(fusion).upper_wh >= true_wh
    assert fusion.suspect
    for number in range(10):
        at_s = 81.0 + number
        true_wh += 36_000.0 / SECONDS_PER_HOUR
        shown_wh = int(true_wh) // 10 * 10
        fusion = observe(fusion, reading(at_s, shown_wh, 36_000.0))
        fusion = advance(fusion, now_s=at_s, power_upper_w=40_000.0)
        assert fusion.suspect == ""
        assert interval_now(fusion).upper_wh >= true_wh, number
    assert interval_now(fusion).upper_wh < true_wh + 40.0
