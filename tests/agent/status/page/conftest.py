"""A real browser, driven by the Chrome DevTools Protocol 1.3, and the pages that it shows."""

import asyncio
import re
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

BROWSER = shutil.which("chromium")
OPTIONS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)

Browse = Callable[..., Awaitable[tuple[str, list[str]]]]


class Tab:
    """One page of the browser, and everything that its console said."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.console: list[str] = []
        self._socket = socket
        self._last = 0
        self._traced: list[dict[str, Any]] = []
        self._is_traced = False

    async def show(self, url: str, until: str) -> None:
        """Open an address, and wait until a script's expression is true in it."""
        await self.do("Page.navigate", url=url)
        await self.until(until)

    async def until(self, script: str) -> None:
        # Before the page is there, an expression about it has no value.
        safe = f"(() => {{ try {{ return Boolean({script}) }} catch {{ return false }} }})()"
        while not await self.value(safe):  # noqa: ASYNC110 - the page tells nobody
            await asyncio.sleep(0.1)

    async def document(self) -> str:
        return str(await self.value("document.documentElement.outerHTML"))

    async def text(self, element_id: str) -> str:
        return str(await self.value(f"document.getElementById({element_id!r}).innerText"))

    async def press(self, key: str, *, code: int = 0) -> None:
        for kind in ("keyDown", "keyUp"):
            await self.do("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code)

    async def value(self, script: str) -> Any:
        answer = await self.do(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    async def tasks_ms(self, work: Callable[[], Awaitable[object]]) -> list[float]:
        """How much of the processor each task of the page took while something was done.

        Processor time, not the clock: what else this computer does is not the page's fault.
        """
        await self.do("Tracing.start", categories="toplevel", transferMode="ReportEvents")
        await work()
        await self.do("Tracing.end")
        while not self._is_traced:
            self._hear(await self._socket.receive_json())
        names = [event for event in self._traced if event.get("name") == "thread_name"]
        mains = {(e["pid"], e["tid"]) for e in names if e["args"]["name"] == "CrRendererMain"}
        return [
            event["tdur"] / 1000
            for event in self._traced
            if (event["pid"], event["tid"]) in mains and "tdur" in event
        ]

    async def do(self, method: str, **parameters: object) -> dict[str, Any]:
        self._last += 1
        await self._socket.send_json({"id": self._last, "method": method, "params": parameters})
        while True:
            message = await self._socket.receive_json()
            if message.get("id") == self._last:
                result: dict[str, Any] = message["result"]
                return result
            self._hear(message)

    def _hear(self, message: dict[str, Any]) -> None:
        method, told = message["method"], message["params"]
        if method in {"Runtime.consoleAPICalled", "Runtime.exceptionThrown"}:
            self.console.append(str(told))
        elif method == "Log.entryAdded":
            self.console.append(told["entry"]["text"])
        elif method == "Tracing.dataCollected":
            self._traced += told["value"]
        elif method == "Tracing.tracingComplete":
            self._is_traced = True


async def devtools(process: asyncio.subprocess.Process) -> str:
    """Where the browser takes orders."""
    assert process.stderr is not None
    while line := (await process.stderr.readline()).decode():
        found = re.search(r"DevTools listening on ws://([^/]+)/", line)
        if found:
            return f"http://{found[1]}"
    raise AssertionError("the browser did not start")


@pytest.fixture
async def tab(tmp_path: Path) -> AsyncIterator[Tab]:
    """An empty page of a browser of its own that speaks English, 1280 wide."""
    if BROWSER is None:
        pytest.skip("chromium is not installed")
    process = await asyncio.create_subprocess_exec(
        BROWSER,
        *OPTIONS,
        f"--user-data-dir={tmp_path / 'browser'}",
        *("--window-size=1280,900", "--remote-debugging-port=0", "about:blank"),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(50), aiohttp.ClientSession() as session:
            base = await devtools(process)
            async with session.put(f"{base}/json/new") as answer:
                target = (await answer.json())["webSocketDebuggerUrl"]
            async with session.ws_connect(target, max_msg_size=0) as socket:
                opened = Tab(socket)
                for method in ("Runtime.enable", "Log.enable", "Page.enable"):
                    await opened.do(method)
                yield opened
    finally:
        process.kill()
        await process.communicate()


@pytest.fixture
def browse(tab: Tab) -> Browse:
    """The document once a script's expression is true in it, and what the console said."""

    async def shown(url: str, until: str) -> tuple[str, list[str]]:
        await tab.show(url, until)
        return await tab.document(), tab.console

    return shown
