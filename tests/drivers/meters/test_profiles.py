"""Every profile that comes with kwota, by going through the folder."""

import re
import tomllib
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from drivers.meters.profile import BUILT_IN_DIRECTORY, load_profile
from drivers.meters.quantities import base_unit
from drivers.wire.registers import RegisterType

PATHS = sorted(BUILT_IN_DIRECTORY.glob("*.toml"))
EACH = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)


def tables(document: dict[str, Any]) -> list[dict[str, Any]]:
    """All tables of a file that name a register, each with its function."""
    named = [v for v in document.values() if isinstance(v, dict) and "address" in v]
    named += document.get("more", {}).values()
    terms = [{**one, **term} for one in named for term in one.get("plus", ())]
    return [*named, *terms, *document.get("checks", ()), *document.get("ratios", ())]


def test_the_meters_that_are_known() -> None:
    assert len(PATHS) >= 17
    assert {path.stem for path in PATHS} >= {"sdm630", "iem3000", "pac3200", "abb-b23", "em340"}


@EACH
def test_registers_lie_in_the_address_space_and_never_on_each_other(path: Path) -> None:
    places = []
    for table in tables(tomllib.loads(path.read_text("utf-8"))):
        is_text = table["type"] == "text"
        count = table["count"] if is_text else RegisterType(table["type"]).register_count
        assert 0 <= table["address"] <= 0x10000 - count
        places.append((table["function"], table["address"], table["address"] + count))
    for (function, start, end), (same, first, last) in combinations(places, 2):
        assert function != same or end <= first or last <= start, (start, first)


@EACH
def test_source_units_step_and_refresh_are_stated(path: Path) -> None:
    profile = load_profile(path.stem)
    assert len(profile.source) > 10
    assert re.search(r"\d", profile.revision), "a revision has a number"
    assert len(profile.title) > 5
    assert 0.0 < profile.refresh_s <= 3.0
    assert profile.display_step_wh > 0.0
    assert {"energy", "power"} <= set(profile.quantities)
    assert all(base_unit(name) for name in profile.quantities)
    assert profile.timing.answer_s + profile.timing.quiet_s < 2.5


@EACH
def test_the_plan_brings_energy_first_and_everything_once(path: Path) -> None:
    profile = load_profile(path.stem)
    assert "energy" in profile.plan[0].quantities
    assert "power" in profile.plan[min(1, len(profile.plan) - 1)].quantities + (
        profile.plan[0].quantities
    )
    for plan, wanted in (
        (profile.plan, {"energy", "power", "voltage", "frequency"} & set(profile.quantities)),
        (profile.full_plan, set(profile.quantities)),
    ):
        brought = [name for block in plan for name in block.quantities]
        assert sorted(brought) == sorted(wanted)
        for block in plan:
            assert block.count <= profile.layout.register_limit
            block.request(1)


@EACH
def test_energy_and_power_share_a_request_where_its_limit_allows(path: Path) -> None:
    profile = load_profile(path.stem)
    terms = [*profile.quantities["energy"], *profile.quantities["power"]]
    width = max(term.end for term in terms) - min(term.address for term in terms)
    # Of meters that tell nothing about the registers in between, nothing is read in between.
    is_allowed = width <= profile.layout.register_limit and profile.layout.gap_limit > 0
    assert ("power" in profile.plan[0].quantities) is is_allowed


@EACH
def test_an_integer_register_steps_no_finer_than_it_can(path: Path) -> None:
    profile = load_profile(path.stem)
    energy = profile.quantities["energy"]
    if not energy[0].kind.is_float:
        assert profile.energy_step_wh(0) >= min(term.scale for term in energy)


# What fact sheets of the vendors say of resolution and rollover, independent of the files.
@pytest.mark.parametrize(
    ("name", "step_wh", "modulus_wh"),
    [
        ("iem3000", 1, None),
        ("pm5000", 1, None),
        ("abb-b23", 10, None),
        ("countis-e", 10, 42_949_672_960),
        ("em340", 100, 214_748_364_800),
        ("adw300", 10, 21_474_836_480),
        ("pac2200", 2, 10**12),  # a watt-hour in each of two tariffs
        ("umg96", 64, None),
    ],
)
def test_steps_and_rollovers_are_those_of_the_registers(
    name: str, step_wh: int, modulus_wh: int | None
) -> None:
    profile = load_profile(name)
    assert (profile.energy_step_wh(10**9), profile.modulus_wh) == (step_wh, modulus_wh)


def test_what_no_paper_confirms_is_unfit_and_everything_else_is_fit() -> None:
    unfit = {path.stem for path in PATHS if load_profile(path.stem).unfit}
    assert unfit >= {"abb-m4m", "adw300", "dtsu666"}
    documents = {path.stem: tomllib.loads(path.read_text("utf-8")) for path in PATHS}
    assert unfit == {
        name for name, file in documents.items() if {"unconfirmed", "ratios"} & set(file)
    }
