import re
from pathlib import Path

import pytest

from drivers.link.modbus import Timing
from drivers.meters.profile import (
    BUILT_IN_DIRECTORY,
    ProfileError,
    Register,
    load_profile,
    profile_paths,
)
from drivers.wire.registers import RegisterType, WordOrder

SDM630 = (BUILT_IN_DIRECTORY / "sdm630.toml").read_text("utf-8")


def test_sdm630_is_as_its_paper_says() -> None:
    profile = load_profile("sdm630")
    assert profile.word_order is WordOrder.BIG
    assert profile.modulus_wh is None
    assert not profile.is_shadowing_built_in
    assert profile.quantities["energy"] == (
        Register(function=4, address=0x48, kind=RegisterType.FLOAT32, scale=1000.0),
    )
    assert profile.quantities["power"][0].address == 0x34
    assert profile.quantities["frequency"][0].address == 0x46
    assert profile.unfit == ""
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
        ("address = 0x0048", "address = 0x0045", "energy: address 0x0045 is no multiple"),
        ("address = 0x0048", "address = 0xFFFF", "energy: address 0xFFFF leaves no room"),
        ("address = 0x0048", "address = 70000", "energy.address: "),
        ("address = 0x0034", "adress = 0x0034", "power.adress: is not a key"),
        ("address = 0x0034", "", "power.address: is missing; add it"),
        ("function = 4\naddress = 0x0034", "function = 6\naddress = 0x0034", "power.function"),
        ('type = "float32"\nunit = "W"', 'type = "float"\nunit = "W"', "power.type"),
        ('unit = "W"', 'unit = "W"\nstep_wh = 1', "power: step_wh and modulus_wh belong"),
        ('unit = "W"', 'unit = "W"\nis_optional = true', "power.is_optional"),
        ('unit = "W"', 'unit = "W"\nscale = 0', "power.scale"),
        ("register_limit = 60", "register_limit = 1", "its type does not fit"),
        ("register_limit = 60", "register_limit = 126", "block.register_limit"),
        ('word_order = "big"', 'word_order = "middle"', "word_order"),
        ("refresh_s = 1.0", "refresh_s = nan", "refresh_s"),
        ("answer_s = 0.8", "answer_s = 60", "timing.answer_s"),
        ("accepted = [0.0]", "accepted = [inf]", "checks.0.accepted"),
        ("accepted = [0.0]", "accepted = []", "checks.0.accepted"),
        ("address = 0x0028", "address = 0x0029", "checks.1: address 0x0029 is no multiple"),
        ('revision = "V1.8 and V2.0"', "", "revision: is missing"),
        ('revision = "V1.8 and V2.0"', 'revision = ""', "revision: '' cannot be used"),
        ("[more.energy_export]", "[more.energy_exported]", "energy_exported: is no further"),
        ("[more.energy_export]", "[more.power]", "more.power: is no further quantity"),
        ("address = 0x004A", "address = 0x0048", "more.energy_export: lies on the registers of en"),
        ('unit = "kWh"', 'unit = "kWh"\nsign = -1', "energy.sign: a counter has none"),
        ('unit = "W"', 'unit = "W"\nsign = 0', "power.sign: 0 cannot be used; write 1 or -1"),
        ("alignment = 2 ", "holes = [[0x35, 0x35]]\nalignment = 2 ", "power: no one request can"),
        ("alignment = 2 ", "holes = [[9, 8]]\nalignment = 2 ", "block.holes.0: ends before"),
        ("alignment = 2 ", "barriers = [0x49]\nalignment = 2 ", "energy: no one request can"),
        ('type = "uint16"', 'type = "text"', "firmware.count: a text"),
        ('type = "uint16"', 'type = "uint16"\ncount = 1', "firmware.count: a text"),
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


def test_what_can_be_understood_is_examined_although_something_else_cannot(tmp_path: Path) -> None:
    text = SDM630.replace("refresh_s = 1.0", "refresh_s = -1").replace('"kWh"', '"kW"', 1)
    text = text.replace("accepted = [0.0] ", "accepted = [0.0]\nadress = 1 #")
    with pytest.raises(ProfileError) as caught:
        load_profile("own", [own(tmp_path, text)])
    assert [
        line.partition(": ")[2].partition(":")[0] for line in str(caught.value).splitlines()
    ] == [
        "refresh_s",
        "checks.0.adress",
        "energy.unit",
    ]


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        (
            "accepted = [0.0]",
            'accepted = ["x"]',
            "checks.0.accepted.0: 'x' cannot be used; write a",
        ),
        ("accepted = [0.0]", "accepted = []", "checks.0.accepted: [] cannot be used; write at l"),
        ("register_limit = 60", "register_limit = 200", "200 cannot be used; write a number up to"),
        ("refresh_s = 1.0", "refresh_s = 0", "refresh_s: 0 cannot be used; write a number above"),
        ('title = "Eastron', 'title = 7 # "', "title: 7 cannot be used; write text in quotes."),
        ('word_order = "big"', 'word_order = "mid"', "'mid' cannot be used; write 'big' or 'li"),
        (
            'type = "uint16"',
            'type = "uint17"',
            "firmware.type: 'uint17' cannot be used; write 'int16",
        ),
    ],
)
def test_a_fault_is_one_sentence_that_says_what_to_write(
    tmp_path: Path, old: str, new: str, sentence: str
) -> None:
    assert old in SDM630
    with pytest.raises(ProfileError) as caught:
        load_profile("own", [own(tmp_path, SDM630.replace(old, new, 1))])
    (line,) = str(caught.value).splitlines()
    assert sentence in line


PLUS = """
[[energy.plus]]
address = 0x0156
type = "float32"
"""
RATIO = """
[[ratios]]
name = "current transformers"
function = 3
address = 0x0006
type = "uint16"
quantities = ["energy"]
"""


def with_plus(text: str, plus: str) -> str:
    return text.replace("[power] ", f"{plus}\n[power] ")


def test_parts_of_one_value_that_no_request_can_hold_together_are_a_fault(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match="energy: no one request can read it"):
        load_profile("own", [own(tmp_path, with_plus(SDM630, PLUS))])


def test_values_whose_parts_entangle_beyond_one_request_are_one_fault(tmp_path: Path) -> None:
    text = with_plus(SDM630, '[[energy.plus]]\naddress = 0x0080\ntype = "float32"\n')
    plus = '[[more.energy_export.plus]]\naddress = 0x0084\ntype = "float32"\n'
    text = text.replace("[more.power_l1]", f"{plus}\n[more.power_l1]")
    with pytest.raises(ProfileError) as caught:
        load_profile("own", [own(tmp_path, text.replace("gap_limit = 60 ", "gap_limit = 58 "))])
    assert "energy: no one request can read it" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_a_value_of_several_registers_hides_the_step_of_each(tmp_path: Path) -> None:
    text = with_plus(SDM630, PLUS.replace("0x0156", "0x004C"))
    profile = load_profile("own", [own(tmp_path, text)])
    assert len(profile.quantities["energy"]) == 2
    assert profile.energy_step_wh(0) == 20
    assert profile.modulus_wh is None


def test_a_fine_register_beside_a_coarse_one_tells_what_that_one_hides(tmp_path: Path) -> None:
    text = SDM630.replace('type = "float32"\nunit = "kWh"', 'type = "uint32"\nunit = "kWh"', 1)
    plus = '[[energy.plus]]\naddress = 0x004C\ntype = "uint16"\nscale = 0.001\n'
    text = with_plus(text.replace("step_wh = 10 ", "step_wh = 1 "), plus)
    profile = load_profile("own", [own(tmp_path, text)])
    assert [term.scale for term in profile.quantities["energy"]] == [1000.0, 1.0]
    assert profile.energy_step_wh(10**9) == 1


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('format = "datetime4"', 'format = "roman"', "clock.format: 'roman' cannot be used"),
        ("address = 1844", "address = 3201", "clock: lies on the registers of energy"),
        ("address = 1844", "address = 65533", "clock: address 0xFFFD leaves no room"),
        ('revision = "63230', 'revision = ""#', "clock.revision: '' cannot be used"),
        ("[clock]", "[clocks]", "clocks: is not a key of a profile"),
    ],
)
def test_a_clock_has_a_place_of_its_own_a_format_and_a_paper(
    tmp_path: Path, old: str, new: str, words: str
) -> None:
    text = (BUILT_IN_DIRECTORY / "pm5000.toml").read_text("utf-8")
    assert text.count(old) == 1
    (tmp_path / "mine.toml").write_text(text.replace(old, new), "utf-8")
    with pytest.raises(ProfileError, match=re.escape(words)):
        load_profile("mine", [tmp_path])


def test_registers_that_are_asked_for_otherwise_lie_on_no_others(tmp_path: Path) -> None:
    text = (BUILT_IN_DIRECTORY / "sdm630.toml").read_text("utf-8")
    for registers, words in (
        ("[0x0029, 0x002C]", "lies on the registers of serial.otherwise"),
        ("[]", "serial.otherwise.registers"),
    ):
        changed = text.replace("registers = [0x002A, 0x002C]", f"registers = {registers}")
        (tmp_path / "mine.toml").write_text(changed, "utf-8")
        with pytest.raises(ProfileError, match=re.escape(words)):
            load_profile("mine", [tmp_path])


def test_a_ratio_of_a_quantity_that_is_not_there_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match=r"ratios\.0\.quantities: 'enrgy' is no quantity"):
        load_profile("own", [own(tmp_path, SDM630 + RATIO.replace("energy", "enrgy"))])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (SDM630.replace("word_order", 'unconfirmed = ["the scale"]\nword_order', 1), "the scale"),
        (SDM630 + RATIO, "step is not known beforehand"),
    ],
)
def test_what_is_unconfirmed_or_has_no_known_step_is_unfit_to_keep_a_purchase(
    tmp_path: Path, text: str, words: str
) -> None:
    assert words in load_profile("own", [own(tmp_path, text)]).unfit


def test_a_file_that_is_not_text_or_cannot_be_read_is_a_profile_error(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ProfileError, match="is not TOML"):
        load_profile("own", [tmp_path])
    (tmp_path / "folder.toml").mkdir()
    with pytest.raises(ProfileError, match="cannot be read"):
        load_profile("folder", [tmp_path])
