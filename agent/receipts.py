"""What a receipt proves: that the pool holds our records up to a size, by its own clock.

A receipt is our own checkpoint with the pool's cosignature (c2sp.org/tlog-cosignature). It counts
only where it stands under a head that we signed ourselves.
"""

from dataclasses import dataclass

from agent.core.note import (
    Checkpoint,
    NoteError,
    VerifierKey,
    cosigned_at_s,
    parse_checkpoint,
    parse_note,
)

POOL_CLOCK_BACK_S = 300
"""How far the pool's clock may be set back between two receipts without one being refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """A receipt as it came in. ``note`` is its exact text; nothing about it is verified yet."""

    note: str
    claimed: Checkpoint


def parse_receipt(payload: bytes) -> Receipt:
    """Read a receipt. Raises NoteError."""
    try:
        text = payload.decode("utf-8")
    except UnicodeDecodeError as error:
        raise NoteError("the receipt is not UTF-8 text") from error
    return Receipt(note=text, claimed=parse_checkpoint(parse_note(text).text))


def verified_receipt_time_s(
    receipt: Receipt, *, own: Checkpoint, pool: VerifierKey, previous_s: int
) -> int:
    """When the pool cosigned, POSIX seconds. Raises NoteError where it did not cosign our head.

    ``own`` is the head that we signed ourselves for this size, ``previous_s`` the time of the
    receipt before (0: none).
    """
    if receipt.claimed != own:
        raise NoteError(
            f"the receipt for size {receipt.claimed.size} names a root that we never signed"
        )
    time_s = cosigned_at_s(parse_note(receipt.note), pool)
    if time_s < previous_s - POOL_CLOCK_BACK_S:
        raise NoteError(f"the pool's time went back from {previous_s} to {time_s}")
    return time_s
