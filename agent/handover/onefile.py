"""The verifier as one file, made of the very modules that ``kwota verify`` runs.

They import nothing but the standard library, ``cryptography`` and each other; the imports of each
other are left out, and what remains, one after the other, is a program that needs no kwota.
"""

import ast
from importlib import import_module
from pathlib import Path

PARTS = (
    "agent.core.merkle",
    "agent.core.note",
    "agent.handover.receipt",
    "agent.handover.page",
    "agent.handover.shape",
    "agent.handover.findings",
    "agent.handover.seals",
    "agent.handover.succession",
    "agent.handover.ocmf",
    "agent.handover.ocmfcheck",
    "agent.handover.check",
    "agent.handover.script",
)

_HEAD = '''#!/usr/bin/env python3
"""Checks the evidence bundle that it lies in, without kwota: Python 3.11 and cryptography.

    python3 -m venv check && check/bin/pip install cryptography
    check/bin/python verify.py BUNDLE.zip --key log.vkey --pool-key pool.vkey

Take the two public keys from the pool's register, not from the bundle, and this program from
somebody you trust: whoever changes a bundle can change the verifier in it as well.
"""
'''
_FOOT = '\n\nif __name__ == "__main__":\n    sys.exit(run_script(sys.argv[1:]))\n'


def verifier_source() -> str:
    """The text of ``verify.py``."""
    parts = [_HEAD]
    for name in PARTS:
        text = Path(str(import_module(name).__file__)).read_text(encoding="utf-8")
        parts.append(f"\n\n# {name}\n\n{_without_own_imports(text).strip()}\n")
    return "".join(parts) + _FOOT


def _without_own_imports(text: str) -> str:
    """The module's text without the lines that import its siblings."""
    lines = text.splitlines(keepends=True)
    for node in reversed(ast.parse(text).body):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("agent."):
            del lines[node.lineno - 1 : node.end_lineno]
    return "".join(lines)
