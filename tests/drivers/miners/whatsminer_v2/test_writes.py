"""The driver of Whatsminer API v2 commands simulated machines: tokens, refusals, lies, silence."""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from drivers.errors import (
    BusyError,
    DriverError,
    RefusedError,
    UnknownOutcomeError,
    UnreachableError,
    UnsupportedError,
    WrongDeviceError,
)
from drivers.link import sealed
from drivers.readings import Activity
from simulator.faults import FaultKind

PASSWORD = "farmpass"  # the simulator's own

Open = Callable[..., Awaitable[Any]]
Listen = Callable[[Any], Awaitable[int]]


FIRMWARES: list[dict[str, Any]] = [
    {},
    {"padding": "pkcs7"},
    {"api": "2.0.4", "ends_with_nul": True},
    {"api": "2.2.0"},
    {"answers_asleep": False},
]


@pytest.mark.parametrize("table", FIRMWARES)
async def test_a_percent_sleep_and_wake_move_the_watts_and_are_read_back(
    hall: Open, table: dict[str, Any]
) -> None:
    site = await hall(**table)
    miner = site.miner()
    await miner.select_profile("70%")
    await asyncio.sleep(0.3)
    throttled = await miner.read()
    assert (throttled.profile, throttled.activity) == ("70%", Activity.HASHING)
    assert site.true_w == pytest.approx(0.7 * 3350.0, rel=0.01)
    assert throttled.power_w == pytest.approx(site.true_w, abs=1.0)
    await miner.sleep()
    await asyncio.sleep(0.3)
    asleep = await miner.read()
    assert (asleep.activity, asleep.profile, len(asleep.boards)) == (Activity.SLEEPING, "100%", 3)
    assert site.true_w < 60.0
    await miner.wake()
    assert (await miner.read()).activity is Activity.RAMPING
    await asyncio.sleep(0.6)
    awake = await miner.read()
    assert (awake.activity, awake.profile) == (Activity.HASHING, "100%")
    assert site.true_w == pytest.approx(3350.0, rel=0.01)
    assert site.traits.tokens_given == 1  # one token for all three


async def test_a_token_that_the_machine_has_forgotten_is_renewed_once(hall: Open) -> None:
    site = await hall()
    miner = site.miner()
    await miner.sleep()
    site.traits.tokens.clear()
    await miner.wake()
    assert site.farm.plant.machines[0].is_awake
    assert site.traits.tokens_given == 2


async def test_a_token_is_laid_down_before_it_lapses(hall: Open) -> None:
    site = await hall(api="2.2.0", token_life_s=1.0)
    miner = site.miner()
    await miner.sleep()
    await asyncio.sleep(0.95)
    await miner.wake()
    assert site.traits.tokens_given == 2
    assert site.farm.plant.machines[0].counters.commands == 2


async def test_a_machine_that_knows_no_token_at_all_is_asked_for_two_and_no_more(
    hall: Open, listen: Listen
) -> None:
    site = await hall()
    sent: list[bytes] = []

    async def forgetful(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        question = await reader.read(4096)
        sent.append(question)
        if b'"enc"' in question:
            site.traits.tokens.clear()
        writer.write(site.whatsminers.reply(0, question) or b"")
        await writer.drain()

    miner = site.miner(port=await listen(forgetful))
    for tokens in (1, 2):  # the one refused is not kept, so each write asks for one
        with pytest.raises(RefusedError, match="password file"):
            await miner.sleep()
        assert sum(b"get_token" in question for question in sent) == tokens
        assert sum(b'"enc"' in question for question in sent) == tokens
    assert site.farm.plant.machines[0].is_awake


async def test_exhausted_tokens_are_said_and_cost_nothing(hall: Open) -> None:
    site = await hall(tokens_max=2)
    for _ in range(2):
        await site.miner().select_profile("80%")
    with pytest.raises(BusyError, match="given out all its tokens"):
        await site.miner().sleep()
    assert site.farm.plant.machines[0].is_awake


REFUSALS: list[tuple[dict[str, Any], str, type[DriverError]]] = [
    ({"is_api_on": False}, "turn the Miner API Switch on", RefusedError),
    ({"password": "admin"}, "change the admin password", RefusedError),
    ({}, "check the password file", RefusedError),
    ({"has_sealed_refusals": True}, "check the password file", RefusedError),
    ({"api": "1.4.0"}, "which kwota only reads", UnsupportedError),
]


@pytest.mark.parametrize(("table", "words", "kind"), REFUSALS)
async def test_a_refusal_says_what_to_do_and_keeps_the_secret(
    hall: Open,
    caplog: pytest.LogCaptureFixture,
    table: dict[str, Any],
    words: str,
    kind: type[DriverError],
) -> None:
    caplog.set_level(logging.DEBUG)
    site = await hall(**table)
    miner = site.miner(password="hunter2")
    for verb in (miner.sleep, miner.wake):
        with pytest.raises(kind, match=words) as caught:
            await verb()
        assert "hunter2" not in f"{caught.value} {caught.value.reply!r} {caplog.text} {miner!r}"
    assert site.farm.plant.machines[0].is_awake
    assert site.traits.unlock_tries == 0  # nobody tries to open the machine


async def test_another_mac_is_not_written_to(hall: Open) -> None:
    site = await hall()
    miner = site.miner(mac="02:00:00:00:00:99")
    for verb in (miner.sleep, miner.wake, lambda: miner.select_profile("60%")):
        with pytest.raises(WrongDeviceError, match="02:00:00:00:00:99"):
            await verb()
    assert site.traits.tokens_given == 0
    assert site.farm.plant.machines[0].counters.commands == 0


async def test_a_machine_without_a_serial_is_not_written_to(hall: Open) -> None:
    site = await hall()
    site.farm.labels[0] = replace(site.farm.labels[0], serial="")
    miner = site.miner()
    assert not (await miner.identify()).is_writable
    with pytest.raises(WrongDeviceError, match="not certain"):
        await miner.sleep()
    assert site.traits.tokens_given == 0


async def test_firmware_with_api_v3_is_never_written_to(hall: Open) -> None:
    site = await hall()
    miner = site.miner(index=1)
    for verb in (miner.sleep, miner.wake, lambda: miner.select_profile("60%")):
        with pytest.raises(WrongDeviceError, match="configure it as whatsminer-v3"):
            await verb()
    assert site.farm.plant.machines[1].counters.commands == 0


async def test_an_old_answer_beside_the_newer_port_is_not_written_to(hall: Open) -> None:
    site = await hall()
    with pytest.raises(WrongDeviceError, match="4433"):
        await site.miner(newer_index=1).sleep()
    assert site.traits.tokens_given == 0


async def test_without_fast_boot_no_percent_is_chosen(hall: Open) -> None:
    site = await hall(is_fast_boot=False)
    miner = site.miner()
    assert [profile.name for profile in (await miner.read_details()).profiles] == ["100%"]
    with pytest.raises(RefusedError, match="Fast Boot is off") as caught:
        await miner.select_profile("80%")
    assert type(caught.value) is RefusedError  # trying again will not help
    assert site.farm.plant.machines[0].counters.commands == 0


async def test_firmware_that_does_not_tell_its_percent_is_given_none(hall: Open) -> None:
    site = await hall(tells_percent=False)
    miner = site.miner()
    assert (await miner.read()).profile == "100%"
    assert [profile.name for profile in (await miner.read_details()).profiles] == ["100%"]
    with pytest.raises(RefusedError, match="does not tell which percent"):
        await miner.select_profile("80%")
    assert site.farm.plant.machines[0].counters.commands == 0


@pytest.mark.parametrize("name", ["+5", "55%", "80", "", "105%"])
async def test_what_is_no_profile_is_not_sent(hall: Open, name: str) -> None:
    site = await hall()
    with pytest.raises(UnsupportedError, match="not the name"):
        await site.miner().select_profile(name)
    assert site.traits.tokens_given == 0


@pytest.mark.parametrize("answers_asleep", [True, False])
async def test_a_sleeper_takes_no_percent_and_says_so(hall: Open, answers_asleep: bool) -> None:
    site = await hall(answers_asleep=answers_asleep)
    miner = site.miner()
    await miner.sleep()
    with pytest.raises(BusyError, match="once it mines"):
        await miner.select_profile("80%")


async def test_a_busy_machine_is_tried_again_later(hall: Open) -> None:
    site = await hall(has_sealed_refusals=True)
    site.traits.is_busy = True
    with pytest.raises(BusyError, match="busy"):
        await site.miner().select_profile("80%")


async def test_a_machine_that_ignores_a_write_shows_it_when_read_back(hall: Open) -> None:
    site = await hall()
    site.farm.switch_fault(FaultKind.MINER_IGNORES, [0], is_active=True, value=None)
    miner = site.miner()
    await miner.select_profile("60%")  # accepted, and nothing else
    assert (await miner.read()).profile == "100%"
    await miner.sleep()
    assert (await miner.read()).activity is Activity.HASHING


async def test_a_machine_that_lies_about_itself_is_caught_by_its_watts(hall: Open) -> None:
    site = await hall(is_lying=True)
    miner = site.miner()
    await miner.select_profile("60%")
    await asyncio.sleep(0.3)
    throttled = await miner.read()
    assert (throttled.profile, throttled.power_w) == ("60%", 3350.0)
    await miner.sleep()
    await asyncio.sleep(0.3)
    asleep = await miner.read()
    assert (asleep.activity, asleep.power_w) == (Activity.SLEEPING, 3350.0)


async def test_a_machine_that_resumes_by_itself_is_seen_hashing_again(hall: Open) -> None:
    site = await hall()
    miner = site.miner()
    await miner.sleep()
    assert (await miner.read()).activity is Activity.SLEEPING
    site.farm.act(0, lambda machine, now_s: machine.resume(now_s=now_s))
    await asyncio.sleep(0.6)
    assert (await miner.read()).activity is Activity.HASHING


LOST = [b"", b"[]", b'{"enc":"AAAA"}', b'{"STATUS":"S","Wh', b"<html></html>"]


@pytest.mark.parametrize("last", LOST)
async def test_a_write_without_a_usable_answer_is_unknown_and_sent_once(
    hall: Open, listen: Listen, last: bytes
) -> None:
    site = await hall()
    sent: list[bytes] = []

    async def lossy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Passes everything on and loses the answer to the write."""
        question = await reader.read(4096)
        sent.append(question)
        reply = site.whatsminers.reply(0, question) or b""
        writer.write(last if b'"enc"' in question else reply)
        await writer.drain()

    miner = site.miner(port=await listen(lossy))
    with pytest.raises(UnknownOutcomeError, match="read back what it did"):
        await miner.sleep()
    assert sum(b'"enc"' in question for question in sent) == 1
    assert not site.farm.plant.machines[0].is_awake  # it came through all the same
    assert PASSWORD.encode() not in b"".join(sent)
    assert b"power_off" not in b"".join(sent)
    await miner.read()
    with pytest.raises(UnknownOutcomeError):
        await miner.wake()
    assert site.traits.tokens_given == 2  # the token is under suspicion as well


async def test_a_write_that_takes_too_long_is_unknown_and_a_token_that_does_is_not(
    hall: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = await hall(answer_delay_s=0.2)
    monkeypatch.setattr(sealed, "WRITE_LIMIT_S", 0.3)
    with pytest.raises(UnknownOutcomeError, match="no usable answer came"):
        await site.miner().sleep()
    assert not site.farm.plant.machines[0].is_awake
    monkeypatch.setattr(sealed, "WRITE_LIMIT_S", 0.1)
    with pytest.raises(UnreachableError, match="power_on was not sent"):
        await site.miner().wake()
    assert not site.farm.plant.machines[0].is_awake


async def test_a_machine_that_goes_away_before_the_write_is_unreachable_not_unknown(
    hall: Open, listen: Listen
) -> None:
    site = await hall()

    async def half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        question = await reader.read(4096)
        if b"get_token" not in question:
            writer.write(site.whatsminers.reply(0, question) or b"")
            await writer.drain()

    miner = site.miner(port=await listen(half))
    with pytest.raises(UnreachableError):
        await miner.sleep()
    assert site.farm.plant.machines[0].is_awake


async def test_a_cancelled_write_leaves_the_machine_usable(hall: Open) -> None:
    site = await hall(answer_delay_s=0.05)
    miner = site.miner()
    write = asyncio.ensure_future(miner.sleep())
    await asyncio.sleep(0.12)
    write.cancel()
    with pytest.raises(asyncio.CancelledError):
        await write
    await miner.sleep()
    assert not site.farm.plant.machines[0].is_awake


async def test_only_what_the_driver_needs_is_ever_sent(hall: Open, listen: Listen) -> None:
    site = await hall()
    asked: set[str] = set()

    async def watching(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        question = await reader.read(4096)
        asked.add(json.loads(question).get("command", "sealed"))
        writer.write(site.whatsminers.reply(0, question) or b"")
        await writer.drain()

    miner = site.miner(port=await listen(watching))
    await miner.identify()
    await miner.read_details()
    await miner.select_profile("90%")
    await miner.sleep()
    reads = {"get_version", "get_miner_info", "status", "summary+edevs", "devdetails"}
    assert asked == reads | {"pools", "get_psu", "get_error_code", "get_token", "sealed"}
