"""Limits told to a running daemon: kept at the farm itself, and not forgotten by a restart."""

import json
from datetime import UTC, datetime, timedelta

import pytest

pytestmark = [pytest.mark.system, pytest.mark.timeout(120)]


def limit(site, *words: str, code: int = 0):
    done = site.kwota("limit", *words, "--json")
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return json.loads(done.stdout) if done.stdout else done.stderr


def ruling(site) -> dict:
    (row,) = [row for row in site.api("status")["limits"] if row["is_ruling"]]
    return row


def power_w(site) -> float:
    return site.truth()["power_w"]


def in_minutes(minutes: float) -> str:
    return (datetime.now(UTC) + timedelta(minutes=minutes)).isoformat(timespec="seconds")


def test_a_limit_is_kept_from_the_command_line_to_the_machines_and_over_a_restart(site) -> None:
    site.start_broker()
    site.start_farm(6)
    site.start_agent()
    site.wait_for(lambda: site.api("status")["mode"] == "following", 20, "it did not settle")
    assert {row["kind"] for row in site.api("status")["limits"]} == {"purchase", "connection"}

    half_kw = f"{site.full_power_w / 2000:.1f}"
    bound_w = float(half_kw) * 1000
    told = limit(site, "set", "--kw", half_kw, "--for", "30m", "--reason", "a hot transformer")
    assert (told["limit_id"], told["result"]) == ("manual-1", "accepted")
    site.wait_for(lambda: power_w(site) <= bound_w * 1.01, 15, "the limit was not reached")
    row = ruling(site)
    assert (row["id"], row["kind"], row["power_w"]) == ("manual-1", "manual", bound_w)
    assert "a hot transformer" in row["words"]
    assert "a hot transformer" in site.kwota("status").stdout
    assert "a hot transformer" in site.kwota("limit", "list").stdout

    order = ("order", "--id", "o-7", "--kw", "0", "--from", in_minutes(60), "--to", in_minutes(90))
    assert limit(site, *order)["result"] == "accepted"
    assert limit(site, *order)["result"] == "unchanged"
    assert limit(site, *order[:3], "--kw", "1", *order[5:], code=4)["result"] == "refused"
    said = limit(site, "set", "--kw", "half", "--for", "30m", "--reason", "x", code=2)
    assert "not a number" in said
    assert (
        "would limit nothing"
        in limit(site, "set", "--kw", "999999", "--for", "30m", "--reason", "x", code=4)["reason"]
    )

    site.agent.stop()
    site.agent = None
    site.start_agent()
    site.wait_for(lambda: ruling(site)["id"] == "manual-1", 20, "the limit was forgotten")
    assert power_w(site) <= bound_w * 1.01
    assert "o-7" in {row["id"] for row in site.api("status")["limits"]}

    assert limit(site, "clear", "manual-1")["result"] == "cleared"
    assert limit(site, "clear", "rated_power_w", code=4)["result"] == "refused"
    site.wait_for(lambda: power_w(site) > bound_w * 1.2, 60, "nothing rose after the limit")
    site.agent.stop()
    events = [(record["s"], record["d"]["event"]) for record in site.records("limit")]
    assert events[:2] == [("manual-1", "told"), ("manual-1", "reached")]
    assert {("o-7", "told"), ("o-7", "refused"), ("manual-1", "cleared")} <= set(events)
    rulers = {record["d"]["because"]["source"] for record in site.records("decision")}
    assert "manual-1" in rulers
