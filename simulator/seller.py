"""The pool's signed batches of purchases, and what is wrong with them on command.

Numbers are given once and kept in a file; the newest batch to each agent is kept as well, so that
it can be sent again.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from simulator.signed_note import Signer

PURPOSE = "kwota/transactions/v1"
VALID_MS = 600_000
_AGO_MS = 60_000


class Trick(StrEnum):
    """What a batch has wrong with it."""

    NONE = "none"
    REPEAT = "repeat"  # the newest batch once more, byte for byte
    REPLAY = "replay"  # the batch before the newest once more
    REUSED = "reused"  # another batch with the newest one's number
    WRONG_KEY = "wrong_key"  # signed with another key of the same name
    ALTERED = "altered"  # one digit changed after it was signed
    WRONG_SITE = "wrong_site"  # for another agent
    EXPIRED = "expired"
    NOT_YET = "not_yet"
    TOO_LARGE = "too_large"
    MALFORMED = "malformed"


class NothingSentError(ValueError):
    """There is no batch yet that could be sent again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedBatch:
    """A message to publish."""

    batch_id: str
    sequence: int
    payload: bytes


@dataclass(slots=True, kw_only=True)
class Seller:
    """Signs batches; one directory holds the numbers."""

    directory: Path
    signer: Signer

    def batch(
        self,
        farm: str,
        agent: str,
        rows: Sequence[dict[str, Any]],
        trick: Trick = Trick.NONE,
    ) -> SignedBatch:
        """The next batch for an agent. Raises NothingSentError."""
        name = f"{farm}/{agent}"
        sent = self._kept(name)
        if trick in (Trick.REPEAT, Trick.REPLAY):
            back = 1 if trick is Trick.REPEAT else 2
            if len(sent) < back:
                raise NothingSentError(f"fewer than {back} batches were sent to {name} yet")
            return sent[-back]
        if trick is Trick.REUSED and not sent:
            raise NothingSentError(f"no batch was sent to {name} yet")
        sequence = (sent[-1].sequence if sent else 0) + (trick is not Trick.REUSED)
        made = self._signed(farm, agent, rows, sequence, trick)
        if trick is Trick.NONE:
            self._keep(name, [*sent, made][-2:])
        return made

    def _signed(
        self, farm: str, agent: str, rows: Sequence[dict[str, Any]], sequence: int, trick: Trick
    ) -> SignedBatch:
        now_ms = time.time_ns() // 1_000_000
        start_ms = now_ms - _AGO_MS
        if trick in (Trick.EXPIRED, Trick.NOT_YET):
            start_ms += (-2 if trick is Trick.EXPIRED else 2) * VALID_MS
        batch_id = f"{agent}-{sequence}-{now_ms}"
        body = {
            "v": 1,
            "farm": farm,
            "agent": f"{agent}-other" if trick is Trick.WRONG_SITE else agent,
            "id": batch_id,
            "sequence": sequence,
            "not_before_ms": start_ms,
            "expires_ms": start_ms + VALID_MS,
            "transactions": list(rows) * (300 if trick is Trick.TOO_LARGE else 1),
        }
        if trick is Trick.MALFORMED:
            del body["expires_ms"]
        signer = self.signer
        if trick is Trick.WRONG_KEY:
            signer = Signer(name=signer.name, private=Ed25519PrivateKey.generate())
        payload = signer.sign(f"{PURPOSE}\n{json.dumps(body, separators=(',', ':'))}\n")
        if trick is Trick.ALTERED:
            number = b'"sequence":%d' % sequence
            payload = payload.replace(number, b'"sequence":%d' % (sequence + 1), 1)
        return SignedBatch(batch_id=batch_id, sequence=sequence, payload=payload)

    @property
    def _file(self) -> Path:
        return self.directory / "sent.json"

    def _kept(self, name: str) -> list[SignedBatch]:
        if not self._file.exists():
            return []
        rows = json.loads(self._file.read_text(encoding="utf-8")).get(name, [])
        return [
            SignedBatch(batch_id=row[0], sequence=row[1], payload=row[2].encode()) for row in rows
        ]

    def _keep(self, name: str, sent: Sequence[SignedBatch]) -> None:
        kept = json.loads(self._file.read_text("utf-8")) if self._file.exists() else {}
        kept[name] = [[one.batch_id, one.sequence, one.payload.decode()] for one in sent]
        half = self._file.with_suffix(".part")
        half.write_text(json.dumps(kept), encoding="utf-8")
        half.replace(self._file)
