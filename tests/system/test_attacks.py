"""The running agent under every attack at once: who is refused, and that no tick comes late."""

import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.system, pytest.mark.timeout(120)]

ATTACKER = Path(__file__).with_name("attacker.py")
ARTEFACTS = Path(__file__).parents[2] / "artefacts"
CALM_S, ATTACK_S = 5.0, 15.0
#: A tick is wanted every second. A silent meter has to be noticed within five.
LATEST_S = 2.0
#: What each attack may be answered with; a full house (503) or no answer goes for all.
REFUSALS = {
    "visitor": {"200"},
    "foreign name": {"421", "429"},
    "path": {"400", "404", "429"},
    "smuggling": {"400", "413", "429"},
    "gigabyte": {"413", "429"},
    "slowloris": {"400", "408", "429"},
    "connection": {"200", "429"},
}


def gaps_s(records: list[dict[str, Any]]) -> list[float]:
    """How long it was from each tick to the next."""
    ticks_ms = [one["d"]["mono_ms"] for one in records if one["k"] == "tick"]
    return [(after - before) / 1000 for before, after in pairwise(ticks_ms)]


def test_no_attack_on_the_page_is_let_in_or_keeps_the_agent_from_its_ticks(site) -> None:
    site.start_broker()
    site.start_farm(8)
    site.start_agent()
    site.wait_until(site.truth()["at_ms"] + int(CALM_S * 1000))
    begun = site.api("status")["delivery"]["journal_size"]
    told = subprocess.run(
        [sys.executable, ATTACKER, "127.0.0.1", str(site.page_port), str(ATTACK_S)],
        stdout=subprocess.PIPE,
        timeout=ATTACK_S + 30,
        check=True,
    ).stdout
    ended = site.api("status")["delivery"]["journal_size"]
    site.agent.stop()
    assert site.agent.process.returncode == 0

    answers = json.loads(told)
    for attack, allowed in REFUSALS.items():
        assert set(answers[attack]) <= allowed | {"503", "none"}, (attack, answers[attack])
    for attack in ("foreign name", "path", "smuggling", "gigabyte", "visitor"):
        assert set(answers[attack]) & REFUSALS[attack], f"{attack} never got as far as an answer"
    assert sum(answers["connection"].values()) > 1_000, "that was no flood"
    assert sum(answers["connection"].get(code, 0) for code in ("429", "503")) > 0

    records = site.records()
    under_attack = gaps_s(records[begun:ended])
    worst_s, calm_s = max(under_attack), max(gaps_s(records[:begun]))
    ARTEFACTS.mkdir(exist_ok=True)
    figures = {"answers": answers, "tick_worst_s": worst_s, "tick_worst_calm_s": calm_s}
    (ARTEFACTS / "attacks.json").write_text(json.dumps(figures, indent=1))
    assert len(under_attack) > ATTACK_S / 2
    assert worst_s < LATEST_S
