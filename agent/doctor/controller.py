"""The controller itself: clock, disk, memory, temperature, and whether the daemon answers."""

import socket
from collections.abc import Iterator
from pathlib import Path

from agent.control_client import NoDaemonError, RefusedError, ask
from agent.doctor.finding import Finding, failed, fine, warning
from agent.host import HostError, HostFacts, host_facts
from agent.settings import Settings
from agent.siteclock import KernelClock, read_kernel_clock

_CLOCK_ERROR_MAX_US = 500_000
_DISK_SHARE_MIN = 0.05
_MEMORY_MIN_BYTES = 100_000_000
_HOT_C = 80.0


def controller_findings(settings: Settings) -> Iterator[Finding]:
    """What the agent stands on."""
    yield clock_finding(read_kernel_clock())
    try:
        facts = host_facts(_standing(settings.journal.path))
    except HostError as error:
        yield failed(
            "controller", "host", str(error), "mend that first; the rest was not looked at"
        )
    else:
        yield disk_finding(facts, settings)
        yield from load_findings(facts)
    yield from _daemon(settings)


def _standing(path: Path) -> Path:
    """The path, or what would lie beside the first folder above it that exists."""
    while not path.parent.is_dir() and path.parent != path:
        path = path.parent
    return path


def clock_finding(clock: KernelClock) -> Finding:
    """By what the kernel says of its own clock."""
    remedy = "start a time service: systemctl enable --now chrony, and check its servers"
    if not clock.is_synchronised:
        return failed("clock", "kernel", "no time service keeps the clock right", remedy)
    if clock.max_error_us > _CLOCK_ERROR_MAX_US:
        words = f"it may be off by {clock.max_error_us / 1e6:.1f} s; windows end by the clock"
        return warning("clock", "kernel", words, remedy)
    return fine("clock", "kernel", f"synchronised within {clock.max_error_us / 1000:.0f} ms")


def disk_finding(facts: HostFacts, settings: Settings) -> Finding:
    """Whether the journal may still grow by as much as it is allowed to."""
    folder = str(settings.journal.path.parent)
    present = settings.journal.path.stat().st_size if settings.journal.path.exists() else 0
    wanted = max(settings.journal.max_bytes - present, 0)
    free = facts.disk_free_bytes
    words = f"{free / 1e9:.1f} GB are free, the journal may grow by {wanted / 1e9:.1f} GB"
    if free < _DISK_SHARE_MIN * facts.disk_total_bytes:
        return failed("disk", folder, words, "free space, or lower journal.max_bytes")
    if free < wanted:
        return warning("disk", folder, words, "free space, or lower journal.max_bytes")
    return fine("disk", folder, words)


def load_findings(facts: HostFacts) -> Iterator[Finding]:
    """Memory, and what else keeps a tick waiting."""
    free_mb = facts.memory_available_bytes / 1e6
    if facts.memory_available_bytes < _MEMORY_MIN_BYTES:
        yield failed("memory", "host", f"only {free_mb:.0f} MB are free", "end what else runs here")
    else:
        yield fine("memory", "host", f"{free_mb:.0f} MB are free")
    if facts.load_1min > 2 * facts.cpu_count:
        words = f"{facts.load_1min:.1f} processes wait for {facts.cpu_count} processors"
        yield warning("load", "host", words, "end what else runs here: ticks come late")
    hottest_c = facts.temperature_max_c
    if hottest_c is not None and hottest_c > _HOT_C:
        words = f"the hottest sensor shows {hottest_c:.0f} °C"
        yield warning(
            "temperature", "host", words, "give the controller air, away from the machines"
        )


def _daemon(settings: Settings) -> Iterator[Finding]:
    path = settings.status.socket
    try:
        ask(path, "/api/v1/status")
    except NoDaemonError:
        remedy = "start it: systemctl start kwota; why it ended: journalctl -u kwota -n 50"
        yield warning("daemon", str(path), "no daemon answers", remedy)
        yield _page_port(settings)
    except RefusedError as error:
        yield warning("daemon", str(path), str(error), "wait for its first tick")
    else:
        yield fine("daemon", str(path), "answers")


def _page_port(settings: Settings) -> Finding:
    """Without a daemon somebody else may have the port of its page."""
    at = settings.status.listen
    family = socket.AF_INET6 if ":" in at.host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((at.host, at.port))
        except OSError as error:
            words = f"cannot be listened on: {error.strerror}"
            remedy = (
                f"end what listens there (ss -ltnp 'sport = :{at.port}'), or change status.listen"
            )
            return failed("page", f"{at.host}:{at.port}", words, remedy)
    return fine("page", f"{at.host}:{at.port}", "is free for the page")
