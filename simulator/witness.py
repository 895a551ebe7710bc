"""The reference pool without its network: registry, logs, receipts, counters, files."""

import json
import logging
import re
import threading
import time
import tomllib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from simulator.device_log import DeviceLog, Message, Outcome, RejectError, parse_message, recorded
from simulator.misdeeds import Misdeed, Misdeeds
from simulator.pool_report import report_text
from simulator.signed_note import (
    Checkpoint,
    Cosigner,
    NoteError,
    Signer,
    VerifierKey,
    load_or_make_cosigner,
    load_or_make_signer,
    parse_vkey,
)

_log = logging.getLogger(__name__)
_SAFE = re.compile(r"[^A-Za-z0-9.-]+")
_MAX_REJECTS_KEPT = 50


@dataclass(slots=True, kw_only=True)
class Registry:
    """Which verifier key belongs to which agent: a TOML or JSON file, read again when it changes.

    ``[agents]`` maps ``<farm>/<agent>`` or ``<agent>`` to a vkey or a list of vkeys. A size behind
    a vkey and a blank closes that log there, as after a theft: nothing beyond it is cosigned.
    """

    path: Path | None
    _stamp: tuple[int, int] | None = field(init=False, default=None)
    _keys: dict[str, list[VerifierKey]] = field(init=False, default_factory=dict)
    _closed: dict[VerifierKey, int] = field(init=False, default_factory=dict)

    def vkey(self, farm: str, agent: str, origin: str) -> VerifierKey:
        """The key for an origin of an agent. Raises RejectError where there is none."""
        self._refresh()
        for name in (f"{farm}/{agent}", agent):
            for key in self._keys.get(name, []):
                if key.name == origin:
                    return key
        raise RejectError("unknown_key", f"{farm}/{agent} has no registered key named {origin}")

    def require_open(self, vkey: VerifierKey, size: int) -> None:
        """Raises RejectError where the log under this key is closed before a size."""
        last = self._closed.get(vkey, size)
        if size > last:
            raise RejectError("key_closed", f"the log {vkey.name} is closed at size {last}")

    def count(self) -> int:
        """How many agents are registered."""
        self._refresh()
        return len(self._keys)

    def _refresh(self) -> None:
        if self.path is None:
            return
        try:
            state = self.path.stat()
        except FileNotFoundError:
            return
        stamp = (state.st_mtime_ns, state.st_size)
        if stamp == self._stamp:
            return
        try:
            self._keys, self._closed = _read_registry(self.path)
        except (OSError, ValueError, NoteError) as error:
            _log.error("registry=%s unusable=%s", self.path, error)
            return
        self._stamp = stamp


def _read_registry(path: Path) -> tuple[dict[str, list[VerifierKey]], dict[VerifierKey, int]]:
    """The keys of each agent, and the last size of those that are closed."""
    text = path.read_text(encoding="utf-8")
    document = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    agents = document.get("agents", document)
    if not isinstance(agents, dict):
        raise ValueError("'agents' is not a table")  # noqa: TRY004 - a fault of the file
    keys: dict[str, list[VerifierKey]] = {}
    closed: dict[VerifierKey, int] = {}
    for agent, value in agents.items():
        keys[agent] = []
        for text in value if isinstance(value, list) else [value]:
            vkey, _, last = str(text).partition(" ")
            keys[agent].append(parse_vkey(vkey))
            if last:
                closed[keys[agent][-1]] = int(last)
    return keys, closed


@dataclass(slots=True, kw_only=True)
class Witness:
    """Takes messages, gives receipts. One lock: the network's thread and the site's share it."""

    directory: Path | None
    registry: Registry
    cosigner: Cosigner
    signer: Signer | None = None
    misdeeds: Misdeeds = field(default_factory=Misdeeds)
    _reports: dict[str, bytes] = field(init=False, default_factory=dict)
    _logs: dict[str, DeviceLog] = field(init=False, default_factory=dict)
    _receipts: dict[str, bytes] = field(init=False, default_factory=dict)
    _counts: Counter[str] = field(init=False, default_factory=Counter)
    _rejects: Counter[str] = field(init=False, default_factory=Counter)
    _last_rejects: list[dict[str, str]] = field(init=False, default_factory=list)
    _lock: threading.Lock = field(init=False, default_factory=threading.Lock)

    def take(self, farm: str, agent: str, payload: bytes) -> bytes | None:
        """Take one evidence message; returns the receipt to publish, if there is one."""
        with self._lock:
            self._counts["messages"] += 1
            message = None
            try:
                message = parse_message(payload)
                receipt = self._take(farm, agent, message)
            except OSError as error:
                # What is not on disk is not held: forget the log and read the disk again.
                self._logs.clear()
                self._note_reject(farm, agent, RejectError("storage", str(error)))
                return None
            except RejectError as error:
                self._note_reject(farm, agent, error)
                if error.reason == "equivocation" and message is not None:
                    self._accuse(farm, agent, message, str(error))
                return None
            if receipt is not None:
                self._counts["receipts"] += 1
            return receipt

    def handed_out(self, receipt: bytes) -> list[bytes]:
        """What is published where this receipt should be, which is the same if all is well."""
        with self._lock:
            origin = receipt.partition(b"\n")[0].decode()
            sent = self.misdeeds.sent(origin, receipt)
            if Misdeed.FORGETS in self.misdeeds.active:
                self._forget(origin)
            return sent

    def report(self, farm: str, agent: str) -> bytes | None:
        """The signed statement that is still to be published about an agent, once."""
        with self._lock:
            return self._reports.pop(f"{farm}/{agent}", None)

    def state(self) -> dict[str, object]:
        """Counters and logs, for people and programs."""
        with self._lock:
            logs = {
                origin: {
                    "size": log.size,
                    "has_receipt": origin in self._receipts,
                    "keys": [key.key_id.hex() for key in log.keys.at(log.size)],
                }
                for origin, log in self._logs.items()
            }
            return {
                "vkey": self.cosigner.vkey.text(),
                "messages": self._counts["messages"],
                "records": self._counts["records"],
                "duplicates": self._counts["duplicates"],
                "receipts": self._counts["receipts"],
                "equivocations": self._rejects["equivocation"],
                "misdeeds": sorted(self.misdeeds.active),
                "rejects": dict(self._rejects),
                "last_rejects": list(self._last_rejects),
                "registered_agents": self.registry.count(),
                "logs": logs,
            }

    def records(self, origin: str) -> tuple[bytes, ...]:
        """The proven records of an origin."""
        with self._lock:
            log = self._logs.get(origin)
            return tuple(log.records) if log is not None else ()

    def _take(self, farm: str, agent: str, message: Message) -> bytes | None:
        vkey = self.registry.vkey(farm, agent, message.origin)
        self.registry.require_open(vkey, message.end)
        log = self._logs.get(message.origin)
        if log is None or log.vkey != vkey:
            log = recorded(self._kept(message.origin), vkey)
            self._logs[message.origin] = log
            self._recall_receipt(message.origin)
        outcome = log.take(message)
        self._counts["duplicates"] += outcome.is_known
        if outcome.accepted:
            self._counts["records"] += len(outcome.accepted)
            self._keep(message.origin, outcome)
        if outcome.cosignable is not None and outcome.accepted:
            return self._cosign(message.origin, outcome.cosignable)
        if outcome.is_known:
            return self._repeated(message.origin, outcome)
        return None

    def _repeated(self, origin: str, outcome: Outcome) -> bytes | None:
        if origin not in self._receipts and outcome.cosignable is not None:
            return self._cosign(origin, outcome.cosignable)
        return self._receipts.get(origin)

    def _cosign(self, origin: str, checkpoint: Checkpoint) -> bytes:
        """The receipt, kept beside the records: it is what this pool has said that it holds."""
        at_unix_s = time.time_ns() // 1_000_000_000
        receipt = self.misdeeds.cosigned(self.cosigner, checkpoint, at_unix_s)
        self._receipts[origin] = receipt
        file = self._file(origin)
        if file is not None:
            file.with_suffix(".receipt").write_bytes(receipt)
        return receipt

    def _recall_receipt(self, origin: str) -> None:
        file = self._file(origin)
        if file is not None and origin not in self._receipts:
            kept = file.with_suffix(".receipt")
            if kept.exists():
                self._receipts[origin] = kept.read_bytes()

    def _forget(self, origin: str) -> None:
        """Drop the newer half of what was receipted."""
        log = self._logs.get(origin)
        file = self._file(origin)
        if log is None:
            return
        kept = list(log.records[: log.size // 2])
        if file is not None:
            file.write_bytes(b"".join(record + b"\n" for record in kept))
        self._logs[origin] = recorded(kept, log.vkey)

    def _accuse(self, farm: str, agent: str, message: Message, words: str) -> None:
        """Two heads of one log: what was cosigned, and what contradicts it."""
        seen = self._receipts.get(message.origin)
        if seen is None or self.signer is None:
            return
        text = report_text(
            farm,
            agent,
            origin=message.origin,
            seen=seen,
            shown=message.checkpoint,
            words=words,
            at_ms=time.time_ns() // 1_000_000,
        )
        if text is not None:
            self._reports[f"{farm}/{agent}"] = self.signer.sign(text)

    def _note_reject(self, farm: str, agent: str, error: RejectError) -> None:
        self._rejects[error.reason] += 1
        row = {"agent": f"{farm}/{agent}", "reason": error.reason, "sentence": str(error)}
        self._last_rejects.append(row)
        del self._last_rejects[:-_MAX_REJECTS_KEPT]
        _log.warning("agent=%s/%s rejected=%s %s", farm, agent, error.reason, error)

    def _file(self, origin: str) -> Path | None:
        if self.directory is None:
            return None
        return self.directory / f"{_SAFE.sub('_', origin)}.ndjson"

    def _keep(self, origin: str, outcome: Outcome) -> None:
        path = self._file(origin)
        if path is not None:
            with path.open("ab") as file:
                file.write(b"".join(record + b"\n" for record in outcome.accepted))

    def _kept(self, origin: str) -> list[bytes]:
        path = self._file(origin)
        if path is None or not path.exists():
            return []
        whole, _, torn = path.read_bytes().rpartition(b"\n")
        if torn:
            with path.open("r+b") as file:
                file.truncate(len(whole) + 1 if whole else 0)
        return whole.split(b"\n") if whole else []


def open_witness(directory: Path | None, registry: Path | None, name: str) -> Witness:
    """A witness with its key in a directory (made if missing), or one that lasts while it runs."""
    if directory is None:
        raise NoteError("the pool needs a directory for its key: give --pool-dir")
    directory.mkdir(parents=True, exist_ok=True)
    cosigner = load_or_make_cosigner(directory / "pool.key", name)
    signer = load_or_make_signer(directory / "signing.key", f"{name}/signing")
    for file, key in (("pool.vkey", cosigner.vkey), ("signing.vkey", signer.vkey)):
        (directory / file).write_text(key.text() + "\n", encoding="utf-8")
    path = registry if registry is not None else directory / "registry.toml"
    return Witness(
        directory=directory, registry=Registry(path=path), cosigner=cosigner, signer=signer
    )
