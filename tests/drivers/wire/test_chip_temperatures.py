"""How hot the chips of each board are, as far as each vendor tells it."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from drivers.readings import ChipTemperatures
from drivers.wire import antminer, avalon, bitaxe, braiins, vnish, whatsminer_v2, whatsminer_v3
from drivers.wire.antminer_stats import stats_of
from drivers.wire.avalon_report import Report
from drivers.wire.cgminer import Row, decode_answer
from drivers.wire.whatsminer_reply import decode_reply


def rows(told: Iterable[ChipTemperatures]) -> list[tuple[int, float | None, float | None, float]]:
    return [(one.board, one.min_c, one.mean_c, one.max_c) for one in told]


def test_a_whatsminer_with_api_v3_tells_all_three_by_slot() -> None:
    row = {"slot": 1, "chip-temp-min": 60, "chip-temp-avg": "70.5", "chip-temp-max": 81.0}
    bare = {"id": 0, "chip-temp-max": "80"}
    message = {"summary": {}, "edevs": [row, bare, {"slot": 2, "chip-temp-max": ""}]}
    answer = decode_reply(json.dumps({"code": 0, "msg": message}).encode(), "")
    status = whatsminer_v3.status_of(answer)
    assert rows(whatsminer_v3.chip_temperatures_of(status)) == [
        (0, None, None, 80.0),
        (1, 60.0, 70.5, 81.0),
    ]


def test_the_recorded_whatsminer_with_api_v1_is_as_hot_as_it_says(captures: Path) -> None:
    devs = decode_answer((captures / "whatsminer-v1" / "devs.json").read_bytes())
    assert rows(whatsminer_v2.chip_temperatures_of(devs)) == [
        (0, 71.0, 83.33, 90.0),
        (1, 71.0, 83.67, 90.11),
        (2, 72.0, 85.34, 92.5),
    ]


def test_a_whatsminer_that_tells_of_no_chips_or_no_boards_has_none() -> None:
    devs = {"DEVS": [{"ASC": 1, "Chip Temp Max": 80}, {"ASC": 0, "Temperature": 60}]}
    told = whatsminer_v2.chip_temperatures_of(decode_answer(json.dumps(devs).encode()))
    assert rows(told) == [(1, None, None, 80.0)]
    assert whatsminer_v2.chip_temperatures_of(None) == ()


def test_the_recorded_antminer_has_no_sensor_on_its_fourth_place(captures: Path) -> None:
    stats = stats_of(decode_answer((captures / "antminer-2020" / "stats.json").read_bytes()))
    told = rows(antminer.chip_temperatures_of(stats))
    assert [max_c for _, _, _, max_c in told] == [78.0, 71.0, 69.0]


def test_an_antminer_of_either_shape_tells_its_hottest_chip() -> None:
    listed = {"index": 1, "rate_real": 1.0, "asic_num": 9, "temp_chip": [60, 71, 0]}
    cold = {"index": 0, "rate_real": 1.0, "asic_num": 9, "temp_chip": [0, 0]}
    for stats in (
        {"STATS": [{"chain": [listed, cold], "rate_unit": "GH/s"}]},
        {"STATS": [{"chain_rate2": "1.0", "temp_chip2": "60-71-0-0", "chain_rate1": "1.0"}]},
    ):
        told = antminer.chip_temperatures_of(stats_of(decode_answer(json.dumps(stats).encode())))
        assert rows(told) == [(1, None, None, 71.0)]


WORKING = {"SYSTEMSTATU": "Work: In Work, Hash Board: 3 ", "MTmax": "81 0 79", "MTavg": "70 0"}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (WORKING, [(0, None, 70.0, 81.0), (2, None, None, 79.0)]),
        (
            {"SYSTEMSTATU": "Work: In Work, Hash Board: 1 ", "TMax": "77", "TAvg": "0"},
            [(0, None, None, 77.0)],
        ),
        ({"SYSTEMSTATU": "Work: In Work, Hash Board: 3 ", "TMax": "77"}, []),
    ],
)
def test_an_avalon_tells_mean_and_hottest_of_the_boards_that_have_power(
    fields: dict[str, str], expected: list[Any]
) -> None:
    assert rows(avalon.chip_temperatures_of(Report(values=fields))) == expected


def test_a_bitaxe_tells_one_for_all_its_chips() -> None:
    for temp, expected in ((61.5, [(0, None, None, 61.5)]), (-1, []), (0, [])):
        info = Row(section="info", values={"temp": temp})
        assert rows(bitaxe.chip_temperatures_of(info)) == expected


def test_the_recorded_braiins_tells_the_hottest_chip_of_each_board(captures: Path) -> None:
    text = (captures / "braiins-25.07" / "miner_hw_hashboards.json").read_text("utf-8")
    told = rows(braiins.chip_temperatures_of(Row(section="boards", values=json.loads(text))))
    assert told[0] == (1, None, None, 70.5)
    assert len(told) == 3


def test_a_braiins_board_without_power_tells_none() -> None:
    hot = {"id": "2", "highest_chip_temp": {"temperature": {"degree_c": 70.5}}}
    table = Row(section="boards", values={"hashboards": [hot, {"id": "1"}]})
    assert rows(braiins.chip_temperatures_of(table)) == [(2, None, None, 70.5)]


def test_vnish_tells_coldest_and_hottest_of_each_chain() -> None:
    chains = [
        {"id": 2, "chip_temp": {"min": 60, "max": 75}},
        {"id": 1, "chip_temp": {"max": 70}},
        {"id": 3, "chip_temp": {"min": 0, "max": 0}},
        {"id": 4},
    ]
    told = vnish.chip_temperatures_of(Row(section="miner", values={"chains": chains}))
    assert rows(told) == [(0, None, None, 70.0), (1, 60.0, None, 75.0)]
