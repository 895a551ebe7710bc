"""The page in four languages: from the browser, by the control, and remembered."""

import pytest

from agent.status.server import StatusServer, open_status_server
from agent.status.vocabulary import LANGUAGES, WORDS

WHOLE = (
    "document.querySelector('.tile') && document.querySelector('#decision-rows tr')"
    " && document.querySelector('#chart-energy svg')"
)
CHOOSE = """
(() => {
  const control = document.getElementById("language");
  control.value = %r;
  control.dispatchEvent(new Event("change"));
})()
"""
# The visible words of the page, without what the agent says in its own words.
SEEN = """
(() => {
  const copy = document.body.cloneNode(true);
  for (const node of copy.querySelectorAll("[lang=en], option, script, noscript")) node.remove();
  document.body.append(copy);
  const words = copy.innerText;
  copy.remove();
  return words;
})()
"""
STATE = {
    "en": ("Inside budget", "180.5 kW", "The next window can be kept"),
    "ru": ("В пределах бюджета", "180,5 кВт", "Слушаются 97 % ватт"),
    "kk": ("Бюджет шегінде", "180,5 кВт", "бағынады"),
    "fr": ("Dans le budget", "180,5 kW", "97 % des watts obéissent"),
}


async def speak(tab, tags: str) -> None:
    agent = await tab.value("navigator.userAgent")
    await tab.do("Emulation.setUserAgentOverride", userAgent=agent, acceptLanguage=tags)


@pytest.mark.parametrize(
    ("tags", "language"), [("kk-KZ,ru", "kk"), ("de-DE,fr-FR,en", "fr"), ("de-DE", "en")]
)
async def test_the_page_begins_in_the_first_language_of_the_browser_that_it_speaks(
    server: StatusServer, tab, tags: str, language: str
) -> None:
    await speak(tab, tags)
    await tab.show(server.url, WHOLE)
    assert await tab.value("document.documentElement.lang") == language
    assert await tab.text("state-word") == STATE[language][0]


async def test_a_language_is_chosen_for_everything_at_once_and_remembered(
    server: StatusServer, tab
) -> None:
    await tab.show(server.url, WHOLE)
    for language in ("fr", "kk", "ru"):
        await tab.value(CHOOSE % language)
        await tab.until(f"document.documentElement.lang === {language!r}")
        state, power, ahead = STATE[language]
        assert await tab.text("state-word") == state
        assert (await tab.text("power-now")).replace("\xa0", " ") == power
        assert ahead in await tab.text("ahead-words")
        assert await tab.text("site-zone") == "Asia/Almaty"
        assert await tab.text("time-end") == WORDS[language]["time_end"].format(time="14:00")
        seen = await tab.value(SEEN)
        left = [
            text
            for key, text in WORDS["en"].items()
            if " " in text and "{" not in text and text != WORDS[language][key] and text in seen
        ]
        assert left == []
    await tab.show(server.url, WHOLE)
    assert await tab.text("state-word") == STATE["ru"][0]
    assert await tab.value("document.getElementById('language').value") == "ru"
    assert tab.console == []


async def test_the_language_can_be_changed_when_the_agent_is_gone(source, tab) -> None:
    async with open_status_server(source, "127.0.0.1", 0) as server:
        await tab.show(server.url, WHOLE)
        loaded = "performance.getEntriesByType('resource').filter((e) => /words-/.test(e.name))"
        await tab.until(f"{loaded}.length === {len(LANGUAGES)}")
    await tab.until("document.body.classList.contains('is-stale')")
    await tab.value(CHOOSE % "kk")
    await tab.until("document.documentElement.lang === 'kk'")
    # What it shows may have grown old before anybody knew that nobody answers.
    await tab.until(
        "document.getElementById('banner').innerText.startsWith('Агент жауап бермейді.')"
    )
    assert "2026-11-26 13:24:31" in await tab.text("banner")  # how old what it shows is
    assert await tab.text("state-word") == "Соңғы белгілісі: Бюджет шегінде"
