import os
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from agent.core.note import parse_vkey
from agent.keys import KeyFileError, create_log_key, enroll, fingerprint, load_log_key, load_vkey

ORIGIN = "pool.example/edge/farm-1-edge-1/1"


def test_a_key_is_made_once_and_read_back(tmp_path: Path) -> None:
    enrolment = enroll(tmp_path / "new" / "log.key", ORIGIN)
    key = load_log_key(enrolment.key_file, ORIGIN)
    assert key.origin == ORIGIN
    assert key.verifier == parse_vkey(enrolment.vkey) == load_vkey(enrolment.vkey_file)
    assert key.verifier.is_signature(key.sign(b"message"), b"message")
    assert fingerprint(key.verifier) == enrolment.fingerprint
    assert [len(group) for group in enrolment.fingerprint.split()] == [4] * 16
    assert enrolment.key_file.stat().st_mode & 0o777 == 0o600
    again = enroll(tmp_path / "new" / "log.key", ORIGIN)
    assert (enrolment.is_new, again.is_new) == (True, False)
    assert (again.vkey, again.fingerprint) == (enrolment.vkey, enrolment.fingerprint)
    with pytest.raises(KeyFileError, match="not replaced"):
        create_log_key(enrolment.key_file, ORIGIN)


def test_a_public_file_of_another_key_is_not_taken_for_this_ones(tmp_path: Path) -> None:
    enrolment = enroll(tmp_path / "log.key", ORIGIN)
    other = enroll(tmp_path / "other.key", ORIGIN)
    enrolment.vkey_file.write_text(other.vkey)
    with pytest.raises(KeyFileError, match="does not name the key"):
        enroll(tmp_path / "log.key", ORIGIN)
    enrolment.vkey_file.unlink()
    assert load_vkey(enroll(tmp_path / "log.key", ORIGIN).vkey_file).text == enrolment.vkey


def test_a_dangling_link_in_the_place_of_a_key_is_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "log.key").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(KeyFileError, match="does not exist"):
        enroll(tmp_path / "log.key", ORIGIN)
    assert not (tmp_path / "elsewhere").exists()


def test_openssl_reads_the_key(tmp_path: Path) -> None:
    create_log_key(tmp_path / "log.key", ORIGIN)
    shown = subprocess.run(
        ["openssl", "pkey", "-in", tmp_path / "log.key", "-noout", "-text"],
        check=True,
        capture_output=True,
        text=True,
    )
    assert "ED25519" in shown.stdout


def test_the_private_half_is_in_no_text(tmp_path: Path) -> None:
    key = create_log_key(tmp_path / "log.key", ORIGIN)
    assert "private" not in repr(key).lower()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o602, 0o601])
def test_a_key_that_others_can_touch_is_refused(tmp_path: Path, mode: int) -> None:
    create_log_key(tmp_path / "log.key", ORIGIN)
    (tmp_path / "log.key").chmod(mode)
    with pytest.raises(KeyFileError, match=f"mode {mode:04o}.*chmod 600"):
        load_log_key(tmp_path / "log.key", ORIGIN)


def test_a_credential_of_systemd_may_show_a_group_mode(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_log_key(tmp_path / "log.key", ORIGIN)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    (tmp_path / "log.key").chmod(0o440)
    load_log_key(tmp_path / "log.key", ORIGIN)
    (tmp_path / "log.key").chmod(0o444)
    with pytest.raises(KeyFileError, match="open to others"):
        load_log_key(tmp_path / "log.key", ORIGIN)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_key_of_another_user_is_refused(tmp_path: Path) -> None:
    create_log_key(tmp_path / "log.key", ORIGIN)
    os.chown(tmp_path / "log.key", 12345, -1)
    with pytest.raises(KeyFileError, match="belongs to user 12345"):
        load_log_key(tmp_path / "log.key", ORIGIN)


def test_what_is_no_key_is_refused_with_the_way_out(tmp_path: Path) -> None:
    path = tmp_path / "log.key"
    with pytest.raises(KeyFileError, match="kwota enroll"):
        load_log_key(path, ORIGIN)
    path.write_text("no key")
    path.chmod(0o600)
    with pytest.raises(KeyFileError, match="PEM private key"):
        load_log_key(path, ORIGIN)
    other = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path.write_bytes(other)
    with pytest.raises(KeyFileError, match="another kind of key"):
        load_log_key(path, ORIGIN)
    path.unlink()
    path.mkdir()
    with pytest.raises(KeyFileError, match="regular file"):
        load_log_key(path, ORIGIN)
    with pytest.raises(KeyFileError, match="cannot be named"):
        create_log_key(tmp_path / "second.key", "a name with spaces")
    with pytest.raises(KeyFileError, match="cannot be written"):
        create_log_key(tmp_path / "nowhere" / "log.key", ORIGIN)


def test_a_pool_key_that_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "pool.vkey"
    with pytest.raises(KeyFileError, match="from the pool"):
        load_vkey(path)
    path.write_text("nothing")
    with pytest.raises(KeyFileError, match="holds no verifier key"):
        load_vkey(path)
    path.write_bytes(b"\xff")
    with pytest.raises(KeyFileError, match="cannot be read"):
        load_vkey(path)
