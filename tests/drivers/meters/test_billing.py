"""A billing meter over DLMS, at a server that nobody here wrote: values, refusals, faults."""

import asyncio
import random
import sys
import traceback
from collections.abc import Iterator
from contextlib import asynccontextmanager
from fractions import Fraction
from typing import Any

import pytest
from dlms_bench import IMPORT, PASSWORD, SERIAL, Peer, line_to, serving, started_peer

from drivers.errors import (
    BadReplyError,
    DriverError,
    RefusedError,
    UnreachableError,
    UnsupportedError,
    WrongDeviceError,
)
from drivers.link.cosem import AbsentError
from drivers.link.line import NoAnswerError
from drivers.meters.billing import BillingMeter, billing_address

ASSOCIATE, GET, RELEASE = 96, 192, 98
# The answers of the Green Book's examples: an association without ciphering, and a value.
ACCEPTED = bytes.fromhex(
    "6129A109060760857405080101A203020100A305A103020100BE10040E0800065F1F040000501F01F40007"
)
VALUE = bytes.fromhex("C401C1000600000102")


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peer]:
    with started_peer(tmp_path_factory.mktemp("dlms")) as peer:
        yield peer


@pytest.fixture
def peer(process: Peer) -> Peer:
    """The other project's meter with its usual objects."""
    process.hold()
    process.questions()
    return process


@asynccontextmanager
async def meter_at(port: int, query: str = "client=32", password: str | None = PASSWORD) -> Any:
    secret = None if password is None else password.encode()
    meter = BillingMeter(billing_address(f"dlms://127.0.0.1:{port}?{query}"), secret, answer_s=0.5)
    try:
        yield meter
    finally:
        await meter.close()


async def test_a_billing_meter_is_read_with_nothing_but_get(peer, capfd) -> None:
    async with meter_at(peer.port) as meter:
        assert (await meter.identify()).serial == SERIAL
        energy, exported = await meter.read_quantities()
        assert (energy.name, energy.value, energy.unit) == ("energy", 1_234_567.0, "Wh")
        assert (exported.name, exported.value) == ("energy_export", 7.0)
        clock = await meter.read_clock()
        assert str(clock.shown) == "2026-03-01 14:00:05"
        assert 0 <= clock.replied_at_ms - clock.requested_at_ms < 2000
        register = await meter.read_import()
        assert register.requested_at_ms <= register.replied_at_ms
        assert meter.source == f"dlms://127.0.0.1:{peer.port}"
    first, *between, last = peer.questions()
    assert (first, set(between), last) == (ASSOCIATE, {GET}, RELEASE)
    assert capfd.readouterr() == ("", "")  # the library would log the password


@pytest.mark.parametrize("scaler", range(-3, 4))
async def test_scaler_and_ratio_are_applied(peer, scaler: int) -> None:
    peer.hold(imported=[3, IMPORT, 1_234_567, scaler, 30])
    async with meter_at(peer.port, "ratio=4000") as meter:
        register = await meter.read_import()
        assert register.step_wh == Fraction(10) ** scaler * 4000
        assert register.energy_wh == 1_234_567 * register.step_wh


async def test_a_public_client_needs_no_password(peer) -> None:
    async with meter_at(peer.port, "server=1", None) as meter:
        assert (await meter.read_import()).count == 1_234_567


@pytest.mark.parametrize("password", ["wr0ngpass", None])
async def test_a_wrong_password_is_refused_and_not_repeated(peer, password: str | None) -> None:
    async with meter_at(peer.port, "client=32", password) as meter:
        with pytest.raises(RefusedError, match="refuses client 32: check client=") as refused:
            await meter.read_import()
    told = "".join(traceback.format_exception(refused.value)) + repr(meter)
    assert "wr0ngpass" not in told


@pytest.mark.parametrize(
    ("row", "error", "words"),
    [
        (None, AbsentError, "has no object 1.0.1.8.0.255"),
        ([3, IMPORT, 1, 0, 32], BadReplyError, "unit 32 and not in Wh"),
        ([3, IMPORT, 1.5, 0, 30], BadReplyError, "no whole number"),
        ([1, IMPORT, 1, 0, 30], AbsentError, "has no object"),
        ([3, IMPORT, 1, 12, 30], BadReplyError, "scaler 12 cannot"),
    ],
)
async def test_a_register_that_is_not_energy_is_an_error(
    peer, row: list[Any] | None, error: type[DriverError], words: str
) -> None:
    peer.hold(imported=row)
    async with meter_at(peer.port) as meter:
        with pytest.raises(error, match=words):
            await meter.read_import()


async def test_what_the_meter_may_lack_is_said_with_its_reason(peer) -> None:
    peer.hold(exported=None, clock=None, serial=[1, "0.0.42.0.0.255", "ABC123", 0, 0])
    async with meter_at(peer.port) as meter:
        assert (await meter.identify()).serial == "ABC123"
        _, exported = await meter.read_quantities()
        assert exported.value is None
        assert "has no object 1.0.2.8.0.255" in exported.fault
        with pytest.raises(AbsentError):
            await meter.read_clock()


async def test_another_meter_than_the_pinned_one_is_not_read(peer) -> None:
    async with meter_at(peer.port, "serial=999") as meter:
        with pytest.raises(WrongDeviceError, match="should have the serial 999, but it says 10"):
            await meter.identify()
    async with meter_at(peer.port, f"serial={SERIAL}") as meter:
        await meter.identify()


@pytest.mark.parametrize("dies_at", [1, 2, 3])
async def test_a_meter_that_dies_in_mid_answer_is_unreachable(peer, dies_at: int) -> None:
    def change(count: int, answer: bytes) -> tuple[bytes, bool]:
        return (answer, False) if count < dies_at else (answer[:-1], True)

    async with line_to(peer.port, change) as port, meter_at(port) as meter:
        with pytest.raises(NoAnswerError, match="without a whole answer"):
            await meter.read_import()


async def test_silence_ends_in_time() -> None:
    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with serving(hold) as port, meter_at(port) as meter:
        async with asyncio.timeout(3):
            with pytest.raises(NoAnswerError, match=r"did not answer within 0\.5 s"):
                await meter.read_import()
    async with meter_at(1) as meter:
        with pytest.raises(UnreachableError):
            await meter.read_import()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda apdu: apdu[:2] + b"\xc3" + apdu[3:], "another question"),
        (lambda apdu: bytes.fromhex("D80101"), "refuses to tell"),
        (lambda apdu: bytes.fromhex("C401C10103"), "read write denied"),
        (lambda apdu: bytes.fromhex("C402C1000000000100020600"), "in blocks|no answer"),
        (lambda apdu: bytes.fromhex("C401C101FF"), "no answer of a DLMS meter"),
        (lambda apdu: apdu[:-1], "no whole number"),
        (lambda apdu: apdu + b"\0", "no whole number"),
        (lambda apdu: b"C", "no answer of a DLMS meter"),
        (lambda apdu: ACCEPTED, "no answer of a DLMS meter"),
    ],
)
async def test_an_answer_to_nothing_that_was_asked_is_an_error(change: Any, words: str) -> None:
    async with answering(ACCEPTED, change(VALUE)) as port, meter_at(port) as meter:
        with pytest.raises(DriverError, match=words):
            await meter.read_import()


async def test_a_meter_that_takes_no_question_is_an_error() -> None:
    short = ACCEPTED.replace(bytes.fromhex("01F40007"), bytes.fromhex("00080007"))
    async with answering(short, VALUE) as port, meter_at(port) as meter:
        with pytest.raises(BadReplyError):
            await meter.read_import()


async def test_a_refused_meter_may_be_asked_again(peer) -> None:
    peer.hold(password="other!")
    async with meter_at(peer.port) as meter:
        with pytest.raises(RefusedError):
            await meter.read_import()
        peer.hold()
        assert (await meter.read_import()).count == 1_234_567


async def test_no_garbage_gets_past_the_driver_as_anything_but_its_own_errors() -> None:
    chance = random.Random(8)
    outcomes = set()
    for turn in range(300):
        apdus = [ACCEPTED, VALUE]
        spoilt = bytearray(apdus[turn % 2])
        for _ in range(chance.randint(1, 3)):
            spoilt[chance.randrange(len(spoilt))] = chance.randrange(256)
        apdus[turn % 2] = bytes(spoilt[: chance.randint(1, len(spoilt))])
        async with answering(*apdus) as port, meter_at(port) as meter:
            try:
                outcomes.add(str(await meter.read_import()))
            except DriverError as error:
                outcomes.add(type(error).__name__)
    assert outcomes <= {"BadReplyError", "RefusedError", "NoAnswerError", "AbsentError"}
    assert "BadReplyError" in outcomes


@asynccontextmanager
async def answering(*apdus: bytes) -> Any:
    """A server with one answer to each question, whatever it is, and then none."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for apdu in apdus:
            if not await reader.read(4096):
                break
            writer.write(bytes.fromhex("000100010020") + len(apdu).to_bytes(2, "big") + apdu)

    async with serving(talk) as port:
        yield port


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("dlms://a:b@10.1.0.20", "no user and no password"),
        ("dlms://10.1.0.20?password=x", "each once of"),
        ("dlms://10.1.0.20?client=32&client=16", "each once of"),
        ("dlms://10.1.0.20/1", "each once of"),
        ("dlms://10.1.0.20?client=0", "client is a whole number"),
        ("dlms://10.1.0.20?ratio=1.5", "ratio is a whole number"),
        ("dlms://10.1.0.20?serial=", "leaves a value out"),
        ("modbus://10.1.0.20", "does not start with dlms"),
    ],
)
def test_a_uri_that_means_nothing_is_refused(uri: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        billing_address(uri)


def test_the_usual_client_depends_on_the_password() -> None:
    free = billing_address("dlms://10.1.0.20")
    assert (free.port, free.client, free.server, free.ratio) == (4059, 16, 1, 1)
    assert billing_address("dlms://10.1.0.20?password_file=p").client == 32


async def test_without_the_package_one_sentence_says_how_to_get_it(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "dlms_cosem.connection", None)
    async with meter_at(1) as meter:
        with pytest.raises(UnsupportedError, match=r"pip install 'kwota\[dlms\]'"):
            await meter.read_import()
