"""Proving a log, or naming what is wrong with it: the auditor's side, and ``kwota verify``.

Recomputes every leaf and every root, checks every signature, and reports the first record that a
defect can be pinned to. Reads a journal that is not in use, a copy of one, or an exported bundle;
writes nothing. A log that is internally sound may still be cut short: only the pool's receipts
say how far it once went.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from agent.audit import Audit, Defect, Report
from agent.core.note import NoteError, VerifierKey, parse_vkey
from agent.epochs import key_of_epoch
from agent.handover.check import check_bundle
from agent.handover.seals import listed_one
from agent.handover.shape import BundleError, is_bundle, members_of
from agent.keyring import short
from agent.logfile import DamagedError, Log, LogError, Progress, open_log
from agent.records import RecordError, is_of_kind, parse_record

_PROGRESS_EVERY = 5_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """What to verify with. Without ``device`` no signature of the log's own can be checked.

    ``successors``: the keys that followed on ``device``. A log names them itself, and with them
    alone it is not verified: the first key is asked for. They are needed
    for one that begins under them, such as a later epoch's.
    """

    device: VerifierKey | None = None
    successors: tuple[VerifierKey, ...] = ()
    pool: VerifierKey | None = None


def verify(path: Path, keys: Keys, progress: Progress | None = None, *, head: str = "") -> Report:
    """Verify a journal file, an exported directory or an exported zip. Raises LogError.

    ``head`` is a signed head of the log that somebody kept: what it covers must be there. It says
    nothing about a bundle, which is a selection.
    """
    if is_bundle(path):
        if head:
            raise LogError(f"{path} is a selection: a head is compared with whole logs only.")
        return _verify_bundle(path, keys)
    given = () if keys.device is None else (keys.device, *keys.successors)
    report, audit = _audited(path, given, keys.pool, progress, head)
    if given and audit.is_first_unsigned:
        _require_first_key(path, given)
    return report


def _audited(
    path: Path,
    given: Sequence[VerifierKey],
    pool: VerifierKey | None = None,
    progress: Progress | None = None,
    head: str = "",
) -> tuple[Report, Audit]:
    """One pass over a whole log: what does not hold."""
    with open_log(path) as log:
        devices = [key_of_epoch(key, log.origin) for key in given]
        audit = Audit(devices=devices, pool=pool, origin=log.origin)
        try:
            _feed(audit, log, progress)
        except DamagedError as error:
            audit.cannot_read(str(error))
        else:
            if log.size is not None:
                audit.expect_size(log.size)
            if head:
                audit.expect_head(head)
        return audit.report(log.cosigned_note), audit


def _require_first_key(path: Path, given: Sequence[VerifierKey]) -> None:
    """Say so where nothing is wrong with a log but that its first key was not given.

    That is only said of a log that is sound under that key and that came from it to one of those
    given, by heads that both have signed. Raises LogError.
    """
    first = _first_key(path)
    trusted = {key.public_key for key in given}
    if first is None or first.public_key in trusted:
        return
    report, audit = _audited(path, [first])
    if report.is_sound and any(key.public_key in trusted for key in audit.keys):
        later = ", ".join(short(key) for key in given)
        raise LogError(
            f"{path} begins under the key {short(first)}, and only later ones were given ({later}):"
            f" put the line {first.text} before them into the file that --key names, once you have"
            " compared it with the pool's register or with log.vkey of the agent."
        )


def _first_key(path: Path) -> VerifierKey | None:
    """The key that a log says it began under. None: it names none, or none that can be read."""
    try:
        with open_log(path) as log:
            for stored in log.records:
                if is_of_kind(stored.body, "key"):
                    return parse_vkey(str(parse_record(stored.body).data.get("previous")))
    except (DamagedError, RecordError, NoteError):
        return None  # the pass before has named it
    return None


def _verify_bundle(path: Path, keys: Keys) -> Report:
    """Some records with their proofs, by the same code as the verifier that lies beside them."""
    try:
        members = members_of(path)
        given = () if keys.device is None else (keys.device, *keys.successors)
        verdict = check_bundle(members, device=listed_one(given, members), pool=keys.pool)
    except BundleError as error:
        raise LogError(str(error)) from error
    receipts = (
        f"The receipt of {name} says what the records say." for name in verdict.transactions
    )
    return Report(
        origin=verdict.origin,
        size=verdict.records,
        checkpoints=1,
        boots=verdict.boots,
        root=verdict.root,
        cosigned_size=verdict.cosigned_size,
        cosigned_at_s=verdict.cosigned_at_s,
        defects=tuple(Defect(index=one.index, words=one.words) for one in verdict.faults),
        remarks=(*receipts, *verdict.remarks),
    )


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
