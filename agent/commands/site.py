"""Verbs that ask the running daemon how the site is: status, why, alarms, miners."""

from enum import StrEnum
from typing import Annotated

import orjson
import typer
from pydantic import TypeAdapter
from rich.table import Table

from agent.commands.console import (
    Code,
    ConfigOption,
    JsonOption,
    SocketOption,
    asked,
    plain,
    print_json,
    print_raw,
    refused,
    show,
    socket_of,
    table_of,
    understood,
)
from agent.commands.words import kw, kwh, local_time, scaled, whole
from agent.control_client import NoDaemonError, RefusedError, ask_why
from agent.status.view import MinerRow, PointView, PreflightView, RelayRow, StatusView
from agent.status.vocabulary import alarm_text


def status(
    *,
    is_json: JsonOption = False,
    config: ConfigOption = None,
    socket: SocketOption = None,
) -> None:
    """Show how the site is.

    Mode and why, power, energy left, machines, delivery to the pool, alarms.

    Exit 0: answered; 3: no daemon answers, or it has not finished its first tick.
    """
    document = asked(socket_of(socket, config), "/api/v1/status")
    if is_json:
        print_raw(document)
        return
    view = understood(TypeAdapter(StatusView), document)
    show(_overview(view), *_alarms(view))


def why(
    miner: Annotated[str, typer.Argument(metavar="MINER", help="A miner's id.")],
    *,
    is_json: JsonOption = False,
    config: ConfigOption = None,
    socket: SocketOption = None,
) -> None:
    """Say why a machine runs as it does.

    Exit 0: answered; 1: there is no such machine; 3: no daemon answers.
    """
    try:
        document = ask_why(socket_of(socket, config), miner)
    except (NoDaemonError, RefusedError) as error:
        raise refused(error) from error
    if is_json:
        print_raw(document)
        return
    answer = orjson.loads(document)
    show(plain(answer["words"]))
    because = answer.get("because")
    if because:
        rows = [["limit", because["limit"]], ["source", because["source"]]]
        rows += [[name, number] for name, number in because["numbers"].items()]
        show(table_of(["because", ""], rows))


class Language(StrEnum):
    """In what an alarm is explained; its own figures stay as the agent says them."""

    EN = "en"
    RU = "ru"
    KK = "kk"
    FR = "fr"


def alarms(
    *,
    language: Annotated[
        Language | None,
        typer.Option("--language", help="Explain each alarm: what it means, its cause, a remedy."),
    ] = None,
    is_json: JsonOption = False,
    config: ConfigOption = None,
    socket: SocketOption = None,
) -> None:
    """List what a person should know: since when, how often it was raised, and what to do.

    Exit 0: nothing is critical; 1: something is; 3: no daemon answers.
    """
    view = understood(TypeAdapter(StatusView), asked(socket_of(socket, config), "/api/v1/status"))
    if is_json:
        print_json([alarm.model_dump() for alarm in view.alarms])
    elif view.alarms:
        show(*_alarms(view))
        if language is not None:
            show(_explained(view, language))
    else:
        show("no alarm stands")
    if any(alarm.severity == "critical" for alarm in view.alarms):
        raise typer.Exit(Code.NEGATIVE)


class Order(StrEnum):
    """By what machines can be listed: names from A, states as words, numbers from the largest."""

    MINER = "miner"
    STATE = "state"
    POWER = "power"
    HASHRATE = "hashrate"
    AGE = "age"


def miners(
    *,
    order: Annotated[
        Order, typer.Option("--sort", help="Numbers from the largest, the unknown last.")
    ] = Order.MINER,
    words: Annotated[
        list[str] | None,
        typer.Option("--filter", metavar="WORD", help="Only rows with this word; repeatable."),
    ] = None,
    is_json: JsonOption = False,
    config: ConfigOption = None,
    socket: SocketOption = None,
) -> None:
    """List the machines: state, watts, boards, hashrate and why.

    A word of --filter may stand anywhere: id, address, model, MAC, serial, state, reason, pool.

    Exit 0: answered; 3: no daemon answers, or it has not finished its first tick.
    """
    document = asked(socket_of(socket, config), "/api/v1/miners")
    if is_json and not words and order is Order.MINER:
        print_raw(document)
        return
    rows = understood(TypeAdapter(list[MinerRow]), document)
    wanted = [word.lower() for word in words or []]
    chosen = [row for row in rows if all(word in _text_of(row) for word in wanted)]
    chosen.sort(key=lambda row: _rank(row, order))
    if is_json:
        print_json([row.model_dump() for row in chosen])
        return
    headings = ["miner", "address", "model", "state", "power W", "boards", "rate TH/s", "why"]
    cells = [
        [
            row.miner_id,
            row.address if row.moved_from is None else f"{row.address} (was {row.moved_from})",
            row.model,
            row.activity,
            whole(row.power_w),
            f"{plain(row.boards_on)}/{plain(row.board_count)}",
            scaled(row.hashrate_hs, 1e12),
            "; ".join([row.fault or row.why, *row.complaints]),
        ]
        for row in chosen
    ]
    show(table_of(headings, cells))


def _text_of(row: MinerRow) -> str:
    """Everything of a row that a person may look for."""
    return orjson.dumps(row.model_dump()).decode().lower()


def _rank(row: MinerRow, order: Order) -> tuple[bool, float, str]:
    """What is unknown comes last; what is equal stands by name."""
    if order is Order.STATE:
        states = ("fault", "stopped", "sleeping", "ramping", "hashing")
        place = states.index(row.activity) if row.activity in states else -1
        return (row.activity is None, -1 if row.fault else place, row.miner_id)
    numbers = {Order.POWER: row.power_w, Order.HASHRATE: row.hashrate_hs, Order.AGE: row.age_s}
    number = numbers.get(order, 0.0)
    return (number is None, -(number or 0.0), row.miner_id)


_SHADOW = " (shadow: what is decided is not sent)"


def _overview(view: StatusView) -> Table:
    rows: list[tuple[str, str]] = [
        ("site", f"{view.farm} / {view.agent}, at {local_time(view.at_ms, view.zone)}"),
        ("mode", f"{view.mode}{_SHADOW if view.is_shadow else ''}: {view.because.words}"),
        ("power", f"{kw(view.power_w)} of {kw(view.power_cap_w)} allowed"),
    ]
    window = view.window
    if window is None:
        rows.append(("energy", "no purchase is open"))
    else:
        bought = f"{kwh(window.left_wh)} of {kwh(window.purchased_wh)} kWh left"
        until = f"{window.time_left_s:.0f} s until {local_time(window.end_ms, view.zone)}"
        rows.append(("energy", f"{bought}, {until}"))
    ruling = [limit for limit in view.limits if limit.is_ruling]
    others = len(view.limits) - len(ruling)
    names = ", ".join(f"{limit.kind} {limit.id}" for limit in ruling)
    rows.append(("limit", f"{names} rules; {others} more, see `kwota limit list`"))
    if view.preflight is not None:
        rows.append(("next", _ahead(view.preflight, view.zone)))
    rows += [(f"relay {relay.relay_id}", _behind(relay)) for relay in view.relays]
    states = (
        f"{view.miners_hashing} hashing, {view.miners_throttled} throttled, "
        f"{view.miners_sleeping} sleeping, {view.miners_faulty} faulty"
    )
    if len(view.meter_points) > 1:
        rows += [(point.meter_point, _point(point)) for point in view.meter_points]
    rows += [
        ("over", f"{kwh(view.over_wh)} kWh beyond purchases"),
        ("miners", f"{view.miners_total}: {states}"),
        ("hashrate", f"{view.hashrate_hs / 1e12:.1f} TH/s"),
        ("delivery", f"{view.delivery.words} ({view.delivery.unsent} records unsent)"),
        ("clock", "trusted" if view.is_clock_trusted else "not trusted"),
    ]
    grid = Table.grid(padding=(0, 2))
    for name, text in rows:
        grid.add_row(f"[bold]{name}[/bold]", plain(text))
    return grid


def _ahead(ahead: PreflightView, zone: str) -> str:
    """The pre-flight in one sentence, with what to do about it left to the alarm."""
    verdict = "can be kept" if ahead.can_comply else "CANNOT be kept"
    return (
        f"the window from {local_time(ahead.start_ms, zone)} {verdict}: at least "
        f"{kwh(ahead.least_wh)} of {kwh(ahead.purchased_wh)} kWh flow, "
        f"{ahead.controllable_share:.0%} of the watts obey and are at the floor in "
        f"{ahead.stop_s:.0f} s, {ahead.losable_share:.0%} may cease to obey"
    )


def _behind(relay: RelayRow) -> str:
    machines = f"{len(relay.miners)} machines behind it"
    return f"{relay.state}; {machines}, {relay.openings_24h} openings in 24 h"


def _point(point: PointView) -> str:
    """One of several meter points, in a line."""
    left = "no purchase is open"
    if point.window is not None:
        left = f"{kwh(point.window.left_wh)} of {kwh(point.window.purchased_wh)} kWh left"
    power = f"{kw(point.power_w)} of {kw(point.power_cap_w)} allowed"
    return f"{point.mode}: {power}, {left}, {point.miners_total} miners"


def _explained(view: StatusView, language: Language) -> Table:
    """Each code once, in the words of the page."""
    codes = dict.fromkeys(alarm.code for alarm in view.alarms)
    texts = [(code, alarm_text(code, language.value)) for code in codes]
    rows = [[code, text.text, text.cause, text.remedy] for code, text in texts if text is not None]
    return table_of(["code", "meaning", "cause", "what to do"], rows)


def _alarms(view: StatusView) -> list[Table]:
    if not view.alarms:
        return []
    has_several = len(view.meter_points) > 1
    rows = [
        [
            alarm.severity,
            alarm.code,
            f"{alarm.meter_point}: {alarm.source}"
            if has_several and alarm.meter_point not in (None, alarm.source)
            else alarm.source,
            local_time(alarm.first_seen_ms, view.zone),
            alarm.count,
            alarm.words,
            alarm.remedy,
        ]
        for alarm in view.alarms
    ]
    headings = ["alarm", "code", "source", "since", "times", "what", "what to do"]
    return [table_of(headings, rows)]
