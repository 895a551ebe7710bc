"""A purchase is taken once, whoever hands it in and however often, across a restart too."""

import json
import signal

import pytest

pytestmark = [pytest.mark.system, pytest.mark.timeout(90)]


def import_twice(site, file: str) -> list[set[str]]:
    outcomes = []
    for _ in range(2):
        done = site.kwota("transactions", "import", file, "--json")
        assert done.returncode == 0, done.stderr
        outcomes.append({result["result"] for result in json.loads(done.stdout)["results"]})
    return outcomes


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_purchases_are_kept_by_the_journal_alone(site, how) -> None:
    site.start_broker()
    site.start_farm(3)
    site.buy(count=3, window_s=600, lead_in_s=120)
    later = site.directory / "later.json"
    bought = json.loads((site.directory / "purchases.json").read_text())["purchases"]
    later.write_text(json.dumps(bought[2:]))
    (site.directory / "purchases.json").write_text(json.dumps(bought[:2]))
    first = site.start_agent()
    assert import_twice(site, "purchases.json") == [{"unchanged"}, {"unchanged"}]
    assert import_twice(site, "later.json") == [{"accepted"}, {"unchanged"}]
    before = site.api("transactions")
    assert len(before) == len(bought) == 5
    first.process.send_signal(how)
    first.process.wait()
    site.agent = None
    site.change_config('[purchases]\nimport = "purchases.json"\n', "")
    site.start_agent()
    fixed = ("transaction_id", "start_ms", "end_ms", "energy_wh", "price_kzt_per_kwh", "source")
    after = site.api("transactions")
    assert [[row[key] for key in fixed] for row in after] == [
        [row[key] for key in fixed] for row in before
    ]
    assert after[0]["allocated_wh"] >= before[0]["allocated_wh"]
    assert import_twice(site, "later.json") == [{"unchanged"}, {"unchanged"}]
    changed = [{**bought[3], "energy_wh": bought[3]["energy_wh"] + 1}]
    (site.directory / "changed.json").write_text(json.dumps(changed))
    done = site.kwota("transactions", "import", "changed.json", "--json")
    assert done.returncode == 4
    site.agent.stop()
    bought_records = [r["d"]["id"] for r in site.records("ledger") if r["d"]["event"] == "purchase"]
    assert sorted(bought_records) == sorted(item["id"] for item in bought)
