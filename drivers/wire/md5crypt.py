"""md5crypt, the password hash behind ``$1$``, as Whatsminer's API v2 makes its tokens of it.

Poul-Henning Kamp's scheme of FreeBSD 2.0: one seed of password and salt, then a thousand rounds of
MD5. Too weak to keep a password with; here it is only what the machine asks for.
"""

import hashlib

_ROUNDS = 1000
_SALT_BYTES_MAX = 8
_MAGIC = b"$1$"
_LETTERS = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
# Which bytes of the digest make up a group of 24 bits, the highest first; the last stands alone.
_GROUPS = ((0, 6, 12), (1, 7, 13), (2, 8, 14), (3, 9, 15), (4, 10, 5))
_LAST = 11


def md5crypt(password: bytes, salt: bytes) -> str:
    """The 22 letters behind the third ``$``. Of the salt only the first eight bytes count."""
    salt = salt[:_SALT_BYTES_MAX]
    digest = _md5(_seed(password, salt))
    for turn in range(_ROUNDS):
        is_odd = turn % 2 == 1
        digest = _md5(
            (password if is_odd else digest)
            + (salt if turn % 3 else b"")
            + (password if turn % 7 else b"")
            + (digest if is_odd else password)
        )
    return _letters(digest)


def _seed(password: bytes, salt: bytes) -> bytes:
    size = len(password)
    mixed = _md5(password + salt + password)
    stretched = (mixed * (size // len(mixed) + 1))[:size]
    # One byte for each binary digit of the length, from the lowest.
    tail = bytes(0 if size >> place & 1 else password[0] for place in range(size.bit_length()))
    return password + _MAGIC + salt + stretched + tail


def _letters(digest: bytes) -> str:
    numbers = [digest[a] << 16 | digest[b] << 8 | digest[c] for a, b, c in _GROUPS]
    text = "".join(_spell(number, 4) for number in numbers)
    return text + _spell(digest[_LAST], 2)


def _spell(number: int, count: int) -> str:
    return "".join(_LETTERS[number >> 6 * place & 63] for place in range(count))


def _md5(data: bytes) -> bytes:
    return hashlib.md5(data, usedforsecurity=False).digest()
