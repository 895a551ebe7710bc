import json
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.ledger import Transaction
from agent.purchases import Batch, PurchaseFormat, PurchaseReader, PurchasesError, read_file

READER = PurchaseReader(meter_points=("mp-1",), zone=ZoneInfo("Asia/Almaty"))
NOON_MS = int(datetime.fromisoformat("2026-01-31T12:00+05:00").timestamp()) * 1000
HOUR_MS = 3_600_000
GOOD = {
    "transaction_id": "KOREM-1",
    "start": "2026-01-31T12:00+05:00",
    "end": "2026-01-31T13:00+05:00",
    "energy": "1 MWh",
    "price_kzt_per_kwh": "24,50",
}
EXPECTED = Transaction(
    transaction_id="KOREM-1",
    meter_point="mp-1",
    start_ms=NOON_MS,
    end_ms=NOON_MS + HOUR_MS,
    energy_wh=1_000_000,
    price_kzt_per_kwh="24.5",
    source="single_purchaser",
    received_at_ms=7,
)


def read(content: str | bytes, written_as: PurchaseFormat) -> Batch:
    raw = content.encode() if isinstance(content, str) else content
    return READER.read(raw, written_as, received_at_ms=7)


def judged(**changes: object) -> Batch:
    """The good purchase with fields changed, or removed where None."""
    item = {key: value for key, value in {**GOOD, **changes}.items() if value is not None}
    return READER.judge([item], received_at_ms=7)


def test_the_same_purchase_is_read_from_all_three_ways_to_write_it() -> None:
    as_json = json.dumps({"transactions": [GOOD]})
    as_toml = """
        [[transactions]]
        transaction_id = "KOREM-1"
        start = 2026-01-31T12:00:00+05:00
        end = 2026-01-31T13:00:00
        energy_mwh = 1
        price_kzt_per_kwh = 24.50
    """
    as_csv = (
        "\ufeffTransaction_ID;Start;End;Energy_kWh;Price_KZT_per_kWh;Supplier\r\n"
        "KOREM-1;31.01.2026 12:00;31.01.2026 13:00;1\u00a0000,000;24,50;АО «Қуат»\r\n"
        ";;;;;\r\n"
    )
    for text, written_as in (
        (as_json, PurchaseFormat.JSON),
        (json.dumps({"purchases": [GOOD]}), PurchaseFormat.JSON),
        (json.dumps([GOOD]), PurchaseFormat.JSON),
        (json.dumps(GOOD), PurchaseFormat.JSON),
        (as_toml, PurchaseFormat.TOML),
        (as_toml.replace("[[transactions]]", "[[purchases]]"), PurchaseFormat.TOML),
        (as_csv, PurchaseFormat.CSV),
    ):
        batch = read(text, written_as)
        assert batch.refusals == ()
        assert batch.candidates == (EXPECTED,)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"end": None, "for": "1h"}, {}),
        ({"end": None, "end_ms": NOON_MS + HOUR_MS}, {}),
        ({"start": None, "end": None, "delivery_date": "2026-01-31", "hour": 13}, {}),
        ({"start": None, "end": "-", "delivery_date": "31.01.2026", "hour": "13"}, {}),
        ({"end": "open"}, {"end_ms": None}),
        ({"energy": None, "energy_wh": 999_999}, {"energy_wh": 999_999}),
        ({"energy": None, "energy_kwh": "0,001"}, {"energy_wh": 1}),
        ({"energy": "0 kWh"}, {"energy_wh": 0}),  # the ledger's to refuse
        ({"energy": "2 MWh"}, {"energy_wh": 2_000_000}),  # the cap is the ledger's
        ({"price_kzt_per_kwh": 0}, {"price_kzt_per_kwh": "0"}),
        ({"source": "import"}, {"source": "import"}),
        ({"meter_point": "mp-2"}, {"meter_point": "mp-2"}),  # the keeper's to refuse
        ({"transaction_id": "Құжат/№5"}, {"transaction_id": "Құжат/№5"}),
        ({"trade_date": "2026-01-30", "supplier": "x", "zone": "west"}, {}),
    ],
)
def test_a_purchase_of_good_form_becomes_a_candidate(
    changes: dict[str, object], expected: dict[str, object]
) -> None:
    batch = judged(**changes)
    assert batch.refusals == ()
    (candidate,) = batch.candidates
    for name in Transaction.__slots__:
        assert getattr(candidate, name) == expected.get(name, getattr(EXPECTED, name))


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"energy": "1 MW"}, "power, not energy"),
        ({"energy": None, "energy_mw": 1}, "power, not energy"),
        ({"energy": None, "power_kw": 1000}, "power, not energy"),
        ({"energy": "1000"}, "no unit"),
        ({"energy": 1000}, "bare number"),
        ({"energy": 1000.5}, "bare number"),
        ({"energy": None}, "energy is missing"),
        ({"energy_kwh": 1}, "both given"),
        ({"energy": None, "energy_kwh": 0.5}, "not a number"),  # a binary fraction is none of ours
        ({"energy": None, "energy_kwh": True}, "not a number"),
        ({"energy": None, "energy_kwh": "900 MWh"}, "not a number"),
        ({"energy": None, "energy_wh": "0,5"}, "whole number of Wh"),
        ({"transaction_id": None}, "id is missing"),
        ({"transaction_id": 5}, "quotes"),
        ({"transaction_id": "a b"}, "without spaces"),
        ({"transaction_id": "x" * 65}, "64"),
        ({"id": "other"}, "both given"),
        ({"start": None}, "start is missing"),
        ({"start_ms": 5}, "both say when"),
        ({"start": 5}, "not a time"),
        ({"start": None, "start_ms": "-1"}, "not a time in UTC ms"),
        ({"start": "2026-01-31T12:00+05:00x"}, "unreadable"),
        ({"end": None}, "end is missing"),
        ({"end": "-"}, "end is missing"),
        ({"for": "1h"}, "both say when it ends"),
        ({"end": None, "for": 3600}, "quotes"),
        ({"delivery_date": "2026-01-31", "hour": 13}, "both say when it is"),
        ({"start": None, "end": None, "hour": 13}, "delivery_date"),
        ({"start": None, "end": None, "delivery_date": "2026-01-31", "hour": 0}, "total"),
        ({"start": None, "end": None, "delivery_date": "2026-01-31", "hour": "x"}, "hour"),
        ({"price_kzt_per_kwh": None}, "price is missing"),
        ({"price_kzt_per_kwh": "-"}, "price is missing"),
        ({"price_kzt_per_kwh": -1}, "below zero"),
        ({"source": "solar"}, "single_purchaser"),
        ({"status": "cancelled"}, "no field of a purchase"),
        ({"engery": "1 MWh"}, "no field of a purchase"),
    ],
)
def test_a_purchase_of_bad_form_is_refused_with_one_sentence(
    changes: dict[str, object], word: str
) -> None:
    batch = judged(**changes)
    assert batch.candidates == ()
    (refusal,) = batch.refusals
    assert word in refusal.reason
    assert "\n" not in refusal.reason


def test_the_good_ones_of_a_batch_are_kept_and_the_bad_ones_are_numbered() -> None:
    lines = [
        "transaction_id,start,end,energy,price_kzt_per_kwh",
        "A,2026-01-31T12:00,2026-01-31T13:00,1 MWh,24",
        "B,2026-01-31T12:00,2026-01-31T13:00,1 MW,24",
        'C,2026-01-31T12:00,2026-01-31T13:00,"0,5 MWh","24,5"',
        "D,2026-01-31T12:00,2026-01-31T13:00,1 MWh,24,surplus",
        "E,2026-01-31T12:00",
    ]
    batch = read("\n".join(lines), PurchaseFormat.CSV)
    assert [candidate.transaction_id for candidate in batch.candidates] == ["A", "C"]
    assert [(refusal.item, refusal.transaction_id) for refusal in batch.refusals] == [
        (2, "B"),
        (4, "D"),
        (5, "E"),
    ]


def test_a_fraction_of_json_and_toml_is_exact() -> None:
    for text, written_as in (
        ('[{"energy_mwh": 0.000001, "transaction_id": "a", %s}]', PurchaseFormat.JSON),
        ('[[transactions]]\nenergy_mwh = 0.000001\ntransaction_id = "a"\n%s', PurchaseFormat.TOML),
    ):
        pairs = {"start": "2026-01-31T12:00", "for": "1h", "price_kzt_per_kwh": "1"}
        is_json = written_as is PurchaseFormat.JSON
        rest = [
            f'"{key}": "{value}"' if is_json else f'{key} = "{value}"'
            for key, value in pairs.items()
        ]
        batch = read(text % (", " if is_json else "\n").join(rest), written_as)
        assert batch.refusals == ()
        assert batch.candidates[0].energy_wh == 1


@pytest.mark.parametrize(
    ("content", "written_as", "word"),
    [
        (b"\xff\xfe", PurchaseFormat.CSV, "UTF-8"),
        (b"{", PurchaseFormat.JSON, "not JSON"),
        (b"[NaN]", PurchaseFormat.JSON, "not JSON"),
        (b"[" * 100_000, PurchaseFormat.JSON, "nested"),
        (b"5", PurchaseFormat.JSON, "not a list"),
        (b"[]", PurchaseFormat.JSON, "no purchase"),
        (b"[" + b"1," * 10_000 + b"1]", PurchaseFormat.JSON, "10000"),
        (b"a = 1", PurchaseFormat.TOML, "something else"),
        (b"a = ", PurchaseFormat.TOML, "not TOML"),
        (b"", PurchaseFormat.CSV, "no purchase"),
        (b"id;ID\n1;2", PurchaseFormat.CSV, "twice"),
        (b'id\n"a', PurchaseFormat.CSV, "not CSV"),
        (b" " * (5 * 1024 * 1024), PurchaseFormat.CSV, "4 MiB"),
    ],
    ids=lambda value: str(value)[:12],
)
def test_a_text_that_holds_no_purchases_is_refused_as_a_whole(
    content: bytes, written_as: PurchaseFormat, word: str
) -> None:
    with pytest.raises(PurchasesError, match=word):
        read(content, written_as)


def test_a_file_is_read_as_what_its_name_says(tmp_path: Path) -> None:
    path = tmp_path / "day.JSON"
    path.write_text(json.dumps([GOOD]), encoding="utf-8")
    assert read_file(path, READER, received_at_ms=7).candidates == (EXPECTED,)
    for name, word in (("day.xlsx", "unknown kind"), ("none.csv", "cannot be read")):
        with pytest.raises(PurchasesError, match=word):
            read_file(tmp_path / name, READER, received_at_ms=7)
    endless = tmp_path / "endless.csv"
    endless.symlink_to("/dev/zero")
    with pytest.raises(PurchasesError, match="4 MiB"):
        read_file(endless, READER, received_at_ms=7)


def test_a_huge_value_is_quoted_shortly() -> None:
    for field in ("transaction_id", "energy", "start", "price_kzt_per_kwh", "source", "for"):
        (refusal,) = judged(**{field: "9" * 100_000}).refusals
        assert len(refusal.reason) < 300
    (refusal,) = judged(**{"x" * 100_000: 1}).refusals
    assert len(refusal.reason) < 300


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner),
)
FIELDS = [*GOOD, "id", "energy_wh", "energy_kwh", "hour", "delivery_date", "start_ms", "for"]


@given(
    items=st.lists(
        st.dictionaries(st.sampled_from(FIELDS), json_values, max_size=4).map(
            lambda changes: {**GOOD, **changes}
        )
        | json_values,
        min_size=1,
        max_size=4,
    )
)
def test_every_item_is_a_candidate_or_a_refusal_whatever_it_is(items: list[object]) -> None:
    batch = read(json.dumps({"transactions": items}), PurchaseFormat.JSON)
    assert len(batch.candidates) + len(batch.refusals) == len(items)


@given(content=st.binary(max_size=200), written_as=st.sampled_from(PurchaseFormat))
def test_any_bytes_are_a_batch_or_refused_and_nothing_else(
    content: bytes, written_as: PurchaseFormat
) -> None:
    try:
        batch = read(content, written_as)
    except PurchasesError:
        return
    assert batch.candidates or batch.refusals


def test_where_there_are_several_points_a_purchase_has_to_name_its_own() -> None:
    reader = PurchaseReader(meter_points=("north", "south"), zone=ZoneInfo("Asia/Almaty"))
    items = [GOOD | {"meter_point": "south"}, GOOD, GOOD | {"meter_point": "-"}]
    batch = reader.judge(items, received_at_ms=7)
    assert [one.meter_point for one in batch.candidates] == ["south"]
    assert [refusal.item for refusal in batch.refusals] == [2, 3]
    assert all("one of north, south" in refusal.reason for refusal in batch.refusals)
