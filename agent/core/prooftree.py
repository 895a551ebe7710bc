"""Inclusion proofs for some leaves of a log in one pass over all of them.

``agent.core.merkle.inclusion_proof`` walks the whole tree for each proof; handing over the ten
thousand records of an hour would take it days. Here each subtree carries the unfinished proofs
of the wanted leaves below it, and every join appends to them what stands on the other side.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from agent.core.merkle import EMPTY_ROOT, node_hash


@dataclass(frozen=True, slots=True)
class _Subtree:
    """A perfect subtree: its root, and the paths that are still to grow."""

    root: bytes
    paths: list[list[bytes]]

    def joined(self, right: "_Subtree") -> "_Subtree":
        for path in self.paths:
            path.append(right.root)
        for path in right.paths:
            path.append(self.root)
        return _Subtree(node_hash(self.root, right.root), self.paths + right.paths)


class ProofTree:
    """Fed with leaf hashes in order; then asked once for the root and the proofs."""

    def __init__(self, wanted: Collection[int]) -> None:
        self._wanted = frozenset(wanted)
        self._paths: dict[int, list[bytes]] = {}
        self._subtrees: list[_Subtree] = []
        self.size = 0

    def extend(self, leaves: Iterable[bytes]) -> None:
        for leaf in leaves:
            self._append(leaf)

    def _append(self, leaf: bytes) -> None:
        paths: list[list[bytes]] = []
        if self.size in self._wanted:
            paths.append(self._paths.setdefault(self.size, []))
        subtree, bits = _Subtree(leaf, paths), self.size
        while bits & 1:
            subtree = self._subtrees.pop().joined(subtree)
            bits >>= 1
        self._subtrees.append(subtree)
        self.size += 1

    def finish(self) -> tuple[bytes, dict[int, tuple[bytes, ...]]]:
        """The root, and the audit path of each wanted leaf (RFC 6962, 2.1.1)."""
        if not self._subtrees:
            return EMPTY_ROOT, {}
        whole = self._subtrees.pop()
        while self._subtrees:
            whole = self._subtrees.pop().joined(whole)
        return whole.root, {index: tuple(path) for index, path in self._paths.items()}


def consistency_from(old_size: int, leaf: bytes, path: Sequence[bytes]) -> tuple[bytes, ...]:
    """The proof that the first ``old_size`` leaves are the beginning of a tree (RFC 6962, 2.1.2).

    Made of the audit path of the last old leaf: up to the perfect subtree that ends with it, that
    path leads through the old tree; above, it is the proof. ``leaf`` is that leaf's hash.
    """
    inside = (old_size & -old_size).bit_length() - 1
    root = leaf
    for sibling in path[:inside]:
        root = node_hash(sibling, root)
    is_whole = old_size.bit_count() == 1  # then the old root is known, and the proof leaves it out
    return (*(() if is_whole else (root,)), *path[inside:])
