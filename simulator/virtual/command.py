"""``kwota-sim virtual``: one scenario in virtual time, for people or as JSON."""

import json
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress

from simulator.scenario import ScenarioError, load_scenario
from simulator.virtual.disarm import PROTECTIONS
from simulator.virtual.result import Result, missed_bars
from simulator.virtual.run import prepare

BROKEN = 1
WRONG_INPUT = 2

JsonOption = Annotated[bool, typer.Option("--json", help="the result as JSON, and nothing else")]
WithoutOption = Annotated[
    list[str] | None, typer.Option(help=f"leave a protection out: {', '.join(PROTECTIONS)}")
]


def virtual_command(
    scenario: Annotated[str, typer.Argument(help="a scenario's name, or its file (TOML)")],
    *,
    as_json: JsonOption = False,
    seed: Annotated[int | None, typer.Option(help="instead of the scenario's own")] = None,
    minutes: Annotated[float | None, typer.Option(help="stop earlier than the scenario")] = None,
    without: WithoutOption = None,
) -> None:
    """Run the agent's core against a simulated site in virtual time.

    Exit codes: 0 every promise was kept, 1 one was broken, 2 wrong input.
    """
    console = Console(stderr=True)
    try:
        chosen = load_scenario(scenario)
        update: dict[str, Any] = {} if seed is None else {"seed": seed}
        update |= {} if minutes is None else {"minutes": minutes}
        run = prepare(chosen.model_copy(update=update), without=left_out(without))
    except (ScenarioError, ValueError) as error:
        console.print(f"kwota-sim: {error}", style="red", markup=False, highlight=False)
        raise typer.Exit(WRONG_INPUT) from error
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task(chosen.title, total=run.end_s)
        result = run.go(lambda now_s: progress.update(task, completed=now_s))
    if as_json:
        typer.echo(json.dumps(result.document()))
    else:
        _tell(chosen.title, result)
    for words in missed_bars(chosen.bars, result):
        console.print(f"missed: {words}", markup=False, highlight=False)
    raise typer.Exit(BROKEN if result.violations else 0)


def left_out(names: list[str] | None) -> frozenset[str]:
    """The protections to leave out. Raises ValueError for one that there is not."""
    chosen = frozenset(names or ())
    unknown = sorted(chosen - set(PROTECTIONS))
    if unknown:
        known = ", ".join(PROTECTIONS)
        raise ValueError(f"there is no protection {unknown[0]!r} to leave out; known: {known}")
    return chosen


def _tell(title: str, result: Result) -> None:
    rows = {
        "bought": f"{result.purchased_wh / 1000.0:.3f} kWh",
        "beyond it": f"{result.over_wh:.2f} Wh",
        "unused": f"{result.unused_share:.3%}",
        "hashes of the best possible": f"{share(result):.2%}",
        "gap at a change of windows": f"{result.rollover_gap_s:.0f} s",
        "worst error of the estimate": f"{result.max_estimate_error_wh:.1f} Wh",
        "commands, mining restarts": f"{result.commands}, {result.mining_restarts}",
        "a tick of the core, of the rig": f"{result.step_us:.0f} µs, {result.other_us:.0f} µs",
    }
    typer.echo(title)
    for name, value in rows.items():
        typer.echo(f"  {name:<32}{value}")
    for one in result.violations:
        typer.echo(f"  BROKEN {one.promise} {one.id}: {one.words}")


def share(result: Result) -> float:
    """Hashes made of hashes possible."""
    return result.hashes_eh / result.hashes_best_eh if result.hashes_best_eh else 1.0
