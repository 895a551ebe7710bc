"""The farm file: every fault is named with its key."""

from importlib import resources

import pytest

from simulator.clock import started_now
from simulator.farm import build_farm
from simulator.farm_file import FarmFileError, load_farm_file

GOOD = """
[[machines]]
model = "s19k-pro"
count = 12
[[machines]]
model = "s21"
count = 8
[[meters]]
id = "site"
serial = 1
"""


def fault_of(tmp_path, text) -> str:
    path = tmp_path / "farm.toml"
    path.write_text(text)
    with pytest.raises(FarmFileError) as caught:
        load_farm_file(path)
    return str(caught.value)


@pytest.mark.parametrize(
    ("extra", "named"),
    [
        ("[site]\nsede = 1\n", "site.sede: unknown key"),
        ("[timings]\nwake_s = -1\n", "timings.wake_s"),
        ('[addresses]\nbase = "10.0.0.0"\n', "addresses.base"),
        ('[addresses]\nbase = "127.8.0.7"\n', "addresses.base"),
        ('[[machines]]\nmodel = "s9"\ncount = 1\n', "machines.2.model"),
        ('[[machines]]\nmodel = "s21"\ncount = 1\nprofile = "590Hz"\n', "'590Hz'"),
        ('[[meters]]\nid = "b"\nserial = 2\nhost = "192.168.0.1"\n', "meters.1.host"),
        ('[[meters]]\nid = "b"\nserial = 2\nmodel = "sdm999"\n', "meters.1.model"),
        (
            '[[meters]]\nid = "b"\nserial = 2\nmodel = "pac3200"\nprefix = "M"\n',
            "a pac3200 cannot be set to prefix",
        ),
        ("[site\n", "is not TOML"),
    ],
)
def test_a_fault_is_named_with_file_and_key(tmp_path, extra, named) -> None:
    sentence = fault_of(tmp_path, GOOD + extra)
    assert named in sentence
    assert "farm.toml" in sentence


def test_all_faults_are_named_at_once(tmp_path) -> None:
    sentence = fault_of(tmp_path, GOOD + "[site]\nx = 1\ny = 2\n")
    assert sentence.count("unknown key") == 2


def test_a_missing_file_is_one_sentence(tmp_path) -> None:
    with pytest.raises(FarmFileError, match="cannot be read"):
        load_farm_file(tmp_path / "none.toml")


@pytest.mark.parametrize("count", [1, 5, 20, 33, 5000])
def test_another_number_of_machines_keeps_the_proportions(tmp_path, count) -> None:
    path = tmp_path / "farm.toml"
    path.write_text(GOOD)
    groups = load_farm_file(path).with_count(count).machines
    assert sum(group.count for group in groups) == count
    assert groups[0].count == pytest.approx(count * 0.6, abs=1)


def test_the_same_seed_gives_the_same_machines(tmp_path) -> None:
    path = tmp_path / "farm.toml"
    path.write_text(GOOD)
    file = load_farm_file(path)
    one, same = build_farm(file, started_now()), build_farm(file, started_now())
    assert one.labels == same.labels
    biases = [machine.bias for machine in one.plant.machines]
    assert biases == [machine.bias for machine in same.plant.machines]
    assert len(set(biases)) == 20
    assert all(abs(bias.tolerance) <= 0.02 and abs(bias.reporting) <= 0.03 for bias in biases)


def test_a_group_can_start_asleep(tmp_path) -> None:
    path = tmp_path / "farm.toml"
    path.write_text(GOOD.replace("count = 8", "count = 8\nis_asleep = true"))
    farm = build_farm(load_farm_file(path), started_now())
    asleep = [machine for machine in farm.plant.machines if not machine.is_awake]
    assert len(asleep) == 8
    assert all(machine.watts.value(farm.clock.anchor_s) == 25.0 for machine in asleep)
    assert farm.plant.moving_count == 0


def test_the_farms_that_are_shipped_are_good() -> None:
    folder = resources.files("simulator") / "farms"
    files = [entry for entry in folder.iterdir() if entry.name.endswith(".toml")]
    assert files
    for entry in files:
        with resources.as_file(entry) as path:
            assert load_farm_file(path).machines
