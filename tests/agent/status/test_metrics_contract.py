"""What docs/metrics.md promises, what /metrics answers, and what rules and dashboard name of it."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from agent.core.decisions import Mode
from agent.status.metrics import FAMILIES, render_metrics
from agent.status.view import SiteView

REPO = Path(__file__).parents[3]
DOCS = (REPO / "docs" / "metrics.md").read_text()
RULES = REPO / "config" / "prometheus" / "kwota.rules.yml"
RULES_TEST = RULES.with_name("kwota.rules.test.yml")
SCRAPE = RULES.with_name("prometheus.example.yml")
DASHBOARD = REPO / "config" / "grafana" / "kwota.json"
PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(
    PROMTOOL is None, reason="NOT TESTED: promtool is not installed (Debian: prometheus)"
)

# Words that promlint (client_golang, testutil/promlint) takes for units that are not base units,
# and abbreviations that it refuses.
FOREIGN_UNITS = {"minutes", "hours", "days", "weeks", "kelvins", "fahrenheit", "rankine", "inches"}
FOREIGN_UNITS |= {"yards", "miles", "bits", "calories", "pounds", "ounces"}
ABBREVIATIONS = {"s", "ms", "us", "ns", "sec", "b", "kb", "mb", "gb", "tb", "pb", "m", "h", "d"}
KINDS = {"gauge", "counter", "histogram", "summary"}
SELECTOR = re.compile(r"(kwota_\w+)(?:\{([^}]*)\})?")
LABEL = re.compile(r'(\w+)\s*=~?\s*"([^"]*)"')


def documented() -> dict[str, tuple[str, ...]]:
    """Labels by name, as the page lists them."""
    rows = re.findall(r"^\| `(kwota_\w+)` \| \w+ \| ([^|]+) \|", DOCS, re.MULTILINE)
    return {name: tuple(re.findall(r"`(\w+)`", labels)) for name, labels in rows}


def faults_of(expression: str) -> list[str]:
    """What an expression names that the page does not promise."""
    known = documented()
    # What Prometheus adds by itself, by job and target.
    added = {"instance", "job"}
    found = []
    for name, matchers in SELECTOR.findall(expression):
        if name not in known:
            found.append(f"{name} is not promised")
            continue
        labels = {label for label, _ in LABEL.findall(matchers)}
        found += [f"{name} has no label {one}" for one in labels - set(known[name]) - added]
    return found


def rules() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load(RULES.read_text())["groups"]
    listed: list[dict[str, Any]] = group["rules"]
    return listed


def test_what_is_exposed_is_what_is_promised_labels_and_all(site: SiteView) -> None:
    known = documented()
    exposed = {
        (name, frozenset(re.findall(r'(\w+)="', labels)))
        for name, labels in re.findall(
            r"^(\w+)(?:\{(.*)\})? \S+$", render_metrics(site).decode(), re.MULTILINE
        )
    }
    assert {name for name, _ in exposed} == set(known), "the example shows every family"
    assert exposed == {(name, frozenset(labels)) for name, labels in known.items()}


def test_every_name_ends_in_a_unit_of_the_page_or_counts() -> None:
    units = re.findall(r"^\| `_(\w+)` \| ", DOCS, re.MULTILINE)
    assert len(units) == 5
    for family in FAMILIES:
        words = family.name.removesuffix("_total")
        has_unit = any(words.endswith(f"_{unit}") for unit in units)
        told = re.search(r"\b(energy|power|hashrate|age|time)\b", words.replace("_", " "))
        assert has_unit or told is None, f"{family.name} has no unit"


def test_no_name_is_one_that_promtool_would_mark() -> None:
    for family in FAMILIES:
        words = set(family.name.split("_"))
        assert not words & (FOREIGN_UNITS | ABBREVIATIONS | KINDS), family.name
        assert family.name.endswith("_total") == (family.kind == "counter")
        assert family.name == family.name.lower()
        assert family.about.strip()
        assert not set(family.labels) & {"le", "quantile", "instance", "job"}


def test_every_alert_builds_on_promised_names_and_says_what_to_do() -> None:
    for rule in rules():
        expression = rule["expr"]
        assert faults_of(expression) == [], rule["alert"]
        assert rule["labels"]["severity"] in {"warning", "critical"}
        assert rule["annotations"].keys() == {"summary", "remedy"}
        for mode in re.findall(r'mode=~?"([^"]+)"', expression):
            assert set(mode.split("|")) <= {one.value for one in Mode}
    assert faults_of("kwota_nothing > 0") == ["kwota_nothing is not promised"]
    assert faults_of('kwota_miners{mode="x"}') == ["kwota_miners has no label mode"]


def test_the_page_lists_every_alert() -> None:
    listed = re.findall(r"`(Kwota\w+)`", DOCS)
    assert sorted(listed) == sorted(rule["alert"] for rule in rules())


def test_every_alert_is_seen_to_fire_and_not_to_fire_in_the_tests_of_the_rules() -> None:
    names = {rule["alert"]: rule["annotations"] for rule in rules()}
    tried = yaml.safe_load(RULES_TEST.read_text())
    assert tried["rule_files"] == [RULES.name]
    cases = [case for test in tried["tests"] for case in test["alert_rule_test"]]
    seen = {(case["alertname"], bool(case["exp_alerts"])) for case in cases}
    assert seen == {(name, fires) for name in names for fires in (False, True)}
    for test in tried["tests"]:
        for series in test["input_series"]:
            assert faults_of(series["series"]) == []
        for case in test["alert_rule_test"]:
            for alert in case["exp_alerts"]:
                assert alert["exp_annotations"]["remedy"] == names[case["alertname"]]["remedy"]


def test_the_scrape_job_has_the_name_that_the_rules_go_by() -> None:
    scraped = yaml.safe_load(SCRAPE.read_text())
    assert scraped["rule_files"] == [RULES.name]
    assert [job["job_name"] for job in scraped["scrape_configs"]] == ["kwota"]


def test_every_panel_builds_on_promised_names() -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels) > 10
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        expressions = [target["expr"] for target in panel["targets"]]
        assert expressions, panel["title"]
        for expression in expressions:
            assert "kwota_" in expression
            assert faults_of(expression) == [], panel["title"]
            assert expression.count("(") == expression.count(")")
            assert '{instance=~"$instance"}' in expression
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not cells & taken, f"{panel['title']} lies upon another"
        assert at["x"] + at["w"] <= 24
        taken |= cells
    (_, site) = dashboard["templating"]["list"]
    assert faults_of(site["definition"]) == []


@needs_promtool
@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "rules", RULES.name),
        ("test", "rules", RULES_TEST.name),
        ("check", "config", "--syntax-only", SCRAPE.name),
    ],
)
def test_promtool_accepts_the_rules_their_tests_and_the_scrape_job(
    arguments: tuple[str, ...],
) -> None:
    assert PROMTOOL is not None
    checked = subprocess.run(
        [PROMTOOL, *arguments], cwd=RULES.parent, capture_output=True, check=False, timeout=15
    )
    assert checked.returncode == 0, (checked.stdout + checked.stderr).decode()


@needs_promtool
def test_promtool_accepts_the_exposition_without_a_remark(site: SiteView) -> None:
    assert PROMTOOL is not None
    checked = subprocess.run(
        [PROMTOOL, "check", "metrics"],
        input=render_metrics(site),
        capture_output=True,
        check=False,
        timeout=10,
    )
    said = (checked.stdout + checked.stderr).decode()
    assert (checked.returncode, said) == (0, "")
