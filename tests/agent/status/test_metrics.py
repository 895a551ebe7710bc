"""The exposition, read by a parser of its own that accepts nothing but the format."""

import math
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.status.metrics import CONTENT_TYPE, FAMILIES, render_metrics
from agent.status.view import SiteView

NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\\\|\\"|\\n)*)"(,|$)')
SAMPLE = re.compile(r"([^\s{]+)(?:\{(.*)\})? (\S+)")
UNESCAPED = {"\\\\": "\\", '\\"': '"', "\\n": "\n"}

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def parse_labels(text: str) -> dict[str, str]:
    labels: dict[str, str] = {}
    at = 0
    while at < len(text):
        match = LABEL.match(text, at)
        assert match, f"labels do not parse: {text[at:]!r}"
        name, value, _ = match.groups()
        assert name not in labels
        labels[name] = re.sub(r'\\[\\"n]', lambda found: UNESCAPED[found[0]], value)
        at = match.end()
    return labels


def parse(exposition: bytes) -> Samples:
    """Samples by name and labels. Every rule of text format 0.0.4 that we rely on is an assert."""
    text = exposition.decode()
    assert text.endswith("\n")
    kinds: dict[str, str] = {}
    samples: Samples = {}
    open_name, helped = "", ""
    for line in text[:-1].split("\n"):
        if line.startswith("# HELP "):
            helped, about = line[7:].split(" ", 1)
            assert helped not in kinds, f"{helped} is announced twice"
            assert about.strip()
        elif line.startswith("# TYPE "):
            open_name, kind = line[7:].split(" ")
            assert open_name == helped
            assert kind in {"gauge", "counter"}
            kinds[open_name] = kind
        else:
            match = SAMPLE.fullmatch(line)
            assert match, f"a sample does not parse: {line!r}"
            name, labels, value = match.groups()
            assert NAME.fullmatch(name)
            assert name == open_name, f"{name} stands outside its family"
            number = float(value)
            assert math.isfinite(number)
            key = (name, frozenset(parse_labels(labels or "").items()))
            assert key not in samples, f"{key} is there twice"
            samples[key] = number
    for name, kind in kinds.items():
        assert name.endswith("_total") == (kind == "counter")
        assert any(key[0] == name for key in samples), f"{name} has no sample"
    return samples


def at(samples: Samples, name: str, **labels: str) -> float:
    return samples[name, frozenset(labels.items())]


def names(samples: Samples) -> set[str]:
    return {name for name, _ in samples}


def changed(site: SiteView, **update: object) -> SiteView:
    return site.model_copy(update={"status": site.status.model_copy(update=update)})


def test_the_numbers_are_those_of_the_view(site: SiteView) -> None:
    samples = parse(render_metrics(site))
    assert at(samples, "kwota_site_power_watts") == 180_460
    assert at(samples, "kwota_site_power_cap_watts") == 182_400
    assert at(samples, "kwota_energy_purchased_wh") == 1_000_000
    assert at(samples, "kwota_energy_used_wh") == 412_000
    assert at(samples, "kwota_energy_used_upper_wh") == 412_750
    assert at(samples, "kwota_window_left_wh") == 587_250
    assert at(samples, "kwota_window_left_seconds") == 2_129
    assert at(samples, "kwota_energy_over_wh") == 0
    assert at(samples, "kwota_meter_point_energy_left_wh", meter_point="mp-1") == 587_250
    assert at(samples, "kwota_meter_point_mode", meter_point="mp-2", mode="blind") == 1
    assert ("kwota_meter_point_power_watts", frozenset({("meter_point", "mp-2")})) not in samples
    assert at(samples, "kwota_miners", state="throttled") == 7
    assert at(samples, "kwota_miners_known") == 60
    assert at(samples, "kwota_meter_age_seconds", meter="site") == 0.4
    energy = at(samples, "kwota_meter_energy_import_wh_total", meter="site")
    assert energy == 48_213_907_412
    assert at(samples, "kwota_miner_boards_on", miner="r1-s05") == 2
    assert at(samples, "kwota_journal_records") == 1_482_113
    assert at(samples, "kwota_journal_cosigned_records") == 1_482_090
    assert at(samples, "kwota_journal_unsent_records") == 23
    assert at(samples, "kwota_alarms", code="RELAY_TEST", severity="critical") == 1
    assert at(samples, "kwota_clock_trusted") == 1
    assert at(samples, "kwota_broker_connected") == 1
    assert at(samples, "kwota_governor_mode", mode="following") == 1
    assert at(samples, "kwota_governor_mode", mode="blind") == 0
    info = {"farm": "ekibastuz-1", "agent": "edge-1", "version": "0.1.0"}
    assert at(samples, "kwota_build_info", **info) == 1


def test_the_next_window_and_the_relays_have_their_numbers(site: SiteView) -> None:
    samples = parse(render_metrics(site))
    ahead = site.status.preflight
    assert ahead is not None
    assert at(samples, "kwota_preflight_can_comply") == 1
    assert at(samples, "kwota_preflight_start_timestamp_seconds") == ahead.start_ms / 1000
    assert at(samples, "kwota_preflight_purchased_wh") == 950_000
    assert at(samples, "kwota_preflight_least_wh") == 17_310
    assert at(samples, "kwota_preflight_stop_seconds") == 12.5
    assert at(samples, "kwota_preflight_controllable_ratio") == 0.9666
    assert at(samples, "kwota_preflight_losable_ratio") == 0.62
    assert at(samples, "kwota_relay_open", relay="feeder-1") == 0
    assert at(samples, "kwota_relay_open", relay="feeder-2") == 1
    assert ("kwota_relay_open", frozenset({("relay", "feeder-3")})) not in samples
    assert at(samples, "kwota_relay_openings_last_day", relay="feeder-2") == 2
    lost = changed(site, preflight=ahead.model_copy(update={"can_comply": False}))
    assert at(parse(render_metrics(lost)), "kwota_preflight_can_comply") == 0


def test_a_large_register_keeps_its_last_digit(site: SiteView) -> None:
    assert b'_total{meter="site"} 48213907412\n' in render_metrics(site)


def test_an_absent_number_has_no_sample(site: SiteView) -> None:
    before = names(parse(render_metrics(site)))
    gone = ("power_w", "power_cap_w", "base_load_w", "window", "preflight")
    bare = changed(site, **dict.fromkeys(gone), alarms=[], relays=[])
    after = parse(render_metrics(bare))
    assert before - names(after) == {
        "kwota_site_power_watts",
        "kwota_site_power_cap_watts",
        "kwota_site_base_load_watts",
        "kwota_energy_purchased_wh",
        "kwota_energy_used_wh",
        "kwota_energy_used_upper_wh",
        "kwota_window_left_wh",
        "kwota_window_left_seconds",
        "kwota_preflight_can_comply",
        "kwota_preflight_start_timestamp_seconds",
        "kwota_preflight_purchased_wh",
        "kwota_preflight_least_wh",
        "kwota_preflight_stop_seconds",
        "kwota_preflight_controllable_ratio",
        "kwota_preflight_losable_ratio",
        "kwota_relay_open",
        "kwota_relay_openings_last_day",
        "kwota_alarms",
    }
    unread = frozenset({("miner", "r4-s03")})
    assert ("kwota_miner_power_watts", unread) not in after
    assert ("kwota_miner_faulty", unread) in after
    assert ("kwota_meter_age_seconds", frozenset({("meter", "feeder-2")})) not in after


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_none_is_never_exposed(site: SiteView, number: float) -> None:
    samples = parse(render_metrics(changed(site, power_w=number)))
    assert "kwota_site_power_watts" not in names(samples)


@given(text=st.text(min_size=1))
def test_any_name_of_a_machine_comes_back_whole(text: str) -> None:
    from agent.status.metrics import _label_set

    assert parse_labels(_label_set(("miner",), (text,))[1:-1]) == {"miner": text}


def test_a_hostile_name_cannot_add_a_sample(site: SiteView) -> None:
    name = 'r1"} 1\nkwota_site_power_watts 0\n# \\'
    row = site.miners[0].model_copy(update={"miner_id": name})
    samples = parse(render_metrics(site.model_copy(update={"miners": [row]})))
    assert at(samples, "kwota_site_power_watts") == 180_460
    assert at(samples, "kwota_miner_power_watts", miner=name) == row.power_w


def test_an_unknown_mode_still_has_a_sample(site: SiteView) -> None:
    samples = parse(render_metrics(changed(site, mode="resting")))
    assert at(samples, "kwota_governor_mode", mode="resting") == 1


def test_the_page_of_metrics_lists_them_all_as_they_are() -> None:
    page = Path(__file__).parents[3] / "docs" / "metrics.md"
    rows = re.findall(
        r"^\| `(kwota_\w+)` \| (\w+) \| ([^|]+) \| (.+) \|$", page.read_text(), re.MULTILINE
    )
    documented = [
        (name, kind, tuple(re.findall(r"`(\w+)`", labels)), about)
        for name, kind, labels, about in rows
    ]
    real = [(family.name, family.kind, family.labels, family.about) for family in FAMILIES]
    assert documented == real


def test_the_content_type_names_the_version() -> None:
    assert CONTENT_TYPE == "text/plain; version=0.0.4; charset=utf-8"
