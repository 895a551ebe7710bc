"""What a VNish machine still answers on TCP 4028: reads of cgminer's API, as clients ask them.

One object per connection, a NUL behind the answer. No recording of a whole answer could be read:
the keys are those that clients take their values from.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from simulator.caller import Caller
from simulator.farm import Farm
from simulator.faults import FaultKind
from simulator.vnish_state import CHIPS, Json, Moment

_MAX_REQUEST_BYTES = 4096
_SHARE_HASHES = 2.0**50
_RPM = 5400
_GARBAGE = b'{"STATUS":[{"STATUS":"S","When":17602'


class Machines(Protocol):
    """Whoever knows the machines of this family."""

    farm: Farm

    def moment(self, index: int) -> Moment:
        """One machine now."""


def _version(at: Moment) -> list[Json]:
    name = f"Vnish {at.table.version}"
    return [{"CGMiner": "4.11.1", "API": "3.7", "Miner": name, "CompileTime": "2026-03-02"}]


def _summary(at: Moment) -> list[Json]:
    ghs = at.machine.hashrate_hs.value(at.now_s) / 1e9
    elapsed_s = int(at.now_s - at.machine.started_s)
    return [{"Elapsed": elapsed_s, "GHS 5s": ghs, "GHS av": ghs, "Accepted": 0, "Rejected": 0}]


def _stats(at: Moment) -> list[Json]:
    chips = CHIPS[at.machine.model.name]
    row: Json = {
        "STATS": 0,
        "Elapsed": int(at.now_s - at.machine.started_s),
        "total_rateideal": at.machine.model.nameplate_ths * 1000,
        "rate_unit": "GH",
    }
    for board in range(at.machine.model.boards):
        number = board + 1
        row[f"chain_rate{number}"] = f"{at.board_ghs(board):.2f}"
        row[f"chain_acn{number}"] = chips
        row[f"chain_acs{number}"] = " ooo" * (chips // 3)
        row[f"temp{number}"] = at.temperature_c(board)
        row[f"temp2_{number}"] = at.temperature_c(board) + 15
    for fan in range(4):
        row[f"fan{fan + 1}"] = _RPM + 20 * fan
    return [{"Type": f"{at.machine.model.name} (Vnish {at.table.version})"}, row]


def _pools(at: Moment) -> list[Json]:
    accepted = int(at.machine.hashes / _SHARE_HASHES)
    return [
        {
            "POOL": slot,
            "URL": f"stratum+tcp://pool{slot}.example:3333",
            "Status": "Alive" if slot < 2 else "Dead",
            "Stratum Active": slot == 0 and at.machine.is_awake,
            "User": f"farm.{at.label.hostname}",
            "Accepted": accepted if slot == 0 else 0,
            "Rejected": 0,
            "Stale": 0,
            "Priority": slot,
        }
        for slot in range(3)
    ]


READS: dict[str, tuple[str, Callable[[Moment], list[Json]]]] = {
    "version": ("VERSION", _version),
    "summary": ("SUMMARY", _summary),
    "stats": ("STATS", _stats),
    "pools": ("POOLS", _pools),
}


@dataclass(slots=True, kw_only=True)
class OlderReads:
    """What ``Caller`` asks for the connections of all machines."""

    machines: Machines
    patience_s: float = 5.0
    callers: set[Caller] = field(init=False, default_factory=set)

    def is_rebooting(self, index: int) -> bool:
        """Whether the control board is down."""
        at = self.machines.moment(index)
        return at.now_s < at.machine.rebooting_until_s

    def is_complete(self, received: bytes) -> bool:
        """Whether the bytes are one object; too many of them are none."""
        return len(received) > _MAX_REQUEST_BYTES or _question(received) is not None

    def reply(self, index: int, received: bytes) -> bytes | None:
        """Bytes for a question; None where this machine stays silent."""
        faults = self.machines.farm.faults
        if faults.has_miner(FaultKind.MINER_SILENT, index):
            return None
        if faults.has_miner(FaultKind.MINER_GARBAGE, index):
            return _GARBAGE
        at = self.machines.moment(index)
        names = (_question(received) or "").split("+")
        if len(names) == 1:
            return json.dumps(_answer(at, names[0])).encode() + b"\0"
        joined: Json = {name: [_answer(at, name)] for name in names[:8]}
        return json.dumps(joined | {"id": 1}).encode() + b"\0"

    def delay_s(self, index: int) -> float:
        """As slow as the web side."""
        return self.machines.moment(index).table.answer_delay_s

    def close(self) -> None:
        """Cut off whoever is connected."""
        for caller in tuple(self.callers):
            caller.abort()


def _question(received: bytes) -> str | None:
    try:
        document = json.loads(received.strip(b"\0 \r\n"))
    except (ValueError, RecursionError):
        return None
    name = document.get("command") if isinstance(document, dict) else ""
    return name if isinstance(name, str) else ""


def _answer(at: Moment, name: str) -> Json:
    when = at.farm.clock.ms_at(at.now_s) // 1000
    if name not in READS:
        said = f"Access denied to '{name[:40]}' command"
        return {"STATUS": [{"STATUS": "E", "When": when, "Code": 45, "Msg": said}], "id": 1}
    section, rows = READS[name]
    status = {"STATUS": "S", "When": when, "Code": 1, "Msg": name, "Description": "cgminer 4.11.1"}
    return {"STATUS": [status], section: rows(at), "id": 1}
