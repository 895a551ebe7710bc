"""SunSpec's models from their registers: offsets as published, scales of the same instant."""

import struct

import pytest

from drivers.errors import BadReplyError
from drivers.wire.sunspec import METER_MODELS, Header, common, header, step_of, value_of

INTEGERS, FLOATS = METER_MODELS[203], METER_MODELS[213]


def integers(**changes: int) -> list[int]:
    """Model 203 as its paper lays it out, by offset: 1.234 MW, 230.1 V, 50.01 Hz, 4 GWh."""
    words = [0x8000] * 55
    words[0:2] = [203, 105]
    words[2:7] = [53700, 17900, 17901, 17902, 0xFFFF]
    words[7:11] = [2301, 2302, 2303, 2304]
    words[15:18] = [0xFFFF, 5001, 0xFFFE]
    words[18:23] = [12340, 4113, 4114, 4115, 2]
    words[38:40] = [0, 7]
    words[46:48] = [0xEE6B, 0x2800]
    words[54] = 0
    for at, value in changes.items():
        words[int(at.removeprefix("at_"))] = value
    return words


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("energy", 4_000_000_000),
        ("power", 1_234_000),
        ("voltage", 230.1),
        ("frequency", 50.01),
        ("energy_export", 7),
        ("power_l2", 411_400),
        ("voltage_l3", 230.4),
        ("current_l1", 1790.0),
    ],
)
def test_an_integer_is_worth_its_scale_factor(name: str, value: float) -> None:
    assert value_of(integers(), INTEGERS.points[name]) == pytest.approx(value)


def test_a_scale_factor_that_changes_changes_value_and_step() -> None:
    point = INTEGERS.points["energy"]
    assert step_of(integers(), point) == 1.0
    coarse = integers(at_54=3, at_46=0, at_47=4000)
    assert value_of(coarse, point) == 4_000_000.0
    assert step_of(coarse, point) == 1000.0


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"at_46": 0, "at_47": 0}, "no value"),  # an accumulator of 0 has accumulated nothing
        ({"at_46": 0xFFFF, "at_47": 0xFFFF}, "no value"),
        ({"at_54": 0x8000}, "no value"),
        ({"at_54": 11}, "power of 11"),
        ({"at_54": 0xFFF5}, "power of -11"),
    ],
)
def test_what_is_no_reading_is_none(changes: dict[str, int], words: str) -> None:
    with pytest.raises(BadReplyError, match=words):
        value_of(integers(**changes), INTEGERS.points["energy"])


def test_floats_stand_where_the_paper_has_them() -> None:
    words = [0] * 70
    places = {"energy": 68, "power": 28, "voltage": 10, "frequency": 26, "energy_export": 60}
    places |= {"power_reactive": 44, "power_apparent": 36, "power_l3": 34, "voltage_l1": 12}
    places |= {"current_l1": 4, "current_l3": 8}
    for at, offset in enumerate(places.values()):
        words[offset : offset + 2] = struct.unpack(">HH", struct.pack(">f", 1000.5 + at))
    for at, name in enumerate(places):
        assert value_of(words, FLOATS.points[name]) == 1000.5 + at
    words[68:70] = struct.unpack(">HH", struct.pack(">f", 1e9))
    assert step_of(words, FLOATS.points["energy"]) == 64.0
    words[68:70] = [0x7FC0, 0]
    with pytest.raises(BadReplyError, match="no value"):
        value_of(words, FLOATS.points["energy"])


def test_every_point_lies_within_what_is_read_and_what_the_model_has() -> None:
    assert set(METER_MODELS) == {201, 202, 203, 204, 211, 212, 213, 214}
    for model in METER_MODELS.values():
        assert model.count <= min(125, model.length + 2)
        for point in model.points.values():
            ends = [point.offset + point.kind.register_count, (point.scale_at or 0) + 1]
            assert max(ends) <= model.count


def test_a_header_says_where_the_next_model_begins() -> None:
    assert header([203, 105, 9]) == Header(model=203, length=105)
    assert header([203, 105]).end == 107
    assert header([0xFFFF, 0]).model == 0xFFFF
    for words in ([0, 0], [0, 5], [203, 0]):
        with pytest.raises(BadReplyError, match="no model"):
            header(words)


def test_the_common_model_says_who_it_is() -> None:
    text = b"Acme".ljust(32, b"\0") + b"EM-1".ljust(32, b"\0") + bytes(16)
    text += b"1.02".ljust(16, b" ") + b"A-77".ljust(32, b"\0")
    who = common([1, 66, *struct.unpack(">64H", text)])
    assert (who.manufacturer, who.model, who.version, who.serial) == (
        "Acme",
        "EM-1",
        "1.02",
        "A-77",
    )
