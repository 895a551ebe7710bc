"""``kwota-sim campaign``: many random sites with faults, or one of them again."""

import json
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

from simulator.campaign import Verdict, failure, replay_command, run_campaign
from simulator.campaign_need import draw_needing
from simulator.virtual.command import (
    BROKEN,
    WRONG_INPUT,
    JsonOption,
    WithoutOption,
    left_out,
)
from simulator.virtual.run import run_scenario

#: Where no bar can be drawn, a line is written after so many runs.
TOLD_RUNS = 100


def campaign_command(
    *,
    runs: Annotated[int, typer.Option(min=1, max=1_000_000)] = 500,
    faults: Annotated[int, typer.Option(min=0, max=6, help="at most so many in a run")] = 2,
    seed: Annotated[int, typer.Option(help="of the whole campaign")] = 1,
    replay: Annotated[int | None, typer.Option(help="seed of one run to do again")] = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="processes; all cores by default")] = None,
    without: WithoutOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run random sites with random faults, each judged by its plant's own truth.

    With --without the sites are drawn so that they need what is left out: it is to be missed.

    Exit codes: 0 every promise was kept, 1 one was broken, 2 wrong input.
    """
    console = Console(stderr=True)
    try:
        omitted = left_out(without)
    except ValueError as error:
        console.print(f"kwota-sim: {error}", style="red", markup=False, highlight=False)
        raise typer.Exit(WRONG_INPUT) from error
    if replay is not None:
        raise typer.Exit(_replay(replay, faults, omitted))
    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("campaign", total=runs)

        def note(verdict: Verdict) -> None:
            # A failure is told at once: nobody waits an hour for the news of its first minute.
            progress.advance(task)
            if verdict.failures:
                _tell_failure(failure(verdict, faults_max=faults, without=omitted), console)
            done = round(progress.tasks[task].completed)
            if not console.is_terminal and done % TOLD_RUNS == 0:
                console.print(f"{done} of {runs} runs", highlight=False)

        document = run_campaign(
            runs=runs,
            faults_max=faults,
            seed=seed,
            without=omitted,
            jobs=jobs,
            on_done=note,
        )
    if as_json:
        typer.echo(json.dumps(document))
    else:
        _tell(document)
    raise typer.Exit(BROKEN if document["failures"] else 0)


def _replay(seed: int, faults_max: int, without: frozenset[str]) -> int:
    """One run of a campaign, with the site that was drawn for it."""
    scenario = draw_needing(seed, faults_max, without)
    result = run_scenario(scenario, without=without)
    document = {
        "command": replay_command(seed, faults_max, without),
        "scenario": scenario.model_dump(exclude_defaults=True),
        "is_coverable": result.is_coverable,
        "announced": None if result.is_coverable else not result.unforetold,
        "unforetold": list(result.unforetold),
        "below_truth_wh": round(result.below_truth_wh, 3),
        "result": result.document(),
    }
    typer.echo(json.dumps(document, indent=1))
    broken = result.violations if result.is_coverable else result.unforetold
    return BROKEN if broken else 0


def _tell(document: dict[str, Any]) -> None:
    for name, value in document.items():
        if name != "failures":
            typer.echo(f"{name:<28}{value}")


def _tell_failure(broken: dict[str, Any], console: Console) -> None:
    lines = (
        f"BROKEN {'; '.join(broken['words'])}",
        f"  faults: {', '.join(broken['faults']) or 'none'}",
        f"  again:  {broken['replay']}",
    )
    console.print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)
