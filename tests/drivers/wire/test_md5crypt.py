"""md5crypt against published vectors, OpenSSL and a second implementation."""

import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.wire.md5crypt import md5crypt
from simulator.whatsminer_v2_wire import unix_md5

VECTORS = [
    ("admin", "BQ5hoXV9", "RxmaDUO33TS7O26yeMHZ81"),
    ("RxmaDUO33TS7O26yeMHZ815626", "jbzkfQls", "w.BNbkCV6n1aNWgiBWLzT/"),
    ("password", "xxxxxxxx", "UYCIxa628.9qXjpQCjM4a."),
]


@pytest.mark.parametrize(("password", "salt", "expected"), VECTORS)
def test_known_vectors(password: str, salt: str, expected: str) -> None:
    assert md5crypt(password.encode(), salt.encode()) == expected


@pytest.mark.parametrize("size", [1, 2, 7, 15, 16, 17, 31, 32, 33, 40])
@pytest.mark.parametrize("salt", ["a", "ab./9", "12345678"])
def test_openssl_says_the_same(size: int, salt: str) -> None:
    program = shutil.which("openssl")
    if program is None:
        pytest.skip("openssl is not installed: md5crypt is tested by vectors alone")
    password = ("Whatsminer" * 4)[:size]
    told = subprocess.run(
        [program, "passwd", "-1", "-salt", salt, "-stdin"],
        input=password,
        capture_output=True,
        text=True,
        check=True,
        timeout=5,
    )
    assert told.stdout.strip() == f"$1${salt}${md5crypt(password.encode(), salt.encode())}"


def test_of_a_salt_only_eight_bytes_count() -> None:
    assert md5crypt(b"pw", b"123456789") == md5crypt(b"pw", b"12345678")


@given(st.text(max_size=70), st.text("./09AZaz", min_size=1, max_size=10))
def test_the_simulators_own_implementation_says_the_same(password: str, salt: str) -> None:
    told = md5crypt(password.encode("utf-8", "replace"), salt.encode())
    assert told == unix_md5(password.encode("utf-8", "replace").decode(), salt)
