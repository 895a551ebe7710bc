"""Device URIs: one reading of host and port for every kind of device, one sentence per fault."""

from collections.abc import Collection
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceUri:
    """The parts of a device's URI. ``port`` is None where the URI leaves it to the family."""

    scheme: str
    host: str
    port: int | None
    path: str
    query: str


def device_uri(uri: str, *, schemes: Collection[str], example: str) -> DeviceUri:
    """Split a URI. Raises ValueError with one sentence that says how to write it.

    A user or password is refused and not repeated: secrets come by the path of a file.
    """
    parts = _split(uri)
    if parts is None:
        raise ValueError(f"{uri!r} is not a URI: write it as {example}.")
    if parts.username is not None or parts.password is not None:
        raise ValueError(f"A device's URI holds no user and no password: write it as {example}.")
    if parts.scheme not in schemes:
        known = " or ".join(f"{scheme}://" for scheme in sorted(schemes))
        raise ValueError(f"{uri!r} does not start with {known}: write it as {example}.")
    port = _port(parts)
    if port == 0:
        raise ValueError(f"{uri!r} has a port that is not a number from 1 to 65535.")
    if not parts.hostname or parts.fragment:
        raise ValueError(f"{uri!r} does not name a host alone: write it as {example}.")
    return DeviceUri(
        scheme=parts.scheme,
        host=parts.hostname,
        port=port,
        path=parts.path,
        query=parts.query,
    )


def _split(uri: str) -> SplitResult | None:
    try:
        return urlsplit(uri)
    except ValueError:
        return None


def _port(parts: SplitResult) -> int | None:
    """The port; 0 stands for one that no device can have."""
    try:
        return parts.port
    except ValueError:
        return 0
