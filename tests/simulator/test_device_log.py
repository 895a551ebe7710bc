"""The witness's rules on one log: contiguity, comparison, roots, signatures."""

import base64
import hashlib
import json
import struct
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st
from pymerkle import InmemoryTree

from simulator.device_log import DeviceLog, RejectError, parse_message
from simulator.merkle import Frontier, leaf_hash, root_of
from simulator.signed_note import NoteError, load_or_make_cosigner, open_checkpoint, parse_vkey


def log_of(device) -> DeviceLog:
    return DeviceLog(vkey=parse_vkey(device.vkey()))


def take(log, payload):
    return log.take(parse_message(payload))


@given(st.lists(st.binary(min_size=1, max_size=20), max_size=70))
def test_the_frontier_gives_the_root_that_another_library_gives(records) -> None:
    tree = InmemoryTree(algorithm="sha256")
    frontier = Frontier()
    for record in records:
        tree.append_entry(record)
        frontier.append(leaf_hash(record))
    expected = tree.get_root() if records else hashlib.sha256(b"").digest()
    assert frontier.root() == root_of([leaf_hash(record) for record in records]) == expected


def test_a_contiguous_log_is_proven_up_to_each_checkpoint(device) -> None:
    log = log_of(device)
    device.write(7)
    assert take(log, device.message(0, 3)).cosignable.size == 3
    outcome = take(log, device.message(3, 7))
    assert outcome.cosignable.size == log.size == 7
    assert list(outcome.accepted) == device.records[3:7]
    assert log.records == device.records


def test_a_commit_in_several_messages_is_proven_with_the_last_one(device) -> None:
    log = log_of(device)
    device.write(9)
    note = device.checkpoint(9)
    assert take(log, device.message(0, 4, note=note)).cosignable is None
    assert take(log, device.message(4, 6, note=note)).cosignable is None
    assert log.size == 0
    assert take(log, device.message(6, 9, note=note)).cosignable.size == 9


def test_a_repeated_message_is_known_and_changes_nothing(device) -> None:
    log = log_of(device)
    device.write(5)
    take(log, device.message(0, 5))
    outcome = take(log, device.message(2, 5))
    assert outcome.is_known
    assert outcome.accepted == ()
    assert log.size == 5


def test_an_overlapping_message_adds_only_what_is_new(device) -> None:
    log = log_of(device)
    device.write(8)
    take(log, device.message(0, 5))
    assert list(take(log, device.message(3, 8)).accepted) == device.records[5:8]


def test_a_gap_is_refused_and_waits_for_what_is_missing(device) -> None:
    log = log_of(device)
    device.write(6)
    with pytest.raises(RejectError, match="records 0 to 2 are missing") as caught:
        take(log, device.message(3, 6))
    assert caught.value.reason == "gap"
    take(log, device.message(0, 3))
    assert take(log, device.message(3, 6)).cosignable.size == 6


def test_other_bytes_for_a_known_index_are_equivocation(device) -> None:
    log = log_of(device)
    device.write(4)
    take(log, device.message(0, 4))
    device.records[2] = b'{"i":2,"rewritten":true}'
    with pytest.raises(RejectError) as caught:
        take(log, device.message(0, 4))
    assert caught.value.reason == "equivocation"


def test_another_root_for_a_known_size_is_equivocation(device) -> None:
    log = log_of(device)
    device.write(4)
    take(log, device.message(0, 4))
    note = device.checkpoint(2, root=b"\x07" * 32)
    with pytest.raises(RejectError) as caught:
        take(log, device.message(0, 2, note=note))
    assert caught.value.reason == "equivocation"


def test_a_wrong_root_is_refused_and_does_not_poison_the_log(device) -> None:
    log = log_of(device)
    device.write(4)
    with pytest.raises(RejectError) as caught:
        take(log, device.message(0, 4, note=device.checkpoint(4, root=b"\x01" * 32)))
    assert caught.value.reason == "root"
    assert log.size == 0
    assert take(log, device.message(0, 4)).cosignable.size == 4


def test_a_checkpoint_of_another_key_or_origin_is_refused(device, other_device) -> None:
    log = log_of(device)
    device.write(2)
    other_device.records = list(device.records)
    with pytest.raises(RejectError) as caught:
        take(log, device.message(0, 2, note=other_device.checkpoint(2)))
    assert caught.value.reason == "signature"
    with pytest.raises(RejectError) as caught:
        take(log, other_device.message(0, 2))
    assert caught.value.reason == "origin"


def test_a_checkpoint_that_does_not_cover_its_message_is_refused(device) -> None:
    device.write(4)
    with pytest.raises(RejectError) as caught:
        take(log_of(device), device.message(0, 4, note=device.checkpoint(3)))
    assert caught.value.reason == "size"


def test_a_changed_note_is_not_signed(device) -> None:
    device.write(3)
    note = device.checkpoint(3).encode()
    vkey = parse_vkey(device.vkey())
    assert open_checkpoint(note, vkey).size == 3
    with pytest.raises(NoteError):
        open_checkpoint(note.replace(b"\n3\n", b"\n4\n"), vkey)
    with pytest.raises(NoteError):
        open_checkpoint(note[: note.index(b"\n\n") + 1], vkey)


@given(st.binary(max_size=300))
def test_bytes_without_a_header_are_refused_by_name(payload) -> None:
    with pytest.raises(RejectError) as caught:
        parse_message(payload)
    assert caught.value.reason == "header"


@pytest.mark.parametrize(
    "change",
    [
        {"v": 2},
        {"from": -1},
        {"to": "5"},
        {"from": True},
        {"origin": None},
        {"checkpoint": "\ud800"},
    ],
)
def test_headers_with_wrong_values_are_refused(device, change) -> None:
    device.write(5)
    head, _, body = device.message(0, 5).partition(b"\n")
    header = json.dumps({**json.loads(head), **change}).encode()
    with pytest.raises(RejectError) as caught:
        parse_message(header + b"\n" + body)
    assert caught.value.reason in {"header", "count"}


@pytest.mark.parametrize("text", ["", "a+b", "name+00000000+AAAA", "name+zz+!!"])
def test_texts_that_are_no_verifier_keys_are_refused(text) -> None:
    with pytest.raises(NoteError):
        parse_vkey(text)


def test_a_cosignature_verifies_and_says_when(device, tmp_path) -> None:
    cosigner = load_or_make_cosigner(tmp_path / "pool.key", "pool.example")
    assert (tmp_path / "pool.key").stat().st_mode & 0o777 == 0o600
    again = load_or_make_cosigner(tmp_path / "pool.key", "pool.example")
    assert again.vkey == cosigner.vkey
    device.write(3)
    checkpoint = open_checkpoint(device.checkpoint(3).encode(), parse_vkey(device.vkey()))
    receipt = cosigner.cosign(checkpoint, 1_700_000_000)
    name, key_id, key = cosigner.vkey.text().split("+", 2)
    public = base64.b64decode(key)
    assert public[0] == 0x04
    assert hashlib.sha256(name.encode() + b"\n" + public).digest()[:4].hex() == key_id
    line = receipt.decode().splitlines()[-1]
    blob = base64.b64decode(line.removeprefix(f"— {name} "))
    assert blob[:4].hex() == key_id
    assert struct.unpack(">Q", blob[4:12]) == (1_700_000_000,)
    text = receipt[: receipt.index(b"\n\n") + 1]
    message = b"cosignature/v1\ntime 1700000000\n" + text
    Ed25519PublicKey.from_public_bytes(public[1:]).verify(blob[12:], message)


def test_other_bytes_under_the_old_checkpoint_are_equivocation_too(device) -> None:
    log = log_of(device)
    device.write(4)
    note = device.checkpoint(4)
    take(log, device.message(0, 4, note=note))
    device.records[1] = b'{"i":1,"rewritten":true}'
    with pytest.raises(RejectError) as caught:
        take(log, device.message(0, 4, note=note))
    assert caught.value.reason == "equivocation"


def test_other_bytes_for_a_waiting_record_drop_what_waits(device) -> None:
    log = log_of(device)
    device.write(6)
    note = device.checkpoint(6)
    take(log, device.message(0, 3, note=note))
    right = list(device.records)
    device.records[1] = b'{"i":1,"rewritten":true}'
    with pytest.raises(RejectError) as caught:
        take(log, device.message(0, 3, note=note))
    assert caught.value.reason == "equivocation"
    device.records = right
    assert take(log, device.message(0, 6, note=note)).cosignable.size == 6


def test_a_registered_key_of_another_algorithm_signs_nothing(device) -> None:
    device.write(2)
    vkey = parse_vkey(device.vkey())
    other = replace(vkey, algorithm=0x04)
    text = device.checkpoint(2).split("\n\n")[0].encode() + b"\n"
    blob = base64.b64encode(other.key_id + device.private.sign(text)).decode()
    note = text + f"\n— {device.origin} {blob}\n".encode()
    with pytest.raises(NoteError, match="not signed by the registered key"):
        open_checkpoint(note, other)
