"""The words of the page and of the alarms, in every language that kwota speaks.

A language is one file in ``words/`` with the keys of all others, and its texts in ``alarms.json``.
The page gets both as one module of its own origin; the command line reads the alarms here.
"""

from importlib import resources
from typing import Final

import orjson
from pydantic import BaseModel, ConfigDict, TypeAdapter

LANGUAGES: Final = {"en": "English", "ru": "Русский", "kk": "Қазақша", "fr": "Français"}
_FOLDER: Final = resources.files("agent.status")


class AlarmText(BaseModel):
    """What an alarm means, why it comes about, and what to do, without the figures of the case."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    text: str
    cause: str
    remedy: str


WORDS: Final = {
    language: TypeAdapter(dict[str, str]).validate_json(
        _FOLDER.joinpath("words", f"{language}.json").read_bytes()
    )
    for language in LANGUAGES
}
ALARMS: Final = TypeAdapter(dict[str, dict[str, AlarmText]]).validate_json(
    _FOLDER.joinpath("alarms.json").read_bytes()
)


def alarm_text(code: str, language: str) -> AlarmText | None:
    """The text of a code; a code that ends in a number of its own has that of its kind."""
    texts = ALARMS.get(code) or ALARMS.get(code.rpartition("_")[0])
    return None if texts is None else texts[language]


def language_module(language: str) -> bytes:
    """A script that hands the page one language: ``{words, alarms}``."""
    alarms = {code: texts[language].model_dump() for code, texts in ALARMS.items()}
    table = {"words": WORDS[language], "alarms": alarms}
    return b"export default " + orjson.dumps(table, option=orjson.OPT_INDENT_2) + b";\n"
