"""Proving a log, or naming what is wrong with it: the auditor's side, and ``kwota verify``.

Recomputes every leaf and every root, checks every signature, and reports the first record that a
defect can be pinned to. Reads a journal that is not in use, a copy of one, or an exported bundle;
writes nothing. A log that is internally sound may still be cut short: only the pool's receipts
say how far it once went.
"""

from dataclasses import dataclass
from pathlib import Path

from agent.audit import Audit, Report
from agent.core.note import VerifierKey
from agent.logfile import DamagedError, Log, Progress, open_log

_PROGRESS_EVERY = 5_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """What to verify with. Without ``device`` no signature of the log's own can be checked."""

    device: VerifierKey | None = None
    pool: VerifierKey | None = None


def verify(path: Path, keys: Keys, progress: Progress | None = None) -> Report:
    """Verify a journal file, an exported directory or an exported zip. Raises LogError."""
    with open_log(path) as log:
        audit = Audit(device=keys.device, pool=keys.pool, origin=log.origin)
        try:
            _feed(audit, log, progress)
        except DamagedError as error:
            audit.cannot_read(str(error))
        else:
            if log.size is not None:
                audit.expect_size(log.size)
        return audit.report(log.cosigned_note)


def _feed(audit: Audit, log: Log, progress: Progress | None) -> None:
    """Hand everything over in the order in which it was committed."""
    heads = iter(log.checkpoints)
    head = next(heads, None)
    for count, record in enumerate(log.records, 1):
        while head is not None and head[0] <= record.row:
            audit.checkpoint(*head)
            head = next(heads, None)
        audit.record(record)
        if progress is not None and not count % _PROGRESS_EVERY:
            progress(count, log.size or 0)
    while head is not None:
        audit.checkpoint(*head)
        head = next(heads, None)
