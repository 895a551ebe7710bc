"""``kwota doctor`` in a terminal: what it prints, and with which code it ends."""

import json
from pathlib import Path

import pytest

from agent.cli import main

EXAMPLE = Path(__file__).parents[3] / "config" / "site.example.toml"


def doctor(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    with pytest.raises(SystemExit) as ended:
        main(["doctor", *arguments])
    return int(ended.value.code or 0), capsys.readouterr().out


def test_a_configuration_that_is_not_there_is_one_sentence_and_code_2(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    code, out = doctor(capsys, "--config", str(tmp_path / "none.toml"))
    assert code == 2
    assert "configuration" in out
    assert "1 failed" in out


def test_the_example_on_a_bare_machine_fails_and_says_what_to_do_as_json(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Without its devices, which are addresses of nobody's here."""
    text = (
        EXAMPLE.read_text("utf-8")
        .replace("10.1.", "127.9.")
        .replace("broker.pool.example", "127.9.0.9")
    )
    config = tmp_path / "site.toml"
    config.write_text(text)
    code, out = doctor(capsys, "--config", str(config), "--json")
    findings = json.loads(out)
    assert code == 1
    failed = [one for one in findings if one["grade"] == "failed"]
    assert {"file", "broker", "meter", "miner"} <= {one["check"] for one in failed}
    assert all(one["words"] and one["remedy"] for one in failed)
