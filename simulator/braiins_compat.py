"""What Braiins OS still answers on TCP 4028: a few of cgminer's reads, joined ones included.

One object per connection, ended by NUL. Shapes of public clients and of a recorded ``version``.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from simulator.braiins import BraiinsFarm
from simulator.braiins_moment import Json, Moment
from simulator.caller import Caller
from simulator.door import Door
from simulator.faults import FaultKind

_MAX_REQUEST_BYTES = 4_096
_BUILD = "boser-buildroot 0.1.0-3881c51d"
_SHARE_HASHES = 2.0**50


def _version(at: Moment) -> Json:
    del at
    return {"VERSION": [{"API": "3.7", "BOSer": _BUILD}]}


def _devdetails(at: Moment) -> Json:
    rows = [
        {
            "DEVDETAILS": board,
            "ID": int(at.board_name(board)),
            "Name": "Hash Chain",
            "Model": at.machine.model.name,
        }
        for board in range(at.machine.model.boards)
    ]
    return {"DEVDETAILS": rows}


def _summary(at: Moment) -> Json:
    mhs = at.ghs * 1000.0
    return {"SUMMARY": [{"Elapsed": at.uptime_s, "MHS 5s": mhs, "MHS 1m": mhs, "MHS av": mhs}]}


def _devs(at: Moment) -> Json:
    nominal_mhs = at.machine.point.hashrate_ths * 1e6 / at.machine.model.boards
    rows = [
        {
            "ASC": board,
            "ID": int(at.board_name(board)),
            "Enabled": "Y" if at.machine.boards[board].is_enabled else "N",
            "MHS 5s": at.board_ghs(board) * 1000.0,
            "Nominal MHS": nominal_mhs,
        }
        for board in range(at.machine.model.boards)
    ]
    return {"DEVS": rows}


def _pools(at: Moment) -> Json:
    accepted = int(at.machine.hashes / _SHARE_HASHES)
    rows = [
        {
            "POOL": slot,
            "URL": f"stratum+tcp://pool{slot}.example:3333",
            "Status": "Alive",
            "Stratum Active": slot == 0 and at.machine.is_awake,
            "User": f"farm.{at.label.hostname}",
            "Accepted": accepted if slot == 0 else 0,
            "Rejected": 0,
        }
        for slot in range(2)
    ]
    return {"POOLS": rows}


def _tunerstatus(at: Moment) -> Json:
    chains = [
        {"HashchainIndex": int(at.board_name(board)), "Status": "Stable"}
        for board in range(at.machine.model.boards)
    ]
    row = {
        "PowerLimit": at.machine.point.watts,
        "ApproximateMinerPowerConsumption": at.machine.reported_w(at.now_s),
        "TunerChainStatus": chains,
    }
    return {"TUNERSTATUS": [row]}


READS: Mapping[str, Callable[[Moment], Json]] = {
    "version": _version,
    "devdetails": _devdetails,
    "summary": _summary,
    "devs": _devs,
    "pools": _pools,
    "tunerstatus": _tunerstatus,
}


@dataclass(slots=True, kw_only=True)
class BraiinsCompatFarm:
    """All machines of a farm with Braiins OS, and their older reads beside the web."""

    machines: BraiinsFarm
    patience_s: float = 10.0
    callers: set[Caller] = field(init=False, default_factory=set)

    def doors(self, index: int) -> Sequence[Door]:
        """HTTP, and the older reads on 4028 where the farm has them."""
        file = self.machines.farm.file
        doors = self.machines.doors(index)
        if not file.braiins.has_older_reads:
            return doors
        older = Door(port=file.addresses.rpc_port, receive=lambda: Caller(self, index))
        return (*doors, older)

    def password(self, index: int) -> str:
        """The one of the account "root"."""
        return self.machines.password(index)

    async def close(self) -> None:
        """Cut off whoever is connected."""
        for caller in tuple(self.callers):
            caller.abort()
        await self.machines.close()

    def is_rebooting(self, index: int) -> bool:
        """Whether the control board is down."""
        farm = self.machines.farm
        return farm.clock.now_s() < farm.plant.machines[index].rebooting_until_s

    def is_complete(self, received: bytes) -> bool:
        """Whether the bytes are one object; too many of them are none."""
        return len(received) > _MAX_REQUEST_BYTES or _document(received) is not None

    def reply(self, index: int, received: bytes) -> bytes | None:
        """Bytes for a question; None where this machine stays silent."""
        if self.machines.farm.faults.has_miner(FaultKind.MINER_SILENT, index):
            return None
        answer = _reply(self.machines.moment(index), _document(received))
        return json.dumps(answer).encode() + b"\0"

    def delay_s(self, index: int) -> float:
        """They answer at once."""
        del index
        return 0.0


def _document(received: bytes) -> Any:
    try:
        return json.loads(received.strip(b"\0 \r\n"))
    except (ValueError, RecursionError):
        return None


def _reply(at: Moment, document: Any) -> Json:
    name = document.get("command") if isinstance(document, dict) else None
    if not isinstance(name, str):
        return _status("E", "Invalid JSON")
    if name in READS:
        return _status("S", name) | READS[name](at) | {"id": 1}
    parts = name.split("+")
    if len(parts) > 1 and set(parts) <= READS.keys():
        return {part: [_status("S", part) | READS[part](at) | {"id": 1}] for part in parts}
    return _status("E", "Invalid command")


def _status(letter: str, words: str) -> Json:
    code = {"S": 22, "E": 14}[letter]
    row = {
        "STATUS": letter,
        "When": 0,
        "Code": code,
        "Msg": words,
        "Description": f"BOSer {_BUILD}",
    }
    return {"STATUS": [row]}
