import asyncio
import json
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[3] / "config" / "site.example.toml"


@pytest.mark.usefixtures("daemon")
async def test_the_overview_says_power_energy_and_alarms_in_words(terminal) -> None:
    shown = await terminal.ask("status")
    assert shown.code == 0
    for words in ("following: on pace", "480.1 kW of 500.0 kW", "600.000 of 1000.000 kWh left"):
        assert words in shown.out
    assert "the meter answers late" in shown.out
    assert "look at the cable" in shown.out
    assert "\x1b" not in shown.out  # no colours where no terminal is


async def test_what_is_unknown_is_shown_as_unknown_and_not_as_zero(terminal, daemon) -> None:
    daemon.forget()
    shown = await terminal.ask("status")
    assert "unknown power of unknown power" in shown.out
    assert "no purchase is open" in shown.out
    assert "not trusted" in shown.out


@pytest.mark.usefixtures("daemon")
async def test_the_overview_says_what_is_known_of_the_next_window_and_of_the_relays(
    terminal,
) -> None:
    shown = await terminal.ask("status")
    assert "the window from 2026-02-02 08:40:00 can be kept: at least 17.310 of 900" in shown.out
    assert "98% of the watts obey and are at the floor in 12 s, 62% may cease to obey" in shown.out
    assert "relay row-1" in shown.out
    assert "closed; 2 machines behind it, 0 openings in 24 h" in shown.out
    assert "unknown; 0 machines behind it, 2 openings in 24 h" in shown.out


async def test_a_window_that_cannot_be_kept_is_told_as_such(terminal, daemon) -> None:
    ahead = daemon.current.status.preflight.model_copy(update={"can_comply": False})
    status = daemon.current.status.model_copy(update={"preflight": ahead})
    daemon.current = daemon.current.model_copy(update={"status": status})
    shown = await terminal.ask("status")
    assert "CANNOT be kept" in shown.out


async def test_a_site_without_relays_and_without_a_window_ahead_shows_nothing_of_them(
    terminal, daemon
) -> None:
    daemon.forget()
    shown = await terminal.ask("status")
    assert "relay" not in shown.out
    assert "the window from" not in shown.out


@pytest.mark.usefixtures("daemon")
@pytest.mark.parametrize(
    ("verb", "words"),
    [
        ("miners", ["r1-s01", "2801", "3/3", "120.0", "S19k [red]Pro"]),
        ("meters", ["site", "480.1", "123456.789", "12345678"]),
        ("transactions list", ["tx-2", "400.001", "599.999", "2026-02-02 08:40:00", "24.5"]),
        ("why r1-s01", ["two boards are off", "left_wh", "tx-1"]),
        ("journal tail", ["7", "2026-02-02 02:40:00", "meter", '{"power_w":5}']),
    ],
)
async def test_tables_show_what_the_daemon_knows(terminal, verb: str, words: list[str]) -> None:
    shown = await terminal.ask(*verb.split())
    assert shown.code == 0
    assert shown.err == ""
    for word in words:
        assert word in shown.out
    assert "\x1b" not in shown.out  # nor what a device smuggles into its texts


@pytest.mark.usefixtures("daemon")
@pytest.mark.parametrize(
    "verb", ["status", "miners", "meters", "transactions list", "why r1-s01", "journal tail"]
)
async def test_json_is_data_and_nothing_else(terminal, verb: str) -> None:
    shown = await terminal.ask(*verb.split(), "--json")
    assert shown.code == 0
    assert shown.err == ""
    assert all(json.loads(line) for line in shown.out.splitlines())
    assert shown.out.count("\n") == (2 if verb == "journal tail" else 1)


@pytest.mark.usefixtures("daemon")
async def test_an_unknown_machine_is_a_negative_answer(terminal) -> None:
    shown = await terminal.ask("why", "r9", "--json")
    assert (shown.code, shown.out) == (1, "")
    assert "no miner 'r9'" in shown.err


async def test_before_the_first_tick_the_daemon_counts_as_not_reachable(terminal, daemon) -> None:
    daemon.current = None
    shown = await terminal.ask("status")
    assert shown.code == 3
    assert "first tick" in shown.err


@pytest.mark.parametrize("verb", ["status", "miners", "meters", "transactions list", "why x"])
async def test_without_a_daemon_every_question_ends_with_the_same_sentence(
    terminal, verb: str
) -> None:
    shown = await terminal.ask(*verb.split(), "--json")
    assert (shown.code, shown.out) == (3, "")
    assert "is kwota.service running?" in shown.err


@pytest.mark.usefixtures("daemon")
async def test_the_socket_is_taken_from_the_configuration(terminal, tmp_path: Path) -> None:
    text = EXAMPLE.read_text(encoding="utf-8").replace("/run/kwota/kwota.sock", "kwota.sock")
    config = tmp_path / "site.toml"
    config.write_text(text, encoding="utf-8")
    shown = await asyncio.to_thread(terminal.run, "status", "--config", str(config))
    wrong = await asyncio.to_thread(terminal.run, "status", "--config", str(tmp_path))
    assert shown.code == 0
    assert wrong.code == 2


async def test_machines_are_sorted_by_a_number_and_found_by_words(terminal, daemon) -> None:
    first = daemon.current.miners[0]
    rows = [
        first.model_copy(update={"miner_id": name, "power_w": power_w, "mac": mac})
        for name, power_w, mac in (("a", 10.0, "m1"), ("b", None, "m2"), ("c", 30.0, "m3"))
    ]
    daemon.current = daemon.current.model_copy(update={"miners": rows})
    by_power = json.loads((await terminal.ask("miners", "--sort", "power", "--json")).out)
    assert [row["miner_id"] for row in by_power] == ["c", "a", "b"]
    found = json.loads((await terminal.ask("miners", "--filter", "M3", "--json")).out)
    assert [row["miner_id"] for row in found] == ["c"]
    assert json.loads((await terminal.ask("miners", "--filter", "zz", "--json")).out) == []


async def test_alarms_are_listed_and_a_critical_one_is_an_answer_of_no(terminal, daemon) -> None:
    shown = await terminal.ask("alarms")
    assert shown.code == 0
    assert "the meter answers late" in shown.out
    heading, row = shown.out.splitlines()
    assert heading.split()[:5] == ["alarm", "code", "source", "since", "times"]
    assert row.split()[3:6] == ["2026-02-02", "07:40:00", "2"]
    alarm = daemon.current.status.alarms[0].model_copy(update={"severity": "critical"})
    status = daemon.current.status.model_copy(update={"alarms": [alarm]})
    daemon.current = daemon.current.model_copy(update={"status": status})
    shown = await terminal.ask("alarms", "--json")
    assert shown.code == 1
    assert json.loads(shown.out)[0]["code"] == "meter_slow"
    daemon.forget()
    assert "no alarm stands" in (await terminal.ask("alarms")).out


async def test_alarms_are_explained_in_the_language_that_is_asked_for(terminal, daemon) -> None:
    alarm = daemon.current.status.alarms[0].model_copy(update={"code": "MINER_UNREACHABLE"})
    status = daemon.current.status.model_copy(update={"alarms": [alarm, alarm]})
    daemon.current = daemon.current.model_copy(update={"status": status})
    shown = await terminal.ask("alarms", "--language", "ru")
    assert shown.out.count("Машина не отвечает") == 1
    assert "Проверьте питание, сеть и адрес" in shown.out
    assert "Машина" not in (await terminal.ask("alarms")).out


async def test_a_machine_that_has_moved_is_listed_with_both_addresses(daemon, terminal) -> None:
    row = daemon.current.miners[0].model_copy(
        update={"address": "luxos://10.1.3.7", "moved_from": "luxos://10.1.1.11"}
    )
    daemon.current = daemon.current.model_copy(update={"miners": [row]})
    shown = await terminal.ask("miners")
    assert "luxos://10.1.3.7 (was luxos://10.1.1.11)" in shown.out
