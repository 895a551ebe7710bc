"""What a new life of the agent knows of its relays, from a real journal."""

from pathlib import Path

import pytest

from agent.core.decisions import Because, Decision, Mode, RelayOrder
from agent.core.site import RelayMemory
from agent.journal import open_journal
from agent.keys import create_log_key
from agent.orders import decision_records
from agent.records import NewRecord
from agent.relaylog import recover_relays
from agent.siteclock import SiteClock
from agent.store import JournalSettings

WHY = Because(limit="purchase", source="t1", words="machines did not stop")


def orders(at_ms: int, *told: tuple[str, bool], is_shadow: bool = False) -> list[NewRecord]:
    decision = Decision(
        at_ms=at_ms,
        mode=Mode.SHEDDING,
        power_cap_w=0.0,
        planned_w=0.0,
        because=WHY,
        commands=(),
        relays=tuple(RelayOrder(relay_id=one, is_open=op, because=WHY) for one, op in told),
    )
    return list(decision_records(decision, meter_point="mp", is_shadow=is_shadow))


async def test_a_restart_of_the_agent_forgets_no_opening_of_the_day(tmp_path: Path) -> None:
    key, clock = create_log_key(tmp_path / "log.key", "pool.example/edge/farm-1-e/1"), SiteClock()
    settings = JournalSettings(
        path=tmp_path / "journal.sqlite", max_bytes=10_000_000, version="0.1.0"
    )
    now_s, now_ms = 500_000.0, clock.now_ms()
    written = [
        *orders(now_ms - 90_000_000, ("row", True)),  # more than a day ago
        *orders(now_ms - 3_600_000, ("row", True), ("gone", True)),
        *orders(now_ms - 1_800_000, ("row", False), ("hall", True)),
        *orders(now_ms - 900_000),
        *orders(now_ms - 600_000, ("row", True)),
        *orders(now_ms - 300_000, ("hall", True), is_shadow=True),
    ]
    async with open_journal(settings, key, clock) as journal:
        await journal.append(written)
        found = await recover_relays(journal, {"row", "hall", "new"}, now_s=now_s, now_ms=now_ms)
        assert await recover_relays(journal, (), now_s=now_s, now_ms=now_ms) == {}
    assert found.keys() == {"row", "hall"}
    assert found["row"] == RelayMemory(
        opened_at_s=pytest.approx(now_s - 600),
        closed_at_s=pytest.approx(now_s - 1800),
        trips_s=(pytest.approx(now_s - 3600), pytest.approx(now_s - 600)),
    )
    assert found["hall"].trips_s == (pytest.approx(now_s - 1800),)
