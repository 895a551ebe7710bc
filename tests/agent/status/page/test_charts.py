"""The charts: over ten minutes, the window and the day, as pictures and as sentences."""

from agent.status.server import StatusServer
from agent.status.view import SiteView

DRAWN = "document.querySelector('#chart-energy svg') && document.querySelector('.tile')"
SHOW = "document.querySelectorAll('#chart-spans button')[%d].click()"
# How much of the chart's width the line covers.
COVERED = """
(() => {
  const box = document.querySelector('#chart-power .line-power').getBBox();
  return box.width / document.querySelector('#chart-power svg').clientWidth;
})()
"""
# How high the dot of now stands between nothing and what is bought.
SHARE = """
(() => {
  const box = (name) => document.querySelector(name).getBBox();
  const [dot, pace] = [box(".dot-now"), box(".line-pace")];
  return (pace.y + pace.height - dot.y - dot.height / 2) / pace.height;
})()
"""


async def test_a_chart_is_drawn_over_the_span_that_is_chosen(server: StatusServer, tab) -> None:
    await tab.show(server.url, DRAWN)
    pressed = "document.querySelector('#chart-spans [aria-pressed=true]').innerText"
    assert await tab.value(pressed) == "10 min"
    assert 0.7 < await tab.value(COVERED) < 0.9  # sixty decisions, nine seconds apart
    label = "document.getElementById('chart-power').ariaLabel.replaceAll('\\xa0', ' ')"
    assert (await tab.value(label)).startswith(
        "10 min: power 180.5 kW, cap 182.4 kW; lowest 179.6 kW"
    )
    await tab.value(SHOW % 1)
    assert 0.3 < await tab.value(COVERED) < 0.45  # 24 minutes of an hour
    await tab.value(SHOW % 2)
    assert 0.18 < await tab.value(COVERED) < 0.26  # six hours of a day
    assert await tab.value("document.querySelector('.line-mean').getBBox().width") > 300


async def test_energy_is_drawn_against_what_is_bought(server: StatusServer, tab) -> None:
    await tab.show(server.url, DRAWN)
    await tab.value(SHOW % 1)
    label = "document.getElementById('chart-energy').ariaLabel.replaceAll('\\xa0', ' ')"
    said = await tab.value(label)
    assert said == "window: 412.000 kWh used of 1\u202f000.000 kWh bought."
    share = await tab.value(SHARE)
    assert abs(share - 0.412) < 0.02
    await tab.value(SHOW % 2)
    assert await tab.value("document.querySelectorAll('.bar-bought').length") == 2
    assert (await tab.value(label)).startswith(
        "24 h: 1\u202f409.412 kWh used of 2\u202f000.000 kWh"
    )


async def test_without_a_purchase_there_is_nothing_to_draw_of_it(
    server: StatusServer, source, site: SiteView, tab
) -> None:
    status = site.status.model_copy(update={"window": None, "mode": "no_purchase"})
    source.current = site.model_copy(update={"status": status, "history": [], "statements": []})
    await tab.show(server.url, "document.getElementById('chart-energy').innerText")
    assert await tab.text("chart-energy") == "no open purchase"
    await tab.value(SHOW % 2)
    assert await tab.text("chart-power") == "Not enough samples yet."
    assert tab.console == []
