"""Every profile that comes with kwota, by going through the folder."""

import re
import tomllib
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from drivers.meters.profile import BUILT_IN_DIRECTORY, load_profile
from drivers.meters.quantities import base_unit
from drivers.wire.moment import MomentFormat
from drivers.wire.registers import RegisterType

PATHS = sorted(BUILT_IN_DIRECTORY.glob("*.toml"))
EACH = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)


def tables(document: dict[str, Any]) -> list[dict[str, Any]]:
    """All tables of a file that name a register, each with its function."""
    named = [v for v in document.values() if isinstance(v, dict) and "type" in v]
    named += document.get("more", {}).values()
    terms = [{**one, **term} for one in named for term in one.get("plus", ())]
    return [*named, *terms, *document.get("checks", ()), *document.get("ratios", ())]


def test_the_meters_that_are_known() -> None:
    """No profile gets lost; a new one needs no line here."""
    known = "sdm630 sdm72d-m-2 sdm120 iem3000 pm5000 abb-b23 abb-m4m pac2200 pac3200 umg96 em24-e1"
    known += " em24-is em340 em530 dtsu666 countis-e diris-b30 satec-pm130 adw300 pro380"
    assert {path.stem for path in PATHS} >= set(known.split())


@EACH
def test_registers_lie_in_the_address_space_and_never_on_each_other(path: Path) -> None:
    places = []
    document = tomllib.loads(path.read_text("utf-8"))
    for table in tables(document):
        is_text = table["type"] == "text"
        count = table["count"] if is_text else RegisterType(table["type"]).register_count
        assert 0 <= table["address"] <= 0x10000 - count
        places.append((table["function"], table["address"], table["address"] + count))
        other = table.get("otherwise", {}).get("registers", ())
        places += [(table["function"], at, at + 1) for at in other]
    for clock in (document[key] for key in ("clock",) if key in document):
        count = MomentFormat(clock["format"]).register_count
        places.append((clock["function"], clock["address"], clock["address"] + count))
    for (function, start, end), (same, first, last) in combinations(places, 2):
        assert function != same or end <= first or last <= start, (start, first)


# Typed once more from the papers: these have a clock, and nobody else here is known to have one.
CLOCKS = {"iem3000": (3, 1844, "datetime4"), "pm5000": (3, 1844, "datetime4")}


@EACH
def test_a_clock_is_where_the_papers_have_it_and_says_which(path: Path) -> None:
    clock = load_profile(path.stem).clock
    assert (clock and (clock.function, clock.address, clock.layout)) == CLOCKS.get(path.stem)
    if clock is not None:
        table = tomllib.loads(path.read_text("utf-8"))["clock"]
        assert len(table["source"]) > 10
        assert re.search(r"\d", table["revision"]), "a revision has a number"


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


# Typed once more from the vendors' lists: address, type and worth of a count, in Wh and in W.
@pytest.mark.parametrize(
    ("name", "energy", "power"),
    [
        ("sdm72d-m-2", (0x48, "float32", 1000), (0x34, "float32", 1)),
        ("sdm120", (0x48, "float32", 1000), (0x0C, "float32", 1)),
        ("sdm630", (0x48, "float32", 1000), (0x34, "float32", 1)),
        ("iem3000", (0x0C83, "int64", 1), (0x0BF3, "float32", 1000)),
        ("pm5000", (3203, "int64", 1), (3059, "float32", 1000)),
        ("abb-b23", (0x5000, "uint64", 10), (0x5B14, "int32", 0.01)),
        ("abb-m4m", (0x5000, "uint64", 10), (0xCB1A, "int32", 1)),
        ("pac2200", (801, "float64", 1), (65, "float32", 1)),
        ("pac3200", (801, "float64", 1), (65, "float32", 1)),
        ("umg96", (19068, "float32", 1), (19026, "float32", 1)),
        ("em340", (0x34, "int32", 100), (0x28, "int32", 0.1)),
        ("em530", (0x34, "int32", 100), (0x28, "int32", 0.1)),
        ("em24-e1", (0x34, "int32", 100), (0x28, "int32", 0.1)),
        ("dtsu666", (0x101E, "float32", 1000), (0x2012, "float32", 0.1)),
        ("countis-e", (0xC702, "uint32", 10), (0xC568, "int32", 10)),
        ("adw300", (62, "int32", 10), (36, "int32", 1)),
        ("pro380", (0x600C, "float32", 1000), (0x5012, "float32", 1000)),
        ("em24-is", (0x42, "int32", 100), (0x28, "int32", 0.1)),
        ("diris-b30", (0x4D83, "uint32", 1000), (0x482C, "int32", 1)),
        ("satec-pm130", (14720, "uint32", 1000), (14336, "int32", 1000)),
    ],
)
def test_energy_and_power_are_where_the_lists_have_them(
    name: str, energy: tuple[int, str, float], power: tuple[int, str, float]
) -> None:
    profile = load_profile(name)
    for quantity, wanted in (("energy", energy), ("power", power)):
        first = profile.quantities[quantity][0]
        assert (first.address, first.kind) == wanted[:2]
        assert first.scale == pytest.approx(wanted[2])
    reads_inputs = name.startswith("sdm") or name == "em24-is"
    assert {term.function for terms in profile.quantities.values() for term in terms} == {
        4 if reads_inputs else 3
    }
    assert (profile.word_order == "little") is name.startswith(("em", "satec"))


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
        ("em24-is", 100, 214_748_364_800),
        ("diris-b30", 1, None),
        ("satec-pm130", 1000, 10**12),
    ],
)
def test_steps_and_rollovers_are_those_of_the_registers(
    name: str, step_wh: int, modulus_wh: int | None
) -> None:
    profile = load_profile(name)
    assert (profile.energy_step_wh(10**9), profile.modulus_wh) == (step_wh, modulus_wh)


def test_two_siemens_of_one_list_have_one_map_with_both_tariffs() -> None:
    pac2200, pac3200 = load_profile("pac2200"), load_profile("pac3200")
    assert pac2200.quantities == pac3200.quantities
    assert [term.address for term in pac2200.quantities["energy"]] == [801, 805]
    assert [term.address for term in pac2200.quantities["energy_export"]] == [809, 813]


def test_what_no_paper_confirms_is_unfit_and_everything_else_is_fit() -> None:
    unfit = {path.stem for path in PATHS if load_profile(path.stem).unfit}
    assert unfit >= {"abb-m4m", "adw300", "dtsu666", "satec-pm130"}
    documents = {path.stem: tomllib.loads(path.read_text("utf-8")) for path in PATHS}
    assert unfit == {
        name for name, file in documents.items() if {"unconfirmed", "ratios"} & set(file)
    }
