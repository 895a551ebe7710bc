"""Why there is no reading of a meter has a letter of its own: no answer, no value, no belief."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from agent.core.samples import MeterTraits
from agent.poller import Poller
from agent.posts import MeterPost
from agent.siteclock import SiteClock
from agent.status.portrait import quality_of
from agent.testimony import lost_state
from drivers.meters.registry import open_meter
from drivers.readings import Quality
from simulator.clock import started_now
from simulator.farm import build_farm
from simulator.farm_file import FarmFile
from simulator.faults import FaultKind
from simulator.network import Network

RATED_W = 50_000.0
FARM = {
    "machines": [{"model": "s21", "count": 0}],
    "meters": [{"id": "site", "port": 0, "serial": 7, "refresh_s": 0.1}],
    "base_load": {"constant_w": 3_000.0},
}

Polled = Callable[..., Awaitable[MeterPost]]


@pytest.fixture
async def polled() -> AsyncIterator[Polled]:
    """A simulated meter that was read, then polled with a fault until that is noticed."""
    opened: list[Any] = []

    async def poll(kind: FaultKind | None, *, serial: str | None = None) -> MeterPost:
        network = Network(farm=build_farm(FarmFile.model_validate(FARM), started_now()))
        await network.open()
        opened.append(network)
        uri = network.meter_uri(0)
        device = open_meter(uri, meter_id="site", serial=serial, rated_power_w=RATED_W)
        opened.append(device)
        traits = MeterTraits(
            refresh_s=0.1, step_wh=10, power_error_share=0.01, rated_power_w=RATED_W
        )
        post = MeterPost(
            meter_id="site",
            address=uri,
            profile="sdm630",
            poll_s=0.05,
            device=device,
            traits=traits,
            step_wh=device.profile.energy_step_wh,
        )
        polling = asyncio.ensure_future(
            Poller(clock=SiteClock(), meters=(post,), miners=(), miner_period_s=1.0).poll_meter(
                post
            )
        )
        async with asyncio.timeout(8):
            while serial is None and post.reading is None:  # noqa: ASYNC110 - a poll tells nobody
                await asyncio.sleep(0.01)
            if kind is not None:
                network.farm.switch_fault(kind, [0], is_active=True, value=None)
                await network.apply_faults()
            while (kind or serial) and post.fault is None:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        polling.cancel()
        return post

    yield poll
    for one in reversed(opened):
        await one.close()


@pytest.mark.parametrize(
    ("kind", "letter"),
    [
        (FaultKind.METER_NAN, Quality.FAULTY),
        (FaultKind.METER_REFUSE, Quality.TIMED_OUT),
        (FaultKind.METER_SILENT, Quality.TIMED_OUT),
    ],
)
async def test_an_answer_that_is_no_value_is_told_from_none(
    polled: Polled, kind: FaultKind, letter: Quality
) -> None:
    view = (await polled(kind)).view()
    assert view.fault
    assert lost_state(view, is_held=False) is letter
    assert lost_state(view, is_held=True) is Quality.SUSPECT


async def test_another_meter_in_its_place_is_faulty(polled: Polled) -> None:
    assert (await polled(None, serial="8")).is_faulty


async def test_a_meter_that_answers_again_is_not_faulty_any_more(polled: Polled) -> None:
    post = await polled(None)
    assert (post.fault, post.is_faulty) == (None, False)


@pytest.mark.parametrize(
    ("changes", "words", "shown"),
    [
        ({}, "", "G"),
        ({}, "the register fell", "S"),
        ({"fault": "NaN", "is_faulty": True}, "NaN", "F"),
        ({"fault": "no answer"}, "no answer", "T"),
        ({"reading": None, "fault": "no answer"}, "no answer", None),
    ],
)
async def test_the_page_shows_that_letter(
    polled: Polled, changes: dict[str, Any], words: str, shown: str | None
) -> None:
    view = replace((await polled(None)).view(), **changes)
    assert quality_of(view, words) == shown
