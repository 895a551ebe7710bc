"""The page of alarms: texts from ``alarms.json``, severities from the code that raises them."""

import ast
import functools
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from mdit_py_plugins.anchors.index import slugify

from agent.status.vocabulary import ALARMS

REPO: Final = Path(__file__).parents[2]
RECOVERY: Final = REPO / "docs" / "recovery.md"
SEVERITIES: Final = ("critical", "warning")


def alarms_text() -> str:
    """A table of all codes, then each with its meaning, cause and remedy."""
    grave = severities()
    steps = recoveries(RECOVERY.read_text(encoding="utf-8"))
    rows = [
        f"| [`{code}`](#{slugify(code)}) | {_severity(grave.get(code))} | {texts['en'].text} |"
        for code, texts in sorted(ALARMS.items(), key=lambda item: item[0].lower())
    ]
    lines = ["| code | severity | what it says |", "|---|---|---|", *rows, ""]
    for code, texts in ALARMS.items():
        text = texts["en"]
        lines += [f"## {code}", "", f"**{text.text}** ({_severity(grave.get(code))})", ""]
        lines += [f"*Cause:* {text.cause}", "", f"*What to do:* {text.remedy}", ""]
        links = [f"[{title}](../recovery.md#{slugify(title)})" for title in steps.get(code, ())]
        lines += [f"*Step by step:* {', '.join(links)}", ""] if links else []
    return "\n".join(lines)


def _severity(found: set[str] | None) -> str:
    return " or ".join(sorted(found)) if found else "as it is raised"


def recoveries(text: str) -> dict[str, list[str]]:
    """By code, the headings of the page on recovery under which it is named."""
    found: dict[str, list[str]] = {}
    for section in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        title, _, body = section.partition("\n")
        for code in dict.fromkeys(re.findall(r"`(\w+)`", body)):
            found.setdefault(code, []).append(title.strip())
    return found


@functools.cache
def severities() -> dict[str, set[str]]:
    """By code, how grave the agent's source says that it is; both where it depends."""
    found: dict[str, set[str]] = {}
    for path in sorted((REPO / "agent").rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        if "severity" in text:
            for code, severity in _of_module(ast.parse(text)):
                found.setdefault(code, set()).add(severity)
    return found


def _of_module(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Code and severity in the ways in which a module may say both.

    As two keywords of a call, as the first two of a tuple, or as key and value of a table. A call
    whose code is worked out counts for the codes of its module that nothing else explains.
    """
    names, everywhere = _constants(tree.body), _constants(ast.walk(tree))
    explained: set[str] = set()
    general: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            keywords = {one.arg: one.value for one in node.keywords}
            if "code" not in keywords or "severity" not in keywords:
                continue
            code, grave = _code(keywords["code"], names), _grave(keywords["severity"], everywhere)
            if code is None:
                general |= grave
        elif isinstance(node, ast.Tuple) and len(node.elts) > 1:
            code, grave = _code(node.elts[0], names), _grave(node.elts[1], everywhere)
        else:
            continue
        if code is not None and grave:
            explained.add(code)
            yield from ((code, one) for one in grave)
    for code, one in _tables(tree, names):
        explained.add(code)
        yield code, one
    for code in _codes(tree) - explained:
        yield from ((code, one) for one in general)


def _tables(tree: ast.Module, names: dict[str, str]) -> Iterator[tuple[str, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                code = None if key is None else _code(key, names)
                first = value.elts[0] if isinstance(value, ast.Tuple) and value.elts else value
                if code is not None and isinstance(first, ast.Constant):
                    yield from ((code, one) for one in _grave(first, names))


def _constants(nodes: Iterable[ast.AST]) -> dict[str, str]:
    """Names that stand for a text, given one by one or several at once."""
    found: dict[str, str] = {}
    for node in nodes:
        if isinstance(node, ast.Assign) and len(node.targets) == 1:
            targets, values = [node.targets[0]], [node.value]
            if isinstance(targets[0], ast.Tuple) and isinstance(node.value, ast.Tuple):
                targets, values = targets[0].elts, node.value.elts
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            targets, values = [node.target], [node.value]
        else:
            continue
        for target, value in zip(targets, values, strict=False):
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                found[ast.unparse(target)] = value.value
    return found


def _code(node: ast.expr, names: dict[str, str]) -> str | None:
    if isinstance(node, ast.JoinedStr) and node.values:
        node = node.values[0]
    text = node.value if isinstance(node, ast.Constant) else names.get(ast.unparse(node))
    kind = text.rstrip("_") if isinstance(text, str) else None
    return kind if kind in ALARMS else None


def _grave(node: ast.expr, names: dict[str, str]) -> set[str]:
    texts = {one.value for one in ast.walk(node) if isinstance(one, ast.Constant)}
    texts |= {names.get(ast.unparse(node))}
    return {text for text in texts if text in SEVERITIES}


def _codes(tree: ast.Module) -> set[str]:
    texts = {one.value for one in ast.walk(tree) if isinstance(one, ast.Constant)}
    return {text for text in texts if isinstance(text, str) and text in ALARMS}
