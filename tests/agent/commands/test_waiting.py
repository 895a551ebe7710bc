"""What takes long says so on a terminal, and nowhere else."""

import contextlib
import os
import pty
import subprocess
import sys

SCRIPT = (
    "from agent.commands.waiting import waiting\n"
    "import sys, time\n"
    "with waiting('the daemon writes hour.zip', is_json=sys.argv[1] == 'json'):\n"
    "    time.sleep(0.5)\n"
)


def on_a_terminal(kind: str) -> bytes:
    ours, theirs = pty.openpty()
    try:
        subprocess.run(
            [sys.executable, "-c", SCRIPT, kind],
            stderr=theirs,
            env=os.environ | {"TERM": "xterm"},
            timeout=15,
            check=True,
        )
        os.close(theirs)
        shown = b""
        with contextlib.suppress(OSError):  # the end of a terminal whose owner has left
            while piece := os.read(ours, 65_536):
                shown += piece
        return shown
    finally:
        os.close(ours)


def test_a_terminal_is_shown_what_is_waited_for_and_since_when() -> None:
    shown = on_a_terminal("people")
    assert b"the daemon writes hour.zip" in shown
    assert b"0:00:00" in shown


def test_whoever_wants_data_or_has_no_terminal_is_shown_nothing() -> None:
    assert b"hour.zip" not in on_a_terminal("json")
    said = subprocess.run(
        [sys.executable, "-c", SCRIPT, "people"], capture_output=True, timeout=15, check=True
    )
    assert said.stderr.strip() == b""
