"""The tree against a library of other people, and against RFC 6962 as it is written down."""

import random
from collections.abc import Iterable
from functools import cache
from hashlib import sha256

import pytest
from pymerkle import InmemoryTree

from agent.core.merkle import (
    Frontier,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    verify_consistency,
    verify_inclusion,
)
from agent.core.prooftree import ProofTree, consistency_from

SIZE_MAX = 1000
SEED = 6962
DATA = [b"entry %d" % number for number in range(SIZE_MAX)]
LEAVES = [leaf_hash(data) for data in DATA]


def split(width: int) -> int:
    """RFC 6962, 2.1: the largest power of two smaller than n."""
    power = 1
    while power * 2 < width:
        power *= 2
    return power


@cache
def mth(start: int, end: int) -> bytes:
    """RFC 6962, 2.1: MTH(D[start:end])."""
    if end - start == 1:
        return sha256(b"\x00" + DATA[start]).digest()
    middle = start + split(end - start)
    return sha256(b"\x01" + mth(start, middle) + mth(middle, end)).digest()


def path(place: int, start: int, end: int) -> list[bytes]:
    """RFC 6962, 2.1.1: PATH(m, D[start:end])."""
    if end - start == 1:
        return []
    middle = split(end - start)
    if place < middle:
        return [*path(place, start, start + middle), mth(start + middle, end)]
    return [*path(place - middle, start + middle, end), mth(start, start + middle)]


def subproof(old: int, start: int, end: int, *, is_whole: bool) -> list[bytes]:
    """RFC 6962, 2.1.2: SUBPROOF(m, D[start:end], b)."""
    if old == end - start:
        return [] if is_whole else [mth(start, end)]
    middle = split(end - start)
    if old <= middle:
        left = subproof(old, start, start + middle, is_whole=is_whole)
        return [*left, mth(start + middle, end)]
    right = subproof(old - middle, start + middle, end, is_whole=False)
    return [*right, mth(start, start + middle)]


def root(size: int) -> bytes:
    return mth(0, size)


def test_every_root_up_to_1000_leaves_is_that_of_pymerkle_and_of_the_rfc() -> None:
    oracle, frontier = InmemoryTree(algorithm="sha256"), Frontier()
    for size, data in enumerate(DATA, 1):
        oracle.append_entry(data)
        frontier = frontier.append(leaf_hash(data))
        assert frontier.root() == oracle.get_root() == root(size)


def all_proofs_are_right(sizes: Iterable[int]) -> None:
    """Of each of these sizes the proof of every leaf and of every earlier size."""
    for size in sizes:
        tree = ProofTree(range(size))
        tree.extend(LEAVES[:size])
        whole, paths = tree.finish()
        assert whole == root(size)
        for at in range(size):
            assert list(paths[at]) == path(at, 0, size)
            verify_inclusion(leaf=LEAVES[at], index=at, size=size, proof=paths[at], root=whole)
            proof = consistency_from(at + 1, LEAVES[at], paths[at])
            if at + 1 < size:
                assert list(proof) == subproof(at + 1, 0, size, is_whole=True)
                verify_consistency(
                    old_size=at + 1, old_root=root(at + 1), size=size, root=whole, proof=proof
                )


def test_every_proof_of_small_trees_is_that_of_the_rfc() -> None:
    all_proofs_are_right(range(1, 41))


@pytest.mark.torture
@pytest.mark.timeout(900)
def test_every_proof_of_every_tree_up_to_1000_leaves_is_that_of_the_rfc() -> None:
    all_proofs_are_right(range(1, SIZE_MAX + 1))


def test_drawn_proofs_up_to_1000_leaves_are_those_of_the_rfc_and_fit_pymerkle() -> None:
    draw, oracle = random.Random(SEED), InmemoryTree(algorithm="sha256")
    for data in DATA:
        oracle.append_entry(data)
    edges = {1, 2, 255, 256, 257, 511, 512, 513, 999, 1000}
    for size in sorted(edges | set(draw.sample(range(1, SIZE_MAX + 1), 60))):
        for at in {0, size - 1, draw.randrange(size), draw.randrange(size)}:
            ours = inclusion_proof(at, size, LEAVES.__getitem__)
            assert list(ours) == path(at, 0, size)
            # pymerkle counts from one and puts the leaf itself among the siblings.
            theirs = oracle.prove_inclusion(at + 1, size).path
            assert sorted([LEAVES[at], *ours]) == sorted(theirs)
            old_root, new_root = oracle.get_root(at + 1), oracle.get_root(size)
            proof = consistency_proof(at + 1, size, LEAVES.__getitem__)
            assert list(proof) == subproof(at + 1, 0, size, is_whole=True)
            verify_consistency(
                old_size=at + 1, old_root=old_root, size=size, root=new_root, proof=proof
            )
