import asyncio
from collections.abc import Coroutine

import pytest

from agent.lanes import Lanes, Sizes
from drivers.errors import UnreachableError

SMALL = Sizes(live=2, slow=1, hold_s=0.05)


async def outcome(lanes: Lanes, spends_s: float, *, is_suspect: bool = False) -> str:
    try:
        await lanes.ask(lambda: asyncio.sleep(spends_s), limit_s=0.4, is_suspect=is_suspect)
    except UnreachableError as error:
        return str(error)
    return "answered"


async def after_quick_answers() -> Lanes:
    """Lanes that know that machines answer at once here."""
    lanes = Lanes(SMALL)
    for _ in range(100):
        await lanes.ask(lambda: asyncio.sleep(0), limit_s=0.4, is_suspect=False)
    assert lanes.hold_s == SMALL.hold_s
    return lanes


async def timed(lanes: Lanes, spends_s: float, *, is_suspect: bool = False) -> tuple[str, float]:
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    return await outcome(lanes, spends_s, is_suspect=is_suspect), loop.time() - began_s


async def test_a_slow_machine_has_all_its_time_while_nobody_waits() -> None:
    said, spent_s = await timed(Lanes(SMALL), 0.3)
    assert said == "answered"
    assert spent_s >= 0.3


async def test_a_machine_that_hangs_is_given_up_at_its_limit() -> None:
    said, spent_s = await timed(Lanes(SMALL), 60.0)
    assert said.startswith("no complete answer within")
    assert 0.35 <= spent_s < 1.0


async def test_whoever_waits_has_a_seat_as_soon_as_another_has_held_it_for_long() -> None:
    lanes = await after_quick_answers()
    hanging = [asyncio.ensure_future(timed(lanes, 60.0)) for _ in range(2)]
    await asyncio.sleep(0.01)
    said, spent_s = await timed(lanes, 0.0)
    assert said == "answered"
    assert spent_s < 0.3
    # One of them moved to the slow lane and had all its time there, as there was a seat.
    assert sorted(round(spent_s, 1) for _, spent_s in await asyncio.gather(*hanging)) == [0.4, 0.4]


async def test_the_one_who_finds_no_seat_in_the_slow_lane_either_is_cut_short() -> None:
    lanes = await after_quick_answers()
    full = asyncio.ensure_future(timed(lanes, 60.0, is_suspect=True))
    await asyncio.sleep(0)
    hanging = [asyncio.ensure_future(timed(lanes, 60.0)) for _ in range(2)]
    await asyncio.sleep(0.01)
    waiting = [asyncio.ensure_future(timed(lanes, 0.0)) for _ in range(3)]
    for said, spent_s in await asyncio.gather(*waiting):
        assert said == "answered"
        assert spent_s < 0.3
    spent = sorted([spent_s for _, spent_s in await asyncio.gather(*hanging)])
    assert spent[0] < 0.3
    await full


async def test_who_tidies_up_after_its_limit_harms_nobody_who_waits_for_its_seat() -> None:
    lanes = await after_quick_answers()

    async def untidy() -> None:
        try:
            await asyncio.sleep(60.0)
        finally:
            await asyncio.sleep(0.2)

    async with asyncio.TaskGroup() as polls:
        full = polls.create_task(timed(lanes, 60.0, is_suspect=True))
        await asyncio.sleep(0.1)
        for _ in range(2):
            ending = lanes.ask(untidy, limit_s=0.1, is_suspect=False)
            polls.create_task(_given_up(ending))
        await asyncio.sleep(0.15)
        said, spent_s = await timed(lanes, 0.0)
        assert said == "answered"
        assert spent_s < 0.3
        full.cancel()


async def _given_up(poll: Coroutine[None, None, None]) -> None:
    with pytest.raises(UnreachableError, match="no complete answer"):
        await poll


async def test_suspects_wait_for_each_other_and_for_nobody_else() -> None:
    lanes = Lanes(SMALL)
    suspects = [asyncio.ensure_future(timed(lanes, 0.1, is_suspect=True)) for _ in range(3)]
    await asyncio.sleep(0.01)
    _, spent_s = await timed(lanes, 0.0)
    assert spent_s < 0.05
    spent = [spent_s for _, spent_s in await asyncio.gather(*suspects)]
    assert spent == sorted(spent)
    assert spent[2] >= 0.3


async def test_who_is_cancelled_while_waiting_leaves_no_seat_taken() -> None:
    lanes = Lanes(SMALL)
    suspects = [asyncio.ensure_future(timed(lanes, 0.1, is_suspect=True)) for _ in range(3)]
    await asyncio.sleep(0.01)
    suspects[1].cancel()
    suspects[0].cancel()  # hands its seat over in this very moment
    suspects[2].cancel()
    await asyncio.wait(suspects)
    said, spent_s = await timed(lanes, 0.0, is_suspect=True)
    assert said == "answered"
    assert spent_s < 0.05


async def test_an_error_of_the_poll_frees_its_seat() -> None:
    lanes = Lanes(Sizes(live=1, slow=1, hold_s=0.05))

    async def broken() -> None:
        raise LookupError

    for _ in range(3):
        with pytest.raises(LookupError):
            await lanes.ask(broken, limit_s=1.0, is_suspect=False)
    assert await outcome(lanes, 0.0) == "answered"
