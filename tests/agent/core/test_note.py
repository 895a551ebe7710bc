import base64
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from agent.core.note import (
    COSIGNATURE_V1,
    ED25519,
    Checkpoint,
    Note,
    NoteError,
    Signature,
    VerifierKey,
    cosignature_message,
    cosigned_at_s,
    parse_checkpoint,
    parse_note,
    parse_vkey,
    sign_text,
    verified_by,
)

ORIGIN = "pool.example/edge/farm-1-edge-1/1"
PRIVATE = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
POOL_PRIVATE = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
KEY = VerifierKey(
    name=ORIGIN, algorithm=ED25519, public_key=PRIVATE.public_key().public_bytes_raw()
)
POOL = VerifierKey(
    name="pool.example/witness",
    algorithm=COSIGNATURE_V1,
    public_key=POOL_PRIVATE.public_key().public_bytes_raw(),
)
HEAD = Checkpoint(origin=ORIGIN, size=7, root=bytes(range(32)))
SIGNED = sign_text(HEAD.encode(), KEY, PRIVATE.sign)


def cosigned(time_s: int, *, text: str | None = None, cut: int = 0) -> Note:
    """The pool's side, written here a second time from the specification."""
    message = f"cosignature/v1\ntime {time_s}\n{text or SIGNED.text}".encode()
    value = time_s.to_bytes(8, "big") + POOL_PRIVATE.sign(message)
    line = Signature(name=POOL.name, key_id=POOL.key_id, value=value[: len(value) - cut])
    return Note(text=SIGNED.text, signatures=(*SIGNED.signatures, line))


# The example of golang.org/x/mod/sumdb/note, which the C2SP format was taken from.
GO_VKEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_NOTE = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
    "\n"
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngot"
    "pRZb6KE6RyyBwJnAM=\n"
)


def test_a_note_signed_by_another_implementation_verifies() -> None:
    key = parse_vkey(GO_VKEY)
    note = parse_note(GO_NOTE)
    assert verified_by(note, (key,)) == (key,)
    assert key.text == GO_VKEY
    assert note.encode() == GO_NOTE


def test_a_checkpoint_survives_signing_and_parsing_unchanged() -> None:
    note = parse_note(SIGNED.encode())
    assert note == SIGNED
    assert parse_checkpoint(note.text) == HEAD
    assert verified_by(note, (KEY,)) == (KEY,)


def test_the_key_id_is_the_hash_of_name_algorithm_and_key() -> None:
    expected = sha256(ORIGIN.encode() + b"\n\x01" + KEY.public_key).hexdigest()[:8]
    assert KEY.key_id.hex() == expected
    assert parse_vkey(KEY.text + "\n") == KEY


@pytest.mark.parametrize(
    ("vkey", "match"),
    [
        ("name+00000000", "is written"),
        ("name+00000000+!!!", "not base64"),
        ("name+00000000+", "is empty"),
        ("name+00000000+" + base64.b64encode(b"\x01" + bytes(5)).decode(), "not an Ed25519"),
        ("name+00000000+" + base64.b64encode(b"\x02" + bytes(32)).decode(), "unknown algorithm"),
        (f"name+00000000+{KEY.text.split('+', 2)[2]}", "has the id"),
        (f"a b+00000000+{KEY.text.split('+', 2)[2]}", "not a key name"),
    ],
)
def test_a_malformed_verifier_key_is_refused_with_the_reason(vkey: str, match: str) -> None:
    with pytest.raises(NoteError, match=match):
        parse_vkey(vkey)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("x" * 1_000_001, "longer"),
        ("text\tmore\n\n— a AAAAAAA=\n", "control"),
        ("text\n", "no empty line"),
        ("\n\n— a AAAAAAA=\n", "cut off"),
        ("text\n\n— a AAAAAAA=", "cut off"),
        ("text\n\n", "cut off"),
        ("text\n\n- a AAAAAAA=\n", "em dash"),
        ("text\n\n—  AAAAAAA=\n", "key name"),
        ("text\n\n— a+b AAAAAAA=\n", "key name"),
        ("text\n\n— a\n", "too short"),
        ("text\n\n— a AAAA\n", "too short"),
        ("text\n\n— a %%%%\n", "not base64"),
        ("text\n\n— a é\n", "not base64"),
        ("text\n\n— a AAAAAAB=\n", "canonical"),
        ("text\n\n" + "— a AAAAAAA=\n" * 101, "more than 100"),
    ],
)
def test_a_malformed_note_is_refused_with_the_reason(text: str, match: str) -> None:
    with pytest.raises(NoteError, match=match):
        parse_note(text)


ROOT = base64.b64encode(bytes(32)).decode()


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (f"origin\n7\n{ROOT}", "three lines"),
        (f"origin\n7\n{ROOT}\nextension\n", "three lines"),
        (f"\n7\n{ROOT}\n", "no origin"),
        (f"origin\n07\n{ROOT}\n", "decimal"),
        (f"origin\n-7\n{ROOT}\n", "decimal"),
        (f"origin\n\n{ROOT}\n", "decimal"),
        (f"origin\n٧\n{ROOT}\n", "decimal"),
        (f"origin\n{10**19}\n{ROOT}\n", "64 bits"),
        ("origin\n7\nAAAA\n", "3 bytes"),
        ("origin\n7\n%\n", "not base64"),
    ],
)
def test_a_malformed_checkpoint_is_refused_with_the_reason(text: str, match: str) -> None:
    with pytest.raises(NoteError, match=match):
        parse_checkpoint(text)


def test_an_empty_log_has_size_zero() -> None:
    assert parse_checkpoint(f"origin\n0\n{ROOT}\n").size == 0


@given(st.text(max_size=200))
def test_what_parses_is_written_back_as_the_same_text(text: str) -> None:
    try:
        note = parse_note(text)
    except NoteError:
        return
    assert note.encode() == text


@given(st.integers(0, 2**63 - 1), st.binary(min_size=32, max_size=32))
def test_any_checkpoint_is_read_back(size: int, root: bytes) -> None:
    head = Checkpoint(origin=ORIGIN, size=size, root=root)
    assert parse_checkpoint(head.encode()) == head


def test_signatures_by_unknown_keys_are_ignored() -> None:
    stranger = Signature(name="stranger", key_id=b"abcd", value=bytes(64))
    note = Note(text=SIGNED.text, signatures=(stranger, *SIGNED.signatures))
    assert verified_by(note, (KEY,)) == (KEY,)


def test_a_key_of_the_same_name_and_another_id_is_unknown() -> None:
    stranger = Signature(name=ORIGIN, key_id=bytes(4), value=bytes(64))
    with pytest.raises(NoteError, match="none of the known keys"):
        verified_by(Note(text=SIGNED.text, signatures=(stranger,)), (KEY,))


@given(st.integers(0, len(SIGNED.text) - 1))
def test_a_bad_signature_by_a_known_key_is_an_error(at: int) -> None:
    changed = SIGNED.text[:at] + chr(ord(SIGNED.text[at]) ^ 1) + SIGNED.text[at + 1 :]
    with pytest.raises(NoteError, match="does not verify"):
        verified_by(Note(text=changed, signatures=SIGNED.signatures), (KEY,))


def test_both_keys_of_a_rotation_are_found() -> None:
    other = Ed25519PrivateKey.generate()
    new = VerifierKey(
        name="new", algorithm=ED25519, public_key=other.public_key().public_bytes_raw()
    )
    second = sign_text(SIGNED.text, new, other.sign)
    note = Note(text=SIGNED.text, signatures=SIGNED.signatures + second.signatures)
    assert verified_by(note, (KEY, new)) == (KEY, new)


def test_a_cosignature_tells_the_pools_time() -> None:
    assert cosigned_at_s(cosigned(1_795_000_000), POOL) == 1_795_000_000
    assert cosignature_message(5, "x\n") == b"cosignature/v1\ntime 5\nx\n"


def test_a_cosignature_over_something_else_is_an_error() -> None:
    with pytest.raises(NoteError, match="does not verify"):
        cosigned_at_s(cosigned(5, text="other\n"), POOL)
    with pytest.raises(NoteError, match="wrong length"):
        cosigned_at_s(cosigned(5, cut=1), POOL)
    with pytest.raises(NoteError, match="not cosigned"):
        cosigned_at_s(SIGNED, POOL)
    with pytest.raises(NoteError, match="not a cosigning key"):
        cosigned_at_s(cosigned(5), KEY)
