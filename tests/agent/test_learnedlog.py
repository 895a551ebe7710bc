"""What was learned of a site outlives the agent, to the last bit, in a real journal."""

import dataclasses
import random

import pytest

from agent.core.discrepancy import LEARNING, Discrepancy, Quarter, weighed
from agent.learnedlog import KIND, OLD_MS, learned_record, recover_learned
from agent.records import NewRecord, parse_record


def quarters(count: int, *, tap_wh: float = 0.0, seed: int = 3) -> list[Quarter]:
    rng = random.Random(seed)
    return [
        Quarter(
            metered_wh=machines_wh * 1.01 + 6_000 + tap_wh + rng.gauss(0, 200),
            machines_wh=machines_wh,
            tolerance_share=0.12,
            meter_share=0.01,
            step_wh=10.0,
            base_max_wh=20_000.0,
            hour=n // 4 % 24,
        )
        for n in range(count)
        for machines_wh in [100_000 + rng.uniform(-20_000, 20_000)]
    ]


def lived(known: Discrepancy, some: list[Quarter]) -> Discrepancy:
    for quarter in some:
        known = weighed(known, quarter)
    return known


async def recovered(rig, found: Discrepancy, *, later_ms: int = 1000, meter_id: str = "site"):
    async with rig.journal() as journal:
        await journal.append([learned_record("mp-1", "site", found)], urgent=True)
        (line,) = await journal.tail(1, KIND)
        now_ms = parse_record(line).time_us // 1000 + later_ms
        return await recover_learned(journal, meter_point="mp-1", meter_id=meter_id, now_ms=now_ms)


async def test_a_tap_is_found_although_the_agent_was_restarted_at_its_first_quarter(rig) -> None:
    """Whoever begins to take energy at a restart gains nothing by it."""
    before = lived(Discrepancy(), quarters(LEARNING + 100))
    after = await recovered(rig, before)
    assert after == before
    tapped = quarters(40, tap_wh=3_000.0, seed=4)
    assert lived(after, tapped).code == "UNSEEN_LOAD"
    assert lived(Discrepancy(), tapped).code == ""  # as it would be if all had been forgotten


async def test_an_alarm_that_stands_stands_after_a_restart(rig) -> None:
    known = lived(Discrepancy(), quarters(LEARNING + 100))
    accused = lived(known, quarters(40, tap_wh=3_000.0, seed=4))
    assert (await recovered(rig, accused)).code == "UNSEEN_LOAD"


@pytest.mark.parametrize(
    "changes", [{"meter_id": "another"}, {"later_ms": OLD_MS + 1}], ids=["meter", "age"]
)
async def test_what_was_of_another_meter_or_time_is_learned_anew(rig, changes) -> None:
    known = lived(Discrepancy(), quarters(10))
    assert await recovered(rig, known, **changes) == Discrepancy()


async def test_what_another_version_wrote_is_learned_anew(rig) -> None:
    data = dict(learned_record("mp-1", "site", Discrepancy()).data)
    data["found"] = {**data["found"], "sixth_sense": 1}
    async with rig.journal() as journal:
        empty = await recover_learned(journal, meter_point="mp-1", meter_id="site", now_ms=0)
        assert empty == Discrepancy()
        await journal.append([NewRecord(kind=KIND, source="mp-1", data=data)], urgent=True)
        found = await recover_learned(journal, meter_point="mp-1", meter_id="site", now_ms=0)
        assert found == Discrepancy()


def test_a_record_is_small_enough_to_be_written_every_quarter() -> None:
    known = lived(Discrepancy(), quarters(LEARNING + 100))
    assert len(str(learned_record("mp-1", "site", known).data)) < 2_500
    assert {one.name for one in dataclasses.fields(Discrepancy)} == set(
        learned_record("mp-1", "site", known).data["found"]
    )
