"""RFC 6962 Merkle tree over SHA-256: append, root, inclusion and consistency proofs.

Leaf hash = SHA-256(0x00 ‖ bytes), node = SHA-256(0x01 ‖ left ‖ right) (RFC 6962, 2.1). Knows
neither records nor signatures. Proofs are verified by the algorithms of RFC 9162, 2.1.3.2 and
2.1.4.2, which do not rebuild the tree and so share no code with the generators here.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice

HASH_BYTES = 32
EMPTY_ROOT = sha256(b"").digest()

_AT_ONCE = 4096
"""Leaves of a large tree that are held at a time while it is built."""

LeafSource = Callable[[int], bytes]
"""Answers the leaf hash at an index."""


class ProofError(ValueError):
    """A proof that does not prove what it was shown for."""


def leaf_hash(data: bytes) -> bytes:
    return sha256(b"\x00" + data).digest()


def leaf_hashes(records: Iterable[bytes]) -> list[bytes]:
    """``leaf_hash`` of each; a thousand in a commit, so without a call of ours for each."""
    return [sha256(b"\x00" + data).digest() for data in records]


def node_hash(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right).digest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Frontier:
    """The right edge of a tree: the roots of its perfect subtrees, largest first.

    There is one hash per set bit of ``size``, so a tree of a million leaves is 20 hashes at most.
    """

    size: int = 0
    hashes: tuple[bytes, ...] = ()

    def append(self, leaf: bytes) -> "Frontier":
        return self.extend((leaf,))

    def extend(self, leaves: Iterable[bytes]) -> "Frontier":
        """Append leaf hashes in order."""
        grown, rest = self, iter(leaves)
        while more := list(islice(rest, _AT_ONCE)):
            grown = grown._extended(more)
        return grown

    def _extended(self, nodes: list[bytes]) -> "Frontier":
        """With these leaves: level by level, so that a pair costs little beside its hash."""
        size, left, right = self.size, list(self.hashes), []
        bits, grown = size, size + len(nodes)
        while nodes:
            if bits & 1:
                nodes.insert(0, left.pop())
            if len(nodes) & 1:
                right.append(nodes.pop())
            two = iter(nodes)
            # node_hash, written out: this runs once for each record that there ever is.
            nodes = [sha256(b"\x01" + a + b).digest() for a, b in zip(two, two, strict=True)]
            bits >>= 1
        return Frontier(size=grown, hashes=(*left, *reversed(right)))

    def root(self) -> bytes:
        if not self.hashes:
            return EMPTY_ROOT
        root = self.hashes[-1]
        for left in reversed(self.hashes[:-1]):
            root = node_hash(left, root)
        return root

    def encode(self) -> bytes:
        return b"".join(self.hashes)


def decode_frontier(size: int, encoded: bytes) -> Frontier:
    """Read back ``Frontier.encode``. Raises ValueError where the hashes do not fit the size."""
    if size < 0 or len(encoded) != size.bit_count() * HASH_BYTES:
        raise ValueError(f"a frontier of {len(encoded)} bytes does not belong to size {size}")
    starts = range(0, len(encoded), HASH_BYTES)
    return Frontier(size=size, hashes=tuple(encoded[at : at + HASH_BYTES] for at in starts))


def inclusion_proof(index: int, size: int, leaf_at: LeafSource) -> tuple[bytes, ...]:
    """The audit path of one leaf in the tree of the first ``size`` leaves (RFC 6962, 2.1.1)."""
    if not 0 <= index < size:
        raise ValueError(f"there is no leaf {index} in a tree of {size}")
    path: list[bytes] = []
    start, end = 0, size
    while end - start > 1:
        middle = start + _left_width(end - start)
        if index < middle:
            path.append(_subtree_root(middle, end, leaf_at))
            end = middle
        else:
            path.append(_subtree_root(start, middle, leaf_at))
            start = middle
    return tuple(reversed(path))


def consistency_proof(old_size: int, size: int, leaf_at: LeafSource) -> tuple[bytes, ...]:
    """Proof that the tree of ``old_size`` is a prefix of that of ``size`` (RFC 6962, 2.1.2)."""
    if not 0 < old_size <= size:
        raise ValueError(f"there is no proof from size {old_size} to {size}")
    proof: list[bytes] = []
    start, end = 0, size
    while end > old_size:
        middle = start + _left_width(end - start)
        if old_size <= middle:
            proof.append(_subtree_root(middle, end, leaf_at))
            end = middle
        else:
            proof.append(_subtree_root(start, middle, leaf_at))
            start = middle
    if start:
        # The old tree ends with a subtree that is not the whole old tree: its root is not known.
        proof.append(_subtree_root(start, end, leaf_at))
    return tuple(reversed(proof))


def verify_inclusion(
    *, leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes
) -> None:
    """Check an inclusion proof (RFC 9162, 2.1.3.2). Raises ProofError."""
    if not 0 <= index < size:
        raise ProofError(f"there is no leaf {index} in a tree of {size}")
    node, last, value = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            raise ProofError("the inclusion proof is too long")
        if node & 1 or node == last:
            value = node_hash(sibling, value)
            while node and not node & 1:
                node, last = node >> 1, last >> 1
        else:
            value = node_hash(value, sibling)
        node, last = node >> 1, last >> 1
    if last:
        raise ProofError("the inclusion proof is too short")
    if value != root:
        raise ProofError(f"leaf {index} is not in the tree of size {size} with this root")


def verify_consistency(
    *, old_size: int, old_root: bytes, size: int, root: bytes, proof: Sequence[bytes]
) -> None:
    """Check a consistency proof (RFC 9162, 2.1.4.2). Raises ProofError."""
    if not 0 < old_size <= size:
        raise ProofError(f"there is no proof from size {old_size} to {size}")
    if old_size == size:
        if proof or old_root != root:
            raise ProofError(f"there are two roots or a proof for the one size {size}")
        return
    # A perfect old tree is itself a node of the new one, and the proof leaves it out.
    path = [old_root, *proof] if old_size.bit_count() == 1 else list(proof)
    if not path:
        raise ProofError("the consistency proof is too short")
    if _consistent_roots(old_size - 1, size - 1, path) != (old_root, root):
        raise ProofError(f"the tree of size {old_size} is not a prefix of that of size {size}")


def _consistent_roots(node: int, last: int, path: Sequence[bytes]) -> tuple[bytes, bytes]:
    """The roots of the old and the new tree to which a path leads (RFC 9162, 2.1.4.2, 3 to 6)."""
    while node & 1:
        node, last = node >> 1, last >> 1
    old_value = value = path[0]
    for sibling in path[1:]:
        if last == 0:
            raise ProofError("the consistency proof is too long")
        if node & 1 or node == last:
            old_value, value = node_hash(sibling, old_value), node_hash(sibling, value)
            while node and not node & 1:
                node, last = node >> 1, last >> 1
        else:
            value = node_hash(value, sibling)
        node, last = node >> 1, last >> 1
    if last:
        raise ProofError("the consistency proof is too short")
    return old_value, value


def _left_width(width: int) -> int:
    """The largest power of two smaller than ``width``."""
    return 1 << ((width - 1).bit_length() - 1)


def _subtree_root(start: int, end: int, leaf_at: LeafSource) -> bytes:
    return Frontier().extend(leaf_at(index) for index in range(start, end)).root()
