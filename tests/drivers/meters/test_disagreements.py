"""Where published sources contradict each other: which one is followed, and that the other is seen.

Each row is a contradiction between drivers, vendors' papers and transcriptions that somebody
reading the wrong one would carry into the books. SunSpec's accumulator of 0 is in test_sunspec, the
unit prefix, word order and serial of the SDM630 in test_meter, a Diris B30's residual in
test_meter_kinds.
"""

import struct
from collections.abc import Awaitable, Callable

import pytest

from drivers.errors import BadReplyError, DriverError
from drivers.meters.profile import BUILT_IN_DIRECTORY, load_profile
from drivers.wire.registers import RegisterType, decode_registers

NAMES = sorted(path.stem for path in BUILT_IN_DIRECTORY.glob("*.toml"))


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("dtsu666", 3),  # one farm's firmware answered 4 only
        ("iem3000", 3),  # lists no other, and OpenEMS asks its kin by 4
        ("sdm630", 4),
        ("sdm120", 4),
        ("sdm72d-m-2", 4),
    ],
)
def test_registers_are_asked_for_by_the_function_of_the_vendors_paper(
    name: str, function: int
) -> None:
    terms = [term for terms in load_profile(name).quantities.values() for term in terms]
    assert {term.function for term in terms} == {function}


# Profile, quantity, where it is, and where another source has it.
@pytest.mark.parametrize(
    ("name", "quantity", "right", "wrong"),
    [
        ("umg96", "energy", 19068, 19062),  # OpenEMS takes L1 for the sum of a UMG 801
        ("umg96", "energy_export", 19076, 19070),
        ("pac2200", "frequency", 55, 46),  # mbmd against Siemens
        ("pac3200", "frequency", 55, 46),
        ("dtsu666", "energy", 0x101E, 0x401E),
        ("dtsu666", "energy_export", 0x1028, 0x4028),
        ("sdm630", "energy", 0x0048, 0x0156),  # a total whose meaning changes with paper and mode
        ("sdm120", "energy", 0x0048, 0x0156),
        ("sdm72d-m-2", "energy", 0x0048, 0x0156),
        ("iem3000", "energy", 0x0C83, 0x0C84),  # the manual's number less one
        ("iem3000", "power", 0x0BF3, 0x0BF4),
        ("pm5000", "energy", 3203, 3204),
        ("pm5000", "power", 3059, 3060),
        ("abb-b23", "frequency", 0x5B2C, 0x5B32),  # the M4M has its block six registers on
        ("abb-m4m", "power", 0xCB1A, 0x5B14),
        ("em340", "energy_export", 0x004E, 0x005C),  # EM24-IS, which is another list
        ("em24-is", "energy", 0x0042, 0x005C),  # an export that evcc had to take out
        ("countis-e", "energy", 0xC702, 0xC65C),  # partial, which anybody can reset
        ("satec-pm130", "power", 14336, 275),  # the list of 16 bits, in shares of a set range
    ],
)
def test_a_quantity_is_read_where_the_vendor_has_it(
    name: str, quantity: str, right: int, wrong: int
) -> None:
    profile = load_profile(name)
    assert profile.quantities[quantity][0].address == right
    read = {term.address for terms in profile.quantities.values() for term in terms}
    assert wrong not in read


@pytest.mark.parametrize(
    ("name", "limit"),
    [("sdm630", 60), ("sdm120", 60), ("sdm72d-m-2", 60), ("em340", 20), ("em530", 20),
     ("em24-e1", 20),
     ("em24-is", 11)],
)  # fmt: skip
def test_of_two_limits_in_one_paper_the_smaller_holds(name: str, limit: int) -> None:
    profile = load_profile(name)
    assert profile.layout.register_limit == limit
    assert max(block.count for block in profile.full_plan) <= limit


@pytest.mark.parametrize("name", ["pac2200", "pac3200"])
def test_both_tariffs_count_although_drivers_read_one(name: str) -> None:
    profile = load_profile(name)
    assert [term.address for term in profile.quantities["energy"]] == [801, 805]
    assert {"energy"} <= set(profile.plan[0].quantities)


@pytest.mark.parametrize("name", ["dtsu666", "abb-m4m", "satec-pm130"])
def test_what_stays_contested_keeps_no_purchase(name: str) -> None:
    assert "no paper confirms" in load_profile(name).unfit


def test_what_contradicts_itself_most_has_no_profile_at_all() -> None:
    """PAC1600: direction; PZEM: scale of the energy; Diris A10: no register that nobody resets;
    UMG 801 and 806: whether 19062 is a sum; PowerTag: other meanings at the iEM's addresses."""
    contested = {"pac1600", "pzem-016", "diris-a10", "umg801", "umg806", "powertag", "smartlink"}
    assert not contested & set(NAMES)


def test_a_frequency_that_papers_scale_in_two_ways_is_not_read() -> None:
    assert "frequency" not in load_profile("countis-e").quantities  # 0.001 on E23, 0.01 on E34


def test_the_direction_is_never_taken_from_a_power_factor() -> None:
    """On the SDM630 its sign is direction in papers V1.x, and kind of load in V2.0."""
    for name in NAMES:
        assert not any("power_factor" in block.quantities for block in load_profile(name).plan)


def words(kind: str, *values: float) -> list[int]:
    raw = struct.pack(f">{len(values)}{kind}", *values)
    return list(struct.unpack(f">{len(raw) // 2}H", raw))


def _nothing(kind: RegisterType) -> list[list[int]]:
    count = kind.register_count
    if kind.is_float:
        return [[0x7FC0, *[0] * (count - 1)] if count == 2 else [0x7FF8, *[0] * (count - 1)]]
    if kind.value.startswith("u"):
        return [[0xFFFF] * count]
    return [[0x7FFF, *[0xFFFF] * (count - 1)], [0x8000, *[0] * (count - 1)]]


@pytest.mark.parametrize("name", NAMES)
def test_no_value_is_never_taken_for_nothing_flowing(name: str) -> None:
    """evcc makes 0 of it, which a counter would book as the way back from there."""
    profile = load_profile(name)
    for quantity in ("energy", "power"):
        for term in profile.quantities[quantity]:
            for pattern in _nothing(term.kind):
                ordered = pattern if profile.word_order == "big" else pattern[::-1]
                with pytest.raises(BadReplyError, match="no value"):
                    decode_registers(ordered, term.kind, profile.word_order, term.sentinels)


Connect = Callable[..., Awaitable[object]]


@pytest.fixture
def meter_of(bench) -> Connect:
    """A meter that holds these registers, behind a server that nobody here wrote."""

    async def connect(profile: str, holdings: dict[int, list[int]], text: str = "") -> object:
        return await bench.meter(profile, holdings, text=text, rated_power_w=500_000.0)

    return connect


def dtsu666(factor: float) -> dict[int, list[int]]:
    """230 V, 50 Hz and 2 kW on the secondary side, times 10 as its manual has it, or not."""
    block = [0.0] * 35
    for at, value in ((0x2006, 230.0), (0x2012, 2_000.0), (0x2044, 50.0)):
        block[(at - 0x2000) // 2] = value * factor
    block[34] = 5_000.0
    return {
        0x0006: [40, 10],
        0x101E: words("f", 12.5),
        0x2000: words("f", *block),
    }


async def test_a_dtsu666_is_scaled_by_ten_and_multiplied_by_its_transformers(meter_of) -> None:
    meter = await meter_of("dtsu666", dtsu666(10.0))
    reading = await meter.read()
    assert reading.voltage_v == pytest.approx(230.0)
    assert reading.power_w == pytest.approx(2_000.0 * 40)
    assert reading.energy_import_wh == 12_500 * 40


async def test_a_dtsu666_that_is_not_scaled_by_ten_is_seen_by_its_voltage(meter_of) -> None:
    meter = await meter_of("dtsu666", dtsu666(1.0))
    with pytest.raises(BadReplyError, match="voltage 23 V"):
        await meter.read()


def iem3000(power: float) -> dict[int, list[int]]:
    return {
        0x0BDB: words("f", 230.0),
        0x0BF3: words("f", power),
        0x0C25: words("f", 50.0),
        0x0C83: words("q", 123_456),
    }


async def test_a_powertags_watts_are_no_iems_kilowatts(meter_of) -> None:
    """Both have their power at 0x0BF3: read by the other's unit it is a thousand times as much."""
    assert (await (await meter_of("iem3000", iem3000(120.0))).read()).power_w == 120_000.0
    with pytest.raises(BadReplyError, match=r"power 1\.2e"):
        await (await meter_of("iem3000", iem3000(120_000.0))).read()


async def test_an_m4m_is_not_read_as_a_b23(meter_of) -> None:
    """Where the B23 has the voltage of phase 1 the M4M has that of the three together."""
    block = words("I", 4_000, 2_310, 2_311, 2_312, 4_001, 4_002, 4_003, 100, 101, 102, 103, 104)
    block += [0] * (0x60 - len(block))
    meter = await meter_of("abb-b23", {0x5000: words("Q", 77, 0, 77), 0x5B00: block,
                                       0x8900: [0, 7], 0x8960: [0x4D34, 0x4D20]})  # fmt: skip
    with pytest.raises(DriverError, match=r"voltage 400|frequency"):
        await meter.read()


FREQUENCY = """
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
[frequency]
function = 3
address = 0x30
type = "uint32"
unit = "Hz"
scale = 0.01
"""


async def test_a_scale_ten_times_off_is_seen_by_the_frequency(meter_of, profile_head) -> None:
    held = {0x10: [0, 5], 0x20: [0, 5], 0x30: words("I", 50_010)}  # in 0.001 Hz
    meter = await meter_of("own", held, profile_head + FREQUENCY)
    with pytest.raises(BadReplyError, match=r"frequency 500\.1"):
        await meter.read()
