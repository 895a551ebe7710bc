"""The whole examination of a site, from its files to its last machine."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

from agent.doctor.controller import controller_findings
from agent.doctor.devices import device_findings
from agent.doctor.files import file_findings
from agent.doctor.finding import Finding, failed, fine
from agent.doctor.pool import broker_findings
from agent.settings import Settings, load_settings
from agent.settings_faults import SettingsError


def configuration(path: Path) -> tuple[Settings | None, Sequence[Finding]]:
    """The settings, if there are any to go by, and what is wrong with them."""
    try:
        settings = load_settings(path)
    except SettingsError as error:
        return None, [
            failed("configuration", fault.key or str(path), fault.reason, fault.remedy)
            for fault in error.faults
        ]
    count = f"{len(settings.meters)} meters, {len(settings.miners)} miners"
    count += f", {len(settings.relays)} relays" * bool(settings.relays)
    return settings, [fine("configuration", str(path), count)]


async def examine(settings: Settings, told: Callable[[], None]) -> Sequence[Finding]:
    """Look at everything; ``told`` is called after each device."""
    here = [*file_findings(settings), *await asyncio.to_thread(_controller, settings)]
    brokers, devices = await asyncio.gather(
        broker_findings(settings), device_findings(settings, told)
    )
    return [*here, *brokers, *devices]


def _controller(settings: Settings) -> list[Finding]:
    return list(controller_findings(settings))
