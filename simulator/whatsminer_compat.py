"""What a Whatsminer with API v3 still answers on TCP 4028: a few reads in the older shapes.

One object per connection, no length, closed after the answer. Keys and units are those of a
machine with API 2.2.2: ``summary`` lies flat in ``Msg`` and is MH/s, a board of ``edevs`` is TH/s.
No write comes through: the machine gives no token and refuses what is sealed.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from simulator.caller import Caller
from simulator.door import Door
from simulator.faults import FaultKind
from simulator.whatsminer_v3 import WhatsminerFarm
from simulator.whatsminer_v3_reads import FIRMWARE, Moment
from simulator.whatsminer_v3_wire import MAX_REQUEST_BYTES, Json

_DESCRIPTION = "BTMINER V1.0"
_INVALID_COMMAND = 14
_INVALID_JSON = 23
_OK = 131
_COMMAND_ERROR = 132
_SHARE_HASHES = 2.0**50


def _flat(at: Moment, message: object) -> Json:
    return {
        "STATUS": "S",
        "When": at.when_s,
        "Code": _OK,
        "Msg": message,
        "Description": _DESCRIPTION,
    }


def _listed(at: Moment, section: str, rows: list[Json]) -> Json:
    status = {"STATUS": "S", "Msg": section, "Code": _OK, "Description": _DESCRIPTION}
    return {"STATUS": [status | {"When": at.when_s}], section: rows, "id": 1}


def _version(at: Moment) -> Json:
    message = {"api_ver": "2.2.2", "fw_ver": FIRMWARE, "platform": "H616", "chip": "K31"}
    return _flat(at, message | {"miner_type": at.type_name})


def _devdetails(at: Moment) -> Json:
    boards = range(at.machine.model.boards)
    rows = [{"DEVDETAILS": n, "Name": "SM", "ID": n, "Model": at.type_name} for n in boards]
    return _listed(at, "DEVDETAILS", rows)


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
            "Stale": 0,
            "Priority": slot,
        }
        for slot in range(2)
    ]
    return _listed(at, "POOLS", rows)


def _summary(at: Moment) -> Json:
    mhs = at.machine.hashrate_hs.value(at.now_s) / 1e6
    watts = at.machine.reported_w(at.now_s)
    warmth = [at.temperature_c(board) for board in range(at.machine.model.boards)]
    message: Json = {
        "Elapsed": float(at.elapsed_s),
        "MHS av": mhs,
        "MHS 1m": mhs,
        "MHS 15m": mhs,
        "HS RT": mhs,
        "freq_avg": 419.2,
        "Fan Speed In": 0,
        "Fan Speed Out": 0,
        "Power": float(watts),
        "Uptime": at.elapsed_s,
        "Hash Stable": str(at.machine.is_awake).lower(),
        "Target Freq": 0,
        "Env Temp": 22.0,
        "Power Mode": "Normal",
        "Factory GHS": round(at.machine.model.nameplate_ths * 1000),
        "Power Limit": at.traits.limit_w,
        "Chip Temp Min": min(warmth) + 5.0,
        "Chip Temp Max": max(warmth) + 12.0,
        "Chip Temp Avg": max(warmth) + 8.0,
        "Btminer Fast Boot": "enable" if at.table.is_fast_boot else "disable",
    }
    return _flat(at, message)


def _edevs(at: Moment) -> Json:
    boards = at.machine.model.boards
    rows: list[Json] = [
        {
            "Slot": board,
            "Temperature": at.temperature_c(board),
            "Chip Frequency": 413,
            **dict.fromkeys(("MHS av", "MHS 1m", "MHS 15m", "HS RT"), at.board_ths(board)),
            "Factory GHS": round(at.machine.model.nameplate_ths * 1000 / boards),
            "Upfreq Complete": int(at.machine.is_awake and at.now_s >= at.traits.tuned_from_s),
            "Effective Chips": 288,
            "PCB SN": at.label.board_serials[board],
        }
        for board in range(boards)
    ]
    return _listed(at, "DEVS", rows)


def _status(at: Moment) -> Json:
    message = {
        "mineroff": str(not at.machine.is_awake).lower(),
        "mineroff_reason": "",
        "mineroff_time": "",
        "FirmwareVersion": FIRMWARE,
        "power_mode": "normal",
        "power_limit_set": str(at.traits.limit_w),
        "hash_percent": "0",
        "power_pct": at.traits.percent or 100,
    }
    return _flat(at, message)


def _get_miner_info(at: Moment) -> Json:
    label = at.label
    message = {"ip": label.address, "proto": "dhcp", "hostname": label.hostname, "ledstat": "auto"}
    own = {"mac": label.mac.upper(), "minersn": label.serial, "powersn": f"PS{label.serial}"}
    return _flat(at, message | own)


def _get_error_code(at: Moment) -> Json:
    return _flat(at, {"error_code": at.traits.faults})


READS = {
    "get_version": _version,
    "devdetails": _devdetails,
    "pools": _pools,
    "summary": _summary,
    "edevs": _edevs,
    "status": _status,
    "get_miner_info": _get_miner_info,
    "get_error_code": _get_error_code,
}


@dataclass(slots=True, kw_only=True)
class CompatFarm:
    """All Whatsminers of a farm with API v3 and their older reads beside it."""

    whatsminers: WhatsminerFarm
    patience_s: float = 10.0
    callers: set[Caller] = field(init=False, default_factory=set)

    def doors(self, index: int) -> Sequence[Door]:
        """TCP 4433, and the older reads on 4028 where the farm has them."""
        file = self.whatsminers.farm.file
        doors = self.whatsminers.doors(index)
        if not file.whatsminer.has_older_reads:
            return doors
        port = file.addresses.rpc_port
        older = Door(port=port, receive=lambda: Caller(self, index), name="v2")
        return (*doors, older)

    def password(self, index: int) -> str:
        """The one of the account "super"."""
        return self.whatsminers.password(index)

    async def close(self) -> None:
        """Cut off whoever is connected."""
        for caller in tuple(self.callers):
            caller.abort()
        await self.whatsminers.close()

    def is_rebooting(self, index: int) -> bool:
        """Whether the control board is down."""
        return self.whatsminers.is_rebooting(index)

    def is_complete(self, received: bytes) -> bool:
        """Whether the bytes are one object; too many of them are none."""
        if len(received) > MAX_REQUEST_BYTES:
            return True
        try:
            json.loads(received.strip(b"\0 \r\n"))
        except (ValueError, RecursionError):
            return False
        return True

    def reply(self, index: int, received: bytes) -> bytes | None:
        """Bytes for a question; None where this machine stays silent."""
        if self.whatsminers.farm.faults.has_miner(FaultKind.MINER_SILENT, index):
            return None
        try:
            document = json.loads(received.strip(b"\0 \r\n"))
        except (ValueError, RecursionError):
            document = None
        return json.dumps(_reply(self.whatsminers.moment(index), document)).encode()

    def delay_s(self, index: int) -> float:
        """They answer at once."""
        del index
        return 0.0


def _reply(at: Moment, document: object) -> Json:
    if not isinstance(document, dict):
        return {**_flat(at, "invalid json"), "STATUS": "E", "Code": _INVALID_JSON}
    name = document.get("cmd", document.get("command"))
    if document.get("enc") or name == "get_token":
        return {**_flat(at, "API command deprecated"), "STATUS": "E", "Code": _COMMAND_ERROR}
    if not isinstance(name, str) or name not in READS:
        return {**_flat(at, "invalid cmd"), "STATUS": "E", "Code": _INVALID_COMMAND}
    return READS[name](at)
