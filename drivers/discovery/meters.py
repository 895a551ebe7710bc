"""Whether an address is a meter, and which profiles would fit: asked only where somebody wants it.

One read of one register tells whether unit 1 answers Modbus TCP; only then profiles are tried.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from drivers.errors import DriverError
from drivers.link.knock import Outcome, Patience, knock
from drivers.meters.identification import Proposal, propose

PORT = 502
# Transaction 1, protocol 0, six bytes, unit 1: read input register 0 (Modbus TCP 1.0b, 3.1.3).
_QUESTION = bytes.fromhex("0001 0000 0006 01 04 0000 0001")


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterFound:
    """An address that speaks Modbus. ``words`` say why there are no proposals."""

    uri: str
    proposals: tuple[Proposal, ...] = ()
    words: str = ""


async def ask_meter(
    address: str,
    profile_dirs: Sequence[Path],
    *,
    port: int = PORT,
    patience: Patience | None = None,
    limit_s: float = 60.0,
) -> MeterFound | None:
    """What could be at unit 1 of this address; None where nobody speaks Modbus."""
    patient = Patience() if patience is None else patience
    heard = await knock(address, port, _QUESTION, _is_whole, patient)
    uri = f"modbus://{address}/1" if port == PORT else f"modbus://{address}:{port}/1"
    if heard.outcome in {Outcome.SILENT, Outcome.CLOSED}:
        words = "It takes connections and unit 1 says nothing: try other units with kwota poll."
        return MeterFound(uri=uri, words=words)
    if heard.outcome is not Outcome.ANSWERED or not _is_modbus(heard.reply):
        return None
    try:
        async with asyncio.timeout(limit_s):
            proposals = await propose(uri, profile_dirs)
    except DriverError as error:
        return MeterFound(uri=uri, words=str(error))
    except TimeoutError:
        return MeterFound(uri=uri, words=f"It did not answer every question within {limit_s:g} s.")
    words = "" if proposals else "It answers, and no profile holds."
    return MeterFound(uri=uri, proposals=proposals, words=words)


def _is_whole(reply: bytes) -> bool:
    return len(reply) >= 6 and len(reply) >= 6 + int.from_bytes(reply[4:6], "big")


def _is_modbus(reply: bytes) -> bool:
    """An answer or an exception of unit 1 to the very question."""
    return len(reply) >= 9 and reply[:4] == _QUESTION[:4] and reply[7] & 0x7F == _QUESTION[7]
