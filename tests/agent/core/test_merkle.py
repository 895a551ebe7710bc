import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymerkle import InmemoryTree

from agent.core.merkle import (
    EMPTY_ROOT,
    Frontier,
    ProofError,
    consistency_proof,
    decode_frontier,
    inclusion_proof,
    leaf_hash,
    node_hash,
    verify_consistency,
    verify_inclusion,
)

DATA = [b"leaf %d" % number for number in range(301)]
LEAVES = [leaf_hash(data) for data in DATA]
FRONTIERS = [Frontier()]
for _leaf in LEAVES:
    FRONTIERS.append(FRONTIERS[-1].append(_leaf))


def leaf_at(index: int) -> bytes:
    return LEAVES[index]


def root(size: int) -> bytes:
    return FRONTIERS[size].root()


# RFC 6962's own reference implementation tests these eight leaves and roots (crypto/merkletree).
VECTOR_LEAVES = [
    "",
    "00",
    "10",
    "2021",
    "3031",
    "40414243",
    "5051525354555657",
    "606162636465666768696a6b6c6d6e6f",
]
VECTOR_ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def test_the_roots_are_those_of_certificate_transparency() -> None:
    frontier = Frontier()
    for leaf, expected in zip(VECTOR_LEAVES, VECTOR_ROOTS, strict=True):
        frontier = frontier.append(leaf_hash(bytes.fromhex(leaf)))
        assert frontier.root().hex() == expected


def test_an_empty_tree_has_the_hash_of_nothing() -> None:
    assert Frontier().root() == EMPTY_ROOT == hashlib.sha256(b"").digest()


def test_roots_and_proofs_agree_with_pymerkle_up_to_300_leaves() -> None:
    oracle = InmemoryTree(algorithm="sha256")
    for size in range(1, 301):
        oracle.append_entry(DATA[size - 1])
        assert oracle.get_root() == root(size)
    for size in (1, 2, 3, 7, 8, 9, 100, 255, 256, 257, 300):
        for index in {0, size // 3, size // 2, size - 1}:
            # pymerkle counts from one and puts the leaf itself among the siblings.
            theirs = oracle.prove_inclusion(index + 1, size).path
            ours = [LEAVES[index], *inclusion_proof(index, size, leaf_at)]
            assert sorted(ours) == sorted(theirs)


@given(st.integers(1, 300), st.data())
def test_every_leaf_is_proved_to_be_included(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    proof = inclusion_proof(index, size, leaf_at)
    assert len(proof) <= (size - 1).bit_length()
    verify_inclusion(leaf=LEAVES[index], index=index, size=size, proof=proof, root=root(size))


@given(st.integers(1, 300), st.data())
def test_a_tree_is_proved_to_grow_out_of_every_earlier_one(size: int, data: st.DataObject) -> None:
    old_size = data.draw(st.integers(1, size))
    proof = consistency_proof(old_size, size, leaf_at)
    verify_consistency(
        old_size=old_size, old_root=root(old_size), size=size, root=root(size), proof=proof
    )


@settings(max_examples=200)
@given(st.integers(2, 300), st.data())
def test_no_changed_inclusion_proof_verifies(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    other = data.draw(st.integers(0, size - 1).filter(lambda at: at != index))
    proof = list(inclusion_proof(index, size, leaf_at))
    with pytest.raises(ProofError):
        verify_inclusion(leaf=LEAVES[other], index=index, size=size, proof=proof, root=root(size))
    with pytest.raises(ProofError):
        verify_inclusion(leaf=LEAVES[index], index=other, size=size, proof=proof, root=root(size))
    at = data.draw(st.integers(0, len(proof) - 1))
    changed = [*proof[:at], bytes(32), *proof[at + 1 :]]
    for wrong in (changed, proof[:-1], [*proof, bytes(32)], []):
        with pytest.raises(ProofError):
            verify_inclusion(
                leaf=LEAVES[index], index=index, size=size, proof=wrong, root=root(size)
            )


@settings(max_examples=200)
@given(st.integers(2, 300), st.data())
def test_no_changed_consistency_proof_verifies(size: int, data: st.DataObject) -> None:
    old_size = data.draw(st.integers(1, size - 1))
    proof = list(consistency_proof(old_size, size, leaf_at))
    at = data.draw(st.integers(0, len(proof) - 1))
    changed = [*proof[:at], bytes(32), *proof[at + 1 :]]
    for wrong in (changed, proof[:-1], [*proof, bytes(32)], []):
        with pytest.raises(ProofError):
            verify_consistency(
                old_size=old_size,
                old_root=root(old_size),
                size=size,
                root=root(size),
                proof=wrong,
            )
    with pytest.raises(ProofError):
        verify_consistency(
            old_size=old_size, old_root=bytes(32), size=size, root=root(size), proof=proof
        )


def test_a_tree_is_consistent_with_itself_without_any_proof() -> None:
    for size in (1, 6, 8):
        proof = consistency_proof(size, size, leaf_at)
        verify_consistency(
            old_size=size, old_root=root(size), size=size, root=root(size), proof=proof
        )
    assert consistency_proof(8, 8, leaf_at) == ()
    with pytest.raises(ProofError):
        verify_consistency(old_size=1, old_root=root(1), size=1, root=root(1), proof=[bytes(32)])
    with pytest.raises(ProofError):
        verify_consistency(old_size=1, old_root=root(1), size=1, root=root(2), proof=())


def test_proofs_outside_of_the_tree_are_refused() -> None:
    for index, size in ((-1, 3), (3, 3), (0, 0)):
        with pytest.raises(ValueError, match="there is no leaf"):
            inclusion_proof(index, size, leaf_at)
        with pytest.raises(ProofError):
            verify_inclusion(leaf=LEAVES[0], index=index, size=size, proof=(), root=root(3))
    for old_size, size in ((0, 3), (4, 3), (-1, 1)):
        with pytest.raises(ValueError, match="there is no proof"):
            consistency_proof(old_size, size, leaf_at)
        with pytest.raises(ProofError):
            verify_consistency(
                old_size=old_size, old_root=root(3), size=size, root=root(3), proof=()
            )


@given(st.integers(0, 300), st.integers(0, 300))
def test_a_frontier_goes_on_from_its_encoded_form(first: int, second: int) -> None:
    low, high = sorted((first, second))
    read_back = decode_frontier(low, FRONTIERS[low].encode())
    assert read_back == FRONTIERS[low]
    assert read_back.extend(LEAVES[low:high]) == FRONTIERS[high]


def test_a_tree_of_many_leaves_is_the_same_however_they_are_handed_over() -> None:
    many = [leaf_hash(b"%d" % number) for number in range(9_001)]
    at_once = Frontier().extend(iter(many))
    by_one = Frontier()
    for leaf in many:
        by_one = by_one.append(leaf)
    assert at_once == by_one
    assert Frontier().extend(many[:5]).extend(many[5:8_000]).extend(many[8_000:]) == by_one
    assert by_one.extend(()) == by_one


@pytest.mark.parametrize(("size", "hashes"), [(-1, 0), (1, 0), (2, 2), (3, 1)])
def test_a_frontier_that_does_not_fit_its_size_is_refused(size: int, hashes: int) -> None:
    with pytest.raises(ValueError, match="does not belong"):
        decode_frontier(size, bytes(32 * hashes))


def test_a_leaf_cannot_stand_for_a_node() -> None:
    left, right = LEAVES[0], LEAVES[1]
    assert leaf_hash(left + right) != node_hash(left, right)
