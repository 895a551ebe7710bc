import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.link.modbus import Timing
from drivers.meters.profile import (
    BUILT_IN_DIRECTORY,
    ProfileError,
    Register,
    load_profile,
    profile_paths,
    read_plan,
)
from drivers.wire.registers import RegisterType, WordOrder

SDM630 = (BUILT_IN_DIRECTORY / "sdm630.toml").read_text("utf-8")


@pytest.mark.parametrize("path", sorted(BUILT_IN_DIRECTORY.glob("*.toml")), ids=lambda p: p.stem)
def test_every_built_in_profile_loads_and_reads_energy_with_power(path: Path) -> None:
    profile = load_profile(path.stem)
    assert profile.source
    assert profile.checks or profile.serial
    assert {"energy", "power"} <= set(profile.plan[0].quantities)
    assert profile.timing.answer_s + profile.timing.quiet_s < 2.5


def test_sdm630_is_as_its_paper_says() -> None:
    profile = load_profile("sdm630")
    assert profile.word_order is WordOrder.BIG
    assert profile.modulus_wh is None
    assert not profile.is_shadowing_built_in
    assert profile.quantities["energy"] == Register(
        function=4, address=0x48, kind=RegisterType.FLOAT32, scale=1000.0, is_optional=False
    )
    assert profile.quantities["power"].address == 0x34
    assert profile.quantities["frequency"].address == 0x46
    assert [(c.register.address, c.accepted) for c in profile.checks] == [
        (0x1E, (0.0,)),
        (0x28, (2141.0, 0.0)),
    ]
    assert profile.serial is not None
    assert (profile.serial.address, profile.serial.kind) == (0xFC00, RegisterType.UINT32)


def test_sdm630_is_read_in_one_even_request_within_its_limit() -> None:
    (block,) = load_profile("sdm630").plan
    assert (block.function, block.address, block.count) == (4, 0x2A, 32)
    assert block.count % 2 == 0
    assert block.count <= 60


@pytest.mark.parametrize(
    ("energy_wh", "step_wh"),
    [
        (0, 10),
        (1_234_500, 10),  # float32 could tell 0.12 Wh, the display cannot
        (100_000_000, 10),  # 7.8 Wh
        (200_000_000, 16),  # 15.6 Wh
        (1_500_000_000, 125),
        (8_400_000_000, 1000),
    ],
)
def test_the_energy_step_follows_the_display_and_then_float32(energy_wh: int, step_wh: int) -> None:
    assert load_profile("sdm630").energy_step_wh(energy_wh) == step_wh


def own(tmp_path: Path, text: str, name: str = "own") -> Path:
    (tmp_path / f"{name}.toml").write_text(text, "utf-8")
    return tmp_path


def test_an_integer_register_has_its_own_step_and_modulus(tmp_path: Path) -> None:
    text = SDM630.replace('type = "float32"\nunit = "kWh"', 'type = "uint32"\nunit = "Wh"')
    text = text.replace("step_wh = 10 ", "step_wh = 1 ")
    profile = load_profile("own", [own(tmp_path, text)])
    assert profile.energy_step_wh(4_000_000_000) == 1
    assert profile.modulus_wh == 1 << 32


def test_a_register_coarser_than_its_stated_step_counts_in_its_own_unit(tmp_path: Path) -> None:
    text = SDM630.replace('type = "float32"\nunit = "kWh"', 'type = "uint32"\nunit = "kWh"')
    profile = load_profile("own", [own(tmp_path, text)])
    assert profile.energy_step_wh(5_000) == 1000
    assert profile.modulus_wh == 1000 * (1 << 32)


def test_a_stated_modulus_rules(tmp_path: Path) -> None:
    text = SDM630.replace("step_wh = 10 ", "modulus_wh = 99_999_990\nstep_wh = 10 ")
    assert load_profile("own", [own(tmp_path, text)]).modulus_wh == 99_999_990


def test_timing_may_be_left_out(tmp_path: Path) -> None:
    start, end = SDM630.index("[timing]"), SDM630.index("[energy]")
    profile = load_profile("own", [own(tmp_path, SDM630[:start] + SDM630[end:])])
    assert profile.timing == Timing()


def test_a_farms_file_with_a_built_in_name_wins_and_says_so(tmp_path: Path) -> None:
    directory = own(tmp_path, SDM630.replace("refresh_s = 1.0", "refresh_s = 0.2"), "sdm630")
    profile = load_profile("sdm630", [directory])
    assert profile.refresh_s == 0.2
    assert profile.is_shadowing_built_in
    assert profile.path == directory / "sdm630.toml"
    assert profile_paths([directory])["sdm630"] == profile.path


def test_the_first_directory_wins(tmp_path: Path) -> None:
    first, second = tmp_path / "1", tmp_path / "2"
    for directory in (first, second):
        directory.mkdir()
        own(directory, SDM630)
    assert load_profile("own", [first, second]).path == first / "own.toml"


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match=r"nowhere: meter profiles cannot be listed"):
        load_profile("sdm630", [tmp_path / "nowhere"])


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ('unit = "kWh"', 'unit = "kW"', "energy.unit: 'kW' is not one of Wh, kWh, MWh"),
        ('unit = "Hz"', 'unit = "V"', "frequency.unit"),
        ("step_wh = 10 ", "# ", "energy.step_wh: the register's resolution in Wh is missing"),
        ("step_wh = 10 ", "step_wh = 0 ", "energy.step_wh: "),
        ("address = 0x0048", "address = 0x0049", "energy: address 0x0049 is odd"),
        ("address = 0x0048", "address = 0xFFFF", "energy: address 0xFFFF leaves no room"),
        ("address = 0x0048", "address = 70000", "energy.address: "),
        ("address = 0x0034", "adress = 0x0034", "power.adress: Extra inputs"),
        ("address = 0x0034", "", "power.address: Field required"),
        ("function = 4\naddress = 0x0034", "function = 6\naddress = 0x0034", "power.function"),
        ('type = "float32"\nunit = "W"', 'type = "float"\nunit = "W"', "power.type"),
        ('unit = "W"', 'unit = "W"\nstep_wh = 1', "power: step_wh and modulus_wh belong"),
        ('unit = "W"', 'unit = "W"\nis_optional = true', "power.is_optional"),
        ('unit = "W"', 'unit = "W"\nscale = 0', "power.scale"),
        ("register_limit = 60", "register_limit = 1", "type float32 does not fit"),
        ("register_limit = 60", "register_limit = 126", "block.register_limit"),
        ('word_order = "big"', 'word_order = "middle"', "word_order"),
        ("refresh_s = 1.0", "refresh_s = nan", "refresh_s"),
        ("answer_s = 0.8", "answer_s = 60", "timing.answer_s"),
        ("accepted = [0.0]", "accepted = [inf]", "checks.0.accepted"),
        ("accepted = [0.0]", "accepted = []", "checks.0.accepted"),
        ("address = 0x0028", "address = 0x0029", "checks.1: address 0x0029 is odd"),
        ('title = "', "title = ", "is not TOML"),
    ],
)
def test_a_fault_is_reported_with_file_and_key(
    tmp_path: Path, old: str, new: str, fault: str
) -> None:
    assert old in SDM630
    with pytest.raises(ProfileError) as caught:
        load_profile("own", [own(tmp_path, SDM630.replace(old, new, 1))])
    assert fault in str(caught.value)
    assert str(tmp_path / "own.toml") in str(caught.value)


def test_all_faults_are_reported_at_once(tmp_path: Path) -> None:
    text = SDM630.replace("refresh_s = 1.0", "refresh_s = -1").replace("0x0034", "-1")
    with pytest.raises(ProfileError) as caught:
        load_profile("own", [own(tmp_path, text)])
    assert len(str(caught.value).splitlines()) == 2


def test_a_file_that_is_not_text_or_cannot_be_read_is_a_profile_error(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ProfileError, match="is not TOML"):
        load_profile("own", [tmp_path])
    (tmp_path / "folder.toml").mkdir()
    with pytest.raises(ProfileError, match="cannot be read"):
        load_profile("folder", [tmp_path])


def register(function: int, address: int, kind: RegisterType = RegisterType.FLOAT32) -> Register:
    return Register(function=function, address=address, kind=kind, scale=1.0, is_optional=False)


def test_what_does_not_fit_into_one_request_is_read_energy_first() -> None:
    plan = read_plan(
        {"power": register(4, 0x10), "energy": register(4, 0x100), "voltage": register(3, 0x0)},
        60,
        is_even_only=True,
    )
    assert [(b.function, b.address, b.count, b.quantities) for b in plan] == [
        (4, 0x100, 2, ("energy",)),
        (3, 0x0, 2, ("voltage",)),
        (4, 0x10, 2, ("power",)),
    ]


QUANTITIES = st.dictionaries(
    st.sampled_from(["energy", "power", "voltage", "frequency"]),
    st.builds(
        register,
        st.sampled_from([3, 4]),
        st.integers(0, 300).map(lambda half: 2 * half),
        st.sampled_from([RegisterType.FLOAT32, RegisterType.UINT32, RegisterType.UINT64]),
    ),
    min_size=1,
)


@given(QUANTITIES, st.integers(4, 125), st.booleans())
def test_a_plan_covers_every_quantity_once_within_the_limits(
    quantities: dict[str, Register], limit: int, is_even_only: bool
) -> None:
    plan = read_plan(quantities, limit, is_even_only=is_even_only)
    assert sorted(name for block in plan for name in block.quantities) == sorted(quantities)
    for block in plan:
        assert 0 < block.count <= limit
        assert not is_even_only or block.count % 2 == 0
        for name in block.quantities:
            wanted = quantities[name]
            assert wanted.function == block.function
            assert block.address <= wanted.address
            assert wanted.end <= block.address + block.count
    assert "energy" not in quantities or "energy" in plan[0].quantities


def test_the_built_in_files_use_no_address_twice() -> None:
    document: dict[str, Any] = tomllib.loads(SDM630)
    places = [
        (table["function"], table["address"])
        for table in (*document["checks"], *(v for v in document.values() if isinstance(v, dict)))
        if "address" in table
    ]
    assert len(places) == len(set(places))
