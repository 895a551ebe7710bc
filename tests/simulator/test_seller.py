"""The pool's batches: numbers are used once, signatures are real, each trick is what it says."""

import base64
import hashlib
import json
import subprocess
from pathlib import Path

import pytest

from simulator.pool_report import report_text
from simulator.seller import NothingSentError, Seller, Trick
from simulator.signed_note import ED25519, load_or_make_signer

ROWS = [{"id": "tx-1", "energy_wh": 5}]


@pytest.fixture
def seller(tmp_path: Path) -> Seller:
    return Seller(directory=tmp_path, signer=load_or_make_signer(tmp_path / "key", "pool/signing"))


def body(payload: bytes) -> dict[str, object]:
    read: dict[str, object] = json.loads(payload.split(b"\n")[1])
    return read


def is_signed(seller: Seller, payload: bytes, folder: Path) -> bool:
    """What openssl says of the signature, and whether the key id is the seller's."""
    text, _, line = payload.rpartition(b"\n\n")
    blob = base64.b64decode(line.split(b" ")[2])
    # SubjectPublicKeyInfo of an Ed25519 key (RFC 8410, 4) is this head and the key.
    head = bytes.fromhex("302a300506032b6570032100")
    for name, content in (
        ("text", text + b"\n"),
        ("signature", blob[4:]),
        ("key.der", head + seller.signer.vkey.public),
    ):
        (folder / name).write_bytes(content)
    command = ["openssl", "pkeyutl", "-verify", "-pubin", "-rawin", "-keyform", "DER"]
    command += ["-inkey", "key.der", "-in", "text", "-sigfile", "signature"]
    done = subprocess.run(command, cwd=folder, capture_output=True, check=False)
    named = f"pool/signing\n{chr(ED25519)}".encode() + seller.signer.vkey.public
    return done.returncode == 0 and blob[:4] == hashlib.sha256(named).digest()[:4]


def test_openssl_verifies_a_batch_and_refuses_the_tricks(seller, tmp_path: Path) -> None:
    assert is_signed(seller, seller.batch("f", "a", ROWS).payload, tmp_path)
    for trick in (Trick.WRONG_KEY, Trick.ALTERED):
        assert not is_signed(seller, seller.batch("f", "a", ROWS, trick).payload, tmp_path)


def test_numbers_are_given_once_to_each_agent_and_over_restarts(seller, tmp_path: Path) -> None:
    assert [seller.batch("f", "a", ROWS).sequence for _ in range(3)] == [1, 2, 3]
    assert seller.batch("f", "b", ROWS).sequence == 1
    again = Seller(directory=tmp_path, signer=seller.signer)
    assert again.batch("f", "a", ROWS, Trick.EXPIRED).sequence == 4  # a trick uses up none
    newest = again.batch("f", "a", ROWS)
    assert newest.sequence == 4
    assert again.batch("f", "a", ROWS, Trick.REPEAT) == newest
    assert again.batch("f", "a", ROWS, Trick.REPLAY).sequence == 3
    assert again.batch("f", "a", ROWS, Trick.REUSED).sequence == 4


@pytest.mark.parametrize("trick", [Trick.REPEAT, Trick.REPLAY, Trick.REUSED])
def test_what_was_never_sent_cannot_come_again(seller, trick: Trick) -> None:
    with pytest.raises(NothingSentError, match="f/a"):
        seller.batch("f", "a", ROWS, trick)


def test_each_trick_is_in_the_batch(seller) -> None:
    good = body(seller.batch("f", "a", ROWS).payload)
    assert (good["farm"], good["agent"], good["transactions"]) == ("f", "a", ROWS)
    found = {trick: body(seller.batch("f", "a", ROWS, trick).payload) for trick in Trick}
    assert found[Trick.WRONG_SITE]["agent"] != "a"
    assert found[Trick.EXPIRED]["expires_ms"] < good["not_before_ms"]
    assert found[Trick.NOT_YET]["not_before_ms"] > good["expires_ms"]
    assert "expires_ms" not in found[Trick.MALFORMED]
    assert len(found[Trick.TOO_LARGE]["transactions"]) == 300


@pytest.mark.parametrize(
    ("size", "reason"), [(4, "went_back"), (5, "another_root"), (6, "forked"), (0, None)]
)
def test_a_report_says_how_the_second_head_contradicts_the_first(size: int, reason) -> None:
    seen = b"log\n5\nAAAA\n\n\xe2\x80\x94 a AAAA\n"
    shown = b"log\n%d\nBBBB\n\n\xe2\x80\x94 a AAAA\n" % size if size else seen
    text = report_text("f", "a", origin="log", seen=seen, shown=shown, words="w", at_ms=1)
    if reason is None:
        assert text is None
        return
    first, line, _ = text.split("\n")
    assert first == "kwota/equivocation/v1"
    assert json.loads(line)["reason"] == reason
