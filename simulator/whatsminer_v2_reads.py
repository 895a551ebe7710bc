"""What a Whatsminer with API v2 answers to reads: keys of recorded machines, values of the plant.

``edevs`` and ``status`` follow what the vendor's and other clients ask for. Hashrates are MH/s.
That a stopped machine lists its boards with zeros is assumed; some firmware answers none of the
mining program's reads then.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from simulator.farm import Farm, Label
from simulator.machine import Machine
from simulator.whatsminer_v2_table import WhatsminerV2Table
from simulator.whatsminer_v2_wire import Json, flat, listed

_FIRMWARE = {
    "1.4.0": "20210322.22.REL",
    "2.0.4": "20220615.21.REL",
    "2.0.5": "20230714.15.Rel",
    "2.2.0": "20240711.11.Rel",
}
_BINS = {"M50": ("_VH31", 117), "M30S++": ("_VH41", 70)}
_OLD = "1.4.0"
_ODD_LIST = "2.0.4"
_SHARE_HASHES = 2.0**50
_MAINS_V = 231.5


@dataclass(slots=True, kw_only=True)
class Traits:
    """What one machine keeps besides its physics. ``tokens`` are signs with when they lapse;
    ``shown_off`` is what a lying machine claims of itself, ``mining_from_s`` is when mining was
    started by a command."""

    salt: str
    percent: int = 100
    limit_w: int = 0
    mode: str = "Normal"
    tuned_from_s: float = 0.0
    mining_from_s: float = 0.0
    is_busy: bool = False
    shown_off: bool | None = None
    faults: dict[str, str] = field(default_factory=dict)
    tokens: dict[str, float] = field(default_factory=dict)
    tokens_given: int = 0
    unlock_tries: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """One machine at one instant, with everything an answer needs."""

    farm: Farm
    machine: Machine
    label: Label
    traits: Traits
    now_s: float
    when_s: int

    @property
    def table(self) -> WhatsminerV2Table:
        """How this farm's machines are set up."""
        return self.farm.file.whatsminer_v2

    @property
    def name(self) -> str:
        """The model without its maker."""
        return self.machine.model.name.partition(" ")[2]

    @property
    def type_name(self) -> str:
        """The model with the letters of its bin, as the firmware writes it."""
        return self.name + _BINS[self.name][0]

    @property
    def is_old(self) -> bool:
        """Whether the firmware is the one before API v2."""
        return self.table.api == _OLD

    @property
    def is_off(self) -> bool:
        """What the machine says of itself."""
        shown = self.traits.shown_off
        return not self.machine.is_awake if shown is None else shown

    @property
    def is_tuned(self) -> bool:
        """Whether the ramp after a start is over."""
        return self.machine.is_awake and self.now_s >= self.traits.tuned_from_s

    @property
    def uptime_s(self) -> int:
        """Seconds since the machine started, a minute before it mined."""
        return max(0, int(self.now_s - self.machine.started_s)) + 60

    @property
    def elapsed_s(self) -> int:
        """Seconds since mining started; goes on while it is stopped."""
        from_s = max(self.machine.started_s, self.traits.mining_from_s)
        return max(0, int(self.now_s - from_s))

    def board_mhs(self, board: int) -> float:
        """True hashrate of a board in MH/s."""
        return round(self.machine.boards[board].hashrate_hs.value(self.now_s) / 1e6, 2)

    def temperature_c(self, board: int) -> float:
        """Warm in proportion to the board's watts; no thermal mass."""
        return round(22.0 + self.machine.boards[board].watts.value(self.now_s) * 0.03, 1)


def _get_version(at: Moment) -> Json:
    message = {"api_ver": at.table.api, "fw_ver": _FIRMWARE[at.table.api]}
    if at.is_old:
        return flat({**message, "api_ver": f"whatsminer v{at.table.api}"}, at.when_s)
    return flat({**message, "platform": "H616", "chip": "K19"}, at.when_s)


def _get_miner_info(at: Moment) -> Json:
    message = {
        "ip": at.label.address,
        "proto": "dhcp",
        "netmask": "255.0.0.0",
        "gateway": "127.0.0.1",
        "dns": "127.0.0.1",
        "hostname": at.label.hostname,
        "mac": at.label.mac.upper(),
        "ledstat": "manual" if at.machine.index in at.farm.blinking else "auto",
        "minersn": at.label.serial,
        "powersn": f"PS{at.label.serial}" if at.label.serial else "",
    }
    return flat(message, at.when_s)


def _status(at: Moment) -> Json:
    off, firmware = str(at.is_off).lower(), _FIRMWARE[at.table.api]
    if at.is_old:
        return flat({"btmineroff": off, "Firmware Version": f"'{firmware}'"}, at.when_s)
    message = {
        "mineroff": off,
        "mineroff_reason": "by whatsminer api" if at.is_off else "",
        "mineroff_time": "2026-01-01 12:00:00" if at.is_off else "",
        "FirmwareVersion": firmware,
        "power_mode": "",
        "hash_percent": "",
    }
    if at.table.tells_percent:
        message |= {"power_limit_set": str(at.traits.limit_w), "power_pct": str(at.traits.percent)}
    return flat(message, at.when_s)


def _summary(at: Moment) -> Json:
    machine, boards = at.machine, range(at.machine.model.boards)
    mhs = round(machine.hashrate_hs.value(at.now_s) / 1e6, 2)
    watts = machine.reported_w(at.now_s)
    warmth = [at.temperature_c(board) for board in boards]
    flicker = 1.0 + 0.005 * math.sin(machine.index + at.now_s / 3.0)
    row: Json = {
        "Elapsed": at.elapsed_s,
        "MHS av": mhs,
        "MHS 5s": round(mhs * flicker, 2),
        "MHS 1m": mhs,
        "MHS 5m": mhs,
        "MHS 15m": mhs,
        "HS RT": mhs,
        "Accepted": int(machine.hashes / _SHARE_HASHES),
        "Rejected": 0,
        "Temperature": max(warmth),
        "freq_avg": 600 if machine.is_awake else 0,
        "Fan Speed In": 5000,
        "Fan Speed Out": 5040,
        "Power": watts,
        "Power Rate": round(watts / mhs * 1e6, 2) if mhs else 0.0,
        "Uptime": at.uptime_s,
        "Hash Stable": at.is_tuned,
        "Hash Stable Cost Seconds": 627,
        "Target Freq": 600,
        "Target MHS": round(machine.model.nameplate_ths * 1e6),
        "Env Temp": 22.0,
        "Power Mode": at.traits.mode,
        "Factory GHS": round(machine.model.nameplate_ths * 1000),
        "Power Limit": at.traits.limit_w if machine.is_awake else 0,
        "Chip Temp Min": min(warmth) + 5.0,
        "Chip Temp Max": max(warmth) + 12.0,
        "Chip Temp Avg": max(warmth) + 8.0,
        "Debug": "",
    }
    if at.is_old:
        codes = {f"Error Code {n}": int(code) for n, code in enumerate(at.traits.faults)}
        old = {"Firmware Version": f"'{_FIRMWARE[_OLD]}'", "MAC": at.label.mac.upper()}
        row |= {"Power_RT": watts, "Error Code Count": len(codes), **codes, **old}
    else:
        row["Btminer Fast Boot"] = "enable" if at.table.is_fast_boot else "disable"
    return listed("SUMMARY", [row], at.when_s, "Summary", 11)


def _devs(at: Moment) -> Json:
    rows = [_board(at, board) for board in range(at.machine.model.boards)]
    return listed("DEVS", rows, at.when_s, f"{len(rows)} ASC(s)", 9)


def _edevs(at: Moment) -> Json:
    count = at.machine.model.boards
    own = {"Factory GHS": round(at.machine.model.nameplate_ths * 1000 / count)}
    rows = [_board(at, board) | own | {"HS RT": at.board_mhs(board)} for board in range(count)]
    return listed("DEVS", rows, at.when_s, f"{count} ASC(s)", 9)


def _board(at: Moment, board: int) -> Json:
    mhs, warmth = at.board_mhs(board), at.temperature_c(board)
    return {
        "ASC": board,
        "Slot": board,
        "Enabled": "Y",
        "Status": "Alive" if at.machine.is_awake else "Initialising",
        "Temperature": warmth,
        "Chip Frequency": 600 if at.machine.is_awake else 0,
        "MHS av": mhs,
        "MHS 5s": mhs,
        "MHS 1m": mhs,
        "MHS 5m": mhs,
        "MHS 15m": mhs,
        "Upfreq Complete": int(at.is_tuned),
        "Effective Chips": _BINS[at.name][1] if at.machine.is_awake else 0,
        "PCB SN": at.label.board_serials[board],
        "Chip Data": "K88A9-0000000 BINV01-000000",
        "Chip Temp Min": warmth + 5.0,
        "Chip Temp Max": warmth + 12.0,
        "Chip Temp Avg": warmth + 8.0,
    }


def _devdetails(at: Moment) -> Json:
    own = {"Name": "SM", "Driver": "bitmicro", "Kernel": "", "Model": at.type_name}
    boards = range(at.machine.model.boards)
    rows = [{"DEVDETAILS": board, "ID": board} | own for board in boards]
    return listed("DEVDETAILS", rows, at.when_s, "Device Details", 69)


def _pools(at: Moment) -> Json:
    accepted = int(at.machine.hashes / _SHARE_HASHES)
    rows = [
        {
            "POOL": slot + 1,
            "URL": f"stratum+tcp://pool{slot}.example:3333",
            "Status": "Alive",
            "Priority": slot,
            "Getworks": 1,
            "Accepted": accepted if slot == 0 else 0,
            "Rejected": 0,
            "Stale": 0,
            "Get Failures": 0,
            "Remote Failures": 0,
            "User": f"farm.{at.label.hostname}",
            "Stratum Active": slot == 0 and at.machine.is_awake,
        }
        for slot in range(3)
    ]
    return listed("POOLS", rows, at.when_s, "3 Pool(s)", 7)


def _get_psu(at: Moment) -> Json:
    message = {"hw_version": "", "model": "P21-12-3600-E", "name": "P21", "sw_version": "102220.9"}
    if at.is_old:
        return flat(message, at.when_s)
    message |= {"serial_no": f"PS{at.label.serial}", "vendor": "7", "fan_speed": "4992"}
    if at.table.has_meter:
        watts = round(at.machine.watts.value(at.now_s))
        mains = {"vin": str(round(_MAINS_V * 100)), "iin": str(round(watts / _MAINS_V, 2))}
        message |= mains | {"pin": str(watts)}
    return flat(message, at.when_s)


def _get_error_code(at: Moment) -> Json:
    faults = [{code: time} for code, time in at.traits.faults.items()]
    return flat({"error_code": faults}, at.when_s)


Read = Callable[[Moment], Json]

# What the mining program answers; it alone can be joined.
MINER_READS: dict[str, Read] = {
    "summary": _summary,
    "devs": _devs,
    "edevs": _edevs,
    "devdetails": _devdetails,
    "pools": _pools,
}
OWN_READS: dict[str, Read] = {
    "get_version": _get_version,
    "get_miner_info": _get_miner_info,
    "status": _status,
    "get_psu": _get_psu,
    "get_error_code": _get_error_code,
}
_NOT_OLD = frozenset({"edevs", "get_miner_info", "get_error_code"})


def read_named(at: Moment, name: str) -> Read | None:
    """The read of that name; None where this firmware has none such."""
    if at.is_old and name in _NOT_OLD:
        return None
    return MINER_READS.get(name) or OWN_READS.get(name)


def has_odd_list(at: Moment) -> bool:
    """Whether this firmware writes its list of faults like a table."""
    return at.table.api == _ODD_LIST
