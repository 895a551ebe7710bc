"""An SDM630 on a real socket: pymodbus' own server holds the registers."""

import asyncio
import math
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from drivers.errors import BadReplyError, UnreachableError, WrongDeviceError
from drivers.link.modbus import RegisterRefusedError
from drivers.meters.meter import ModbusMeter
from drivers.meters.profile import BUILT_IN_DIRECTORY
from drivers.meters.registry import open_meter
from drivers.readings import Quality

UNIT = 101


def f32(value: float) -> list[int]:
    return list(struct.unpack(">HH", struct.pack(">f", value)))


def u32(value: int) -> list[int]:
    return [value >> 16, value & 0xFFFF]


INPUTS = {0x2A: 231.5, 0x34: 812_345.0, 0x46: 49.98, 0x48: 1234.56, 0x4A: 0.0}
HOLDINGS = {0x1E: f32(0.0), 0x28: f32(2141.0), 0xFC00: u32(12345678), 0xFC03: [260]}


def device(
    inputs: dict[int, float] | None = None,
    holdings: dict[int, list[int]] | None = None,
    *,
    is_reversed: bool = False,
) -> SimDevice:
    values = INPUTS | (inputs or {})
    image = [0] * 0x60
    for address, value in values.items():
        image[address : address + 2] = f32(value)[:: -1 if is_reversed else 1]
    kept = HOLDINGS if holdings is None else holdings
    bits = [SimData(0, values=False, count=16, datatype=DataType.BITS)]
    return SimDevice(
        UNIT,
        simdata=(
            bits,
            bits,
            [
                SimData(address, values=words, datatype=DataType.REGISTERS)
                for address, words in kept.items()
            ],
            [SimData(0, values=image, datatype=DataType.REGISTERS)],
        ),
    )


Connect = Callable[..., Awaitable[ModbusMeter]]


@pytest.fixture
async def meter_of(tmp_path: Path) -> AsyncIterator[Connect]:
    """Start a server with a device and give the meter's driver for it."""
    servers: list[ModbusTcpServer] = []
    meters: list[ModbusMeter] = []

    async def connect(
        simulated: SimDevice,
        *,
        serial: str | None = "12345678",
        rated_power_w: float | None = 1e6,
        profile: str = "sdm630",
    ) -> ModbusMeter:
        server = ModbusTcpServer(simulated, address=("127.0.0.1", 0))
        servers.append(server)
        await server.serve_forever(background=True)
        port = server.transport.sockets[0].getsockname()[1]
        meters.append(
            open_meter(
                f"modbus://127.0.0.1:{port}/{UNIT}?profile={profile}",
                meter_id="site",
                serial=serial,
                rated_power_w=rated_power_w,
                profile_dirs=[tmp_path],
            )
        )
        return meters[-1]

    yield connect
    for meter in meters:
        await meter.close()
    for server in servers:
        await server.shutdown()


async def test_it_is_identified_by_serial_prefix_and_register_order(meter_of: Connect) -> None:
    identity = await (await meter_of(device())).identify()
    assert (identity.profile, identity.serial, identity.firmware) == ("sdm630", "12345678", "260")


async def test_a_reading_is_in_si_units_and_energy_is_never_rounded_up(meter_of: Connect) -> None:
    reading = await (await meter_of(device())).read()
    assert reading.meter_id == "site"
    assert reading.power_w == 812_345.0
    assert reading.energy_import_wh == 1_234_560
    assert reading.voltage_v == pytest.approx(231.5)
    assert reading.frequency_hz == pytest.approx(49.98, rel=1e-6)
    assert reading.quality is Quality.GOOD
    assert reading.requested_at_s < reading.replied_at_s


@pytest.mark.parametrize(
    ("energy_kwh", "step_wh"), [(1_234.5, 0), (1_500_000.0, 125), (8_400_123.0, 1000)]
)
async def test_a_reading_tells_when_its_register_steps_by_more_than_its_profile_says(
    meter_of: Connect, energy_kwh: float, step_wh: int
) -> None:
    reading = await (await meter_of(device({0x48: energy_kwh}))).read()
    assert reading.energy_step_wh == step_wh


@pytest.mark.parametrize("energy_kwh", [0.0, 0.0009, 1234.5, 99_999.99, 8_400_123.0])
async def test_whole_wh_are_the_floor_of_the_float(meter_of: Connect, energy_kwh: float) -> None:
    (stored,) = struct.unpack(">f", struct.pack(">f", energy_kwh))
    reading = await (await meter_of(device({0x48: energy_kwh}))).read()
    assert reading.energy_import_wh == math.floor(stored * 1000)
    assert reading.energy_import_wh <= stored * 1000


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({0x48: math.nan}, "no value"),
        ({0x48: math.inf}, "no value"),
        ({0x48: -0.01}, "energy -10 Wh"),
        ({0x34: math.nan}, "no value"),
        ({0x34: 1_300_000.0}, r"power 1\.3e\+06 W"),
        ({0x34: -1_300_000.0}, "outside"),
        ({0x2A: 0.0}, "voltage 0 V"),
        ({0x2A: 400.0}, "voltage 400 V"),
        ({0x46: 0.0}, "frequency 0 Hz"),
        ({0x46: 400.0}, "frequency 400 Hz"),
    ],
)
async def test_what_cannot_be_right_is_a_bad_reply(
    meter_of: Connect, inputs: dict[int, float], words: str
) -> None:
    with pytest.raises(BadReplyError, match=words) as caught:
        await (await meter_of(device(inputs))).read()
    assert caught.value.reply


async def test_export_is_a_negative_power_and_no_fault(meter_of: Connect) -> None:
    assert (await (await meter_of(device({0x34: -500.0}))).read()).power_w == -500.0


async def test_without_a_rating_any_finite_power_is_believed(meter_of: Connect) -> None:
    meter = await meter_of(device({0x34: 5e7}), rated_power_w=None)
    assert (await meter.read()).power_w == 5e7


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({0x1E: f32(1.0)}, "energy prefix 1 where the profile sdm630 needs 0"),
        ({0x28: f32(2141.0)[::-1]}, "register order"),
        ({0xFC00: u32(87654321)}, "should have the serial 12345678.*87654321"),
    ],
)
async def test_a_meter_that_is_not_as_configured_is_the_wrong_device(
    meter_of: Connect, changes: dict[int, list[int]], words: str
) -> None:
    meter = await meter_of(device(holdings=HOLDINGS | changes))
    with pytest.raises(WrongDeviceError, match=words):
        await meter.identify()


@pytest.mark.parametrize("order", [2141.0, 0.0])
async def test_reversed_registers_are_told_from_the_values_whatever_the_setting_reads(
    meter_of: Connect, order: float
) -> None:
    meter = await meter_of(device(holdings=HOLDINGS | {0x28: f32(order)}, is_reversed=True))
    with pytest.raises(WrongDeviceError, match="in the order little"):
        await meter.identify()
    with pytest.raises(BadReplyError):
        await meter.read()


async def test_a_meter_without_an_energy_value_is_identified_and_then_not_believed(
    meter_of: Connect,
) -> None:
    meter = await meter_of(device({0x48: math.nan}))
    assert (await meter.identify()).serial == "12345678"
    with pytest.raises(BadReplyError, match="no value"):
        await meter.read()


async def test_implausible_values_are_no_reason_to_suspect_another_order(
    meter_of: Connect,
) -> None:
    assert (await (await meter_of(device({0x46: 0.0}))).identify()).serial == "12345678"


async def test_a_meter_without_the_prefix_register_counts_in_kwh(meter_of: Connect) -> None:
    holdings = {address: words for address, words in HOLDINGS.items() if address != 0x1E}
    identity = await (await meter_of(device(holdings=holdings))).identify()
    assert identity.serial == "12345678"


async def test_a_meter_without_a_demanded_register_is_refused(meter_of: Connect) -> None:
    holdings = {address: words for address, words in HOLDINGS.items() if address != 0x28}
    with pytest.raises(RegisterRefusedError, match="no such register"):
        await (await meter_of(device(holdings=holdings))).identify()


ELSEWHERE = {address: words for address, words in HOLDINGS.items() if address != 0xFC00}


async def test_a_meter_that_tells_its_serial_where_newer_papers_have_it_is_pinned_by_that(
    meter_of: Connect,
) -> None:
    """V1.8 has it at 0xFC00, V2.0 its halves at 0x002A and 0x002C."""
    high, low = u32(12345678)
    newer = device(holdings=ELSEWHERE | {0x2A: [high], 0x2C: [low]})
    assert (await (await meter_of(newer)).identify()).serial == "12345678"
    with pytest.raises(WrongDeviceError, match="should have the serial 12345679"):
        await (await meter_of(newer, serial="12345679")).identify()


async def test_a_meter_that_tells_its_serial_in_neither_place_is_refused(
    meter_of: Connect,
) -> None:
    """Without a serial that is sure nobody notices that another meter has taken its place."""
    with pytest.raises(RegisterRefusedError, match=r"0x002A.*no such register"):
        await (await meter_of(device(holdings=ELSEWHERE))).identify()
    for halves in ([0, 0], [0xFFFF, 0xFFFF]):
        blank = device(holdings=ELSEWHERE | {0x2A: halves[:1], 0x2C: halves[1:]})
        with pytest.raises(BadReplyError, match="shows no number of its own from 0x002A"):
            await (await meter_of(blank, serial=None)).identify()


async def test_the_first_place_counts_where_a_meter_has_both(meter_of: Connect) -> None:
    both = device(holdings=HOLDINGS | {0x2A: [1], 0x2C: [2]})
    assert (await (await meter_of(both)).identify()).serial == "12345678"


async def test_a_pinned_serial_that_the_meter_does_not_tell_proves_nothing(
    meter_of: Connect, tmp_path: Path
) -> None:
    text = (BUILT_IN_DIRECTORY / "sdm630.toml").read_text("utf-8")
    (tmp_path / "mute.toml").write_text(
        text.replace("is_optional = false", "is_optional = true"), "utf-8"
    )
    mute = device(holdings={0x28: f32(2141.0)})
    with pytest.raises(WrongDeviceError, match="does not tell its serial"):
        await (await meter_of(mute, profile="mute")).identify()
    identity = await (await meter_of(mute, profile="mute", serial=None)).identify()
    assert (identity.serial, identity.firmware) == ("", "")


async def test_a_meter_without_voltage_and_frequency_in_its_profile_has_none(
    meter_of: Connect, tmp_path: Path
) -> None:
    text = (BUILT_IN_DIRECTORY / "sdm630.toml").read_text("utf-8")
    start, end = text.index("[voltage]"), text.index("[serial]")
    (tmp_path / "bare.toml").write_text(text[:start] + text[end:], "utf-8")
    reading = await (await meter_of(device(), profile="bare")).read()
    assert (reading.voltage_v, reading.frequency_hz) == (None, None)
    assert reading.energy_import_wh == 1_234_560


async def test_a_plan_of_two_requests_takes_the_time_of_the_first(
    meter_of: Connect, tmp_path: Path
) -> None:
    text = (BUILT_IN_DIRECTORY / "sdm630.toml").read_text("utf-8")
    (tmp_path / "split.toml").write_text(
        text.replace("register_limit = 60", "register_limit = 2"), "utf-8"
    )
    meter = await meter_of(device(), profile="split")
    assert len(meter.profile.plan) == 4
    reading = await meter.read()
    assert (reading.energy_import_wh, reading.power_w) == (1_234_560, 812_345.0)
    assert reading.requested_at_s < reading.replied_at_s


async def test_a_closed_meter_is_unreachable(meter_of: Connect) -> None:
    meter = await meter_of(device())
    await meter.read()
    await meter.close()
    with pytest.raises(UnreachableError, match="closed"):
        await meter.read()


async def test_a_meter_that_comes_back_is_read_again(
    unused_tcp_port_factory: Callable[[], int],
) -> None:
    port = unused_tcp_port_factory()
    meter = open_meter(
        f"modbus://127.0.0.1:{port}/{UNIT}?profile=sdm630",
        meter_id="site",
        serial=None,
        rated_power_w=None,
    )
    with pytest.raises(UnreachableError):
        await meter.read()
    server = ModbusTcpServer(device(), address=("127.0.0.1", port))
    await server.serve_forever(background=True)
    async with asyncio.timeout(5):
        assert (await meter.read()).energy_import_wh == 1_234_560
    await meter.close()
    await server.shutdown()
