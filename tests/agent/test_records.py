import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.records import (
    NewRecord,
    RecordError,
    encode_records,
    parse_record,
    prepare,
)
from agent.siteclock import Stamp

ORIGIN = "pool.example/edge/farm-1-edge-1/1"
STAMP = Stamp(boottime_ns=5, time_us=1_795_000_000_000_000, quality="S", max_error_us=9)


async def test_unknown_kinds_states_and_endless_nesting_are_refused() -> None:
    nested: dict[str, object] = {}
    for _ in range(20):
        nested = {"a": nested}
    for record in (
        NewRecord(kind="rumour", source="s", data={}),
        NewRecord(kind="meter", source="s", data={}, state="X"),
        NewRecord(kind="meter", source="s", data=nested),
    ):
        with pytest.raises(RecordError):
            prepare(record, STAMP)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=20,
)


@settings(max_examples=50)
@given(st.dictionaries(st.text(max_size=5), json_values, max_size=5), st.text(max_size=20))
def test_whatever_is_encoded_is_one_line_and_read_back_the_same(
    data: dict[str, object], source: str
) -> None:
    try:
        prepared = prepare(NewRecord(kind="tick", source=source, data=data), STAMP)
    except RecordError:
        return  # nested too deep, or text that UTF-8 cannot hold
    (line,) = encode_records([prepared], index=2**62, boot=2**62)
    assert b"\n" not in line
    record = parse_record(line)
    assert (record.data, record.source, record.index) == (data, source, 2**62)


@settings(max_examples=50)
@given(
    st.text(max_size=20),
    st.integers(-(2**63), 2**63 - 1),
    st.integers(0, 2**63 - 1),
    st.none() | st.text(max_size=40),
)
def test_the_bytes_of_a_record_are_those_of_any_json_encoder(
    source: str, time_us: int, index: int, boot_id: str | None
) -> None:
    stamp = Stamp(boottime_ns=index, time_us=time_us, quality="U", max_error_us=9)
    kind = "meter" if boot_id is None else "boot"
    record = NewRecord(kind=kind, source=source, data={"a": ["ü", None]}, state="T")
    try:
        prepared = prepare(record, stamp)
    except RecordError:
        return  # text that UTF-8 cannot hold
    fields = {"v": 1, "i": index, "k": kind, "b": 3, "m": index, "t": time_us, "q": "U", "e": 9}
    fields |= {"s": source, "st": "T"} | ({} if boot_id is None else {"bid": boot_id})
    expected = json.dumps(fields | {"d": record.data}, ensure_ascii=False, separators=(",", ":"))
    (line,) = encode_records([prepared], index=index, boot=3, boot_id=boot_id)
    assert json.loads(line) == json.loads(expected)
    if "\x7f" not in expected:  # orjson and the standard library escape it differently
        assert line == expected.encode()


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["boot", "meter", "ack"]),
            st.sampled_from(["site", "other"]),
            st.sampled_from(["G", "T"]),
            st.sampled_from([None, 1, 2]),
            st.booleans(),
            st.sampled_from([None, 7, 8]),
        ),
        max_size=6,
    )
)
def test_a_record_has_the_same_bytes_in_whatever_company(drawn: list[tuple[Any, ...]]) -> None:
    prepared = []
    for kind, source, state, taken_at_ms, is_later, carried_from in drawn:
        record = NewRecord(kind=kind, source=source, data={}, state=state, taken_at_ms=taken_at_ms)
        stamp = replace(STAMP, boottime_ns=6) if is_later else replace(STAMP)
        prepared.append(prepare(record, stamp)._replace(carried_from=carried_from))
    together = encode_records(prepared, index=4, boot=3, boot_id="id")
    alone = [
        encode_records([one], index=at, boot=3, boot_id="id")[0]
        for at, one in enumerate(prepared, 4)
    ]
    assert together == alone


def test_the_longest_record_still_fits_into_one_tile_entry() -> None:
    stamp = Stamp(boottime_ns=2**62, time_us=2**62, quality="S", max_error_us=2**62)
    longest = 0
    for length in range(65_200, 65_400):
        record = NewRecord(kind="decision", source='"' * 10, data={"a": "x" * length})
        try:
            prepared = prepare(record, stamp)
        except RecordError:
            break
        longest = len(encode_records([prepared], index=2**62, boot=2**62)[0])
    assert 65_400 < longest <= 65_535
