"""SunSpec meters found by walking the chain, on pymodbus' own server."""

import struct
from collections.abc import Awaitable, Callable

import pytest

from drivers.errors import BadReplyError, WrongDeviceError
from drivers.meters.sunspec import SunSpecMeter

COMMON = [1, 66, *struct.unpack(
    ">66H", b"Acme".ljust(32, b"\0") + b"EM-1".ljust(32, b"\0") + bytes(16)
    + b"1.02".ljust(16, b"\0") + b"A-77".ljust(32, b"\0") + bytes(4)
)]  # fmt: skip
END = [0xFFFF, 0]
MARK = [0x5375, 0x6E53]


def meter_model(model: int = 203, length: int = 105, **at: int) -> list[int]:
    """230 V, 50 Hz, 100 kW, 12 MWh; a float model has only what is needed."""
    words = [0x8000] * (2 + length)
    words[:2] = [model, length]
    if model > 210:
        words[2:] = [0x7FC0, 0] * (length // 2)
        for offset, value in ((28, 1e5), (10, 230.0), (26, 50.0), (68, 1.2e7)):
            words[offset : offset + 2] = struct.unpack(">HH", struct.pack(">f", value))
        return words
    words[7], words[15], words[16], words[17] = 2300, 0xFFFF, 5000, 0xFFFE
    words[18], words[22] = 10_000, 1
    words[46:48], words[54] = list(struct.unpack(">HH", struct.pack(">I", 12_000_000))), 0
    for offset, value in at.items():
        words[int(offset.removeprefix("at_"))] = value
    return words


Connect = Callable[..., Awaitable[SunSpecMeter]]


@pytest.fixture
def meter_of(bench) -> Connect:
    async def connect(words: list[int], base: int = 40000, serial: str | None = None):
        meter = await bench.meter("sunspec", {base: words}, serial=serial, rated_power_w=200_000.0)
        assert isinstance(meter, SunSpecMeter)
        return meter

    return connect


@pytest.mark.parametrize("base", [40000, 0, 50000])
@pytest.mark.parametrize("model", [201, 204, 211, 213])
async def test_a_meter_is_found_wherever_its_chain_is(
    meter_of: Connect, base: int, model: int
) -> None:
    strange = [64_001, 3, 1, 2, 3]
    own = meter_model(model, 124 if model > 210 else 105)
    meter = await meter_of([*MARK, *COMMON, *strange, *own, *END], base, serial="A-77")
    identity = await meter.identify()
    assert (identity.serial, identity.model, identity.firmware) == ("A-77", "Acme EM-1", "1.02")
    reading = await meter.read()
    assert (reading.energy_import_wh, reading.power_w) == (12_000_000, 100_000.0)
    assert reading.voltage_v == pytest.approx(230.0)
    assert meter.signs == (f"SunS at {base}", f"model {model} at {base + 75}")


async def test_it_finds_itself_when_it_is_read_first(meter_of: Connect) -> None:
    meter = await meter_of([*MARK, *COMMON, *meter_model()])  # and no end is said
    assert (await meter.read()).energy_import_wh == 12_000_000
    assert meter.signs


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ([0x1234, *COMMON], "no SunSpec device"),
        ([*MARK, *COMMON, *END], "are 0 (none)"),
        ([*MARK, *COMMON, *meter_model(), *meter_model(213, 124), *END], "are 2 "),
        ([*MARK, *COMMON, *meter_model(203, 60), *END], "of 60 registers, not 105"),
    ],
)
async def test_what_is_not_one_sunspec_meter_is_the_wrong_device(
    meter_of: Connect, words: list[int], why: str
) -> None:
    meter = await meter_of(words)
    with pytest.raises(WrongDeviceError) as caught:
        await meter.identify()
    assert why in str(caught.value)
    assert meter.signs == ()


async def test_another_serial_is_another_meter(meter_of: Connect) -> None:
    meter = await meter_of([*MARK, *COMMON, *meter_model(), *END], serial="B-1")
    with pytest.raises(WrongDeviceError, match="has the serial A-77"):
        await meter.identify()
    nameless = await meter_of([*MARK, *meter_model(), *END], serial="B-1")
    with pytest.raises(WrongDeviceError, match="does not tell its serial"):
        await nameless.identify()


async def test_a_chain_that_runs_out_of_the_registers_is_no_meter(meter_of: Connect) -> None:
    meter = await meter_of([*MARK, 64_001, 40_000], 40000)
    with pytest.raises(WrongDeviceError, match="are 0"):
        await meter.identify()


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"at_46": 0, "at_47": 0}, "no value"),
        ({"at_18": 0x8000}, "no value"),
        ({"at_22": 3}, "outside"),  # ten megawatts where two hundred kilowatts are
        ({"at_15": 0}, "voltage 2300"),
        ({"at_16": 4000}, "frequency 40"),
    ],
)
async def test_what_cannot_be_right_is_no_reading(
    meter_of: Connect, changes: dict[str, int], why: str
) -> None:
    meter = await meter_of([*MARK, *COMMON, *meter_model(**changes), *END])
    await meter.identify()
    with pytest.raises(BadReplyError, match=why):
        await meter.read()


async def test_a_coarse_accumulator_says_its_step(meter_of: Connect) -> None:
    coarse = meter_model(at_46=0, at_47=12_345, at_54=3)
    meter = await meter_of([*MARK, *COMMON, *coarse, *END])
    reading = await meter.read()
    assert (reading.energy_import_wh, reading.energy_step_wh) == (12_345_000, 1_000)


async def test_a_meter_for_three_wires_has_no_voltage_and_is_read(meter_of: Connect) -> None:
    meter = await meter_of([*MARK, *COMMON, *meter_model(at_7=0x8000), *END])
    assert (await meter.read()).voltage_v is None
    shown = {one.name: one for one in await meter.read_quantities()}
    assert shown["voltage"].value is None
    assert "no value" in shown["voltage"].fault
    assert (shown["energy"].value, shown["energy"].unit) == (12_000_000.0, "Wh")


async def test_a_chain_that_moves_is_not_read_on_at_the_old_place(bench, meter_of: Connect) -> None:
    meter = await meter_of([*MARK, *COMMON, *meter_model(), *[0xFFFF] * 20])
    assert (await meter.read()).power_w == 100_000.0
    at = 40000 + 2 + 68
    longer = [64_001, 3, 1, 2, 3, *meter_model(), *END]
    await bench.change(at, longer)
    with pytest.raises(BadReplyError, match="elsewhere than before"):
        await meter.read()
    assert (await meter.read()).power_w == 100_000.0
    assert meter.signs[1] == f"model 203 at {at + 5}"
