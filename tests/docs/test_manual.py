"""The manual says all that there is, leads nowhere that is not there, and fetches nothing."""

import html
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.cli import command_line
from agent.status.openapi import openapi_document
from agent.status.vocabulary import ALARMS
from generators.alarms import recoveries, severities
from generators.commands import verbs
from generators.contents import contents_text
from generators.placeholders import WRITERS, filled, without_folders
from generators.records import kinds
from generators.settings import EXAMPLE, example_meanings, keys_of, tables
from simulator.__main__ import app as simulator

REPO = Path(__file__).parents[2]
DOCS = REPO / "docs"

VERBS = {**dict(verbs(command_line(), "kwota")), **dict(verbs(simulator, "kwota-sim"))}
KEYS = [
    key
    for table, _, shape in tables()
    for key in keys_of(table, shape, example_meanings(EXAMPLE.read_text()))
]
PAGES = sorted(DOCS.rglob("*.md"))


def build(source: Path, out: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Sphinx with the manual's own settings over some other pages."""
    return subprocess.run(
        [sys.executable, "-m", "sphinx", "-q", "-E", *options, "-c", DOCS, source, out],
        env=os.environ | {"PYTHONPATH": str(REPO)},
        capture_output=True,
        text=True,
        timeout=55,
        check=False,
    )


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The pages of the reference as they are built, by name."""
    folder = tmp_path_factory.mktemp("manual")
    shutil.copytree(DOCS / "reference", folder / "pages" / "reference")
    (folder / "pages" / "index.md").write_text("# All\n\n```{toctree}\n:glob:\nreference/*\n```\n")
    result = build(folder / "pages", folder / "out", "-b", "html")
    assert result.returncode == 0, result.stderr
    built = [*(folder / "out/reference").glob("*.html"), *(folder / "out/_static").glob("*.css")]
    return {path.stem: path.read_text() for path in built}


def shown(page: str) -> str:
    """What a reader sees of a page."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", "", page)).split())


def plain(markdown: str) -> str:
    """What a reader sees of a sentence."""
    return " ".join(re.sub(r"`|\]\([^)]*\)|\[", "", markdown).split())


def section(page: str, name: str) -> str:
    """What stands below one heading, as a reader sees it."""
    found = re.search(rf'<section id="{name}">(.*?)</section>', page, flags=re.DOTALL)
    assert found, name
    return shown(found[1])


def test_every_verb_and_each_of_its_options_is_in_the_manual(reference: dict[str, str]) -> None:
    for name, command in VERBS.items():
        page = reference["simulator" if name.startswith("kwota-sim") else "cli"]
        text = section(page, name.replace(" ", "-"))
        assert f"Usage: {name}" in text
        options = [option for one in command.params for option in one.opts if "--" in option]
        assert [option for option in options if option not in text] == [], name
    assert len(VERBS) > 30


def test_every_key_of_the_configuration_is_in_the_manual_with_its_meaning(
    reference: dict[str, str],
) -> None:
    assert [f"{key.table}.{key.name}" for key in KEYS if not key.meaning] == []
    for key in KEYS:
        text = section(reference["configuration"], re.sub(r"[._]", "-", key.table))
        assert f" {key.name} " in text, key
        assert plain(key.meaning) in text, key
    assert {"journal.max_bytes", "purchases.import", "meter_points.limits.days.date"} <= {
        f"{key.table}.{key.name}" for key in KEYS
    }


def test_bounds_units_and_defaults_of_a_key_are_those_of_the_code() -> None:
    by_name = {f"{key.table}.{key.name}": key for key in KEYS}
    tick = by_name["governor.tick_s"]
    assert (tick.kind, tick.unit, tick.default) == ("number, 0.2 to 5", "s", "`1.0`")
    assert by_name["site.farm"].default is None
    assert by_name["governor.on_missing"].kind == '`"stop"`, `"floor_kw"`, `"own_sources_only"`'
    assert by_name["meters.may_export"].default == "`false`"
    assert by_name["purchases.import"].kind == "path"


def test_every_alarm_is_in_the_manual_with_its_severity_cause_and_remedy(
    reference: dict[str, str],
) -> None:
    page = shown(reference["alarms"])
    grave = severities()
    for code, texts in ALARMS.items():
        assert grave.get(code), f"{code}: say severity= beside code= where it is raised"
        for part in (code, texts["en"].cause, texts["en"].remedy):
            assert plain(part) in page, code
    assert grave["METER"] == {"critical"}
    assert grave["RELAY_TEST"] == {"warning"}
    assert grave["POOL_FOREIGN"] == {"critical", "warning"}


def test_every_path_document_and_record_is_in_the_manual(reference: dict[str, str]) -> None:
    document = openapi_document()
    for name in [*document["paths"], *document["components"]["schemas"]]:
        assert name in shown(reference["http"]), name
    for path in kinds():
        assert section(reference["records"], path.stem)
    assert "sent_mono_ms" in section(reference["records"], "throttle")


def test_a_dead_link_and_a_page_that_nothing_leads_to_are_failures(tmp_path: Path) -> None:
    pages = tmp_path / "pages"
    pages.mkdir()
    (pages / "index.md").write_text("# All\n\n[a](a.md)\n\n```{toctree}\na\n```\n")
    (pages / "a.md").write_text("# A\n\n[nowhere](b.md), [no part](index.md#none)\n")
    (pages / "lost.md").write_text("# Lost\n")
    result = build(pages, tmp_path / "out", "-b", "dummy", "-W", "--keep-going")
    assert result.returncode == 1
    for fault in ("a.md:3: WARNING: 'myst' cross-reference target not found: 'b.md'", "'none'"):
        assert fault in result.stderr
    assert "lost.md: WARNING: document isn't included in any toctree" in result.stderr


def test_a_page_of_the_manual_fetches_nothing_from_elsewhere(reference: dict[str, str]) -> None:
    fetched = r"(?:\bsrc=|<link[^>]*href=|url\(|@import\s)\s*[\"']?(?:https?:)?//[^\"' )]+"
    assert "_static/alabaster.css" in reference["cli"]
    assert [found for page in reference.values() for found in re.findall(fetched, page)] == []
    assert re.findall(fetched, '<script src="https://x.example/y.js">') != []


def test_a_new_page_finds_its_place_and_none_has_two() -> None:
    lines = contents_text().splitlines()
    pages = [line for line in lines if line and not line.startswith((":", "`"))]
    beside = {path.stem for path in DOCS.glob("*.md")} - {"index"}
    assert sorted(pages) == sorted(set(pages))
    assert beside <= set(pages)
    assert {f"miners/{path.stem}" for path in (DOCS / "miners").glob("*.md")} <= set(pages)


def test_places_are_filled_folders_are_no_links_and_a_wrong_place_is_refused() -> None:
    assert "## kwota\n" in filled("# A\n\n<!-- generated: kwota -->\n")
    with pytest.raises(Exception, match="nothing writes 'nobody'"):
        filled("<!-- generated: nobody -->")
    text = "[the schemas](schemas/records) and [wire](wire.md)"
    assert without_folders(text, DOCS) == "the schemas and [wire](wire.md)"
    asked = re.findall(r"<!-- generated: (\S+) -->", "".join(path.read_text() for path in PAGES))
    assert sorted(asked) == sorted(WRITERS)


def test_recovery_names_alarms_that_there_are_and_each_critical_one() -> None:
    named = recoveries((DOCS / "recovery.md").read_text())
    codes = {name for name in named if re.fullmatch(r"[A-Z]+(_[A-Z]+)+|[A-Z]{4,}", name)}
    assert codes - ALARMS.keys() <= {"SIGABRT"}
    critical = {code for code, grave in severities().items() if "critical" in grave}
    assert (critical & ALARMS.keys()) - named.keys() == set()


def commands(text: str) -> Iterator[list[str]]:
    """What a page has somebody type that begins with kwota, in words."""
    fences = re.findall(r"^```\w*\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    lines = [line for fence in fences for line in fence.replace("\\\n", " ").splitlines()]
    plain = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    lines += [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", plain)]
    for line in lines:
        match = re.match(r"(?:\$ |\S*/bin/)?(kwota(?:-sim)? .*)", line.strip())
        if match:
            lexer = shlex.shlex(match[1], posix=True, punctuation_chars=";|<>&")
            lexer.whitespace_split = True
            words = list(lexer)
            end = next((at for at, one in enumerate(words) if one in "|>;&&<>>"), len(words))
            yield words[:end]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(DOCS).as_posix())
def test_every_command_on_a_page_is_one_that_kwota_knows(page: Path) -> None:
    assert list(unknown_parts(page.read_text())) == []


def test_a_command_that_is_none_is_found() -> None:
    text = (
        "Say `kwota limits set`, `kwota limit set --kw 5 --until 3`:\n```\nkwota wy r1 | cat\n```"
    )
    assert list(unknown_parts(text)) == ["kwota wy", "kwota limits", "kwota limit set --until"]


def unknown_parts(text: str) -> Iterator[str]:
    for words in commands(text):
        name = words[0]
        for word in words[1:]:
            if f"{name} {word}" not in VERBS:
                break
            name = f"{name} {word}"
        first = words[len(name.split())] if len(words) > len(name.split()) else "--"
        is_group = hasattr(VERBS[name], "commands")
        if is_group and re.fullmatch(r"[a-z-]+", first) and not first.startswith("--"):
            yield f"{name} {first}"
            continue
        known = {option for one in VERBS[name].params for option in one.opts} | {"--help"}
        known |= {"--debug", "--version"}
        used = {word.partition("=")[0] for word in words if re.match(r"--[a-z]", word)}
        yield from (f"{name} {option}" for option in sorted(used - known))
