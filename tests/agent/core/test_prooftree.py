from hypothesis import given
from hypothesis import strategies as st

from agent.core.merkle import (
    EMPTY_ROOT,
    Frontier,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    verify_inclusion,
)
from agent.core.prooftree import ProofTree, consistency_from


def leaves_of(size: int) -> list[bytes]:
    return [leaf_hash(str(number).encode()) for number in range(size)]


def test_every_proof_of_every_small_tree_is_that_of_the_rfc() -> None:
    for size in range(1, 40):
        leaves = leaves_of(size)
        tree = ProofTree(range(size))
        tree.extend(leaves)
        root, proofs = tree.finish()
        assert root == Frontier().extend(leaves).root()
        assert proofs == {n: inclusion_proof(n, size, leaves.__getitem__) for n in range(size)}


@given(size=st.integers(1, 700), data=st.data())
def test_the_proofs_of_a_few_leaves_verify(size: int, data: st.DataObject) -> None:
    wanted = data.draw(st.sets(st.integers(0, size - 1), max_size=5))
    leaves = leaves_of(size)
    tree = ProofTree(wanted)
    cut = data.draw(st.integers(0, size))
    tree.extend(leaves[:cut])
    tree.extend(leaves[cut:])
    root, proofs = tree.finish()
    assert (tree.size, proofs.keys()) == (size, wanted)
    for index, proof in proofs.items():
        verify_inclusion(leaf=leaves[index], index=index, size=size, proof=proof, root=root)


def test_a_tree_of_nothing_has_the_empty_root() -> None:
    assert ProofTree({0}).finish() == (EMPTY_ROOT, {})


def test_the_way_of_the_last_old_leaf_holds_the_proof_that_a_tree_only_grew() -> None:
    for size in range(2, 40):
        leaves = leaves_of(size)
        tree = ProofTree(range(size))
        tree.extend(leaves)
        _, paths = tree.finish()
        for old in range(1, size):
            proof = consistency_from(old, leaves[old - 1], paths[old - 1])
            assert proof == consistency_proof(old, size, leaves.__getitem__)
