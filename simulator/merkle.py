"""RFC 6962 Merkle tree hashes: the frontier of a growing log, and its root."""

import hashlib
from collections.abc import Sequence


def leaf_hash(record: bytes) -> bytes:
    """RFC 6962, 2.1: hash of one leaf."""
    return hashlib.sha256(b"\x00" + record).digest()


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


class Frontier:
    """The right edge of a log: one hash per complete subtree, largest first."""

    __slots__ = ("_edge", "size")

    def __init__(self) -> None:
        self._edge: list[bytes] = []
        self.size = 0

    def copy(self) -> "Frontier":
        """An independent frontier of the same log."""
        other = Frontier()
        other._edge = list(self._edge)
        other.size = self.size
        return other

    def append(self, leaf: bytes) -> None:
        """Add the hash of the next leaf."""
        carried, size = leaf, self.size
        while size & 1:
            carried = _node(self._edge.pop(), carried)
            size >>= 1
        self._edge.append(carried)
        self.size += 1

    def root(self) -> bytes:
        """The root of everything appended so far."""
        if not self._edge:
            return hashlib.sha256(b"").digest()
        root = self._edge[-1]
        for left in reversed(self._edge[:-1]):
            root = _node(left, root)
        return root


def root_of(leaves: Sequence[bytes]) -> bytes:
    """The root of some leaf hashes, from the start."""
    frontier = Frontier()
    for leaf in leaves:
        frontier.append(leaf)
    return frontier.root()
