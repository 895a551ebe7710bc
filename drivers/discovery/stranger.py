"""One address of which nothing is known: ask what every firmware takes, confirm by a driver.

Reads only, one connection at a time. A sign in an answer only chooses whose driver looks; who a
machine is, its driver says. Passwords are sent to machines whose answers had a sign of the family
that they belong to, and only where the caller gave one.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from drivers.discovery.fingerprints import Question, questions, summary_of
from drivers.errors import DriverError, WrongDeviceError
from drivers.link.knock import Heard, Outcome, Patience, knock
from drivers.miners.registry import FAMILIES, open_miner
from drivers.readings import MinerIdentity

_CLOSE_S = 2.0
# After these nothing more is asked at a port; one that hung up may speak another language.
_DEAD_ENDS = frozenset({Outcome.REFUSED, Outcome.DROPPED, Outcome.SILENT})


class Verdict(StrEnum):
    """What stands at an address."""

    IDENTIFIED = "identified"  # a family's driver says who it is
    INCOMPLETE = "incomplete"  # there is a sign of a family, and something is missing
    UNKNOWN = "unknown"  # it answers, and not as any family does
    SILENT = "silent"  # it takes connections and says nothing
    REFUSING = "refusing"  # somebody has the address and listens at none of the ports
    ABSENT = "absent"  # nobody has the address, or a firewall hides it
    UNASKED = "unasked"  # this computer could not ask


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """An address and what is known of it; ``words`` say what is missing or what it answered.

    ``family`` and ``uri`` are those of the identity, or of the likeliest family, or empty.
    """

    address: str
    verdict: Verdict
    family: str = ""
    uri: str = ""
    identity: MinerIdentity | None = None
    words: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """How to ask. ``ports`` maps usual ports to others, ``passwords`` families to files.

    With ``families`` only signs of these count. ``identify_s`` bounds one driver's look.
    """

    patience: Patience = field(default_factory=Patience)
    ports: Mapping[int, int] = field(default_factory=dict)
    passwords: Mapping[str, Path] = field(default_factory=dict)
    families: frozenset[str] | None = None
    identify_s: float = 8.0

    def wanted(self) -> tuple[Question, ...]:
        """The questions of which an answer could matter."""
        return tuple(
            one
            for one in questions()
            if self.families is None or any(sign.family in self.families for sign in one.signs)
        )


async def ask(address: str, how: Asking) -> Found:
    """Find out who is at an address. Never raises a DriverError."""
    outcomes: dict[int, Outcome] = {}
    answers: list[tuple[Question, bytes]] = []
    tried: set[str] = set()
    doubt: Found | None = None
    for question in how.wanted():
        port = how.ports.get(question.port, question.port)
        if outcomes.get(port) in _DEAD_ENDS:
            continue
        heard = await _put(question, address, port, how)
        outcomes[port] = heard.outcome
        if heard.outcome in {Outcome.NOBODY, Outcome.OWN_FAULT}:
            break
        if heard.outcome is not Outcome.ANSWERED:
            continue
        answers.append((question, heard.reply))
        for family in question.candidates(heard.reply):
            if family in tried or (how.families is not None and family not in how.families):
                continue
            tried.add(family)
            found = await _confirmed(address, family, how)
            if found is not None and found.verdict is Verdict.IDENTIFIED:
                return found
            doubt = doubt or found
    return doubt or _stranger(address, set(outcomes.values()), answers)


def uri_of(family: str, address: str, ports: Mapping[int, int]) -> str:
    """A machine's URI, without what goes without saying."""
    known = FAMILIES[family]
    port = ports.get(known.default_port, known.default_port)
    where = address if port == known.default_port else f"{address}:{port}"
    if known.second is None:
        return f"{family}://{where}"
    name, usual = known.second
    second = ports.get(usual, usual)
    return f"{family}://{where}" + (f"?{name}={second}" if second != usual else "")


async def _put(question: Question, address: str, port: int, how: Asking) -> Heard:
    request = question.request(address)
    return await knock(address, port, request, question.is_whole, how.patience)


async def _confirmed(address: str, family: str, how: Asking) -> Found | None:
    """What the family's own driver says; None where it says that this is none of its machines."""
    doubt = Verdict.INCOMPLETE
    if family not in FAMILIES:
        words = f"It looks like {family}, which this version of kwota does not speak."
        return Found(address=address, verdict=doubt, family=family, words=words)
    uri = uri_of(family, address, how.ports)
    try:
        miner = open_miner(uri, miner_id=address, mac=None, password_file=how.passwords.get(family))
    except ValueError as error:
        return Found(address=address, verdict=doubt, family=family, uri=uri, words=str(error))
    try:
        async with asyncio.timeout(how.identify_s):
            identity = await miner.identify()
    except WrongDeviceError:
        return None
    except DriverError as error:
        return Found(address=address, verdict=doubt, family=family, uri=uri, words=str(error))
    except TimeoutError:
        words = f"It looks like {family} and did not say who it is within {how.identify_s:g} s."
        return Found(address=address, verdict=doubt, family=family, uri=uri, words=words)
    finally:
        async with asyncio.timeout(_CLOSE_S):
            await miner.close()
    return Found(
        address=address, verdict=Verdict.IDENTIFIED, family=family, uri=uri, identity=identity
    )


def _stranger(address: str, outcomes: set[Outcome], answers: list[tuple[Question, bytes]]) -> Found:
    """An address where no family's machine is, by the most that was heard of it."""
    if answers:
        question, reply = max(answers, key=lambda one: len(one[1]))
        words = f"Port {question.port} answered: {summary_of(reply)}"
        return Found(address=address, verdict=Verdict.UNKNOWN, words=words)
    if outcomes & {Outcome.SILENT, Outcome.CLOSED}:
        words = "It takes connections and says nothing."
        return Found(address=address, verdict=Verdict.SILENT, words=words)
    if Outcome.OWN_FAULT in outcomes:
        words = "This computer had no connection left: ask again with fewer at a time."
        return Found(address=address, verdict=Verdict.UNASKED, words=words)
    if Outcome.REFUSED in outcomes:
        return Found(address=address, verdict=Verdict.REFUSING)
    return Found(address=address, verdict=Verdict.ABSENT)
