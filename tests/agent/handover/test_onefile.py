"""The one-file verifier, as a program."""

import ast
import subprocess
import sys
from collections import Counter

from agent.handover.onefile import PARTS, verifier_source
from agent.handover.selection import Wanted


def test_no_two_parts_of_it_give_a_name_twice() -> None:
    """A later one would take the place of an earlier one, without a word."""
    names: Counter[str] = Counter()
    for node in ast.parse(verifier_source()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names[node.name] += 1
        elif isinstance(node, ast.Assign):
            names.update(
                t.id for one in node.targets for t in ast.walk(one) if isinstance(t, ast.Name)
            )
    assert {name: count for name, count in names.items() if count > 1} == {}
    assert {"check_bundle", "receipt_of", "page_of", "verify_inclusion"} <= names.keys()


def test_it_imports_nothing_but_the_standard_library_and_cryptography() -> None:
    source = verifier_source()
    for node in ast.walk(ast.parse(source)):
        modules = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            modules = [str(node.module)]
        for module in modules:
            top = module.partition(".")[0]
            assert top == "cryptography" or top in sys.stdlib_module_names, module
    assert all(f"# {name}\n" in source for name in PARTS)


def test_people_read_what_it_found(farm) -> None:
    bundle, _ = farm.export(Wanted(transactions=("tx-1",)))
    script = farm.directory / "people.py"
    script.write_text(verifier_source())
    done = subprocess.run(
        [sys.executable, str(script), str(bundle), *farm.keys],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("SOUND\n")
    assert "receipt     tx-1: says what the records say" in done.stdout
    wrong = subprocess.run(
        [sys.executable, str(script), str(bundle), "--key", str(script)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr.count("\n") == 1
