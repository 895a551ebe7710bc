"""A real browser, driven by the Chrome DevTools Protocol 1.3, and the pages that it shows."""

import asyncio
import base64
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

PICTURES = Path(__file__).parents[1] / "artefacts" / "screenshots"
BROWSER = shutil.which("chromium")
LIMIT_S = 180.0  # of a test that names none: it may be the one that starts the browser
OPTIONS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Time to start a browser for whatever test is the first to need it."""
    for item in items:
        is_limited = item.get_closest_marker("timeout") is not None
        if "browser" in getattr(item, "fixturenames", ()) and not is_limited:
            item.add_marker(pytest.mark.timeout(LIMIT_S))


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

    async def picture(self, name: str, *, scale: float = 1, height: float | None = None) -> Path:
        """Keep what the page looks like, from its top to its end, for whoever reads the results."""
        size = (await self.do("Page.getLayoutMetrics"))["cssContentSize"]
        # The bar that scrolls takes from the content's width, and is not in the picture.
        width = await self.value("innerWidth")
        clip = {"x": 0, "y": 0, "width": width, "height": height or size["height"], "scale": scale}
        told = await self.do("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)
        PICTURES.mkdir(parents=True, exist_ok=True)
        file = PICTURES / f"{name}.png"
        file.write_bytes(base64.b64decode(told["data"]))
        return file

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
        self._traced, self._is_traced = [], False
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


def devtools(process: subprocess.Popen[bytes], profile: Path) -> str:
    """Where the browser takes orders, without the scheme; it writes that down when it is ready."""
    told = profile / "DevToolsActivePort"
    limit_s = time.monotonic() + 50
    while time.monotonic() < limit_s and process.poll() is None:
        lines = told.read_text().splitlines() if told.exists() else []
        if len(lines) == 2:
            return f"127.0.0.1:{lines[0]}{lines[1]}"
        time.sleep(0.05)
    raise AssertionError("the browser did not start")


def started(profile: Path) -> "subprocess.Popen[bytes]":
    """A browser of its own, with nothing in it."""
    return subprocess.Popen(
        [
            str(BROWSER),
            *OPTIONS,
            f"--user-data-dir={profile}",
            *("--window-size=1280,900", "--remote-debugging-port=0", "about:blank"),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One browser that speaks English for all pages, as it takes a second to start."""
    if BROWSER is None:
        pytest.skip("chromium is not installed")
    profile = tmp_path_factory.mktemp("browser")
    process = started(profile)
    try:
        yield devtools(process, profile)
    finally:
        process.kill()
        process.wait()


@pytest.fixture
async def tab(browser: str, request: pytest.FixtureRequest) -> AsyncIterator[Tab]:
    """An empty page, 1280 wide, that shares cookies and storage with no other."""
    host = browser.partition("/")[0]
    limit = request.node.get_closest_marker("timeout")
    async with (
        asyncio.timeout((limit.args[0] if limit else LIMIT_S) - 10),
        aiohttp.ClientSession() as session,
        session.ws_connect(f"ws://{browser}") as orders,
    ):
        main = Tab(orders)
        context = (await main.do("Target.createBrowserContext"))["browserContextId"]
        made = await main.do("Target.createTarget", url="about:blank", browserContextId=context)
        page = f"ws://{host}/devtools/page/{made['targetId']}"
        async with session.ws_connect(page, max_msg_size=0) as socket:
            opened = Tab(socket)
            for method in ("Runtime.enable", "Log.enable", "Page.enable"):
                await opened.do(method)
            yield opened
        await main.do("Target.disposeBrowserContext", browserContextId=context)


@pytest.fixture
def browse(tab: Tab) -> Browse:
    """The document once a script's expression is true in it, and what the console said."""

    async def shown(url: str, until: str) -> tuple[str, list[str]]:
        await tab.show(url, until)
        return await tab.document(), tab.console

    return shown
