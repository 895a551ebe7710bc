"""Who can use the page: by keyboard, by ear, with weak eyes, on a small screen, in the dark."""

from itertools import pairwise

import pytest

from agent.status.server import StatusServer

WHOLE = "document.querySelector('.tile') && document.querySelector('#decision-rows tr')"
# WCAG 2.2: 1.1.1, 1.3.1, 4.1.2. Every control, picture and table has a name.
NAMELESS = """
[...document.querySelectorAll("button, input, select, a[href], [role], section, table")]
  .filter((node) => !["status", "alert"].includes(node.role))
  .filter((node) => node.getClientRects().length > 0)
  .filter((node) => {
    const by = (node.getAttribute("aria-labelledby") ?? "").split(" ").filter(Boolean)
      .map((id) => document.getElementById(id)?.textContent ?? "").join("");
    const own = ["INPUT", "SELECT"].includes(node.tagName) ? "" : node.innerText ?? "";
    const label = node.labels?.[0]?.textContent ?? "";
    return !(node.getAttribute("aria-label") || by || label || own).trim();
  })
  .map((node) => node.outerHTML.slice(0, 80))
"""
# WCAG 2.2, 1.4.3: text stands out from what is behind it by 4.5 to 1, large text by 3 to 1.
FAINT = """
(() => {
  const parse = (color) => (color.match(/[\\d.]+/g) ?? []).map(Number);
  const channel = (byte) => {
    const value = byte / 255;
    return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  };
  const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const behind = (node) => {
    for (let at = node; at; at = at.parentElement) {
      const [r, g, b, a = 1] = parse(getComputedStyle(at).backgroundColor);
      if (a > 0.99) return [r, g, b];
    }
    return [255, 255, 255];
  };
  const faint = new Set();
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode.parentElement;
    if (!walker.currentNode.textContent.trim() || node.getClientRects().length === 0) continue;
    if (node.closest("script, noscript, option")) continue;
    const style = getComputedStyle(node);
    const ink = node.closest("svg") ? style.fill : style.color;
    const [one, two] = [light(parse(ink)), light(behind(node))].sort((a, b) => b - a);
    const least = parseFloat(style.fontSize) >= 24 ? 3 : 4.5;
    const ratio = (one + 0.05) / (two + 0.05);
    const name = `${node.tagName} ${node.className.baseVal ?? node.className}`;
    if (ratio < least) faint.add(`${name} ${ratio.toFixed(2)}`);
  }
  return [...faint];
})()
"""
WIDER = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


async def scheme(tab, name: str) -> None:
    features = [{"name": "prefers-color-scheme", "value": name}]
    await tab.do("Emulation.setEmulatedMedia", features=features)


async def narrow(tab) -> None:
    size = {"width": 360, "height": 740, "deviceScaleFactor": 1, "mobile": False}
    await tab.do("Emulation.setDeviceMetricsOverride", **size)


async def test_everything_that_can_be_used_or_seen_has_a_name(server: StatusServer, tab) -> None:
    await tab.show(server.url, WHOLE)
    await tab.value("document.querySelector('.tile').click()")
    assert await tab.value(NAMELESS) == []
    landmarks = "['main', 'header', 'footer'].map((n) => document.querySelectorAll(n).length)"
    assert await tab.value(landmarks) == [1, 1, 1]
    levels = await tab.value(
        "[...document.querySelectorAll('h1, h2, h3')].filter((h) => h.offsetParent)"
        ".map((h) => Number(h.tagName[1]))"
    )
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    stops = await tab.value("[...document.querySelectorAll('[tabindex]')].map((n) => n.tabIndex)")
    assert set(stops) <= {0, -1}


@pytest.mark.parametrize("name", ["light", "dark"])
async def test_all_text_stands_out_from_what_is_behind_it(
    server: StatusServer, tab, name: str
) -> None:
    await scheme(tab, name)
    await tab.show(server.url, WHOLE)
    await tab.value("document.querySelector('.tile').click()")
    assert await tab.value(FAINT) == []


@pytest.mark.parametrize("language", ["en", "ru", "kk", "fr"])
async def test_a_telephone_need_not_be_moved_sideways(
    server: StatusServer, tab, language: str
) -> None:
    await narrow(tab)
    keep = f"localStorage.setItem('kwota-language', {language!r})"
    await tab.do("Page.addScriptToEvaluateOnNewDocument", source=f"try {{ {keep} }} catch {{}}")
    await tab.show(f"{server.url}m/62f75eb70103", WHOLE)
    await tab.value("document.querySelector('.tile').click()")
    assert await tab.value("document.documentElement.lang") == language
    assert await tab.value(WIDER) == 0


async def test_the_tabulator_reaches_the_controls_in_the_order_in_which_they_stand(
    server: StatusServer, tab
) -> None:
    await tab.show(server.url, WHOLE)
    reached = []
    which = "(({ id, className, tagName }) => id || className || tagName)(document.activeElement)"
    for _ in range(9):
        await tab.press("Tab", code=9)
        reached.append(await tab.value(which))
    # A list that scrolls is a stop of its own, so that it can be scrolled by keyboard.
    controls = [name for name in reached if name != "alarm-list"]
    assert controls[:6] == ["skip", "language", "chip", "chip", "chip", "miner-search"]
    tops = await tab.value(
        "[...document.querySelectorAll('select, #chart-spans button, #miner-search, .tile')]"
        ".map((n) => n.getBoundingClientRect().top)"
    )
    assert tops[:5] == sorted(tops[:5])
