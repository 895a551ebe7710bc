"""Inclusion proofs for some leaves of a log in one pass over all of them.

``agent.core.merkle.inclusion_proof`` walks the whole tree for each proof; handing over the ten
thousand records of an hour would take it days. Here each subtree carries the unfinished proofs
of the wanted leaves below it, and every join appends to them what stands on the other side.
"""

from collections.abc import Collection, Iterable
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
