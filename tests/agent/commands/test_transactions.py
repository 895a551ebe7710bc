import json
from pathlib import Path

import pytest


@pytest.mark.usefixtures("daemon")
async def test_a_purchase_is_handed_in_by_its_options(terminal) -> None:
    options = ["--start", "2026-02-02T12:00", "--price", "24,5", "--energy", "900 kWh"]
    by_end = await terminal.ask("transactions", "add", "--id", "a", *options, "--end", "open")
    by_length = await terminal.ask(
        "transactions", "add", "--id", "b", *options, "--for", "1h", "--json"
    )
    neither = await terminal.ask("transactions", "add", "--id", "c", *options)
    both = await terminal.ask(
        "transactions", "add", "--id", "c", *options, "--for", "1h", "--end", "open"
    )
    refused = await terminal.ask("transactions", "add", "--id", "no", *options, "--for", "1h")
    assert (by_end.code, by_end.err) == (0, "")
    assert "900000 Wh" in by_end.out
    (row,) = json.loads(by_length.out)["results"]
    assert (by_length.code, row["result"]) == (0, "accepted")
    assert (neither.code, both.code, refused.code) == (2, 2, 4)


@pytest.mark.usefixtures("daemon")
async def test_power_for_energy_is_refused_with_the_reason(terminal) -> None:
    options = ["--start", "2026-02-02T12:00", "--for", "1h", "--price", "1", "--id", "a"]
    shown = await terminal.ask("transactions", "add", "--energy", "1 MW", *options)
    assert shown.code == 4
    assert "power, not energy" in shown.out


@pytest.mark.usefixtures("daemon")
async def test_the_good_ones_of_a_file_are_taken_and_the_bad_ones_are_named(
    terminal, tmp_path: Path
) -> None:
    lines = ["id;start;for;energy_kwh;price_kzt_per_kwh", "a;02.02.2026 12:00;1h;900,5;24,5"]
    good = tmp_path / "good.csv"
    good.write_text("\n".join(lines), encoding="utf-8")
    mixed = tmp_path / "mixed.CSV"
    mixed.write_text("\n".join([*lines, "b;02.02.2026 12:00;1h;x;1"]), encoding="utf-8")
    first = await terminal.ask("transactions", "import", str(good))
    second = await terminal.ask("transactions", "import", str(mixed), "--json")
    assert (first.code, first.err) == (0, "")
    assert "900500 Wh" in first.out
    assert second.code == 4
    results = [row["result"] for row in json.loads(second.out)["results"]]
    assert results == ["accepted", "refused"]
    assert "1 of 2 refused" in second.err


def test_a_file_that_cannot_be_read_is_wrong_input(terminal, tmp_path: Path) -> None:
    for name in ("none.csv", "purchases.xlsx", "none"):
        shown = terminal.run("transactions", "import", str(tmp_path / name))
        assert shown.code == 2
        assert name in shown.err
