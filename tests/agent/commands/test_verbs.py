import os
import subprocess
import sys
from pathlib import Path

import pytest

from agent.cli import command_line, main
from generators.commands import verbs

REPO = Path(__file__).parents[3]
VERBS = {
    name.removeprefix("kwota "): command
    for name, command in verbs(command_line(), "kwota")
    if not hasattr(command, "commands")
}
#: A daemon answers nobody: what it does is in its log.
SILENT = {"run"}


def shell(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "agent", *arguments]
    return subprocess.run(
        command,
        cwd=REPO,
        env=os.environ | environ,
        capture_output=True,
        text=True,
        timeout=15,
        check=False,
    )


def test_the_help_lists_every_verb_and_every_exit_code(terminal) -> None:
    shown = terminal.run("--help")
    assert shown.code == 0
    for verb in VERBS:
        assert verb.split()[0] in shown.out
    for code in range(6):
        assert f"\n    {code}  " in shown.out


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_long_options_only_and_says_its_exit_codes(terminal, verb: str) -> None:
    shown = terminal.run(*verb.split(), "--help")
    assert shown.code == 0
    assert "Exit 0:" in shown.out
    assert ("--json" in shown.out) is (verb not in SILENT)
    options = [line.split()[0] for line in shown.out.splitlines() if line.startswith("  -")]
    assert options
    assert all(option.startswith("--") for option in options)


@pytest.mark.parametrize(
    "arguments",
    [
        ["bogus"],
        ["status", "extra"],
        ["--nope"],
        ["why"],
        ["journal", "tail", "--count", "0"],
        ["journal", "tail", "--count", "ten"],
        ["demo", "--miners", "0"],
        ["run"],
        ["run", "--config", "\x00"],
        ["check-config", "/dev/zero"],
        ["poll", "\x1b[31m://"],
        ["transactions", "import", "/dev/null.csv/x.csv"],
    ],
)
def test_nonsense_is_wrong_usage_and_never_a_traceback(terminal, arguments: list[str]) -> None:
    shown = terminal.run(*arguments)
    assert (shown.code, shown.out) == (2, "")
    assert shown.err
    assert "\x1b" not in shown.err


def test_a_fault_of_our_own_is_a_sentence_and_with_debug_a_traceback(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # An environment that no verb expects: the current folder cannot be told.
    monkeypatch.setattr(Path, "absolute", lambda _self: 1 // 0)
    for arguments, is_shown in (
        (["check-config", "x"], False),
        (["--debug", "check-config", "x"], True),
    ):
        with pytest.raises(SystemExit) as end:
            main(arguments)
        assert end.value.code == 5
        captured = capsys.readouterr()
        assert "a fault of kwota itself (ZeroDivisionError" in captured.err
        assert ("Traceback" in captured.err) is is_shown
        assert captured.out == ""


def test_as_a_process_it_answers_with_codes_and_clean_streams(tmp_path: Path) -> None:
    asked = shell("status", "--json", "--socket", str(tmp_path / "none.sock"))
    assert (asked.returncode, asked.stdout) == (3, "")
    assert asked.stderr.count("\n") == 1
    assert shell("--version").stdout.startswith("kwota ")


@pytest.mark.parametrize(
    ("kind", "typed", "offered", "hidden"),
    [
        ("bash", "kwota al", "alarms", "status"),
        ("bash", "kwota limit s", "set", "list"),
        ("zsh", "kwota miners --s", "--sort", "--filter"),
        ("fish", "kwota doctor --", "--json", "--sort"),
    ],
)
def test_a_shell_that_completes_is_offered_what_fits(
    kind: str, typed: str, offered: str, hidden: str
) -> None:
    said = shell(
        _KWOTA_COMPLETE=f"complete_{kind}",
        COMP_WORDS=typed,
        COMP_CWORD=str(typed.count(" ")),
        _TYPER_COMPLETE_ARGS=typed,
        _TYPER_COMPLETE_FISH_ACTION="get-args",
    )
    assert (said.returncode, said.stderr) == (0, "")
    assert offered in said.stdout
    assert hidden not in said.stdout


def test_a_shell_is_told_how_to_complete() -> None:
    said = shell("--show-completion", "bash")
    assert (said.returncode, said.stderr) == (0, "")
    assert subprocess.run(["bash", "-n"], input=said.stdout.encode(), check=False).returncode == 0
    assert "complete -o default -F _kwota_completion kwota" in said.stdout


def test_logs_are_those_of_the_service_and_on_demand_as_data(tmp_path: Path) -> None:
    journalctl = tmp_path / "journalctl"
    journalctl.write_text('#!/bin/sh\necho "$@"\nexit 7\n')
    journalctl.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    asked = shell("logs", "--lines", "3", PATH=path)
    assert (asked.returncode, asked.stdout) == (7, "--unit=kwota --lines=3 --no-hostname\n")
    asked = shell("logs", "--follow", "--json", "--unit", "kwota-failsafe", PATH=path)
    assert asked.stdout.split() == [
        *("--unit=kwota-failsafe", "--lines=50", "--no-hostname", "--follow", "--output=json")
    ]
    nowhere = shell("logs", PATH=str(tmp_path / "none"))
    assert (nowhere.returncode, nowhere.stdout) == (3, "")
    assert "there is no journalctl here" in nowhere.stderr
