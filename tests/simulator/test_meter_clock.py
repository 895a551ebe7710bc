"""A simulated meter's own clock, and what our driver and ``kwota poll`` make of it."""

import asyncio
import time
from datetime import UTC, datetime

import pytest

from drivers.errors import BadReplyError
from drivers.link.modbus import RegisterRefusedError
from drivers.meters.meter import ModbusMeter
from drivers.meters.registry import open_meter
from simulator.faults import FaultKind

MODELS = ("pm5000", "iem3000")


def table(model: str) -> dict[str, object]:
    return {"id": "site", "model": model, "port": 0, "serial": 7, "refresh_s": 0.1}


def meter_at(site, model: str) -> ModbusMeter:
    way = site.network.meter_uri(0).partition("?")[0]
    return open_meter(
        f"{way}?profile={model}", meter_id="site", serial=None, rated_power_w=50_000.0
    )


def ahead_s(shown: datetime) -> float:
    return shown.replace(tzinfo=UTC).timestamp() - time.time()


@pytest.mark.parametrize("model", MODELS)
async def test_its_clock_is_read_as_it_shows(open_site, model: str) -> None:
    site = await open_site(meters=[table(model)])
    meter = meter_at(site, model)
    first = await meter.read_clock()
    assert first is not None
    assert abs(ahead_s(first.shown)) < 1.0
    assert not first.is_utc
    site.farm.switch_fault(FaultKind.METER_CLOCK_OFF, [0], is_active=True, value=-5_400.0)
    off = await meter.read_clock()
    assert off is not None
    assert abs(ahead_s(off.shown) + 5_400) < 1.0
    await meter.close()


@pytest.mark.parametrize("model", MODELS)
async def test_a_clock_that_stands_stands_and_one_that_was_never_set_shows_nothing(
    open_site, model: str
) -> None:
    site = await open_site(meters=[table(model)])
    meter = meter_at(site, model)
    site.farm.switch_fault(FaultKind.METER_CLOCK_STOPPED, [0], is_active=True, value=None)
    first, second = await meter.read_clock(), await meter.read_clock()
    assert first is not None
    assert second is not None
    assert first.shown == second.shown
    site.farm.switch_fault(FaultKind.METER_CLOCK_UNSET, [0], is_active=True, value=None)
    with pytest.raises(BadReplyError, match="shows no time"):
        await meter.read_clock()
    await meter.close()


async def test_a_profile_without_a_clock_asks_for_none(open_site) -> None:
    site = await open_site(meters=[table("sdm630")])
    meter = meter_at(site, "sdm630")
    assert await meter.read_clock() is None
    assert site.network.meters[0].requests == 0
    await meter.close()


async def test_one_of_the_family_that_has_no_clock_says_so(open_site) -> None:
    site = await open_site(meters=[table("umg96")])
    meter = meter_at(site, "pm5000")
    with pytest.raises(RegisterRefusedError, match=r"0x0734…0x0737.*no such register") as refused:
        await meter.read_clock()
    assert refused.value.is_absence
    await meter.close()


async def test_no_reading_and_no_identification_asks_for_the_clock(open_site) -> None:
    site = await open_site(meters=[table("pm5000")])
    meter = meter_at(site, "pm5000")
    site.farm.switch_fault(FaultKind.METER_CLOCK_UNSET, [0], is_active=True, value=None)
    await meter.identify()
    assert (await meter.read()).clock is None
    assert {one.name for one in await meter.read_quantities()} >= {"energy", "power"}
    await meter.close()


async def test_a_purchases_reading_goes_before_the_clock_that_asked_first(open_site) -> None:
    site = await open_site(meters=[table("pm5000") | {"answer_delay_s": 0.1, "step_kwh": 0.001}])
    uri = site.network.meter_uri(0)
    meter = open_meter(uri, meter_id="site", serial=None, rated_power_w=50_000.0, is_budget=True)
    await meter.read()
    busy = asyncio.ensure_future(meter.read())
    await asyncio.sleep(0.05)
    clock = asyncio.ensure_future(meter.read_clock())
    await asyncio.sleep(0)
    reading, shown = await asyncio.gather(meter.read(), clock)
    await busy
    await meter.close()
    assert shown is not None
    assert reading.replied_at_s <= shown.requested_at_s
