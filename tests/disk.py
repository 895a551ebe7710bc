"""A controller's disk with a journal and its second copy, which a test may copy and set back."""

import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from agent.journal import Journal, open_journal
from agent.keys import LogKey, create_log_key
from agent.records import NewRecord
from agent.siteclock import SiteClock
from agent.store import JournalSettings
from agent.verify import Keys, verify

BASE = "pool.example/edge/farm-1-edge-1"


@dataclass
class Disk:
    """A controller's journal and second copy, which a test may copy and set back."""

    directory: Path
    key: LogKey

    @property
    def path(self) -> Path:
        return self.directory / "journal.sqlite"

    @property
    def second_copy(self) -> Path:
        return self.directory / "journal.sqlite.head"

    @asynccontextmanager
    async def boot(self) -> AsyncIterator[Journal]:
        options = JournalSettings(
            path=self.path,
            max_bytes=10_000_000,
            version="0.1.0",
            second_copy=self.second_copy,
        )
        async with open_journal(options, self.key, SiteClock()) as journal:
            yield journal

    def backup(self) -> Path:
        return Path(shutil.copy(self.path, self.directory / "backup"))

    def restore(self) -> None:
        shutil.copy(self.directory / "backup", self.path)

    def is_sound(self, path: Path | None = None) -> bool:
        report = verify(path or self.path, Keys(device=self.key.verifier))
        assert report.is_sound, report.defects
        return True


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    return Disk(tmp_path, create_log_key(tmp_path / "log.key", f"{BASE}/1"))


def meter(energy_wh: int) -> NewRecord:
    data = {"energy_import_wh": energy_wh, "power_mw": 0}
    return NewRecord(kind="meter", source="site", data=data)


async def first_of(journal: Journal) -> dict[str, Any]:
    return json.loads((await journal.read(0, 1))[0])
