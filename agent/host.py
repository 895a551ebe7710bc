"""Facts about the controller that the agent runs on, by psutil.

Reads small files of the kernel and asks the file system; call it from a thread, since a dying disk
may let even that wait. Knows nothing of the farm.
"""

import os
import time
from dataclasses import dataclass
from pathlib import Path

import psutil


class HostError(Exception):
    """The controller hides a fact. The message is one sentence with the way out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostFacts:
    """The controller at one instant. ``temperature_max_c`` is None without any such sensor.

    ``disk_free_bytes`` is what an ordinary user may still write beside the journal, ``load_1min``
    the run queue, to be held against ``cpu_count``. ``uptime_s`` counts suspended time too.
    """

    load_1min: float
    cpu_count: int
    memory_total_bytes: int
    memory_available_bytes: int
    process_rss_bytes: int
    disk_total_bytes: int
    disk_free_bytes: int
    temperature_max_c: float | None
    uptime_s: float


def host_facts(journal_path: Path) -> HostFacts:
    """Read all facts now. Raises HostError; the journal itself need not exist yet."""
    try:
        memory = psutil.virtual_memory()
        load_1min = os.getloadavg()[0]
        rss_bytes = psutil.Process().memory_info().rss
    except (OSError, psutil.Error) as error:
        raise HostError(
            "The controller's load and memory cannot be read: "
            "mount /proc for the agent (systemd: ProcSubset=all)."
        ) from error
    total_bytes, free_bytes = _disk(journal_path)
    return HostFacts(
        load_1min=load_1min,
        cpu_count=len(os.sched_getaffinity(0)),
        memory_total_bytes=memory.total,
        memory_available_bytes=memory.available,
        process_rss_bytes=rss_bytes,
        disk_total_bytes=total_bytes,
        disk_free_bytes=free_bytes,
        temperature_max_c=_temperature_max_c(),
        uptime_s=time.clock_gettime(time.CLOCK_BOOTTIME),
    )


def _disk(journal_path: Path) -> tuple[int, int]:
    folder = journal_path.parent
    try:
        usage = psutil.disk_usage(str(folder))
    except OSError as error:
        raise HostError(
            f"The free space of {folder} cannot be read ({error.strerror}): "
            "create the folder or correct [journal] path."
        ) from error
    return usage.total, usage.free


def _temperature_max_c() -> float | None:
    """The hottest sensor: which of them is the processor, each board names differently."""
    sensors = psutil.sensors_temperatures()
    return max(
        (sensor.current for group in sensors.values() for sensor in group),
        default=None,
    )
