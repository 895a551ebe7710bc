"""What a new life of the agent knows of the day's wear, from a real journal."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from agent.actuator import Actuation
from agent.core.cards import CARDS
from agent.core.decisions import Setpoint, Stage
from agent.core.wear import DAY_S
from agent.journal import open_journal
from agent.keys import create_log_key
from agent.orders import actuation_record
from agent.records import NewRecord
from agent.siteclock import SiteClock
from agent.store import JournalSettings
from agent.wearlog import recover_wear

AWAKE = Setpoint(is_awake=True, profile="default", boards_on=frozenset({0, 1, 2}))
DARK = Setpoint(is_awake=True, profile="default", boards_on=frozenset())
CARD_OF = {"a": CARDS["luxos"], "b": CARDS["luxos"]}


@dataclass
class Told:
    miner_id: str
    origin: Setpoint | None
    to: Setpoint
    stage: Stage = Stage.SENT

    def record(self) -> NewRecord:
        actuation = Actuation(
            miner_id=self.miner_id,
            at_ms=0,
            sent_at_s=0.0,
            stage=self.stage,
            setpoint=self.to,
            expected_w=3000.0,
            power_w=None,
            detail="",
            origin=self.origin,
            after_s=0.25,
        )
        record = actuation_record(actuation)
        assert record.data["after_ms"] == 250
        return NewRecord(kind=record.kind, source=record.source, data=record.data)


async def test_a_restart_of_the_agent_forgets_no_restart_of_a_machine(tmp_path: Path) -> None:
    key, clock = create_log_key(tmp_path / "log.key", "pool.example/edge/farm-1-e/1"), SiteClock()
    path = tmp_path / "journal.sqlite"
    settings = JournalSettings(path=path, max_bytes=10_000_000, version="0.1.0")
    rows = [
        Told("a", DARK, AWAKE),
        Told("a", DARK, AWAKE, Stage.CONFIRMED),  # the same command, further on
        Told("a", AWAKE, DARK),
        Told("a", DARK, AWAKE),
        Told("b", None, AWAKE),
        Told("gone", DARK, AWAKE),  # no longer in the configuration
    ]
    async with open_journal(settings, key, clock) as journal:
        await journal.append([row.record() for row in rows])
    async with open_journal(settings, key, clock) as journal:
        now_s, now_ms = clock.now_s(), clock.now_ms()
        wear = await recover_wear(journal, CARD_OF, now_s=now_s, now_ms=now_ms)
        assert {name: len(one.restarts_s) for name, one in wear.items()} == {"a": 2, "b": 1}
        assert wear["a"].down_at_s <= wear["a"].up_at_s == pytest.approx(now_s, abs=5)
        tomorrow = await recover_wear(
            journal, CARD_OF, now_s=now_s + DAY_S, now_ms=now_ms + 86_400_000
        )
        assert tomorrow == {}
