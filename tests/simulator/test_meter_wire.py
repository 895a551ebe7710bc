"""What lines and gateways do to a meter's answers, switched while it runs, and what our bus does.

Whatever comes over, a value is right or there is none; and the next answer is taken as if nothing
had been.
"""

import asyncio
import time

import pytest

from agent.core.meterfusion import Fusion, MeterTraits, observe
from drivers.errors import BadReplyError, BusyError, DriverError, UnreachableError
from drivers.meters.meter import ModbusMeter
from drivers.meters.registry import open_meter
from simulator.faults import FaultKind

TCP = {"id": "site", "port": 0, "serial": 12345678, "refresh_s": 0.1, "start_kwh": 100.0}
LINE = TCP | {"line": "serial", "baud": 115200}


def meter_at(site) -> ModbusMeter:
    return open_meter(
        site.network.meter_uri(0), meter_id="site", serial=None, rated_power_w=50_000.0
    )


def switch(site, kind: FaultKind, *, is_active: bool = True) -> None:
    site.farm.switch_fault(kind, [0], is_active=is_active, value=None)


async def read_again(meter: ModbusMeter) -> int:
    """As a poller does: the bus keeps a unit quiet for a while after what was no answer."""
    until_s = time.monotonic() + 8.0
    while True:
        try:
            return (await meter.read()).energy_import_wh
        except DriverError:
            assert time.monotonic() < until_s
            await asyncio.sleep(0.1)


@pytest.mark.parametrize(
    ("table", "kind", "error", "words"),
    [
        (TCP, FaultKind.METER_BUSY, BusyError, "busy"),
        (TCP, FaultKind.METER_STRANGER, BadReplyError, "as unit 2 instead of unit 1"),
        (TCP, FaultKind.METER_RESET, UnreachableError, "closed the connection"),
        (TCP, FaultKind.METER_HALF, BadReplyError, "no reply to unit 1"),
        (TCP, FaultKind.METER_CODE_ZERO, BadReplyError, "unknown code 0"),
        (TCP, FaultKind.METER_EMPTY, BadReplyError, "answered 2 bytes instead of"),
        (TCP, FaultKind.METER_HALF_OPEN, UnreachableError, "did not answer within"),
        (TCP, FaultKind.METER_POWER_CUT, UnreachableError, "did not answer within"),
        (LINE, FaultKind.METER_CODE_ZERO, BadReplyError, "unknown code 0"),
        (LINE, FaultKind.METER_EMPTY, BadReplyError, "answered 2 bytes instead of"),
        (LINE, FaultKind.METER_BUSY, BusyError, "busy"),
        (LINE, FaultKind.METER_STRANGER, BadReplyError, "as unit 2 instead of unit 1"),
        (LINE, FaultKind.METER_HALF, BadReplyError, "no reply to unit 1"),
        (LINE, FaultKind.METER_GARBLED, BadReplyError, "no reply to unit 1"),
    ],
)
async def test_what_is_no_answer_is_told_for_what_it_is_and_harms_no_later_one(
    open_site, table, kind: FaultKind, error: type[DriverError], words: str
) -> None:
    site = await open_site(meters=[table])
    meter = meter_at(site)
    before_wh = await read_again(meter)
    switch(site, kind)
    with pytest.raises(error, match=words):
        await meter.read()
    switch(site, kind, is_active=False)
    after_wh = await read_again(meter)
    await meter.close()
    assert before_wh <= after_wh <= before_wh + 100


@pytest.mark.parametrize(
    ("table", "kind"),
    [
        (TCP, FaultKind.METER_NO_ID),
        (TCP, FaultKind.METER_PIECES),
        (LINE, FaultKind.METER_NOISE),
        (LINE, FaultKind.METER_ECHO),
    ],
)
async def test_what_bears_an_answer_is_read_through(open_site, table, kind: FaultKind) -> None:
    site = await open_site(meters=[table])
    meter = meter_at(site)
    switch(site, kind)
    readings = [await meter.read() for _ in range(3)]
    await meter.close()
    site.farm.step(site.farm.clock.now_s())
    assert readings[-1].power_w == pytest.approx(site.farm.plant.power_w, rel=0.05)
    assert 100_000 <= readings[0].energy_import_wh <= readings[-1].energy_import_wh <= 100_100


async def test_a_connection_that_has_died_without_a_word_costs_one_time_out(open_site) -> None:
    """The old one never ends and never answers; a new one finds the meter."""
    site = await open_site(meters=[TCP])
    meter = meter_at(site)
    await meter.read()
    switch(site, FaultKind.METER_HALF_OPEN)
    with pytest.raises(UnreachableError, match="did not answer within"):
        await meter.read()
    assert await read_again(meter) >= 100_000
    await meter.close()


async def test_answers_that_come_when_they_like_are_right_or_none(open_site) -> None:
    site = await open_site(meters=[TCP])
    meter = meter_at(site)
    fault = FaultKind.METER_JITTER
    site.farm.switch_fault(fault, [0], is_active=True, value=0.2)
    took_s = []
    for _ in range(8):
        reading = await meter.read()
        took_s.append(reading.replied_at_s - reading.requested_at_s)
        assert 100_000 <= reading.energy_import_wh <= 100_100
    assert max(took_s) - min(took_s) > 0.05
    site.farm.switch_fault(fault, [0], is_active=True, value=30.0)
    with pytest.raises(UnreachableError, match="did not answer within"):
        await meter.read()
    await meter.close()


async def test_what_was_not_saved_is_gone_after_a_power_cut_and_the_register_is_held(
    open_site,
) -> None:
    power_w, save_s = 3.6e6, 1.0  # a watt-hour each millisecond
    site = await open_site(
        meters=[TCP | {"save_s": save_s}],
        machines=[{"model": "s21", "count": 0}],
        base_load={"constant_w": power_w},
    )
    meter = open_meter(
        site.network.meter_uri(0), meter_id="site", serial=None, rated_power_w=power_w
    )
    traits = MeterTraits(
        refresh_s=0.1, step_wh=10, power_error_share=0.01, rated_power_w=1.1 * power_w
    )
    fusion = Fusion(traits=traits)
    while site.farm.meters[0].energy_kwh < 100.0 + 1.8 * save_s:
        before = await meter.read()
        fusion = observe(fusion, before)
        await asyncio.sleep(0.05)
    assert not fusion.suspect
    switch(site, FaultKind.METER_POWER_CUT)
    switch(site, FaultKind.METER_POWER_CUT, is_active=False)
    after = await meter.read()
    lost_wh = before.energy_import_wh - after.energy_import_wh
    assert 100 < lost_wh <= (save_s + 0.3) * power_w / 3600
    fusion = observe(fusion, after)
    assert "fell" in fusion.suspect
    await meter.close()
