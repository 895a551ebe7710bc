"""Where commercial readings are handed in: compared with the signed statements, put on record.

A meter that is surely outside its class is an alarm, over restarts too, until a later comparison
clears it or the meter is exchanged. The books are never touched.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from agent.alarms import Condition
from agent.bookkeeper import settled
from agent.calibrationlog import (
    Known,
    Testimony,
    calibration_record,
    newest,
    recover_calibrations,
)
from agent.control import NotNowError
from agent.core.calibration import (
    Calibration,
    CommercialReading,
    Verdict,
    Yardstick,
    calibrated,
    paired,
)
from agent.journal import Journal
from agent.nameplate import CLASS_SHARE
from agent.posts import MeterPost
from agent.recorder import Recorder
from agent.recovery import statement_of, statements_since
from agent.settings import Settings

DRIFT = "CALIBRATION_DRIFT"
_REMEDY = (
    "have the meter, its current transformers and their ratio checked against the commercial one; "
    "the books go on by this meter as before, so keep a reserve (governor.reserve_share) meanwhile"
)
_LATE = "the disk did not take it in time; see `kwota journal tail --kind calibration`"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A meter by which books are kept; ``serial`` is asked when it matters."""

    meter_point: str
    yardstick: Yardstick
    serial: Callable[[], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """What came of readings: nothing where none of them could be compared; reasons by place."""

    calibration: Calibration | None
    reasons: Mapping[int, str]


def candidates(settings: Settings, posts: Sequence[MeterPost]) -> dict[str, Candidate]:
    """The meters of the points, by id."""
    by_id = {post.meter_id: post for post in posts}
    shares = {meter.id: meter.error_share for meter in settings.meters}
    return {
        point.meter: _candidate(point.id, by_id[point.meter], shares[point.meter])
        for point in settings.meter_points
    }


def _candidate(meter_point: str, post: MeterPost, error_share: float) -> Candidate:
    yardstick = Yardstick(
        error_share=max(error_share, CLASS_SHARE),
        step_wh=post.traits.step_wh,
        refresh_s=post.traits.refresh_s,
    )

    def serial() -> str:
        return "" if post.identity is None else post.identity.serial

    return Candidate(meter_point=meter_point, yardstick=yardstick, serial=serial)


class CalibrationDesk:
    """``known`` is what stands of each meter, as the journal has it."""

    def __init__(
        self,
        *,
        meters: Mapping[str, Candidate],
        journal: Journal,
        recorder: Recorder,
        now_ms: Callable[[], int],
        known: Mapping[str, Known],
    ) -> None:
        self._meters = meters
        self._journal = journal
        self._recorder = recorder
        self._now_ms = now_ms
        self._known = dict(known)

    async def compare(
        self,
        meter_id: str,
        readings: Sequence[CommercialReading],
        *,
        told_by: str,
        reason: str,
        read_from: str = "",
    ) -> Compared:
        """Compare and put on record. Raises NotNowError."""
        meter = self._meters.get(meter_id)
        if meter is None:
            known = ", ".join(map(repr, self._meters))
            raise NotNowError(f"statements go by the meter {known}, not by {meter_id[:64]!r}")
        since_ms = min(reading.start_ms for reading in readings)
        rows = await statements_since(self._journal, since_ms, self._now_ms())
        statements = [statement_of(row) for row in rows if row["meter_point"] == meter.meter_point]
        pairs, reasons = paired(readings, statements)
        found = calibrated(pairs, meter.yardstick) if pairs else None
        if found is None:
            return Compared(calibration=None, reasons=reasons)
        testimony = Testimony(
            meter_id=meter_id,
            meter_point=meter.meter_point,
            serial=meter.serial(),
            told_by=told_by,
            reason=reason,
            read_from=read_from,
        )
        durable: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def is_durable(_indices: range) -> None:
            if not durable.done():
                durable.set_result(None)

        self._recorder.keep([calibration_record(found, pairs, testimony)], then=is_durable)
        await settled([durable], _LATE)
        after = Known(serial=testimony.serial, calibration=found)
        self._known[meter_id] = newest(self._known.get(meter_id), after)
        _log.warning(
            "meter=%s event=calibrated verdict=%s factor_ppm=%d",
            meter_id,
            found.verdict.value,
            found.factor_ppm,
        )
        return Compared(calibration=found, reasons=reasons)

    def conditions(self) -> Iterator[Condition]:
        """The meters that have left their class."""
        for meter_id, meter in self._meters.items():
            known = self._known.get(meter_id)
            if known is None or known.calibration.verdict is not Verdict.OUTSIDE:
                continue
            if meter.serial() not in {known.serial, ""}:
                continue  # it was another meter
            yield Condition(
                code=DRIFT,
                severity="warning",
                source=meter_id,
                meter_point=meter.meter_point,
                words=_words(known.calibration),
                remedy=_REMEDY,
            )


def _words(found: Calibration) -> str:
    share, off = (found.factor_ppm / 1e6 - 1) * 100, found.uncertainty_ppm / 1e4
    return (
        f"the commercial meter counted {share:+.2f} % (give or take {off:.2f} %) against it, "
        f"beyond its class of {found.class_ppm / 1e4:.2f} %"
    )


async def open_calibration_desk(
    settings: Settings,
    posts: Sequence[MeterPost],
    *,
    journal: Journal,
    recorder: Recorder,
    now_ms: Callable[[], int],
) -> CalibrationDesk:
    """The desk with what stands on record. Raises JournalError."""
    return CalibrationDesk(
        meters=candidates(settings, posts),
        journal=journal,
        recorder=recorder,
        now_ms=now_ms,
        known=await recover_calibrations(journal),
    )
