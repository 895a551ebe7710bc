"""Alarms to a real HTTP receiver, willing and unwilling; the tick never waits for it."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import web
from pydantic_core import PydanticCustomError

from agent.alarmboard import AlarmChange
from agent.keys import KeyFileError
from agent.neighbours import open_webhook
from agent.settings_alarms import AlarmSettings, webhook_url
from agent.status.view import AlarmView
from agent.webhook import QUEUE_MAX, Webhook, WebhookTarget

NOW_MS = 1_795_680_000_000


class Receiver:
    """Answers with the next of its statuses, then with 204."""

    def __init__(self, *statuses: int, delay_s: float = 0.0) -> None:
        self.statuses = list(statuses)
        self.delay_s = delay_s
        self.events: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.url = ""

    async def handle(self, request: web.Request) -> web.Response:
        event = json.loads(await request.read())
        await asyncio.sleep(self.delay_s)
        self.headers.append(dict(request.headers))
        self.events.append(event)
        status = self.statuses.pop(0) if self.statuses else 204
        location = {"Location": f"{self.url}/elsewhere"} if 300 <= status < 400 else {}
        return web.Response(status=status, headers=location)

    @contextlib.asynccontextmanager
    async def open(self, port: int = 0) -> AsyncIterator["Receiver"]:
        app = web.Application()
        app.router.add_post("/{any:.*}", self.handle)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", port, reuse_address=True)
        await site.start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}/alarms"
        try:
            yield self
        finally:
            await runner.cleanup()


def change(number: int = 1, *, is_raised: bool = True) -> AlarmChange:
    alarm = AlarmView(
        code="METER",
        severity="critical",
        source=f"meter-{number}",
        words="it is silent",
        remedy="check its supply",
        first_seen_ms=NOW_MS,
        count=1,
        meter_point="mp-1",
    )
    return AlarmChange(is_raised=is_raised, alarm=alarm)


def webhook_to(url: str, **settings: Any) -> Webhook:
    target = WebhookTarget(
        url=url,
        farm="farm-1",
        agent="edge-1",
        **({"retry_min_s": 0.02, "answer_s": 1.0} | settings),
    )
    return Webhook(target, now_ms=lambda: NOW_MS, jitter=lambda bound_s: bound_s)


@contextlib.asynccontextmanager
async def running(webhook: Webhook) -> AsyncIterator[None]:
    task = asyncio.create_task(webhook.run())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def until(is_so: Callable[[], bool], within_s: float = 5.0) -> None:
    for _ in range(int(within_s / 0.01)):
        if is_so():
            return
        await asyncio.sleep(0.01)
    pytest.fail("it did not come about in time")


async def test_what_is_raised_and_cleared_arrives_in_order_with_everything() -> None:
    async with Receiver().open() as receiver:
        webhook = webhook_to(receiver.url, token="s3cret")
        webhook.tell([change(), change(is_raised=False)])
        async with running(webhook):
            await until(lambda: len(receiver.events) == 2)
    first, second = receiver.events
    assert (first["event"], second["event"]) == ("raised", "cleared")
    assert first["id"] != second["id"]
    assert first | {"id": ""} == {
        "v": 1, "id": "", "farm": "farm-1", "agent": "edge-1", "event": "raised", "at_ms": NOW_MS,
        "code": "METER", "severity": "critical", "source": "meter-1", "words": "it is silent",
        "remedy": "check its supply", "first_seen_ms": NOW_MS, "count": 1, "meter_point": "mp-1",
    }  # fmt: skip
    assert receiver.headers[0]["Authorization"] == "Bearer s3cret"
    assert receiver.headers[0]["Content-Type"] == "application/json"


@pytest.mark.parametrize("status", [500, 503, 429, 401])
async def test_what_is_not_taken_is_sent_again_with_the_same_id(status: int) -> None:
    async with Receiver(status, status).open() as receiver:
        webhook = webhook_to(receiver.url)
        webhook.tell([change()])
        async with running(webhook):
            await until(lambda: len(receiver.events) == 3)
            await asyncio.sleep(0.1)
    assert len({event["id"] for event in receiver.events}) == 1
    assert len(receiver.events) == 3


@pytest.mark.parametrize("status", [400, 307])
async def test_a_final_no_is_not_argued_with_and_no_redirect_is_followed(status: int) -> None:
    async with Receiver(status).open() as receiver:
        webhook = webhook_to(receiver.url, token="s3cret")
        webhook.tell([change(1), change(2)])
        async with running(webhook):
            await until(lambda: len(receiver.events) == 2)
            await asyncio.sleep(0.1)
    assert [event["source"] for event in receiver.events] == ["meter-1", "meter-2"]


async def test_a_receiver_that_comes_back_gets_what_waited_and_the_alarm_ends() -> None:
    async with Receiver().open() as receiver:
        port = int(receiver.url.split(":")[2].split("/")[0])
    webhook = webhook_to(receiver.url, retry_max_s=0.05)
    webhook.tell([change(1), change(2)])
    async with running(webhook):
        await until(lambda: bool(list(webhook.conditions())))
        (condition,) = webhook.conditions()
        assert condition.code == "WEBHOOK_STUCK"
        assert condition.words.startswith("2 alarms wait for their receiver")
        async with Receiver().open(port) as back:
            await until(lambda: len(back.events) == 2)
            await until(lambda: not list(webhook.conditions()))


async def test_the_tick_never_waits_and_a_full_queue_keeps_the_newest() -> None:
    async with Receiver(delay_s=0.2).open() as receiver:
        webhook = webhook_to(receiver.url, answer_s=0.05)
        async with running(webhook):
            await asyncio.sleep(0.1)
            started_s = time.monotonic()
            for number in range(QUEUE_MAX * 3):
                webhook.tell([change(number)])
            assert time.monotonic() - started_s < 0.5
            await until(lambda: bool(list(webhook.conditions())))
            (condition,) = webhook.conditions()
            assert f"{QUEUE_MAX} alarms wait" in condition.words
            assert f"{QUEUE_MAX * 2} are lost" in condition.words


def test_pauses_grow_to_their_bound_and_are_drawn() -> None:
    drawn: list[float] = []

    async def fail_often() -> None:
        target = WebhookTarget(
            url="http://127.0.0.1:1/", farm="f", agent="a", retry_min_s=0.001, retry_max_s=0.004
        )

        def jitter(bound_s: float) -> float:
            drawn.append(bound_s)
            return 0.0

        webhook = Webhook(target, now_ms=lambda: NOW_MS, jitter=jitter)
        webhook.tell([change()])
        async with running(webhook):
            await until(lambda: len(drawn) >= 5)

    asyncio.run(fail_often())
    assert drawn[:5] == [0.001, 0.002, 0.004, 0.004, 0.004]


def test_the_token_is_in_no_text_of_the_target() -> None:
    target = WebhookTarget(url="https://a.example/", farm="f", agent="a", token="s3cret")
    assert "s3cret" not in repr(target)


@pytest.mark.parametrize(
    "url",
    ["http://pool.example/x", "http://10.1.0.9/x", "ftp://127.0.0.1/", "https://u:p@a.example/",
     "https:///x", "https://a b/", "", "http://127.0.0.1.evil.example/", "https://a:0/"],
)  # fmt: skip
def test_a_url_that_others_could_read_or_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(PydanticCustomError):
        webhook_url(url)


@pytest.mark.parametrize("url", ["https://a.example/x?y=1", "http://127.0.0.1:9/", "http://[::1]/"])
def test_https_and_this_machine_are_fine(url: str) -> None:
    assert webhook_url(url) == url


def test_the_configuration_opens_it_and_no_url_opens_nothing(tmp_path: Path) -> None:
    site = SimpleNamespace(farm="f", agent="a")
    assert open_webhook(SimpleNamespace(alarms=AlarmSettings(), site=site), int) is None
    token = tmp_path / "token"
    token.write_text("s3cret\n")
    alarms = AlarmSettings(webhook_url="https://a.example/", webhook_token_file=token)
    token.chmod(0o644)
    with pytest.raises(KeyFileError, match="chmod 600"):
        open_webhook(SimpleNamespace(alarms=alarms, site=site), int)
    token.chmod(0o600)
    assert open_webhook(SimpleNamespace(alarms=alarms, site=site), int) is not None
