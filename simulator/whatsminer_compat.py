"""What a Whatsminer with API v3 still answers on TCP 4028: a few reads in the older shapes.

One object per connection, no length, closed after the answer. Real firmware differs here by
version; these are the reads by which other projects find the machine, and the pools' counters.
"""

import asyncio
import json

from simulator.faults import FaultKind
from simulator.whatsminer_v3 import WhatsminerFarm
from simulator.whatsminer_v3_reads import FIRMWARE, Moment
from simulator.whatsminer_v3_wire import MAX_REQUEST_BYTES, Json

_DESCRIPTION = "BTMINER V1.0"
_INVALID_COMMAND = 14
_INVALID_JSON = 23
_OK = 131
_PATIENCE_S = 10.0
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


READS = {"get_version": _version, "devdetails": _devdetails, "pools": _pools}


class CompatConnection(asyncio.Protocol):
    """One request, one answer, closed."""

    def __init__(self, whatsminers: WhatsminerFarm, index: int) -> None:
        self._whatsminers = whatsminers
        self._index = index
        self._received = bytearray()
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Somebody connected."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._timer = asyncio.get_running_loop().call_later(_PATIENCE_S, transport.abort)
        if self._whatsminers.is_rebooting(self._index):
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is left to do for this caller."""
        del exc
        if self._timer is not None:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        """Answer as soon as the bytes are one object; too many of them are none."""
        self._received += data
        if self._transport is None or self._transport.is_closing():
            return
        if self._whatsminers.farm.faults.has_miner(FaultKind.MINER_SILENT, self._index):
            return
        at = self._whatsminers.moment(self._index)
        try:
            document = json.loads(self._received.strip(b"\0 \r\n"))
        except (ValueError, RecursionError):
            if len(self._received) <= MAX_REQUEST_BYTES:
                return
            document = None
        reply = _reply(at, document)
        self._transport.write(json.dumps(reply).encode())
        self._transport.close()


def _reply(at: Moment, document: object) -> Json:
    if not isinstance(document, dict):
        return {**_flat(at, "invalid json"), "STATUS": "E", "Code": _INVALID_JSON}
    name = document.get("cmd", document.get("command"))
    if not isinstance(name, str) or name not in READS:
        return {**_flat(at, "invalid cmd"), "STATUS": "E", "Code": _INVALID_COMMAND}
    return READS[name](at)
