"""A short journal of one farm with two meter points, and a machine that has no kwota."""

import asyncio
import base64
import json
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cryptography
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agent.core.ledger import Account, Entry, Transaction
from agent.core.note import COSIGNATURE_V1, Note, Signature, VerifierKey, parse_note
from agent.handover.export import Exported, export_zip
from agent.handover.ocmfkey import ocmf_signer
from agent.handover.selection import Wanted
from agent.handover.shape import SUMS, sums_of
from agent.handover.source import open_stopped
from agent.journal import Journal, open_journal
from agent.keys import LogKey, create_log_key
from agent.records import NewRecord
from agent.siteclock import SiteClock
from agent.store import JournalSettings
from agent.testimony import alarm_record, closed_record, entry_record, gap_record, purchase_record

ORIGIN = "pool.example/edge/farm-1-edge-1/1"
START_MS = 4_000_000_000_000 - 4_000_000_000_000 % 900_000
END_MS = START_MS + 1_800_000
POOL_TIME_S = 1_795_000_000

_POOL_PRIVATE = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
_DRIVER = """
import json, runpy, sys
sys.path.append(sys.argv[1])
try:
    import agent
except ImportError:
    pass
else:
    raise SystemExit("kwota is here")
verifier = runpy.run_path(sys.argv[2])
for line in sys.stdin:
    print(verifier["run_script"](json.loads(line)), flush=True)
"""


@dataclass(frozen=True, slots=True)
class Stranger:
    """Somebody with Python, cryptography and nothing of ours."""

    libraries: Path

    def run(self, verifier: Path, *runs: Sequence[str]) -> list[tuple[int, Any]]:
        """Exit code and verdict of each run of ``verify.py``; None: it could not be read."""
        words = "".join(json.dumps(["--json", *run]) + "\n" for run in runs)
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", _DRIVER, str(self.libraries), str(verifier)],
            input=words,
            capture_output=True,
            text=True,
            check=True,
        )
        lines = iter(done.stdout.splitlines())
        results: list[tuple[int, Any]] = []
        for line in lines:
            verdict = None if line == "2" else json.loads(line)
            results.append((2, None) if verdict is None else (int(next(lines)), verdict))
        assert len(results) == len(runs)
        return results


@dataclass(slots=True)
class Farm:
    """The journal's file after a stop, its keys, and bundles made of it."""

    directory: Path
    journal: Path
    key: LogKey
    pool: VerifierKey
    count: int = 0

    @property
    def keys(self) -> tuple[str, ...]:
        """What the command lines are told of the keys."""
        return (
            *("--key", str(self.directory / "log.vkey")),
            *("--pool-key", str(self.directory / "pool.vkey")),
        )

    def export(self, wanted: Wanted) -> tuple[Path, Exported]:
        self.count += 1
        file = self.directory / f"{self.count}.zip"
        ocmf = ocmf_signer(self.directory / "ocmf.key", self.key)
        with open_stopped(self.journal) as source:
            keys = {"device": self.key.verifier, "pool": self.pool, "ocmf": ocmf}
            return file, asyncio.run(export_zip(source, file, wanted, **keys))

    def zipped(self, members: Mapping[str, bytes], *, resum: bool = False) -> Path:
        """A bundle with other content; ``resum``: by somebody who writes new sums as well."""
        self.count += 1
        file = self.directory / f"{self.count}.zip"
        if resum:
            members = {**members, SUMS: sums_of(members)}
        with zipfile.ZipFile(file, "w") as archive:
            for name, content in members.items():
                archive.writestr(name, content)
        return file


@pytest.fixture(scope="session")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Stranger:
    installed = Path(cryptography.__file__).parent.parent
    directory = tmp_path_factory.mktemp("libraries")
    for name in ("cryptography", "cffi", *(file.name for file in installed.glob("_cffi_backend*"))):
        (directory / name).symlink_to(installed / name)
    return Stranger(directory)


@pytest.fixture(scope="session")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Farm:
    directory = tmp_path_factory.mktemp("farm")
    key = create_log_key(directory / "log.key", ORIGIN)
    pool = VerifierKey(
        name="pool.example/witness",
        algorithm=COSIGNATURE_V1,
        public_key=_POOL_PRIVATE.public_key().public_bytes_raw(),
    )
    (directory / "log.vkey").write_text(key.verifier.text + "\n")
    (directory / "pool.vkey").write_text(pool.text + "\n")
    made = Farm(directory=directory, journal=directory / "journal.sqlite", key=key, pool=pool)
    asyncio.run(_run(made))
    return made


async def _run(farm: Farm) -> None:
    """Two boots; the pool has everything but the last three records."""
    options = JournalSettings(path=farm.journal, max_bytes=50_000_000, version="0.1.0")
    before, after = _before(), _after()
    async with open_journal(options, farm.key, SiteClock()) as journal:
        for record in before:
            await journal.append([record])
        await _acknowledge(journal, farm.pool, 0)
        await journal.append(_inside())
    async with open_journal(options, farm.key, SiteClock()) as journal:
        await journal.append(after[:-2])
        await _acknowledge(journal, farm.pool, 1910)
        await journal.append(after[-2:])


async def _acknowledge(journal: Journal, pool: VerifierKey, offset_s: int) -> None:
    checkpoint = await journal.newest_checkpoint(0, journal.size)
    assert checkpoint is not None
    note = parse_note(checkpoint.note)
    time_s = POOL_TIME_S + journal.size
    message = f"cosignature/v1\ntime {time_s}\n{note.text}".encode()
    value = time_s.to_bytes(8, "big") + _POOL_PRIVATE.sign(message)
    line = Signature(name=pool.name, key_id=pool.key_id, value=value)
    answer = Note(text=note.text, signatures=(*note.signatures, line)).encode()
    await journal.set_cosigned(checkpoint.size, answer)
    data = {"size": checkpoint.size, "pool_time_s": time_s, "note": answer}
    await journal.append([_at(offset_s, NewRecord(kind="ack", source="agent", data=data))])


def purchase(name: str, point: str) -> Transaction:
    return Transaction(
        transaction_id=name,
        meter_point=point,
        start_ms=START_MS,
        end_ms=END_MS,
        energy_wh=10_000,
        price_kzt_per_kwh="24.5",
        source="single_purchaser",
        received_at_ms=START_MS - 3_600_000,
    )


def _at(offset_s: int, record: NewRecord) -> NewRecord:
    return replace(record, taken_at_ms=START_MS + offset_s * 1000)


def _record(offset_s: int, kind: str, source: str, **data: Any) -> NewRecord:
    return _at(offset_s, NewRecord(kind=kind, source=source, data=data))


def meter(offset_s: int, energy_wh: int, source: str = "site") -> NewRecord:
    return _record(offset_s, "meter", source, energy_import_wh=energy_wh, power_mw=20_000_000)


def _frames(offset_s: int, point: str, meter_id: str, *miners: str) -> list[NewRecord]:
    """A frame in two parts, of which a receipt needs no more than whose devices are whose."""
    sight = {"meters": [{"meter_id": meter_id}], "miners": [{"miner_id": name} for name in miners]}
    packed = zlib.compress(json.dumps({"frame": {"sight": sight}}).encode())
    text = base64.b64encode(packed).decode()
    return [
        _record(*(offset_s, "frame", point), part=n, parts=2, tick=1, why="start", zlib_base64=half)
        for n, half in enumerate((text[:20], text[20:]))
    ]


def _alarm(offset_s: int, code: str, point: str | None, *, is_raised: bool = True) -> NewRecord:
    words = f"<b>{code}</b> & more"
    return _at(
        offset_s, alarm_record(code, "site", meter_point=point, is_raised=is_raised, words=words)
    )


def _state(offset_s: int, booked_wh: int, *open_accounts: list[Any]) -> NewRecord:
    return _record(
        *(offset_s, "ledger", "mp-1"),
        event="state",
        booked_wh=booked_wh,
        offset_wh=0,
        serial="4711",
        open=list(open_accounts),
    )


def _sold(sequence: int, *names: str) -> list[NewRecord]:
    """A batch of the pool's, with its results before it."""
    items = [[name, "accepted", ""] for name in names]
    about = (-3600, "pool", "transactions")
    return [
        _record(*about, event="results", sequence=sequence, part=0, parts=1, items=items),
        _record(*about, event="taken", sequence=sequence, id="b", parts=1, note="", sha256=""),
    ]


def _before() -> list[NewRecord]:
    one, two = purchase("tx-1", "mp-1"), purchase("tx/2 <x>", "mp-2")
    return [
        _record(-7300, "config", "agent", version="0.1.0"),
        *_frames(-7200, "mp-1", "site", "r1", "r2"),
        *_frames(-7200, "mp-2", "other", "x9"),
        meter(-7200, 990_000),
        _state(-7200, 990_000),
        _at(-3600, purchase_record(one)),
        _at(-3600, purchase_record(two)),
        *_sold(1, "tx-1", "tx-9"),
        *_sold(2, "tx/2 <x>"),
        _record(-3000, "limit", "o-7", event="told", meter_point="mp-1", until_ms=None),
        _alarm(-2500, "STANDS", "mp-1"),
        _alarm(-2400, "GONE", "mp-1"),
        _alarm(-2300, "GONE", "mp-1", is_raised=False),
        _record(-1800, "tick", "mp-1", tick=1),
        _record(-600, "preflight", "mp-1", start_ms=START_MS, transactions=["tx-1"]),
        meter(-5, 999_990),
        meter(-4, 5, "other"),
    ]


def _inside() -> list[NewRecord]:
    return [
        meter(5, 1_000_010),
        _record(6, "decision", "mp-1", mode="following", commands=[]),
        _record(6, "decision", "mp-2", mode="failsafe", commands=[]),
        *(_record(7 + n, "throttle", "r1", stage=s) for n, s in enumerate(("sent", "confirmed"))),
        _record(9, "throttle", "x9", stage="refused"),
        _record(10, "tick", "mp-1", tick=2),
        _at(
            60,
            gap_record(
                "site", meter_point="mp-1", state="T", reason="silent", since_ms=START_MS + 55_000
            ),
        ),
        _alarm(61, "METER", "mp-1"),
        _alarm(62, "FOREIGN", "mp-2"),
    ]


def _after() -> list[NewRecord]:
    account = Account(
        transaction=purchase("tx-1", "mp-1"),
        allocated_wh=9_900,
        opened_at_wh=1_000_000,
        closed_at_wh=1_009_900,
    )
    return [
        _record(900, "clock", "agent", what="set", old_ms=1, new_ms=2),
        _record(901, "clock", "agent", what="unsynchronised", max_error_us=16_000_000),
        meter(1795, 1_009_890),
        meter(1805, 1_009_910),
        *(
            _at(1806, entry_record("mp-1", entry))
            for entry in (
                _entry(1_600, 1_700, 1_008_993, 1_009_000, over_wh=7),
                _entry(1_700, 1_800, 1_009_000, 1_009_900, share_wh=900),
                _entry(1_800, 1_805, 1_009_900, 1_009_910, over_wh=10),
            )
        ),
        _at(1806, closed_record(account)),
        _state(1806, 1_009_910),
        _record(
            *(1830, "statement", "mp-1"),
            start_ms=END_MS - 900_000,
            end_ms=END_MS,
            over_wh=0,
            flags=["split"],
        ),
        _record(1840, "tick", "mp-1", tick=3),
        meter(1900, 1_010_000),
        meter(5400, 1_010_000),
        _alarm(5401, "LATE", None),
    ]


def _entry(
    from_s: int, to_s: int, from_wh: int, to_wh: int, *, share_wh: int = 0, over_wh: int = 0
) -> Entry:
    return Entry(
        start_ms=START_MS + from_s * 1000,
        end_ms=START_MS + to_s * 1000,
        from_wh=from_wh,
        to_wh=to_wh,
        shares=(("tx-1", share_wh),) if share_wh else (),
        over_wh=over_wh,
        flags=("split",),
    )
