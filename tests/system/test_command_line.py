"""The command line against a running daemon: what people read, and data for programs."""

import json
import shutil
import subprocess
import urllib.request
from datetime import UTC, datetime, timedelta

import pytest

from agent.control_client import send_purchases

pytestmark = [pytest.mark.system, pytest.mark.timeout(90)]
PROMTOOL = shutil.which("promtool")


@pytest.fixture(scope="module")
def running(shared_site):
    shared_site.start_broker()
    shared_site.start_farm(5)
    shared_site.start_agent()

    def is_settled() -> bool:
        rows = shared_site.api("miners")
        is_following = shared_site.api("status")["mode"] == "following"
        return is_following and all(row["power_w"] is not None for row in rows)

    shared_site.wait_for(is_settled, 20, "the site did not settle")
    return shared_site


def data(site, *words: str, code: int = 0):
    """What a verb prints with ``--json``: one document, and nothing for people beside it."""
    done = site.kwota(*words, "--json")
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout.count("\n") == 1
    return json.loads(done.stdout)


def text(site, *words: str, code: int = 0) -> str:
    done = site.kwota(*words)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


def in_hours(hours: float) -> str:
    return (datetime.now(UTC) + timedelta(hours=hours)).isoformat(timespec="seconds")


def test_status_says_how_the_site_is(running) -> None:
    status = data(running, "status")
    assert (status["farm"], status["agent"]) == ("demo-farm", "edge-1")
    assert status["miners_total"] == 5
    assert status["mode"] == "following"
    assert abs(status["power_w"] - running.truth()["power_w"]) < 0.1 * running.full_power_w
    shown = text(running, "status")
    for words in ("demo-farm / edge-1", "following", "kWh left", "5: "):
        assert words in shown


def test_miners_and_why_explain_every_machine(running) -> None:
    rows = data(running, "miners")
    truth = running.truth("/v1/truth/machines")["machines"]
    assert [row["mac"].lower() for row in rows] == [one["mac"].lower() for one in truth]
    for row, one in zip(rows, truth, strict=True):
        assert abs(row["power_w"] - one["power_w"]) < 0.15 * one["power_w"]
        assert row["boards_on"] == len(one["boards_on"])
    assert all(row["miner_id"] in text(running, "miners") for row in rows)
    assert all(row["why"].startswith(row["why_short"].rstrip(".")) for row in rows)
    why = data(running, "why", rows[0]["miner_id"])
    assert why["words"]
    assert why["words"].split(":")[0] in text(running, "why", rows[0]["miner_id"])


def test_a_machine_that_does_not_exist_is_a_plain_no(running) -> None:
    assert "r9-s99" in text(running, "why", "r9-s99", code=1)


def test_meters_show_the_register(running) -> None:
    (row,) = data(running, "meters")
    true_wh = running.truth("/v1/farm")["meters"][0]["energy_kwh"] * 1000
    assert abs(row["energy_import_wh"] - true_wh) < 100
    assert row["serial"] == running.ready["meters"][0]["serial"]
    assert row["serial"] in text(running, "meters")


def test_a_purchase_is_added_once_and_not_changed_later(running) -> None:
    start = in_hours(2)
    add = ("transactions", "add", "--id", "cli-1", "--start", start, "--for", "1h")
    price = ("--price", "21.50")
    (first,) = data(running, *add, "--energy", "900 kWh", *price)["results"]
    assert first["result"] == "accepted"
    (second,) = data(running, *add, "--energy", "900 kWh", *price)["results"]
    assert second["result"] == "unchanged"
    (third,) = data(running, *add, "--energy", "901 kWh", *price, code=4)["results"]
    assert third["result"] == "refused"
    assert "other content" in third["reason"]
    rows = {row["transaction_id"]: row for row in data(running, "transactions", "list")}
    assert rows["cli-1"]["energy_wh"] == 900_000
    assert rows["cli-1"]["status"] == "planned"
    assert "cli-1" in text(running, "transactions", "list")


def test_a_purchase_is_listed_as_soon_as_it_is_taken(running) -> None:
    for number in range(8):
        item = {"id": f"soon-{number}", "energy": "9 kWh", "start": in_hours(20 + number)}
        content = json.dumps([{**item, "for": "1h", "price_kzt_per_kwh": "20"}]).encode()
        (result,) = send_purchases(running.socket, content, "application/json")
        assert result["result"] == "accepted"
        listed = {row["transaction_id"] for row in running.api("transactions")}
        assert item["id"] in listed


@pytest.mark.parametrize(
    ("energy", "start", "words"),
    [
        ("1001 kWh", 3, "cap"),
        ("0 Wh", 3, "zero"),
        ("1 MW", 3, "power"),
        ("900", 3, "unit"),
        ("900 kWh", -3, "past"),
    ],
)
def test_a_bad_purchase_is_refused_with_its_reason(running, energy, start, words) -> None:
    name = f"bad-{energy.replace(' ', '')}"
    add = ("transactions", "add", "--id", name, "--start", in_hours(start), "--for", "1h")
    (result,) = data(running, *add, "--energy", energy, "--price", "20", code=4)["results"]
    assert result["result"] == "refused"
    assert words in result["reason"]
    listed = {row["transaction_id"] for row in data(running, "transactions", "list")}
    assert name not in listed


def test_of_a_file_the_good_purchases_are_kept(running) -> None:
    head = "transaction_id,start,for,energy_kwh,energy_mwh,price_kzt_per_kwh\n"
    file = running.directory / "mixed.csv"
    file.write_text(
        head
        + f"mixed-1,{in_hours(5)},1h,500,,20\n"
        + f"mixed-2,{in_hours(6)},1h,,5,20\n"
        + f"mixed-3,{in_hours(7)},1h,0,,20\n"
        + f"mixed-4,{in_hours(8)},1h,,0.25,20\n"
    )
    results = data(running, "transactions", "import", str(file), code=4)["results"]
    assert [r["result"] for r in results] == ["accepted", "refused", "refused", "accepted"]
    listed = {row["transaction_id"]: row for row in data(running, "transactions", "list")}
    assert listed["mixed-4"]["energy_wh"] == 250_000
    assert not {"mixed-2", "mixed-3"} & listed.keys()
    again = data(running, "transactions", "import", str(file), code=4)["results"]
    assert [r["result"] for r in again] == ["unchanged", "refused", "refused", "unchanged"]


def test_the_journals_tail_is_the_signed_bytes(running) -> None:
    def tail() -> list[str]:
        done = running.kwota("journal", "tail", "--count", "12", "--kind", "meter", "--json")
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    running.wait_for(lambda: len(tail()) == 12, 40, "twelve readings of the meter were not written")
    lines = tail()
    records = [json.loads(line) for line in lines]
    assert {record["k"] for record in records} == {"meter"}
    assert [record["i"] for record in records] == sorted(record["i"] for record in records)
    assert str(records[-1]["s"]) in text(running, "journal", "tail", "--kind", "meter")
    assert "meter" in text(running, "journal", "tail", "--kind", "no kind", code=2)


@pytest.mark.skipif(
    PROMTOOL is None, reason="NOT TESTED: promtool is not installed (Debian: prometheus)"
)
def test_a_stranger_finds_the_metrics_of_a_running_agent_clean(running) -> None:
    with urllib.request.urlopen(f"http://127.0.0.1:{running.page_port}/metrics") as answer:
        exposed = answer.read()
    assert b"kwota_meter_energy_import_wh_total{" in exposed
    assert linted(exposed) == (0, b"")
    assert linted(exposed + b"x y\n")[0] != 0


def linted(exposed: bytes) -> tuple[int, bytes]:
    done = subprocess.run(
        [str(PROMTOOL), "check", "metrics"],
        input=exposed,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=20,
        check=False,
    )
    return done.returncode, done.stdout


def test_without_a_daemon_every_question_ends_with_code_three(running) -> None:
    nowhere = str(running.directory / "nobody.sock")
    for verb in (("status",), ("miners",), ("meters",), ("transactions", "list"), ("why", "x")):
        done = running.kwota(*verb, "--socket", nowhere, "--json")
        assert done.returncode == 3
        assert done.stdout == ""
        assert done.stderr.count("\n") == 1
