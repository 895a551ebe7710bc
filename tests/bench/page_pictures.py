"""The two pictures of the README: the page as a browser shows it while the demonstration runs.

``make pictures`` writes them into docs/; nothing else depends on them. They are taken from a real
agent some minutes into its windows, on a desk in the light and on a telephone in the dark.
"""

import asyncio
import re
import runpy
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import aiohttp

REPO = Path(__file__).parents[2]
PAGE = REPO / "tests" / "agent" / "status" / "page" / "conftest.py"
DEMO = ("demo", "--miners", "48", "--window-s", "120", "--farm", "mixed")
UNTIL_S = 150.0  # in the second window, with a chart of the first
FOLLOWING = "/within|inside/i.test(document.getElementById('state-word').innerText)"
# What is looked at: its name, the size of the window, and the scheme.
LOOKS = (("page", 1280, 1480, "light"), ("page-phone", 360, 760, "dark"))


async def pictures(browser: dict[str, Any], devtools: str, url: str) -> None:
    """Show the page as somebody sees it first, without scrolling."""
    host = devtools.partition("/")[0]
    async with aiohttp.ClientSession() as session:
        async with session.ws_connect(f"ws://{devtools}") as orders:
            made = await browser["Tab"](orders).do("Target.createTarget", url="about:blank")
        page = f"ws://{host}/devtools/page/{made['targetId']}"
        async with session.ws_connect(page, max_msg_size=0) as socket:
            tab = browser["Tab"](socket)
            await tab.do("Page.enable")
            for name, width, height, scheme in LOOKS:
                size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": True}
                await tab.do("Emulation.setDeviceMetricsOverride", **size)
                features = [{"name": "prefers-color-scheme", "value": scheme}]
                await tab.do("Emulation.setEmulatedMedia", features=features)
                await tab.show(url, f"document.querySelector('.tile') && {FOLLOWING}")
                if name == "page":
                    await asyncio.sleep(UNTIL_S)
                await asyncio.sleep(2.0)
                # A computer that is busy with other things makes the page grey for a moment.
                await tab.until("!document.body.classList.contains('is-stale')")
                kept = await tab.picture(name, height=height)
                (REPO / "docs" / f"{name}.png").write_bytes(kept.read_bytes())


def main() -> int:
    """Start the demonstration and a browser; end both."""
    browser = runpy.run_path(str(PAGE))
    if browser["BROWSER"] is None:
        sys.stderr.write("chromium is not installed: apt-get install chromium\n")
        return 1
    with tempfile.TemporaryDirectory() as folder:
        said, profile = Path(folder) / "said.txt", Path(folder) / "profile"
        with said.open("w") as file:
            demo = subprocess.Popen([sys.executable, "-m", "agent", *DEMO], cwd=REPO, stderr=file)
        profile.mkdir()
        process = browser["started"](profile)
        try:
            url = address_in(said, demo)
            asyncio.run(pictures(browser, browser["devtools"](process, profile), url))
        finally:
            process.kill()
            process.wait()
            demo.send_signal(signal.SIGINT)
            demo.wait(60)
    return 0


def address_in(said: Path, demo: "subprocess.Popen[bytes]") -> str:
    """Where the demonstration says that its page is."""
    while demo.poll() is None:
        found = re.search(r"^Page +(\S+)", said.read_text(), re.MULTILINE)
        if found is not None:
            return found[1]
        time.sleep(0.5)
    raise SystemExit(said.read_text())


if __name__ == "__main__":
    sys.exit(main())
