"""Vouching for a register, and the statement of a day, from a terminal."""

import csv
import io
import json

import pytest

ACCEPT = ("meters", "accept", "site", "--reason", "reset by the fitter")
EXCHANGE = ("meters", "exchange", "site", "--old-register-wh", "900", "--new-register-wh", "5")


async def test_a_held_register_is_believed_by_somebodys_word(terminal, daemon) -> None:
    told = await terminal.ask(*ACCEPT)
    assert told.code == 0
    assert "123.456 kWh" in told.out
    assert "1.500 kWh are charged as unknown" in told.out
    event = json.loads((await terminal.ask(*ACCEPT, "--json")).out)
    assert (event["event"], event["reason"]) == ("accepted", "reset by the fitter")


async def test_an_exchange_is_told_with_both_registers(terminal, daemon) -> None:
    event = json.loads((await terminal.ask(*EXCHANGE, "--reason", "worn out", "--json")).out)
    assert (event["event"], event["serial"]) == ("exchanged", "87654321")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("meters", "accept", "nope", "--reason", "r"), 4, "there is no meter nope"),
        (("meters", "accept", "site", "--reason", " "), 2, "the reason is empty"),
        (("meters", "accept", "site", "--reason", "x" * 501), 2, "above 500 letters"),
        ((*EXCHANGE[:5], "--new-register-wh", "901", "--reason", "r"), 4, "read the old register"),
        ((*EXCHANGE[:5], "--new-register-wh", "-1", "--reason", "r"), 2, "new_register_wh"),
    ],
)
async def test_a_word_that_cannot_be_taken_is_refused_with_the_reason(
    terminal, daemon, arguments, code, words
) -> None:
    told = await terminal.ask(*arguments)
    assert (told.code, told.out) == (code, "")
    assert words in told.err


async def test_without_a_daemon_nobody_can_vouch(terminal) -> None:
    assert (await terminal.ask(*ACCEPT)).code == 3
    assert (await terminal.ask(*EXCHANGE, "--reason", "r")).code == 3


async def test_a_day_is_stated_by_the_hours_of_the_sites_zone(terminal, daemon) -> None:
    asked = ("transactions", "statement", "--date", "2026-02-02")
    rows = json.loads((await terminal.ask(*asked, "--json")).out)
    assert [(row["metered_wh"], row["over_wh"], row["unused_wh"]) for row in rows] == [
        (1000, 10, 0),
        (4010, 40, 40),
    ]
    assert rows[1]["start_ms"] % 3_600_000 == 0
    assert all(row["order"] == "end,start,price,id" for row in rows)
    shown = await terminal.ask(*asked)
    assert "2026-02-02 14:00:00" in shown.out
    assert "total" in shown.out
    assert "5.010" in shown.out


async def test_a_day_is_stated_by_quarters_as_csv(terminal, daemon) -> None:
    asked = ("transactions", "statement", "--date", "2026-02-02", "--per", "quarter", "--csv")
    shown = await terminal.ask(*asked)
    rows = list(csv.DictReader(io.StringIO(shown.out), delimiter=";"))
    assert [row["allocated_wh"] for row in rows] == ["990", "991", "992", "993", "994"]
    assert rows[0]["flags"] == "split"


async def test_without_a_date_today_is_stated(terminal, daemon) -> None:
    rows = json.loads((await terminal.ask("transactions", "statement", "--json")).out)
    assert len(rows) == 2


@pytest.mark.parametrize(
    ("options", "words"),
    [(("--date", "31.01.2026"), "is no day"), (("--json", "--csv"), "one of the two")],
)
async def test_a_wrong_question_about_a_day_is_refused(terminal, daemon, options, words) -> None:
    shown = await terminal.ask("transactions", "statement", *options)
    assert (shown.code, shown.out) == (2, "")
    assert words in shown.err
