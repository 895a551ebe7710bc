import math
import struct

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from drivers.errors import BadReplyError
from drivers.wire.registers import (
    RegisterType,
    WordOrder,
    decode_registers,
    decode_text,
    float_spacing,
)

FORMATS = {
    RegisterType.INT16: ">h",
    RegisterType.UINT16: ">H",
    RegisterType.INT32: ">i",
    RegisterType.UINT32: ">I",
    RegisterType.INT64: ">q",
    RegisterType.UINT64: ">Q",
    RegisterType.FLOAT32: ">f",
    RegisterType.FLOAT64: ">d",
}


def registers_of(kind: RegisterType, value: float, order: WordOrder) -> tuple[int, ...]:
    raw = struct.pack(FORMATS[kind], value)
    words = struct.unpack(f">{len(raw) // 2}H", raw)
    return words if order is WordOrder.BIG else words[::-1]


@pytest.mark.parametrize(
    ("registers", "kind", "order", "value"),
    [
        # 230.2 V as printed in the Eastron SDM630 protocol V1.8: 43 66 33 34.
        ((0x4366, 0x3334), RegisterType.FLOAT32, WordOrder.BIG, 230.2),
        ((0x3334, 0x4366), RegisterType.FLOAT32, WordOrder.LITTLE, 230.2),
        ((0x0001, 0x0002), RegisterType.UINT32, WordOrder.BIG, 65538),
        ((0x0001, 0x0002), RegisterType.UINT32, WordOrder.LITTLE, 131073),
        ((0xFFFF, 0xFFFE), RegisterType.INT32, WordOrder.BIG, -2),
        ((0xFFFE,), RegisterType.INT16, WordOrder.BIG, -2),
        ((0, 0, 1, 0), RegisterType.UINT64, WordOrder.BIG, 65536),
        ((0x4000, 0, 0, 0), RegisterType.FLOAT64, WordOrder.BIG, 2.0),
    ],
)
def test_values_are_read_in_their_word_order(
    registers: tuple[int, ...], kind: RegisterType, order: WordOrder, value: float
) -> None:
    assert decode_registers(registers, kind, order) == pytest.approx(value, rel=1e-7)


@given(
    st.lists(st.integers(-5, 70_000), max_size=5),
    st.sampled_from(RegisterType),
    st.sampled_from(WordOrder),
)
def test_any_registers_give_a_finite_value_or_a_bad_reply(
    registers: list[int], kind: RegisterType, order: WordOrder
) -> None:
    try:
        value = decode_registers(registers, kind, order)
    except BadReplyError:
        return
    assert math.isfinite(value)
    assert len(registers) == kind.register_count
    assert registers_of(kind, value, order) == tuple(registers)


@given(st.floats(width=32, allow_nan=False, allow_infinity=False), st.sampled_from(WordOrder))
def test_a_float_survives_its_registers(value: float, order: WordOrder) -> None:
    registers = registers_of(RegisterType.FLOAT32, value, order)
    assert decode_registers(registers, RegisterType.FLOAT32, order) == value


@pytest.mark.parametrize(
    ("registers", "kind"),
    [
        ((0x7FC0, 0), RegisterType.FLOAT32),
        ((0xFFFF, 0xFFFF), RegisterType.FLOAT32),
        ((0x7F80, 0), RegisterType.FLOAT32),
        ((0xFF80, 0), RegisterType.FLOAT32),
        ((0x7FF8, 0, 0, 0), RegisterType.FLOAT64),
        ((0xFFFF,), RegisterType.UINT16),
        ((0xFFFF, 0xFFFF), RegisterType.UINT32),
        ((0xFFFF,) * 4, RegisterType.UINT64),
        ((0x8000,), RegisterType.INT16),
        ((0x7FFF,), RegisterType.INT16),
        ((0x8000, 0), RegisterType.INT32),
        ((0x7FFF, 0xFFFF), RegisterType.INT32),
        ((0x8000, 0, 0, 0), RegisterType.INT64),
    ],
)
def test_the_patterns_for_no_value_are_bad_replies(
    registers: tuple[int, ...], kind: RegisterType
) -> None:
    with pytest.raises(BadReplyError, match="has no value"):
        decode_registers(registers, kind, WordOrder.BIG)


def test_a_wrong_number_of_registers_is_a_bad_reply() -> None:
    with pytest.raises(BadReplyError, match="sent 1 registers for a float32"):
        decode_registers((1,), RegisterType.FLOAT32, WordOrder.BIG)


def test_a_register_that_is_no_register_is_a_bad_reply() -> None:
    with pytest.raises(BadReplyError, match="outside 0…65535"):
        decode_registers((70_000,), RegisterType.UINT16, WordOrder.BIG)


def test_integer_counters_start_again_at_their_modulus() -> None:
    assert RegisterType.UINT32.modulus == 1 << 32
    assert RegisterType.INT32.modulus == 1 << 31
    assert RegisterType.FLOAT32.modulus is None


@pytest.mark.parametrize(
    ("value", "spacing"),
    [(1234.5, 2**-13), (1.0e8, 8.0), (8_388_608.0, 1.0), (0.0, 2.0**-149), (-1.0, 2.0**-23)],
)
def test_float32_gets_coarser_as_it_grows(value: float, spacing: float) -> None:
    assert float_spacing(value, RegisterType.FLOAT32) == spacing


@given(st.floats(0, 2.0**100, width=32))
def test_the_spacing_leads_to_the_next_float32(value: float) -> None:
    following = value + float_spacing(value, RegisterType.FLOAT32)
    assume(following < 3e38)
    assert following > value
    assert struct.unpack(">f", struct.pack(">f", following))[0] == following


def test_spacing_of_a_double_and_of_what_has_none() -> None:
    assert float_spacing(1.0, RegisterType.FLOAT64) == 2.0**-52
    with pytest.raises(ValueError, match="not a float type"):
        float_spacing(1.0, RegisterType.UINT32)
    with pytest.raises(ValueError, match="does not fit"):
        float_spacing(1e39, RegisterType.FLOAT32)


@pytest.mark.parametrize("order", WordOrder)
def test_a_pattern_of_the_vendors_own_is_no_value(order: WordOrder) -> None:
    words = registers_of(RegisterType.UINT32, 0x80000001, order)
    assert decode_registers(words, RegisterType.UINT32, order, (7,)) == 0x80000001
    with pytest.raises(BadReplyError, match="no value"):
        decode_registers(words, RegisterType.UINT32, order, (7, 0x80000001))


def test_text_loses_the_blanks_and_zeros_around_it() -> None:
    assert decode_text(struct.unpack(">4H", b" B23 x\0\0")) == "B23 x"
    assert decode_text((0, 0)) == ""


@pytest.mark.parametrize("registers", [(0x00FF,), (0x4107,), (0x4100, 0x4100), (70_000,)])
def test_what_is_no_text_is_a_bad_reply(registers: tuple[int, ...]) -> None:
    with pytest.raises(BadReplyError):
        decode_text(registers)
