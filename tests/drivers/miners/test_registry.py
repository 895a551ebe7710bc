from pathlib import Path

import pytest

from drivers.device import ReadsMiner, SelectsProfile, Sleeps, SwitchesBoards
from drivers.miners import models, registry
from drivers.miners.luxos import LuxosMiner
from drivers.miners.whatsminer_v3 import WhatsminerV3Miner, WhatsminerV3Reader

NOT_A_FAMILY = {"__init__", "registry", "models"}


def test_every_module_of_the_folder_is_a_registered_family() -> None:
    folder = Path(registry.__file__).parent
    modules = {path.stem for path in folder.glob("*.py")} - NOT_A_FAMILY
    modules = {name.replace("_", "-") for name in modules}  # a scheme has no underscore
    assert modules == set(registry.FAMILIES)


async def test_a_uri_opens_its_family_at_the_familys_port() -> None:
    miner = registry.open_miner("luxos://10.1.1.11", miner_id="a", mac="62-F7-5E-B7-10-46")
    assert isinstance(miner, LuxosMiner)
    assert isinstance(miner, ReadsMiner)
    assert miner._link.address == "10.1.1.11:4028"
    assert miner._mac == "62:f7:5e:b7:10:46"


async def test_a_uri_may_name_a_port_and_a_mac_may_be_left_open() -> None:
    miner = registry.open_miner("luxos://r1.farm.example:14028/", miner_id="a", mac=None)
    assert isinstance(miner, LuxosMiner)
    assert miner._link.address == "r1.farm.example:14028"
    assert miner._mac is None


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "10.1.1.11",
        "http://10.1.1.11",
        "luxos://",
        "luxos://:4028",
        "luxos://10.1.1.11:0",
        "luxos://10.1.1.11:70000",
        "luxos://10.1.1.11:x",
        "luxos://root:pw@10.1.1.11",
        "luxos://10.1.1.11/api",
        "luxos://10.1.1.11?x=1",
        "luxos://10.1.1.11#x",
        "luxos://[10.1.1.11",
    ],
)
def test_a_bad_uri_is_refused_in_one_sentence(uri: str) -> None:
    with pytest.raises(ValueError) as caught:
        registry.open_miner(uri, miner_id="a", mac=None)
    sentence = str(caught.value)
    assert sentence.endswith(".")
    assert "\n" not in sentence
    assert "luxos://" in sentence or uri in sentence


def test_a_password_in_a_uri_is_not_repeated() -> None:
    with pytest.raises(ValueError, match="no password") as caught:
        registry.open_miner("luxos://root:hunter2@10.1.1.11", miner_id="a", mac=None)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("mac", ["", "62:f7:5e:b7:10", "62f75eb71046", "zz:f7:5e:b7:10:46"])
def test_a_bad_mac_is_refused_in_one_sentence(mac: str) -> None:
    with pytest.raises(ValueError, match="is not a MAC: write it as"):
        registry.open_miner("luxos://10.1.1.11", miner_id="a", mac=mac)


def test_without_a_password_a_whatsminer_is_only_read(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("hunter2\nsecond line\n")
    uri = "whatsminer-v3://10.1.1.12"
    reader = registry.open_miner(uri, miner_id="a", mac=None)
    miner = registry.open_miner(uri, miner_id="a", mac=None, password_file=secret)
    assert isinstance(reader, WhatsminerV3Reader)
    assert not isinstance(reader, SelectsProfile | Sleeps | SwitchesBoards)
    assert isinstance(miner, WhatsminerV3Miner)
    assert isinstance(miner, SelectsProfile)
    assert isinstance(miner, Sleeps)
    assert not isinstance(miner, SwitchesBoards)
    assert miner._link.address == "10.1.1.12:4433"
    assert miner._password == "hunter2"


@pytest.mark.parametrize("content", [None, b"", b"\nhunter2", b"\xff\xfe", b"x" * 300])
def test_a_password_file_without_a_password_is_refused_in_one_sentence(
    tmp_path: Path, content: bytes | None
) -> None:
    secret = tmp_path / "secret"
    if content is not None:
        secret.write_bytes(content)
    with pytest.raises(ValueError, match=r"The password file .*secret .*\.\Z") as caught:
        registry.open_miner(
            "whatsminer-v3://10.1.1.12", miner_id="a", mac=None, password_file=secret
        )
    assert "hunter2" not in str(caught.value)


def test_a_password_for_a_family_that_takes_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="remove its password_file"):
        registry.open_miner(
            "luxos://10.1.1.11", miner_id="a", mac=None, password_file=tmp_path / "secret"
        )


def test_models_are_found_by_the_name_that_the_firmware_reports() -> None:
    model = models.find_model("Antminer S19k Pro")
    assert model is not None
    assert (model.board_count, model.chips_per_board, model.nameplate_power_w) == (3, 77, 2760.0)
    assert model.nameplate_hashrate_hs == 120e12
    assert models.find_model("antminer s19k pro") is None


def test_every_model_is_plausible_and_has_a_source() -> None:
    assert len(models.models()) >= 19
    for model in models.models().values():
        assert model.source
        assert model.board_count in {1, 3, 4}
        joule_per_th = model.nameplate_power_w / (model.nameplate_hashrate_hs / 1e12)
        assert 12 < joule_per_th < 35, model.name


def test_a_model_that_stands_twice_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = '{ name = "X", boards = 3, ths = 1, w = 1, source = "s" }'
    table = tmp_path / "models.toml"
    table.write_text(f"models = [{row}, {row}]", "utf-8")
    monkeypatch.setattr(models, "_TABLE", table)
    with pytest.raises(ValueError, match="X stands twice"):
        models.models.__wrapped__()
