"""Where a machine stands, by its file or by its name."""

import pytest

from agent.status.rack import rack_of


@pytest.mark.parametrize(
    ("miner_id", "rack"),
    [
        ("r1-s01", "r1"),
        ("hall2/a-03/12", "hall2/a-03"),
        ("r3.12", "r3"),
        ("m-017", None),
        ("m17", None),
        ("antminer", None),
        ("r1-left", None),
    ],
)
def test_a_name_tells_its_rack_where_it_has_one(miner_id: str, rack: str | None) -> None:
    assert rack_of(miner_id) == rack


def test_what_the_file_says_counts_before_the_name() -> None:
    assert rack_of("r1-s01", "container 3") == "container 3"
