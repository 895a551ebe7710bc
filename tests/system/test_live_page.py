"""The page of the running agent in a real browser, from a farm at work to a dead agent.

What is seen of each is kept as a picture, for whoever reads the results.
"""

import pytest

from agent.status.vocabulary import ALARMS, WORDS

pytestmark = [pytest.mark.system, pytest.mark.timeout(240)]

THROTTLED = "document.querySelectorAll('.tile.is-throttled').length > 0"
LANGUAGE = """
(() => {
  const control = document.getElementById("language");
  control.value = %r;
  control.dispatchEvent(new Event("change"));
})()
"""
WIDER = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
BRIGHTNESS = "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)"


def says(element_id: str, text: str) -> str:
    return f"document.getElementById({element_id!r}).innerText.includes({text!r})"


async def test_a_technician_sees_what_happens_to_the_site_as_it_happens(site, tab) -> None:
    site.start_broker()
    site.start_farm(24)
    site.buy(count=4, window_s=60)
    site.start_agent()
    url = f"http://127.0.0.1:{site.page_port}/"

    # Machines give way for the purchase, and their lines say so.
    await tab.show(url, f"{THROTTLED} && {says('state-word', WORDS['en']['mode_following'])}")
    assert site.api("status")["miners_throttled"] > 0
    assert await tab.value("document.querySelectorAll('.tile').length") == 24
    await tab.picture("live-throttled")

    # A meter falls silent: an alarm with its remedy. It comes back: no alarm.
    await tab.until(says("alarms-title", WORDS["en"]["alarms_none"]))
    trouble = ALARMS["METER"]["en"]
    site.fault("meter_silent")
    await tab.until(says("alarm-list", trouble.text))
    assert trouble.remedy in await tab.text("alarm-list")
    await tab.picture("live-alarm")
    site.fault("meter_silent", active=False)
    await tab.until(f"!{says('alarm-list', trouble.text)}")
    await tab.picture("live-alarm-cleared")

    # The same in another language, on a telephone, at night.
    await tab.value(LANGUAGE % "ru")
    await tab.until(says("state-word", WORDS["ru"]["mode_following"]))
    await tab.picture("live-russian")
    size = {"width": 360, "height": 740, "deviceScaleFactor": 1, "mobile": False}
    await tab.do("Emulation.setDeviceMetricsOverride", **size)
    await tab.until("innerWidth === 360")
    assert await tab.value(WIDER) == 0
    await tab.picture("live-phone")
    features = [{"name": "prefers-color-scheme", "value": "dark"}]
    await tab.do("Emulation.setEmulatedMedia", features=features)
    assert max(await tab.value(BRIGHTNESS)) < 64
    await tab.picture("live-dark")
    await tab.value(LANGUAGE % "en")

    # The agent dies without a word: what is shown goes grey and claims nothing any more.
    site.agent.process.kill()
    site.agent.process.wait()
    await tab.until("document.body.classList.contains('is-stale')")
    assert (await tab.text("state-word")).startswith("Last known")
    assert (await tab.text("banner")).startswith("The agent does not answer.")
    await tab.picture("live-grey")
