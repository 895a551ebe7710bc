"""The sheet of labels as a browser prints it, its codes read by a stranger: zbar's zbarimg."""

import asyncio
import base64
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).parents[4]
READER = shutil.which("zbarimg")
RACKS, SLOTS = 2, 6
MINER = """
[[miners]]
uri = "luxos://10.1.{rack}.{slot}"
mac = "62:f7:5e:b7:{rack:02x}:{slot:02x}"
id = "r{rack}-s{slot:02d}"
"""
# A smear of dust as wide as a thumb's tip over each code, away from the corners it is found by.
SMEAR = """
for (const svg of document.querySelectorAll("svg")) {
  const spot = document.createElementNS("http://www.w3.org/2000/svg", "ellipse");
  const [, , side] = svg.getAttribute("viewBox").split(" ").map(Number);
  for (const [name, share] of [["cx", 0.5], ["cy", 0.56], ["rx", 0.22], ["ry", 0.11]]) {
    spot.setAttribute(name, share * side);
  }
  spot.setAttribute("fill", "#888");
  svg.append(spot);
}
"""

pytestmark = pytest.mark.skipif(READER is None, reason="zbar-tools is not installed")


@pytest.fixture
def sheet(tmp_path: Path) -> Path:
    """The sheet of twelve machines as the command prints it."""
    for name in ("log.key", "pool-ca.pem", "edge.pem", "edge.key", "pool.vkey"):
        (tmp_path / name).touch()
    (tmp_path / "policy.kz.toml").write_bytes((REPO / "config" / "policy.kz.toml").read_bytes())
    example = (REPO / "config" / "site.example.toml").read_text()
    rows = [MINER.format(rack=2 + n // SLOTS, slot=1 + n % SLOTS) for n in range(RACKS * SLOTS)]
    (tmp_path / "site.toml").write_text(example + "".join(rows))
    command = [sys.executable, "-m", "agent", "labels", "--config", str(tmp_path / "site.toml")]
    command += ["--url", "https://kwota.farm.example:8480"]
    printed = subprocess.run(command, cwd=REPO, capture_output=True, text=True, check=True)
    file = tmp_path / "labels.html"
    file.write_text(printed.stdout)
    return file


async def codes_seen(tab, folder: Path) -> set[str]:
    """What is read from each code by itself, as a telephone sees them."""
    corners = await tab.value(
        "[...document.querySelectorAll('svg')].map((code) => code.getBoundingClientRect())"
        ".map((box) => [box.x + scrollX, box.y + scrollY, box.width, box.height])"
    )
    pictures = []
    for place, corner in enumerate(corners):
        clip = dict(zip(("x", "y", "width", "height"), corner, strict=True)) | {"scale": 2}
        told = await tab.do("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)
        pictures.append(folder / f"{place}.png")
        pictures[-1].write_bytes(base64.b64decode(told["data"]))
    command = [str(READER), "--quiet", "--raw", "-Sdisable", "-Sqrcode.enable", *map(str, pictures)]
    read = await asyncio.to_thread(
        subprocess.run, command, capture_output=True, text=True, check=False, timeout=30
    )
    return set(read.stdout.split())


def links_in(sheet: Path) -> set[str]:
    return set(re.findall(r'href="([^"]+)"', sheet.read_text()))


async def show(tab, sheet: Path, name: str, *, is_dusty: bool = False) -> None:
    """A sheet as it is printed; its picture is kept."""
    await tab.do("Emulation.setEmulatedMedia", media="print")
    # What the margins leave of A4, in the 96 points an inch of a browser.
    size = {"width": 733, "height": 4_000, "deviceScaleFactor": 1, "mobile": False}
    await tab.do("Emulation.setDeviceMetricsOverride", **size)
    await tab.show(sheet.as_uri(), "document.querySelectorAll('svg').length > 0")
    if is_dusty:
        await tab.value(SMEAR)
    await tab.picture(name, scale=2)


async def test_a_stranger_reads_from_every_label_the_link_of_its_machine(tab, sheet: Path) -> None:
    await show(tab, sheet, "labels")
    links = links_in(sheet)
    assert "https://kwota.farm.example:8480/m/62f75eb70306" in links
    assert await codes_seen(tab, sheet.parent) == links
    sides_mm = await tab.value(
        "[...document.querySelectorAll('svg')]"
        ".map((code) => code.getBoundingClientRect().width / 96 * 25.4)"
    )
    assert min(sides_mm) > 30  # read by a telephone at arm's length
    assert tab.console == []


async def test_a_label_in_a_dusty_hall_is_still_read(tab, sheet: Path) -> None:
    await show(tab, sheet, "labels-dusty", is_dusty=True)
    assert await codes_seen(tab, sheet.parent) == links_in(sheet)
