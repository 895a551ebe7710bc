import json
from pathlib import Path

REPO = Path(__file__).parents[3]


def test_a_sound_configuration_is_said_to_be_in_order(terminal, tmp_path: Path) -> None:
    names = ("log.key", "pool-ca.pem", "edge.pem", "edge.key", "pool.vkey")
    for name in names:
        (tmp_path / name).touch()
    for name in ("site.example.toml", "policy.kz.toml"):
        (tmp_path / name).write_bytes((REPO / "config" / name).read_bytes())
    file = str(tmp_path / "site.example.toml")
    shown = terminal.run("check-config", file)
    assert (shown.code, shown.out) == (0, "")
    assert "in order: 1 meter points, 1 meters, 1 miners" in shown.err
    assert json.loads(terminal.run("check-config", file, "--json").out) == {"faults": []}
    (tmp_path / "policy.kz.toml").write_text("country = 5", encoding="utf-8")
    (tmp_path / "log.key").unlink()
    broken = terminal.run("check-config", file, "--json")
    assert broken.code == 2
    keys = {fault["key"] for fault in json.loads(broken.out)["faults"]}
    assert keys == {"journal.key_file", "country", "versions"}


def test_the_daemon_does_not_start_with_a_faulty_file(terminal, tmp_path: Path) -> None:
    file = tmp_path / "site.toml"
    file.write_text("[site]\nfarm = 5\n", encoding="utf-8")
    shown = terminal.run("run", "--config", str(file))
    assert shown.code == 2
    assert "site.farm" in shown.err
    assert "[governor]" in shown.err
