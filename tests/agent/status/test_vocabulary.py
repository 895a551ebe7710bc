"""Every word in every language, and every alarm that can be raised in all of them."""

import ast
import re
from pathlib import Path

import pytest

from agent.core.decisions import Mode, Setpoint, Stage
from agent.status.machines import target_words
from agent.status.vocabulary import ALARMS, LANGUAGES, WORDS, alarm_text, language_module

AGENT = Path(__file__).parents[3] / "agent"
OTHERS = [language for language in LANGUAGES if language != "en"]
# Units, formats, names of things that are called alike, and words that French has as well.
SAME = {
    "ru": {"col_mac"},
    "kk": {"col_mac"},
    "fr": {
        *("unit_kw", "unit_kwh", "unit_w", "age_m", "age_s", "age_h", "left_h", "left_m", "left_s"),
        *("span_minutes", "span_day", "price", "col_hashrate", "col_pools", "col_mac"),
        *("col_machines", "col_miner", "machine_title", "col_source", "col_decision"),
    },
}
FORMATS = {"state_source", "ahead_floor", "percent", "boards", "rack_note", "tile", "window"}
LATIN = re.compile(r"[A-Za-z]{2,}")
NAMES = {"kwota", "MAC", "id"}


def placeholders(text: str) -> list[str]:
    return sorted(re.findall(r"\{(\w+)\}", text))


@pytest.mark.parametrize("language", OTHERS)
def test_every_key_is_in_every_language_with_the_same_placeholders(language: str) -> None:
    assert WORDS[language].keys() == WORDS["en"].keys()
    for key, text in WORDS[language].items():
        assert text.strip(), key
        assert placeholders(text) == placeholders(WORDS["en"][key]), key


@pytest.mark.parametrize("language", OTHERS)
def test_no_word_is_left_in_english(language: str) -> None:
    same = {key for key, text in WORDS[language].items() if text == WORDS["en"][key]}
    assert same <= SAME[language] | FORMATS
    for code, texts in ALARMS.items():
        for field, text in texts[language]:
            assert text != getattr(texts["en"], field), f"{code} {field}"


@pytest.mark.parametrize("language", ["ru", "kk"])
def test_what_is_written_in_cyrillic_has_no_latin_words_but_names(language: str) -> None:
    for key, text in WORDS[language].items():
        found = set(LATIN.findall(re.sub(r"\{\w+\}", "", text)))
        assert found <= NAMES, key
    for code, texts in ALARMS.items():
        for _, text in texts[language]:
            # Commands, settings, files and codes of other alarms are the same everywhere.
            plain = re.sub(r"`[^`]+`|\w+[._]\w+", "", text)
            assert LATIN.findall(plain) == [], code


def codes_in(text: str) -> set[str]:
    """Codes that a module names: as ``code=``, as the first of what it yields, or as a constant."""
    found: set[str] = set()
    tree = ast.parse(text)
    constants = {
        ast.unparse(one.targets[0]): one.value for one in tree.body if isinstance(one, ast.Assign)
    }
    for node in ast.walk(tree):
        strings: list[ast.expr] = []
        if isinstance(node, ast.keyword) and node.arg == "code":
            strings = [constants.get(ast.unparse(node.value), node.value)]
        elif isinstance(node, ast.Yield) and isinstance(node.value, ast.Tuple):
            strings = node.value.elts[:1]
        elif isinstance(node, ast.Assign):
            names = ast.unparse(node.targets[0])
            if names == "code" or names.endswith("_FAILED)"):
                strings = getattr(node.value, "elts", [node.value])
        for string in strings:
            first = string.values[0] if isinstance(string, ast.JoinedStr) else string
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                found.add(first.value.rstrip("_"))
    return found - {""}


def test_every_alarm_that_the_agent_can_raise_has_its_texts_and_no_other_has() -> None:
    raising = ("alarms", "complaints", "keeper", "feeder", "uplink", "publisher", "delivered")
    raising += ("calibrationdesk", "hostwatch", "webhook", "downlink", "pooldesk", "clockwatch")
    files = [AGENT / f"{name}.py" for name in raising] + [AGENT / "core" / "discrepancy.py"]
    raised = set().union(*(codes_in(file.read_text()) for file in files))
    assert len(raised) > 20
    assert raised == set(ALARMS)


def test_every_alarm_says_what_why_and_what_to_do_in_every_language() -> None:
    for code, texts in ALARMS.items():
        assert texts.keys() == LANGUAGES.keys(), code
        for language, text in texts.items():
            assert all(part.strip() for _, part in text), f"{code} {language}"
            commands = re.findall(r"`[^`]+`", text.remedy)
            assert commands == re.findall(r"`[^`]+`", texts["en"].remedy), f"{code} {language}"


def test_a_code_with_a_number_has_the_text_of_its_kind_and_a_strange_one_has_none() -> None:
    assert alarm_text("BROKER_REFUSED_87", "ru") == ALARMS["BROKER_REFUSED"]["ru"]
    assert alarm_text("NO_RECEIPT", "fr") == ALARMS["NO_RECEIPT"]["fr"]
    assert alarm_text("SOMETHING", "kk") is None


def test_the_script_names_the_languages_that_there_are() -> None:
    script = (AGENT / "status" / "words.js").read_text()
    named = dict(re.findall(r'(\w\w): "(\w+)"', script.partition("NAMES")[2].partition(";")[0]))
    assert named == LANGUAGES
    assert b"\xd0" in language_module("ru")


def test_the_page_understands_where_the_agent_says_that_a_machine_is_told_to_be() -> None:
    script = (AGENT / "status" / "reason.js").read_text()
    (pattern,) = re.findall(r"= /(\^\(.*\$)/\.exec\(target\)", script)
    for boards, profile in ((frozenset({0}), None), (frozenset({0, 2}), "65 TH")):
        told = target_words(Setpoint(is_awake=True, profile=profile, boards_on=boards))
        found = re.fullmatch(pattern, told or "")
        assert found is not None
        assert found.groups() == (str(len(boards)), profile or "its profile")
    asleep = target_words(Setpoint(is_awake=False, profile=None, boards_on=frozenset()))
    assert f'target === "{asleep}"' in script
    assert '"its profile"' in script


def test_every_mode_stage_and_kind_of_limit_has_a_word() -> None:
    wanted = {f"mode_{mode.value}" for mode in Mode} | {f"mode_short_{mode.value}" for mode in Mode}
    wanted |= {f"stage_{stage.value}" for stage in Stage}
    limits = (AGENT / "standing_limits.py").read_text() + (AGENT / "limitdesk.py").read_text()
    kinds = set(re.findall(r'kind="(\w+)"', limits)) | {"purchase", "no_purchase", "meter"}
    assert len(kinds) >= 6
    wanted |= {f"{prefix}_{kind}" for kind in kinds for prefix in ("kind", "about")}
    assert wanted - WORDS["en"].keys() == set()
