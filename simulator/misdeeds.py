"""How the pool can misbehave with receipts while it runs; the agent has to live with each."""

from dataclasses import dataclass, field
from enum import StrEnum

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from simulator.signed_note import Checkpoint, Cosigner


class Misdeed(StrEnum):
    """Each by its name in the control API."""

    STALLS = "stalls"  # takes everything, answers nothing
    FORGETS = "forgets"  # gives receipts and drops what they are for
    WRONG_KEY = "wrong_key"  # cosigns with another key of the same name
    GOES_BACK = "goes_back"  # cosigns its oldest head anew, after newer ones
    REPLAYS = "replays"  # sends its oldest receipt instead of the new one
    REORDERS = "reorders"  # keeps each second receipt back until the next one is out
    STALE = "stale"  # its clock is a day behind


DAY_S = 86_400


@dataclass(slots=True, kw_only=True)
class Misdeeds:
    """Which are on, and what they need to remember."""

    active: set[Misdeed] = field(default_factory=set)
    _first: dict[str, tuple[Checkpoint, bytes]] = field(default_factory=dict)
    _kept_back: dict[str, bytes] = field(default_factory=dict)

    def cosigned(self, cosigner: Cosigner, checkpoint: Checkpoint, at_unix_s: int) -> bytes:
        """The receipt for a checkpoint, as honestly as it is made now."""
        if Misdeed.WRONG_KEY in self.active:
            cosigner = Cosigner(name=cosigner.name, private=Ed25519PrivateKey.generate())
        if Misdeed.STALE in self.active:
            at_unix_s -= DAY_S
        receipt = cosigner.cosign(checkpoint, at_unix_s)
        first, _ = self._first.setdefault(checkpoint.origin, (checkpoint, receipt))
        if Misdeed.GOES_BACK in self.active:
            return cosigner.cosign(first, at_unix_s + 1)
        return receipt

    def sent(self, origin: str, receipt: bytes) -> list[bytes]:
        """What goes out where this receipt should."""
        if Misdeed.STALLS in self.active:
            return []
        if Misdeed.REPLAYS in self.active and origin in self._first:
            return [self._first[origin][1]]
        if Misdeed.REORDERS in self.active:
            kept = self._kept_back.pop(origin, None)
            if kept is None:
                self._kept_back[origin] = receipt
                return []
            return [receipt, kept]
        return [receipt]
