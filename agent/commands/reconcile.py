"""The verb ``meters reconcile``: a meter held against the billing meter, which is read by DLMS."""

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import TypeAdapter

from agent.billing import KeptReading, as_json, between, keep, load_kept, open_billing, reading_of
from agent.clockface import billing_clock_of, straying
from agent.commands.calibrate import tell_comparison
from agent.commands.console import (
    Code,
    CommandError,
    ConfigOption,
    JsonOption,
    SocketOption,
    asked,
    plain,
    print_json,
    refused,
    say,
    show,
    socket_of,
    understood,
)
from agent.commands.words import kwh, local_time
from agent.commercial import BadRow, CommercialError
from agent.control_client import NoDaemonError, calibrate_meter
from agent.control_client import RefusedError as DaemonRefusedError
from agent.core.calibration import CLOCK_S, CommercialReading
from agent.core.ledger import QUARTER_MS
from agent.status.view import MeterRow, StatusView
from drivers.errors import DriverError, RefusedError
from drivers.meters.billing import BillingMeter, EnergyRegister

_READ_S = 60.0
_GRACE_MS = 3000  # so long after an edge it is still read for that edge
_TRIAL_S = 15.0  # who waits longer than this for an edge hears first whether the meter answers
_SETTLE_S = 60  # until the daemon has signed the statement of the quarter that ended
_AGAIN_S = 2


def reconcile(
    meter: Annotated[str, typer.Argument(metavar="METER", help="The id of a point's meter.")],
    uri: Annotated[
        str,
        typer.Argument(
            metavar="URI",
            help="The billing meter: dlms://10.1.0.20:4059?client=32&password_file=FILE",
        ),
    ],
    *,
    kept: Annotated[
        Path, typer.Option(metavar="FILE", help="Where its reading is kept until the next run.")
    ],
    reason: Annotated[
        str, typer.Option(metavar="TEXT", help="Why it is compared; it goes on record.")
    ] = "",
    is_json: JsonOption = False,
    config: ConfigOption = None,
    socket: SocketOption = None,
) -> None:
    """Compare a meter with what the billing meter has counted since the last run.

    It reads the register at the next quarter of an hour, for which it waits. The first run only
    keeps the reading; each later one compares as `calibrate` does, and keeps the newer reading.

    Exit 0: on record, or kept; 1: and outside the meter's class; 2: wrong usage; 3: no daemon, or
    the billing meter does not answer; 4: refused, or nothing could be compared.
    """
    path = socket_of(socket, config)
    zone = understood(TypeAdapter(StatusView), asked(path, "/api/v1/status")).zone
    _require(path, meter)
    source, after, before = _readings(uri, kept, zone)
    if before is None:
        _kept(kept, after)
        _tell_kept(after, zone, is_json=is_json)
        return
    try:
        reading = between(before, after, kept)
        answer = _handed_over(path, meter, reading, reason, f"{source} serial {after.serial}")
    except CommercialError as error:
        raise CommandError(str(error), Code.REFUSED) from error
    except (NoDaemonError, DaemonRefusedError) as error:
        raise refused(error) from error
    _kept(kept, after)
    left_out = [BadRow(line=1, reason=one["reason"]) for one in answer["left_out"]]
    tell_comparison(answer["calibration"], left_out, zone, is_json=is_json)


def _require(path: Path, meter: str) -> None:
    """Whoever mistakes the id hears of it now and not at the second run."""
    rows = understood(TypeAdapter(list[MeterRow]), asked(path, "/api/v1/meters"))
    known = [row.meter_id for row in rows]
    if meter not in known:
        sentence = f"there is no meter {meter!r}, only {', '.join(map(repr, known))}"
        raise CommandError(sentence, Code.REFUSED)


def _readings(uri: str, kept: Path, zone: str) -> tuple[str, KeptReading, KeptReading | None]:
    """Where the meter is, what it shows at the edge of a quarter, and what is kept of it."""
    try:
        before = load_kept(kept)
        source = open_billing(uri).source
    except (ValueError, CommercialError) as error:
        raise CommandError(str(error), Code.WRONG_INPUT) from error
    if not kept.parent.is_dir():
        raise CommandError(f"{kept.parent} is no folder; correct --kept", Code.WRONG_INPUT)
    now_ms = time.time_ns() // 1_000_000
    edge_ms = now_ms - now_ms % QUARTER_MS
    if now_ms - edge_ms > _GRACE_MS:
        edge_ms += QUARTER_MS
        _wait(uri, edge_ms, zone)
    serial, register, clock = _read(uri, zone)
    late_s = (register.replied_at_ms - edge_ms) / 1000
    if late_s > CLOCK_S:
        sentence = (
            f"{source} answered {late_s:.0f} s after the quarter of an hour, which is too late"
        )
        raise CommandError(f"{sentence} to compare by: run it again", Code.UNREACHABLE)
    if words := straying(clock):
        say(f"the billing meter's {words}: its load profile is off by that, this comparison is not")
    return source, reading_of(serial, register, edge_ms), before


def _wait(uri: str, edge_ms: int, zone: str) -> None:
    """Until the edge; a meter that does not answer is told of before."""
    if edge_ms / 1000 - time.time_ns() / 1e9 > _TRIAL_S:
        _read(uri, zone)
        say(f"the meter answers; its register is read at {local_time(edge_ms, zone)}")
    while (left_s := edge_ms / 1000 - time.time_ns() / 1e9) > 0:
        time.sleep(min(left_s + 0.001, 30.0))  # in parts: the clock may be set meanwhile


def _read(uri: str, zone: str) -> tuple[str, EnergyRegister, Mapping[str, Any]]:
    """Serial, import register and clock, or why not as an error of the command."""
    try:
        return asyncio.run(_asked(open_billing(uri), zone))
    except ValueError as error:
        raise CommandError(str(error), Code.WRONG_INPUT) from error
    except RefusedError as error:
        raise CommandError(str(error), Code.REFUSED) from error
    except DriverError as error:
        raise CommandError(str(error), Code.UNREACHABLE) from error
    except TimeoutError as error:
        sentence = "the billing meter gave no complete answer in time; is it busy?"
        raise CommandError(sentence, Code.UNREACHABLE) from error


async def _asked(meter: BillingMeter, zone: str) -> tuple[str, EnergyRegister, Mapping[str, Any]]:
    """The register first, for its value is of now."""
    try:
        async with asyncio.timeout(_READ_S):
            register = await meter.read_import()
            serial = (await meter.identify()).serial
            return serial, register, await billing_clock_of(meter, zone)
    finally:
        await meter.close()


def _handed_over(
    path: Path, meter: str, reading: CommercialReading, reason: str, read_from: str
) -> dict[str, Any]:
    """What came of it. The statement of the last quarter may take some seconds to be there."""
    answer = calibrate_meter(path, meter, [reading], reason, read_from)
    for _ in range(0, _SETTLE_S, _AGAIN_S):
        if not answer["left_out"]:
            break
        time.sleep(_AGAIN_S)
        answer = calibrate_meter(path, meter, [reading], reason, read_from)
    return answer


def _kept(path: Path, reading: KeptReading) -> None:
    try:
        keep(path, reading)
    except CommercialError as error:
        raise CommandError(str(error), Code.REFUSED) from error


def _tell_kept(reading: KeptReading, zone: str, *, is_json: bool) -> None:
    if is_json:
        print_json({"calibration": None, "left_out": [], "kept": as_json(reading)})
        return
    shown, at = kwh(int(reading.count * reading.step_wh)), local_time(reading.at_ms, zone)
    words = (
        f"kept: {shown} kWh of the meter {reading.serial} at {at}; the next run compares with it"
    )
    show(plain(words))
