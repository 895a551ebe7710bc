import json
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.limitbook import ToldLimit
from agent.limit_reader import LimitReader
from agent.purchase_values import Unreadable

NOW_MS = 1_770_000_000_000  # 2026-02-02T07:40 in Almaty
READER = LimitReader(zone=ZoneInfo("Asia/Almaty"), rated_w=1_000_000)
MANUAL = {"kind": "manual", "kw": "400", "for": "30m", "reason": "transformer is hot"}
ORDER = {
    "kind": "dispatch_order",
    "kw": "0",
    "from": "2026-02-02T12:00",
    "to": "2026-02-02T14:00",
    "id": "o-7",
}


def read(fields: object) -> ToldLimit:
    content = fields if isinstance(fields, bytes) else json.dumps(fields).encode()
    return READER.read(content, told_by="uid 7", manual_id="manual-3", now_ms=NOW_MS)


def test_a_manual_limit_begins_now_and_ends_after_its_time() -> None:
    told = read(MANUAL)
    limit = told.limit
    assert (limit.limit_id, limit.kind, limit.source) == ("manual-3", "manual", "uid 7")
    assert (limit.power_w, limit.safe_w) == (400_000, 1_000_000)
    assert (limit.from_ms, limit.expires_ms) == (NOW_MS, NOW_MS + 1_800_000)
    assert limit.words == "uid 7 set 400.0 kW at most: transformer is hot"
    assert (told.reason, told.told_by, told.received_at_ms) == (
        "transformer is hot",
        "uid 7",
        NOW_MS,
    )


def test_a_manual_limit_can_begin_later_and_leave_something_behind() -> None:
    limit = read({**MANUAL, "from": "02.02.2026 12:00", "kw": "54,5", "then_kw": 60}).limit
    assert (limit.power_w, limit.safe_w) == (54_500, 60_000)
    assert limit.from_ms == 1_770_015_600_000


def test_an_order_has_its_own_id_and_times() -> None:
    limit = read(ORDER).limit
    assert (limit.limit_id, limit.source, limit.power_w) == ("o-7", "grid operator", 0)
    assert (limit.from_ms, limit.expires_ms) == (1_770_015_600_000, 1_770_022_800_000)
    assert limit.words == "grid operator ordered 0.0 kW at most (order o-7)"
    assert read({**ORDER, "to": "open"}).limit.expires_ms is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"kw": None}, "kw is missing"),
        ({"kw": "many"}, "not a number"),
        ({"kw": True}, "not a number"),
        ({"kw": "-1"}, "no power that a site can have"),
        ({"kw": "0.0001"}, "not a whole number of W"),
        ({"kw": "400 MW"}, "not a number"),
        ({"for": "0m"}, "zero"),
        ({"for": "soon"}, "unreadable"),
        ({"for": None}, "for is missing"),
        ({"reason": ""}, "reason is missing"),
        ({"reason": "a\nb"}, "printable"),
        ({"reason": "x" * 201}, "printable"),
        ({"from": 5}, "not text"),
        ({"from": "tomorrow"}, "unreadable"),
        ({"to": "2026-02-02T14:00"}, "no field of a manual limit"),
        ({"kind": "wish"}, "no kind"),
    ],
)
def test_a_manual_limit_that_cannot_be_read_is_one_sentence(
    changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(Unreadable, match=words) as caught:
        read({**MANUAL, **changes})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"id": "two words"}, "without spaces"),
        ({"id": "x" * 65}, "without spaces"),
        ({"id": "manual-1"}, "the agent's own"),
        ({"id": None}, "id is missing"),
        ({"from": None}, "from is missing"),
        ({"to": None}, "to is missing"),
        ({"for": "1h"}, "no field of a dispatch_order limit"),
    ],
)
def test_an_order_that_cannot_be_read_is_one_sentence(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(Unreadable, match=words):
        read({**ORDER, **changes})


@given(content=st.binary(max_size=40) | st.sampled_from([b"[]", b"7", b"[" * 9000, b'{"kind":[]}']))
def test_whatever_comes_is_a_limit_or_a_sentence(content: bytes) -> None:
    with pytest.raises(Unreadable, match=r"JSON|kind"):
        read(content)
