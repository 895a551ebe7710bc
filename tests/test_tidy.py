"""House rules that no linter knows, read from every file of the checkout.

Each rule is a pure function from a file's text to the faults in it; each is shown an example that
it must flag before its silence about the real files is believed.
"""

import ast
import functools
import importlib
import io
import pkgutil
import re
import subprocess
import tokenize
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath

import pytest

import drivers
from drivers.errors import DriverError

REPO = Path(__file__).parent.parent
FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 50
FOLDERS = frozenset(
    {".ci", "agent", "config", "docs", "drivers", "requirements", "simulator", "systemd", "tests"}
)
VAGUE_NAMES = frozenset({"utils", "util", "common", "helpers", "helper", "manager", "misc"})
TALKS_TO_PEOPLE = ("agent/cli.py", "agent/commands/")
# Written in halves, so that this file does not hold what it forbids.
LEFTOVERS = re.compile(r"\b(" + "|".join(("TO" + "DO", "FIX" + "ME", "X" + "XX")) + r")\b")
REGISTRY_HOSTS = re.compile(
    r"python" + r"hosted|py" + r"pi\.org|registry\.n" + r"pmjs|deb\.deb" + "ian"
)
MACHINE_PATHS = re.compile(r"(?<![\w.~*-])/(?:wo" + r"rk|ro" + r"ot|ho" + r"me/\w+)/")

Rule = Callable[[str, str], list[str]]  # path in the repository, text -> faults


def repository_files() -> list[str]:
    """What is or will be committed: tracked files and new ones that are not ignored."""
    listed = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files", "-co", "--exclude-standard"],
        cwd=REPO,
        capture_output=True,
        text=True,
        check=True,
    )
    return sorted({path for path in listed.stdout.splitlines() if (REPO / path).is_file()})


@functools.cache
def nodes(text: str) -> tuple[ast.AST, ...]:
    """All of a file's tree: every rule looks at every file."""
    return tuple(ast.walk(ast.parse(text)))


def functions(text: str) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in nodes(text):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def last_name(node: ast.expr) -> str:
    """``c`` of ``a.b.c`` and of ``c``; nothing of anything else."""
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def file_too_long(path: str, text: str) -> list[str]:
    lines = len(text.splitlines())
    return [f"{path}: {lines} lines, {FILE_LINES_MAX} are enough"] * (lines > FILE_LINES_MAX)


def function_too_long(path: str, text: str) -> list[str]:
    faults = []
    for function in functions(text):
        body = function.body[1:] if ast.get_docstring(function) is not None else function.body
        lines = (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0
        if lines > FUNCTION_LINES_MAX:
            faults.append(f"{path}:{function.lineno}: {function.name} has {lines} lines")
    return faults


def hides_a_cycle(path: str, text: str) -> list[str]:
    name = "TYPE_" + "CHECKING"
    return [
        f"{path}:{node.lineno}: {name} hides a ring of imports"
        for node in nodes(text)
        if (isinstance(node, ast.Name) and node.id == name)
        or (isinstance(node, ast.Attribute) and node.attr == name)
    ]


def leftover(path: str, text: str) -> list[str]:
    is_silent = path.startswith(("agent/", "drivers/")) and not path.startswith(TALKS_TO_PEOPLE)
    calls = {"breakpoint", "print"} if is_silent else {"breakpoint"}
    lines = io.StringIO(text) if LEFTOVERS.search(text) else io.StringIO()
    return [
        f"{path}:{token.start[0]}: finish it or leave it out: {token.string}"
        for token in tokenize.generate_tokens(lines.readline)
        if token.type == tokenize.COMMENT and LEFTOVERS.search(token.string)
    ] + [
        f"{path}:{node.lineno}: {node.func.id}() left behind"
        for node in nodes(text)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in calls
    ]


def vague_name(path: str, _text: str) -> list[str]:
    parts = {part.removesuffix(".py") for part in PurePosixPath(path).parts}
    return [f"{path}: {name} says nothing about what is inside" for name in parts & VAGUE_NAMES]


def init_not_empty(path: str, text: str) -> list[str]:
    is_init = PurePosixPath(path).name == "__init__.py"
    return [f"{path}: a package file stays empty"] if is_init and text.strip() else []


def swallows_everything(path: str, text: str) -> list[str]:
    """Handlers of every exception that do not raise again, and ``suppress`` of the same."""
    return [
        f"{path}:{node.lineno}: a bug would look like a device's fault"
        for node in nodes(text)
        if (isinstance(node, ast.ExceptHandler) and _is_swallowing(node))
        or (
            isinstance(node, ast.Call)
            and last_name(node.func) == "suppress"
            and any(_is_blanket(argument) for argument in node.args)
        )
    ]


def _is_swallowing(handler: ast.ExceptHandler) -> bool:
    last = handler.body[-1]
    is_raised_again = isinstance(last, ast.Raise) and last.exc is None
    # A thread hands what went wrong to the one who waits for its answer, who raises it.
    handed_on = {f"{name}({handler.name})" for name in ("fail", "set_exception")}
    is_handed_on = any(ast.unparse(line).rpartition(".")[2] in handed_on for line in handler.body)
    return _is_blanket(handler.type) and not is_raised_again and not is_handed_on


def _is_blanket(caught: ast.expr | None) -> bool:
    if caught is None:
        return True
    names = caught.elts if isinstance(caught, ast.Tuple) else [caught]
    return any(ast.unparse(name) in {"Exception", "BaseException"} for name in names)


def stray_task(path: str, text: str) -> list[str]:
    """Tasks made outside app.py, except in a task group that ends with the same function."""
    if path == "agent/app.py" or not path.startswith(("agent/", "drivers/")):
        return []
    groups = {
        ast.unparse(item.optional_vars)
        for node in nodes(text)
        if isinstance(node, ast.AsyncWith)
        for item in node.items
        if item.optional_vars is not None and "TaskGroup(" in ast.unparse(item.context_expr)
    } | {
        node.arg
        for node in nodes(text)
        if isinstance(node, ast.arg) and node.annotation is not None
        if ast.unparse(node.annotation).endswith("TaskGroup")
    }
    return [
        f"{path}:{node.lineno}: only app.py starts tasks that live on"
        for node in nodes(text)
        if isinstance(node, ast.Call)
        and last_name(node.func) == "create_task"
        and ast.unparse(node.func).rpartition(".")[0] not in groups
    ]


def undescribed_error(path: str, text: str) -> list[str]:
    return [
        f"{path}:{node.lineno}: {node.name} does not say what its catcher does next"
        for node in nodes(text)
        if isinstance(node, ast.ClassDef)
        and any(re.search(r"(Error|Exception)$", ast.unparse(base)) for base in node.bases)
        and ast.get_docstring(node) is None
    ]


def foreign_address(path: str, text: str) -> list[str]:
    return [
        f"{path}:{number}: names a registry's host or a path of one machine"
        for number, line in enumerate(text.splitlines(), start=1)
        if REGISTRY_HOSTS.search(line) or MACHINE_PATHS.search(line)
    ]


def dead_link(path: str, text: str) -> list[str]:
    targets = re.findall(r"\]\(([^)\s]+)\)", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    return [
        f"{path}: links to {target}, which is not there"
        for target in targets
        if not re.match(r"[a-z]+:|#", target)
        and not (REPO / path).parent.joinpath(target.partition("#")[0]).exists()
    ]


def unregistered(modules: Mapping[str, str]) -> list[str]:
    """Modules of a folder that its registry reaches neither itself nor through another one."""
    reached: set[str] = set()
    waiting = {"registry"}
    while waiting:
        reached |= waiting
        waiting = {
            name
            for module in waiting
            for name in _imported(modules[module])
            if name in modules and name not in reached
        }
    return sorted(set(modules) - reached)


def _imported(text: str) -> set[str]:
    """Last part of every module name that could be meant by an import."""
    names: set[str] = set()
    for node in nodes(text):
        if isinstance(node, ast.ImportFrom):
            names |= {alias.name for alias in node.names} | {(node.module or "").split(".")[-1]}
        elif isinstance(node, ast.Import):
            names |= {alias.name.split(".")[-1] for alias in node.names}
    return names


LONG = "def f():\n" + "    x = 1\n" * 51
RULES_OF_PYTHON: list[tuple[Rule, str, str]] = [
    (file_too_long, "agent/a.py", "x = 1\n" * 401),
    (function_too_long, "agent/a.py", LONG),
    (function_too_long, "agent/a.py", "class C:\n    async " + LONG.replace("\n", "\n    ")),
    (hides_a_cycle, "agent/a.py", "if TYPE_" + "CHECKING:\n    import b\n"),
    (hides_a_cycle, "agent/a.py", "if typing.TYPE_" + "CHECKING:\n    import b\n"),
    (leftover, "tests/a.py", "x = 1  # TO" + "DO: later\n"),
    (leftover, "simulator/a.py", "breakpoint()\n"),
    (leftover, "drivers/a.py", "print(1)\n"),
    (vague_name, "agent/utils.py", ""),
    (vague_name, "drivers/common/a.py", ""),
    (init_not_empty, "agent/__init__.py", "import a\n"),
    (stray_task, "drivers/a.py", "asyncio.create_task(f())\n"),
    (stray_task, "agent/a.py", "from asyncio import create_task\ncreate_task(f())\n"),
    (stray_task, "agent/a.py", "def f(group):\n    group.create_task(g())\n"),
    (undescribed_error, "agent/a.py", "class A(ValueError):\n    pass\n"),
    (undescribed_error, "agent/a.py", "class A(errors.DriverError):\n    x = 1\n"),
]
BLANKET = [
    "try:\n    f()\nexcept Exception:\n    g()\n",
    "try:\n    f()\nexcept:\n    g()\n",
    "try:\n    f()\nexcept (OSError, BaseException) as error:\n    raise X from error\n",
    "with contextlib.suppress(Exception):\n    f()\n",
]
HOST = "files.python" + "hosted.org"
MACHINE = "/ho" + "me/someone/kwota"
RULES_OF_TEXT: list[tuple[Rule, str, str]] = [
    (foreign_address, "docs/a.md", f"https://{HOST}/x\n"),
    (foreign_address, "Makefile", f"cd {MACHINE}\n"),
    (dead_link, "docs/a.md", "[see](nowhere.md)\n"),
    (dead_link, "docs/a.md", "[see](../docs/nowhere.md#part)\n"),
]
FINE = [
    (function_too_long, "agent/a.py", 'def f():\n    """' + "long\n" * 60 + '"""\n    return 1\n'),
    (leftover, "agent/cli.py", "print(1)\n"),
    (stray_task, "agent/app.py", "group.create_task(f())\n"),
    (
        stray_task,
        "drivers/a.py",
        "async def f():\n    async with asyncio.TaskGroup() as g:\n        g.create_task(h())\n",
    ),
    (
        swallows_everything,
        "agent/a.py",
        "try:\n    f()\nexcept BaseException:\n    g()\n    raise\n",
    ),
    (swallows_everything, "agent/a.py", "try:\n    f()\nexcept OSError:\n    g()\n"),
    (swallows_everything, "agent/a.py", "try:\n    f()\nexcept Exception as e:\n    a.fail(e)\n"),
    (stray_task, "agent/a.py", "def f(g: asyncio.TaskGroup):\n    g.create_task(h())\n"),
    (dead_link, "docs/a.md", "[a](https://c2sp.org) [b](#part) [c](../pyproject.toml)\n"),
    (foreign_address, "docs/a.md", "/var/lib/kwota and https://a.example/wo" + "rk/x\n"),
]


@pytest.mark.parametrize(("rule", "path", "text"), RULES_OF_PYTHON + RULES_OF_TEXT)
def test_each_rule_flags_the_example_made_for_it(rule: Rule, path: str, text: str) -> None:
    assert rule(path, text)


@pytest.mark.parametrize("text", BLANKET)
def test_a_handler_of_everything_is_flagged(text: str) -> None:
    assert len(swallows_everything("agent/a.py", text)) == 1


@pytest.mark.parametrize(("rule", "path", "text"), FINE)
def test_rules_leave_alone_what_is_allowed(rule: Rule, path: str, text: str) -> None:
    assert rule(path, text) == []


def test_a_family_that_the_registry_forgets_is_flagged() -> None:
    folder = {
        "registry": "from drivers.miners import luxos\nimport drivers.miners.braiins\n",
        "luxos": "from drivers.miners.session import Session\n",
        "braiins": "",
        "session": "",
        "vnish": "",
    }
    assert unregistered(folder) == ["vnish"]


def test_python_files_keep_the_rules() -> None:
    rules = dict.fromkeys(rule for rule, _, _ in RULES_OF_PYTHON)
    paths = [path for path in repository_files() if path.endswith(".py")]
    assert len(paths) > 20
    texts = {path: (REPO / path).read_text() for path in paths}
    assert [fault for path in paths for rule in rules for fault in rule(path, texts[path])] == []
    # One place in the agent and none in the drivers catches everything.
    faults = [fault for path in paths for fault in swallows_everything(path, texts[path])]
    assert [fault for fault in faults if fault.startswith("drivers/")] == []
    assert len([fault for fault in faults if fault.startswith("agent/")]) <= 1, faults


def test_no_file_names_a_registry_or_a_path_of_one_machine() -> None:
    assert [
        fault for path in repository_files() for fault in foreign_address(path, _read(path))
    ] == []


def test_every_link_between_pages_leads_somewhere() -> None:
    pages = [path for path in repository_files() if path.endswith(".md")]
    assert "README.md" in pages
    assert [fault for path in pages for fault in dead_link(path, _read(path))] == []


def test_top_level_folders_are_the_agreed_ones() -> None:
    folders = {path.partition("/")[0] for path in repository_files() if "/" in path}
    assert folders == FOLDERS


def test_every_miner_family_is_in_the_registry() -> None:
    folder = (REPO / "drivers" / "miners").glob("*.py")
    modules = {path.stem: path.read_text() for path in folder if path.stem != "__init__"}
    assert len(modules) > 1
    assert set(unregistered(modules)) <= {"models"}  # data on hardware, which the agent looks up


def test_every_device_error_says_what_to_do_next() -> None:
    for module in pkgutil.walk_packages(drivers.__path__, prefix="drivers."):
        importlib.import_module(module.name)
    leaves = _leaves(DriverError)
    assert len(leaves) >= 5
    assert [leaf.__name__ for leaf in leaves if not (leaf.__doc__ or "").strip()] == []


def _leaves(base: type[DriverError]) -> set[type[DriverError]]:
    below = base.__subclasses__()
    return set(below).union(*(_leaves(kind) for kind in below))


def _read(path: str) -> str:
    return (REPO / path).read_text(errors="replace")
