"""The controller watched: what it is doing as records, what is wrong with it as alarms.

An alarm is raised at one value and cleared at a better one, so that a value that wavers around a
limit does not ring all day; what may be a short peak has to last first.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from agent.alarms import Condition
from agent.host import HostError, HostFacts, host_facts
from agent.recorder import Recorder
from agent.records import NewRecord
from agent.siteclock import KernelClock, read_kernel_clock

SWEEP_S = 60.0
ANSWER_S = 30.0
_AGENT = "agent"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold:
    """A limit on one number: too much of it raises the alarm ``code``.

    It has to be beyond ``raise_at`` for ``sweeps`` sweeps in a row, and stays until the number is
    below ``clear_at``.
    """

    code: str
    raise_at: float
    clear_at: float
    sweeps: int
    words: str
    remedy: str


TEMPERATURE_C = Threshold(
    code="HOST_HOT",
    raise_at=80.0,
    clear_at=72.0,
    sweeps=2,
    words="the controller has {:.0f} °C",
    remedy="give it air, or move it out of the hot aisle: above 90 °C most boards slow down",
)
DISK_USED_SHARE = Threshold(
    code="HOST_DISK",
    raise_at=0.95,
    clear_at=0.90,
    sweeps=1,
    words="{:.0%} of the disk that holds the journal are in use",
    remedy="remove what does not belong there; the journal itself keeps to journal.max_bytes",
)
MEMORY_USED_SHARE = Threshold(
    code="HOST_MEMORY",
    raise_at=0.95,
    clear_at=0.85,
    sweeps=2,
    words="{:.0%} of the controller's memory are in use",
    remedy="see what else runs on the controller; the kernel ends programs when nothing is left",
)
LOAD_PER_CPU = Threshold(
    code="HOST_LOAD",
    raise_at=4.0,
    clear_at=2.0,
    sweeps=10,
    words="{:.1f} tasks wait for each processor of the controller",
    remedy="see what else runs on the controller",
)
UNSYNCHRONISED = Threshold(
    code="HOST_CLOCK",
    raise_at=1.0,
    clear_at=1.0,
    sweeps=15,
    words="no time service keeps the clock of the controller",
    remedy="start a time service (chrony, systemd-timesyncd) and let it reach its server",
)
UNREADABLE = Threshold(
    code="HOST_UNREADABLE",
    raise_at=1.0,
    clear_at=1.0,
    sweeps=2,
    words="the controller does not tell about itself",
    remedy="see the sentence; the farm is governed all the same",
)


class Lamp:
    """One alarm with its hysteresis. ``words`` are those of the last value while it is lit."""

    def __init__(self, threshold: Threshold) -> None:
        self.threshold = threshold
        self.is_lit = False
        self.words = ""
        self._beyond = 0

    def show(self, value: float | None, words: str = "") -> None:
        """Take one sweep's value; None: it could not be measured, and nothing changes."""
        if value is None:
            return
        limit = self.threshold
        self._beyond = self._beyond + 1 if value >= limit.raise_at else 0
        if self._beyond >= limit.sweeps:
            self.is_lit = True
        elif value < limit.clear_at:
            self.is_lit = False
        self.words = words or limit.words.format(value)


class HostWatch:
    """Sweeps over the controller. ``run`` is started by the app, ``conditions`` read by the tick.

    ``facts`` are asked on a thread: a dying disk may let even that wait. ``kernel`` is not: it
    answers at once.
    """

    def __init__(
        self,
        journal_path: Path,
        recorder: Recorder,
        *,
        facts: Callable[[Path], HostFacts] = host_facts,
        kernel: Callable[[], KernelClock] = read_kernel_clock,
        answer_s: float = ANSWER_S,
    ) -> None:
        self._journal_path = journal_path
        self._recorder = recorder
        self._facts = facts
        self._kernel = kernel
        self._answer_s = answer_s
        self._asked: asyncio.Future[HostFacts] | None = None
        self._was_synchronised: bool | None = None
        self._hot = Lamp(TEMPERATURE_C)
        self._disk = Lamp(DISK_USED_SHARE)
        self._memory = Lamp(MEMORY_USED_SHARE)
        self._load = Lamp(LOAD_PER_CPU)
        self._clock = Lamp(UNSYNCHRONISED)
        self._hidden = Lamp(UNREADABLE)

    async def run(self) -> None:
        """Sweep for ever."""
        while True:
            await self.sweep()
            await asyncio.sleep(SWEEP_S)

    async def sweep(self) -> None:
        """Ask once, write down what it says, and weigh it."""
        kernel = self._kernel()
        self._note_clock(kernel)
        try:
            facts = await self._answer()
        except HostError as error:
            self._hidden.show(1.0, str(error))
            return
        self._hidden.show(0.0)
        self._hot.show(facts.temperature_max_c)
        self._disk.show(1 - facts.disk_free_bytes / max(facts.disk_total_bytes, 1))
        self._memory.show(1 - facts.memory_available_bytes / max(facts.memory_total_bytes, 1))
        self._load.show(facts.load_1min / facts.cpu_count)
        self._recorder.keep([sweep_record(facts, kernel)], is_evidence=False)

    def conditions(self) -> Iterator[Condition]:
        """What is wrong with the controller now."""
        for lamp in (self._hot, self._disk, self._memory, self._load, self._clock, self._hidden):
            if lamp.is_lit:
                yield Condition(
                    code=lamp.threshold.code,
                    severity="warning",
                    source=_AGENT,
                    words=lamp.words,
                    remedy=lamp.threshold.remedy,
                )

    async def _answer(self) -> HostFacts:
        """The facts. Raises HostError; a question that hangs is not asked a second time."""
        if self._asked is None:
            loop = asyncio.get_running_loop()
            self._asked = loop.run_in_executor(None, self._facts, self._journal_path)
        done, _ = await asyncio.wait({self._asked}, timeout=self._answer_s)
        if not done:
            raise HostError(
                "The controller's disk does not answer: look at its log and replace it."
            )
        asked, self._asked = self._asked, None
        return asked.result()

    def _note_clock(self, kernel: KernelClock) -> None:
        """A record when the kernel's word of its clock changes: from then on times are claims."""
        self._clock.show(0.0 if kernel.is_synchronised else 1.0)
        if kernel.is_synchronised is self._was_synchronised:
            return
        self._was_synchronised = kernel.is_synchronised
        what = "synchronised" if kernel.is_synchronised else "unsynchronised"
        _log.info("clock event=%s max_error_us=%d", what, kernel.max_error_us)
        data = {"what": what, "max_error_us": kernel.max_error_us}
        self._recorder.keep([NewRecord(kind="clock", source=_AGENT, data=data)])


def sweep_record(facts: HostFacts, kernel: KernelClock) -> NewRecord:
    """``sweep``: the controller at one instant, in scaled whole numbers."""
    temperature_c = facts.temperature_max_c
    return NewRecord(
        kind="sweep",
        source=_AGENT,
        data={
            "load_1min_milli": round(facts.load_1min * 1000),
            "cpu_count": facts.cpu_count,
            "memory_total_bytes": facts.memory_total_bytes,
            "memory_available_bytes": facts.memory_available_bytes,
            "process_rss_bytes": facts.process_rss_bytes,
            "disk_total_bytes": facts.disk_total_bytes,
            "disk_free_bytes": facts.disk_free_bytes,
            "temperature_max_mc": None if temperature_c is None else round(temperature_c * 1000),
            "uptime_ms": round(facts.uptime_s * 1000),
            "is_synchronised": kernel.is_synchronised,
            "max_error_us": kernel.max_error_us,
        },
    )
