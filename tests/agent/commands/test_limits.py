import json

import pytest


@pytest.mark.usefixtures("daemon")
async def test_the_list_marks_the_limit_that_rules(terminal) -> None:
    shown = await terminal.ask("limit", "list")
    assert (shown.code, shown.err) == (0, "")
    lines = {line.split()[1]: line for line in shown.out.splitlines() if line.startswith("▶")}
    assert set(lines) == {"tx-1"}
    assert "480.0" in lines["tx-1"]
    for word in ("o-7", "54.0", "grid [b]operator", "2026-02-02 08:40:00", "o-7 in words"):
        assert word in shown.out


@pytest.mark.usefixtures("daemon")
async def test_the_list_as_json_is_the_rows_of_the_status(terminal) -> None:
    shown = await terminal.ask("limit", "list", "--json")
    rows = json.loads(shown.out)
    assert [(row["id"], row["is_ruling"]) for row in rows] == [("tx-1", True), ("o-7", False)]
    assert list(rows[0]) == [
        "id",
        "kind",
        "source",
        "power_w",
        "from_ms",
        "until_ms",
        "safe_w",
        "words",
        "is_ruling",
        "meter_point",
    ]


@pytest.mark.usefixtures("daemon")
async def test_the_overview_names_the_limit_that_rules(terminal) -> None:
    shown = await terminal.ask("status")
    assert "purchase tx-1 rules; 1 more" in shown.out


@pytest.mark.parametrize(
    "words",
    [
        ["set", "--kw", "5", "--for", "1h", "--reason", "r"],
        ["order", "--kw", "5", "--from", "a", "--to", "b", "--id", "c"],
        ["clear", "o-7"],
        ["list"],
    ],
)
def test_without_a_daemon_every_verb_says_so(terminal, words: list[str]) -> None:
    shown = terminal.run("limit", *words, "--socket", str(terminal.socket))
    assert shown.code == 3
    assert "no daemon answers" in shown.err
