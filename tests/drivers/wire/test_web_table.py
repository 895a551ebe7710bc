import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.errors import BadReplyError, DriverError
from drivers.wire.cgminer import Row
from drivers.wire.web_table import amount, is_whole_mac, part_of, rows_of, table_of


def test_an_object_is_a_table_also_with_a_nul_behind_it() -> None:
    assert table_of(b' {"a": 1}\r\n\0', "/x").number("a") == 1.0


@pytest.mark.parametrize("body", [b"", b"[]", b"1", b"{", b"<html>", b"\0\xff", b'{"a": NaN}'])
def test_what_is_no_object_is_a_bad_reply_that_names_the_path(body: bytes) -> None:
    with pytest.raises(BadReplyError, match="/x"):
        table_of(body, "/x")


@given(st.binary(max_size=300))
def test_arbitrary_bytes_give_a_table_or_a_driver_error(body: bytes) -> None:
    try:
        assert isinstance(table_of(body, "/x"), Row)
    except DriverError:
        return


def test_of_a_long_answer_that_is_none_a_part_is_kept() -> None:
    with pytest.raises(BadReplyError) as caught:
        table_of(b"x" * 5000, "/x")
    assert len(caught.value.reply) == 1000


ROW = Row(
    section="s", values={"part": {"a": 1}, "rows": [{"a": 1}], "n": 3, "less": -1, "far": 9e13}
)


def test_parts_and_rows_are_tables() -> None:
    assert part_of(ROW, "part").number("a") == 1.0
    assert [row.number("a") for row in rows_of(ROW, "rows")] == [1.0]


@pytest.mark.parametrize("name", ["n", "rows", "gone"])
def test_a_part_that_is_none_is_a_bad_reply(name: str) -> None:
    with pytest.raises(BadReplyError, match=name):
        part_of(ROW, name)


@pytest.mark.parametrize("value", [None, 1, {}, [1], [{}, None]])
def test_a_list_of_something_else_is_a_bad_reply(value: object) -> None:
    with pytest.raises(BadReplyError, match="no list of tables"):
        rows_of(Row(section="s", values={"rows": value}), "rows")


def test_an_amount_is_neither_negative_nor_beyond_all_bounds() -> None:
    assert amount(ROW, "n") == 3.0
    for key in ("less", "far"):
        with pytest.raises(BadReplyError, match=key):
            amount(ROW, key)


@pytest.mark.parametrize(
    ("mac", "is_whole"),
    [
        ("62:f7:5e:b7:10:46", True),
        ("62:F7:5E:B7:10:46", False),
        ("62:f7:5e:b7:10", False),
        ("62:f7:5e:b7:10:46\n", False),
        ("", False),
    ],
)
def test_a_whole_mac_has_six_pairs_in_lower_case(mac: str, is_whole: bool) -> None:
    assert is_whole_mac(mac) is is_whole
