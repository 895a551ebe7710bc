"""OCMF records, read by a checker that was written from the published format alone.

OCMF 1.4.0, OCMF-en.md: tables 1 to 8, 10, 17, 19 to 22 and 25; openssl checks the signatures.
"""

import asyncio
import base64
import json
import re
import subprocess
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent.core.ledger import Account, Transaction
from agent.core.register import RegisterEvent
from agent.handover.export import export_zip
from agent.handover.ocmf import ocmf_parts, ocmf_payload, ocmf_text
from agent.handover.ocmfkey import ocmf_signer
from agent.handover.selection import Wanted
from agent.handover.shape import SUMS, members_of, sums_of
from agent.handover.source import open_stopped
from agent.journal import open_journal
from agent.keys import create_log_key
from agent.records import NewRecord
from agent.siteclock import SiteClock
from agent.store import JournalSettings
from agent.testimony import closed_record, purchase_record, register_record
from agent.verify import Keys, verify

ORIGIN = "pool.example/edge/farm-1-edge-1/1"
HOUR_MS = 3_600_000
T0_MS = 4_000_000_000_000 - 4_000_000_000_000 % HOUR_MS
SECTION = {
    "FV": r"\d+\.\d+",
    "GI": r".+",
    "GS": r".+",
    "GV": r".+",
    "PG": r"[TF](0|[1-9]\d*)",
    "MV": r".+",
    "MM": r".+",
    "MS": r".*",
    "MF": r".+",
    "IS": r"True|False",
    "IL": r"NONE|HEARSAY|TRUSTED|VERIFIED|CERTIFIED|SECURE|MISMATCH|INVALID|OUTDATED|UNKNOWN",
    "IF": r".*",
    "IT": r"NONE|DENIED|UNDEFINED|ISO14443|ISO15693|EMAID|EVCCID|EVCOID|ISO7812|CARD_TXN_NR"
    r"|CENTRAL|CENTRAL_1|CENTRAL_2|LOCAL|LOCAL_1|LOCAL_2|PHONE_NUMBER|KEY_CODE",
    "ID": r".+",
    "TT": r".{0,250}",
    "CF": r".{0,25}",
    "CT": r"EVSEID|CBIDC",
    "CI": r".+",
    "RD": r".+",
}
MUST = {"PG", "MS", "IS", "IT", "RD"}
READING = {
    "TM": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d,\d{3}[+-]\d{4} [UISR]",
    "TX": r"[BCXELRAPST]",
    "RV": r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?",
    "RI": r"[0-9A-F]{2}-[0-9A-F]{2}:[0-9A-F]{2}\.[0-9A-F]{2}\.[0-9A-F]{2}\*[0-9A-F]{2}",
    "RU": r"kWh|Wh|mOhm|uOhm",
    "RT": r"AC|DC",
    "CL": r"\d+(\.\d+)?",
    "EF": r"(E?t?)|(tE)",
    "ST": r"[NGTDRMXIOSEF]",
}
SEALED = {
    "SA": r"ECDSA-(secp192k1|secp256k1|secp192r1|secp256r1|brainpool256r1|secp384r1"
    r"|brainpool384r1)-SHA256",
    "SE": r"hex|base64",
    "SM": r"application/x-der",
    "SD": r"[0-9A-Fa-f]+",
}
METERED = {"energy_import_wh": 1, "power_mw": 1}
ENDS = frozenset("ELRAP")


def read_json(text: str) -> dict[str, Any]:
    """Numbers stay the text that they are, and no name may stand there twice."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        assert len({name for name, _ in pairs}) == len(pairs)
        return dict(pairs)

    found = json.loads(text, parse_int=str, parse_float=str, object_pairs_hook=unique)
    assert isinstance(found, dict)
    return found


def follow(table: dict[str, str], fields: dict[str, Any], own: str = "") -> None:
    for name, value in fields.items():
        if own and name[0] in own:
            continue
        assert name in table, f"{name} is no field of the format"
        assert re.fullmatch(table[name], str(value)), f"{name} may not be {value!r}"


def read_ocmf(text: str) -> tuple[dict[str, Any], str, bytes]:
    """The fields, the signed text and the signature of one record, after the format's tables."""
    header, payload, sealed = text.split("|")
    assert header == "OCMF"
    fields, signature = read_json(payload), read_json(sealed)
    follow(SECTION, fields, own="UVWXYZ")
    follow(SEALED, signature, own="UVWXYZABCDEF")
    assert fields.keys() >= MUST
    assert len(fields.get("IF", [])) <= 4
    for read in fields["RD"]:
        follow(READING, read)
        assert {"TM", "ST"} <= read.keys()
        assert {"RI", "RU"} <= read.keys() or not {"RI", "RU", "RV"} & read.keys()
        assert "RV" in read or read["EF"], "a reading without a value is an error event"
    assert signature.get("SE", "hex") == "hex"
    return fields, payload, bytes.fromhex(signature["SD"])


def check_session(fields: dict[str, Any]) -> None:
    """Begin first, an end last, none of either between, time and register never backwards."""
    reasons = [read["TX"] for read in fields["RD"]]
    assert reasons[0] == "B"
    assert reasons[-1] in ENDS
    assert not {"B", *ENDS} & set(reasons[1:-1])
    assert fields["PG"][0] == "T"
    times = [read["TM"][:23] for read in fields["RD"]]
    assert times == sorted(times)
    good = [int(read["RV"]) for read in fields["RD"] if not read["EF"]]
    assert good == sorted(good)


def check_pages(records: Sequence[dict[str, Any]]) -> None:
    pages = [int(fields["PG"][1:]) for fields in records]
    assert pages == list(range(pages[0], pages[0] + len(pages)))
    assert len({(fields["GS"], fields["MS"]) for fields in records}) == 1


def openssl_says(directory: Path, payload: str, signature: bytes, public_der: bytes) -> bool:
    (directory / "payload").write_bytes(payload.encode())
    (directory / "signature").write_bytes(signature)
    (directory / "key.der").write_bytes(public_der)
    words = ["openssl", "dgst", "-sha256", "-keyform", "DER", "-verify", "key.der"]
    words += ["-signature", "signature", "payload"]
    done = subprocess.run(words, cwd=directory, capture_output=True, text=True, check=False)
    return done.returncode == 0 and done.stdout == "Verified OK\n"


def key_in(members: dict[str, bytes]) -> bytes:
    return base64.b64decode(members["ocmf/key.note"].decode().split("\n")[2])


def texts_in(members: dict[str, bytes]) -> dict[str, str]:
    return {name: text.decode() for name, text in members.items() if name.endswith(".ocmf")}


def at(at_ms: int, record: NewRecord) -> NewRecord:
    return replace(record, taken_at_ms=at_ms)


def read_at(at_ms: int, energy_wh: int, state: str = "G") -> NewRecord:
    data = {"energy_import_wh": energy_wh, "power_mw": 1}
    return at(at_ms, NewRecord(kind="meter", source="site", state=state, data=data))


def books_at(at_ms: int, serial: str) -> NewRecord:
    data = {"event": "state", "open": [], "offset_wh": 0, "serial": serial}
    return at(at_ms, NewRecord(kind="ledger", source="mp-1", data=data))


def exchanged(at_ms: int) -> NewRecord:
    event = RegisterEvent(
        event="exchanged", at_ms=at_ms, register_wh=5, offset_wh=9, reason="-", serial="4712"
    )
    return at(at_ms, register_record("mp-1", "site", event))


def frame_at(at_ms: int, *meters: str) -> NewRecord:
    """Whose meters these are, and by which of them the purchases are kept."""
    sight = {"meters": [{"meter_id": name} for name in meters], "miners": []}
    frame = {"frame": {"sight": sight, "parameters": {"meter_id": "site"}}}
    text = base64.b64encode(zlib.compress(json.dumps(frame).encode())).decode()
    data = {"part": 0, "parts": 1, "tick": 1, "why": "start", "zlib_base64": text}
    return at(at_ms, NewRecord(kind="frame", source="mp-1", data=data))


def settled(name: str, hour: int) -> tuple[NewRecord, NewRecord]:
    """A purchase of one hour, and how it was closed."""
    start_ms = T0_MS + hour * HOUR_MS
    bought = Transaction(
        transaction_id=name,
        meter_point="mp-1",
        start_ms=start_ms,
        end_ms=start_ms + HOUR_MS,
        energy_wh=10_000,
        price_kzt_per_kwh="24.5",
        source="single_purchaser",
        received_at_ms=start_ms - HOUR_MS,
    )
    account = Account(transaction=bought, allocated_wh=9, opened_at_wh=1, closed_at_wh=10)
    bought_at = at(start_ms - HOUR_MS, purchase_record(bought))
    return bought_at, at(start_ms + HOUR_MS + 1000, closed_record(account))


def story() -> list[NewRecord]:
    """Three hours: one as it should be, one exchanged meter, one meter that fell silent."""
    (first, first_end), (second, second_end), (third, third_end) = (
        settled("tx-1", 0),
        settled("tx|2 Қ", 1),
        settled("tx-3", 2),
    )
    hours = [T0_MS + hour * HOUR_MS for hour in range(4)]
    return [
        *(frame_at(hours[0] - HOUR_MS, "reference", "site"), books_at(hours[0] - 9000, "4711")),
        *(first, second, third),
        *(read_at(hours[0] - 2500, 1_000_007), read_at(hours[0] + 2500, 1_000_090)),
        at(hours[0] - 1, NewRecord(kind="meter", source="reference", data=METERED)),
        *(read_at(hours[1] - 1500, 1_009_000), first_end, books_at(hours[1] + 60_000, "4711")),
        *(exchanged(hours[1] + 1_800_000), books_at(hours[1] + 1_800_000, "4712")),
        *(read_at(hours[2] - 500, 77), second_end, books_at(hours[2] + 2000, "4712")),
        *(read_at(hours[3] - 600_000, 5_000), third_end),
    ]


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory):
    directory = tmp_path_factory.mktemp("ocmf")
    return directory, create_log_key(directory / "log.key", ORIGIN)


@pytest.fixture(scope="module")
def export(keys) -> Callable[..., Path]:
    """Bundles of a journal of two boots of two versions."""
    directory, key = keys
    journal = directory / "journal.sqlite"
    signer = ocmf_signer(directory / "ocmf.key", key)

    async def write(version: str, records: list[NewRecord]) -> None:
        options = JournalSettings(path=journal, max_bytes=50_000_000, version=version)
        async with open_journal(options, key, SiteClock()) as opened:
            await opened.append(records)

    def bundle(name: str, wanted: Wanted) -> Path:
        file = directory / f"{name}.zip"
        with open_stopped(journal) as source:
            asyncio.run(
                export_zip(source, file, wanted, device=key.verifier, pool=None, ocmf=signer)
            )
        return file

    asyncio.run(write("0.1.0", story()))
    asyncio.run(write("0.2.0", [read_at(T0_MS + 9 * HOUR_MS, 9_000)]))
    return bundle


@pytest.fixture(scope="module")
def bundle(export) -> Path:
    return export("all", Wanted())


@pytest.fixture(scope="module")
def records(bundle) -> list[dict[str, Any]]:
    """The fields of all records, in the order of their pages."""
    read = [read_ocmf(text)[0] for text in texts_in(members_of(bundle)).values()]
    return sorted(read, key=lambda fields: int(fields["PG"][1:]))


def test_each_record_keeps_the_published_format_and_openssl_verifies_it(bundle, tmp_path) -> None:
    members = members_of(bundle)
    texts = texts_in(members)
    assert len(texts) == 3
    for text in texts.values():
        fields, payload, signature = read_ocmf(text)
        check_session(fields)
        assert openssl_says(tmp_path, payload, signature, key_in(members))
        spoiled = payload.replace('"RU":"Wh"', '"RU":"kWh"', 1)
        assert not openssl_says(tmp_path, spoiled, signature, key_in(members))


def test_what_the_manual_tells_to_type_verifies_a_record(bundle, tmp_path) -> None:
    manual = (Path(__file__).parents[3] / "docs" / "verify.md").read_text()
    (commands,) = re.findall(r"^```\n(sed [^`]*ocmf\.der[^`]*)^```$", manual, re.MULTILINE)
    for name, content in members_of(bundle).items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    words = ["bash", "-euc", commands]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("Verified OK\n", "")


def test_pages_count_on_without_a_gap_and_name_one_source(records) -> None:
    check_pages([records[0]])
    assert [fields["PG"] for fields in records] == ["T1", "T2", "T3"]
    assert [fields["ID"] for fields in records] == ["tx-1", "tx|2 Қ", "tx-3"]
    assert {fields["GS"] for fields in records} == {ORIGIN}
    with pytest.raises(AssertionError):
        check_pages([records[0], records[2]])


def test_a_purchase_has_one_page_and_one_text_whatever_it_is_exported_with(export, bundle) -> None:
    whole = {ocmf_parts(text)[:2] for text in texts_in(members_of(bundle)).values()}
    for number, name in enumerate(("tx-1", "tx|2 Қ", "tx-3")):
        (text,) = texts_in(members_of(export(number, Wanted(transactions=(name,))))).values()
        assert ocmf_parts(text)[:2] in whole


def test_the_digits_are_those_of_the_signed_records(bundle, records) -> None:
    lines = members_of(bundle)["records.ndjson"].split(b"\n")
    for fields in records:
        for read, index in zip(fields["RD"], fields["XI"], strict=True):
            assert b'"energy_import_wh":' + read["RV"].encode() + b"," in lines[int(index)]


def test_a_purchase_begins_with_the_reading_with_which_the_one_before_it_ended(records) -> None:
    first, second, third = ([read["RV"] for read in fields["RD"]] for fields in records)
    assert first == ["1000007", "1009000"]
    assert (first[1], second[1]) == (second[0], third[0])
    moment = "2096-10-02T06:59:57,500+0000"
    assert records[0]["RD"][0]["TM"][:28] == moment


def test_a_meter_that_was_exchanged_or_fell_silent_is_flagged(records) -> None:
    states = [[(read["ST"], read["EF"]) for read in fields["RD"]] for fields in records]
    assert states == [
        [("G", ""), ("G", "")],
        [("G", ""), ("X", "E")],
        [("G", ""), ("G", "E")],
    ]
    assert [fields["MS"] for fields in records] == ["4711", "4711", "4712"]


RECEIPT: dict[str, Any] = {
    "transaction": "tx-1",
    "meter_point": "mp-1",
    "purchase": {"start_ms": 0, "end_ms": None},
    "figures_from": 7,
}
CLOSED = {"i": 7, "k": "ledger", "s": "mp-1", "t": 9_000_999, "d": {"event": "closed"}}
READING_AT_0: dict[str, Any] = {
    "edge": "start",
    "side": "after",
    "meter": "site",
    "energy_import_wh": 12,
    "at_us": 1000,
    "time_quality": "U",
    "state": "S",
    "record": 3,
}


def test_a_doubtful_reading_a_doubtful_clock_and_no_reading_at_all_are_flagged() -> None:
    receipt = {**RECEIPT, "register": {"readings": [READING_AT_0]}}
    fields, _, _ = read_ocmf(ocmf_text(ocmf_payload([CLOSED], receipt, 5, ORIGIN), b"x"))
    check_session(fields)
    begin, end = fields["RD"]
    assert (begin["ST"], begin["EF"], begin["TM"]) == ("E", "Et", "1970-01-01T00:00:00,001+0000 U")
    assert (end["ST"], end["EF"], "RV" in end) == ("N", "Et", False)
    assert end["TM"] == "1970-01-01T00:00:09,000+0000 U", "an open end is that of its closing"


def test_of_several_meters_without_a_frame_none_is_guessed() -> None:
    reads = [READING_AT_0, {**READING_AT_0, "meter": "other"}]
    with pytest.raises(ValueError, match="by which meter"):
        ocmf_payload([CLOSED], {**RECEIPT, "register": {"readings": reads}}, 5, ORIGIN)


def test_an_untouched_bundle_is_sound_and_says_so(bundle, keys) -> None:
    report = verify(bundle, Keys(device=keys[1].verifier))
    assert report.defects == ()
    assert any("3 OCMF records say what the records say" in one for one in report.remarks)


def test_a_page_that_does_not_count_on_is_named(bundle, keys, tmp_path) -> None:
    members = members_of(bundle)
    name, text = next(iter(texts_in(members).items()))
    payload = ocmf_parts(text)[0].replace('"PG":"T1"', '"PG":"T7"')
    own = ocmf_signer(keys[0] / "ocmf.key", keys[1])
    members[name] = ocmf_text(payload, own.sign(payload.encode())).encode()
    file = tmp_path / "repaged.zip"
    with zipfile.ZipFile(file, "w") as archive:
        for one, content in {**members, SUMS: sums_of(members)}.items():
            archive.writestr(one, content)
    report = verify(file, Keys(device=keys[1].verifier))
    assert any("has the page T2, -5 after that of tx-1" in one.words for one in report.defects)
