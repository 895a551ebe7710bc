"""A log whose own device signed what cannot be: sound proofs, unsound records."""

import json
import zipfile
from collections.abc import Callable

import pytest

from agent.core.merkle import Frontier, leaf_hash
from agent.core.note import Checkpoint, sign_text
from agent.core.prooftree import ProofTree
from agent.handover.check import check_bundle
from agent.handover.selection import Wanted
from agent.handover.shape import (
    CHECKPOINT,
    KEYS,
    PROOFS,
    RECORDS,
    SUMS,
    BundleError,
    members_of,
    proof_line,
    sums_of,
)
from agent.keys import create_log_key


def record(index: int, **fields: object) -> dict:
    usual = {"v": 1, "i": index, "k": "meter", "b": 1, "m": index, "t": index, "q": "S", "e": 5}
    return {**usual, "s": "site", "st": "G", "d": {}, **fields}


@pytest.fixture
def signed(farm) -> Callable[..., dict[str, bytes]]:
    """A bundle of any records, proven and signed with the farm's own key."""

    def bundle(*records: dict) -> dict[str, bytes]:
        lines = [json.dumps(one, separators=(",", ":")).encode() for one in records]
        leaves = [leaf_hash(line) for line in lines]
        tree = ProofTree(range(len(lines)))
        tree.extend(leaves)
        _, proofs = tree.finish()
        head = Checkpoint(
            origin=farm.key.origin, size=len(lines), root=Frontier().extend(leaves).root()
        )
        note = sign_text(head.encode(), farm.key.verifier, farm.key.sign)
        some = members_of(farm.export(Wanted(transactions=("tx-1",)))[0])
        told = ("receipts/", "ocmf/")
        members = {name: c for name, c in some.items() if not name.startswith(told)}
        members |= {
            RECORDS: b"".join(line + b"\n" for line in lines),
            PROOFS: b"".join(proof_line(n, p) + b"\n" for n, p in sorted(proofs.items())),
            CHECKPOINT: note.encode().encode(),
        }
        return {**members, SUMS: sums_of(members)}

    return bundle


def faults(farm, members: dict[str, bytes]) -> list[tuple[int | None, str]]:
    members = {**members, SUMS: sums_of(members)}
    verdict = check_bundle(members, device=farm.key.verifier, pool=farm.pool)
    return [(fault.index, fault.words) for fault in verdict.faults]


def test_records_that_can_be_are_sound(farm, signed) -> None:
    assert faults(farm, signed(record(0), record(1), record(2, b=2, m=0))) == []


def test_a_start_that_goes_back_and_a_record_older_than_the_last_are_named(farm, signed) -> None:
    found = faults(farm, signed(record(0, b=2), record(1, b=1), record(2, b=1, m=0)))
    assert [index for index, _ in found] == [1, 2]
    assert "of boot 1, after boot 2" in found[0][1]
    assert "older than the one before" in found[1][1]


def test_an_answer_of_the_pool_that_cannot_be_is_named(farm, signed) -> None:
    own = members_of(farm.export(Wanted(transactions=("tx-1",)))[0])[CHECKPOINT].decode()
    pool_line = own.splitlines(keepends=True)[-1]
    forged = pool_line.replace("AA", "AB", 1)
    notes = ("nonsense", own.replace(pool_line, forged), own)
    found = faults(farm, signed(*(record(n, k="ack", d={"note": x}) for n, x in enumerate(notes))))
    assert [index for index, _ in found] == [0, 1, 2]
    assert "does not hold" in found[1][1]
    assert "covers younger records" in found[2][1]


def test_a_proof_without_its_record_and_a_record_without_its_proof_are_named(farm, signed) -> None:
    members = signed(record(0), record(1), record(2))
    records, proofs = (members[name].splitlines(keepends=True) for name in (RECORDS, PROOFS))
    less = faults(farm, {**members, PROOFS: proofs[0] + proofs[2]})
    assert less == [(1, "Record 1 has no proof.")]
    extra = json.dumps(record(3)).encode() + b"\n"
    assert faults(farm, {**members, RECORDS: b"".join([*records, extra])}) == [
        (3, "Record 3 has no proof.")
    ]
    both = faults(farm, {**members, PROOFS: b"".join([proofs[1], proofs[0], proofs[2]])})
    assert (0, "The proof of record 0 stands behind that of 1.") in both


def test_a_checkpoint_with_a_stranger_s_signature_or_name_is_named(farm, signed, tmp_path) -> None:
    members = signed(record(0))
    stranger = create_log_key(tmp_path / "one.key", "pool.example/edge/other/1")
    text = members[CHECKPOINT].decode()
    head = text[: text.index("\n\n") + 1]
    line = sign_text(head, stranger.verifier, stranger.sign).signatures[0].line
    found = faults(farm, {**members, CHECKPOINT: (text + line).encode()})
    assert found == [
        (None, f"The file {CHECKPOINT} has a signature by a key that {KEYS} does not name.")
    ]
    renamed = head.replace(farm.key.origin, "pool.example/edge/other/1")
    note = sign_text(renamed, farm.key.verifier, farm.key.sign).encode()
    found = faults(farm, {**members, CHECKPOINT: note.encode()})
    assert "of another log than the key" in found[0][1]


def test_a_zip_that_holds_a_file_twice_is_none(farm, tmp_path) -> None:
    file = tmp_path / "twice.zip"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(RECORDS, b"1")
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr(RECORDS, b"2")
    with pytest.raises(BundleError, match="more than once"):
        members_of(file)


def test_a_file_that_the_sums_do_not_list_is_named(farm, signed) -> None:
    members = signed(record(0))
    kept = [line for line in members[SUMS].splitlines(keepends=True) if KEYS.encode() not in line]
    verdict = check_bundle({**members, SUMS: b"".join(kept)}, device=farm.key.verifier)
    assert [f.words for f in verdict.faults] == [f"The file {KEYS} is not listed in {SUMS}."]
    padded = {**members, SUMS: members[SUMS] + b"\n"}
    verdict = check_bundle(padded, device=farm.key.verifier)
    assert [f.words for f in verdict.faults] == [f"The file {SUMS} is not written as it has to be."]
