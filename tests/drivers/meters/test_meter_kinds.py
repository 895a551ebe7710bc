"""What other meters than the SDM630 need of the driver: sums, ratios, text, signs, absences.

pymodbus' own server holds the registers.
"""

import struct
from collections.abc import Awaitable, Callable

import pytest

from drivers.errors import BadReplyError
from drivers.meters.meter import ModbusMeter

PLAIN = """
[energy]
function = 3
address = 0x10
type = "uint32"
unit = "kWh"
step_wh = 1
[power]
function = 3
address = 0x20
type = "int32"
unit = "W"
"""
RATIOS = """
[[ratios]]
name = "current transformers"
function = 3
address = 0x6
type = "uint16"
quantities = ["energy", "power"]
[[ratios]]
name = "voltage transformers"
function = 3
address = 0x7
type = "uint16"
scale = 0.1
quantities = ["power"]
"""
MODEL = """
[model]
function = 3
address = 0x30
type = "text"
count = 4
"""

Connect = Callable[..., Awaitable[ModbusMeter]]


def s32(value: int) -> list[int]:
    return list(struct.unpack(">HH", struct.pack(">i", value)))


@pytest.fixture
def meter_of(bench, profile_head: str) -> Connect:
    """A meter with these holding registers, driven by this profile."""

    async def connect(text: str, holdings: dict[int, list[int]]) -> ModbusMeter:
        return await bench.meter("own", holdings, text=profile_head + text)

    return connect


async def test_a_residual_in_a_finer_unit_is_added(meter_of: Connect) -> None:
    plus = '[[energy.plus]]\naddress = 0x12\ntype = "uint16"\nscale = 0.0001\n'
    text = PLAIN.replace("[power]", f"{plus}[power]")
    meter = await meter_of(text, {0x10: [0, 77, 9_994], 0x20: s32(5)})
    assert (await meter.read()).energy_import_wh == 77_999


async def test_two_words_that_count_to_ten_thousand_make_one_counter(meter_of: Connect) -> None:
    text = PLAIN.replace("uint32", "uint16").replace(
        "[power]",
        '[[energy.plus]]\naddress = 0x11\ntype = "uint16"\nscale = 10_000\n[power]',
    )
    meter = await meter_of(text, {0x10: [9_999, 12], 0x20: s32(5)})
    assert (await meter.read()).energy_import_wh == 129_999_000


async def test_a_transformers_ratio_that_stands_in_the_meter_is_multiplied(
    meter_of: Connect,
) -> None:
    holdings = {0x6: [40, 100], 0x10: [0, 3], 0x20: s32(-250)}
    meter = await meter_of(PLAIN + RATIOS, holdings)
    reading = await meter.read()
    assert reading.energy_import_wh == 120_000
    assert reading.power_w == -250 * 40 * 10
    shown = {one.name: one.value for one in await meter.read_quantities()}
    assert shown == {"energy": 120_000.0, "power": -100_000.0}


async def test_a_ratio_of_nothing_is_not_multiplied_by(meter_of: Connect) -> None:
    meter = await meter_of(PLAIN + RATIOS, {0x6: [0, 10], 0x10: [0, 3], 0x20: s32(1)})
    with pytest.raises(BadReplyError, match="current transformers 0: set it"):
        await meter.read()


async def test_power_may_be_told_with_the_other_sign(meter_of: Connect) -> None:
    text = PLAIN.replace('unit = "W"', 'unit = "kW"\nsign = -1\nscale = 0.1')
    meter = await meter_of(text, {0x10: [0, 3], 0x20: s32(-42)})
    assert (await meter.read()).power_w == pytest.approx(4_200.0)


async def test_a_pattern_that_the_profile_calls_nothing_is_no_value(meter_of: Connect) -> None:
    text = PLAIN.replace("step_wh = 1", "step_wh = 1\nsentinels = [0]")
    meter = await meter_of(text, {0x10: [0, 0], 0x20: s32(1)})
    with pytest.raises(BadReplyError, match="no value"):
        await meter.read()


async def test_a_meter_says_its_model_in_letters(meter_of: Connect) -> None:
    words = list(struct.unpack(">4H", b"EM 24\0\0\0"))
    meter = await meter_of(PLAIN + MODEL, {0x10: [0, 3], 0x20: s32(1), 0x30: words})
    assert (await meter.identify()).model == "EM 24"


async def test_a_quantity_that_the_meter_does_not_serve_stands_with_the_reason(
    meter_of: Connect,
) -> None:
    more = '[more.current_l1]\nfunction = 3\naddress = 0x40\ntype = "uint16"\nunit = "mA"\n'
    meter = await meter_of(PLAIN + more, {0x10: [0, 3], 0x20: s32(1)})
    *measured, absent = await meter.read_quantities()
    assert [(one.name, one.value, one.unit) for one in measured] == [
        ("energy", 3_000.0, "Wh"),
        ("power", 1.0, "W"),
    ]
    assert (absent.name, absent.value, absent.unit) == ("current_l1", None, "A")
    assert "no such register" in absent.fault
    assert (await meter.read()).power_w == 1.0
