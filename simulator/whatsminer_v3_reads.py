"""What a Whatsminer with API v3 answers to reads: keys of a recorded M50, values of the plant.

``summary``, ``edevs`` and ``pools`` are not recorded anywhere we could read as a whole: their keys
are those that the vendor's and other clients ask for. The list being empty in sleep is assumed.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from simulator.farm import Farm, Label
from simulator.machine import Machine
from simulator.whatsminer_table import WhatsminerTable
from simulator.whatsminer_v3_wire import FAILED, INVALID, MISSING, AnswerError, Json

FIRMWARE = "20250915.16.Rel2"
_BIN = "_VK31"
_CHIPS = {"M60": 215, "M60S": 245, "M63S": 370}
_LIQUID_COOLED = ("M63", "M66")
_VOLTAGE_V = 231.5
_OLD_API = "3.0.1"


@dataclass(slots=True, kw_only=True)
class Traits:
    """What one machine keeps besides its physics."""

    salt: str
    percent: int = 0
    limit_w: int = 0
    tuned_from_s: float = 0.0
    is_busy: bool = False
    led: str = "auto"
    faults: list[Json] = field(default_factory=list)


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
    def table(self) -> WhatsminerTable:
        """How this farm's Whatsminers are set up."""
        return self.farm.file.whatsminer

    @property
    def name(self) -> str:
        """The model without its maker."""
        return self.machine.model.name.partition(" ")[2]

    @property
    def type_name(self) -> str:
        """The model with the letters of its bin, as the firmware writes it."""
        return f"{self.name}{_BIN}"

    @property
    def is_old(self) -> bool:
        """Whether the firmware writes numbers of ``power`` as text and calls a rate per cent."""
        return self.table.api == _OLD_API

    @property
    def elapsed_s(self) -> int:
        """Seconds since the machine started; goes on while it is stopped."""
        return max(0, int(self.now_s - self.machine.started_s))

    def board_ths(self, board: int) -> float:
        """True hashrate of a board in TH/s."""
        return self.machine.boards[board].hashrate_hs.value(self.now_s) / 1e12

    def temperature_c(self, board: int) -> float:
        """Warm in proportion to the board's watts; no thermal mass."""
        return round(22.0 + self.machine.boards[board].watts.value(self.now_s) * 0.03, 1)


def _network(at: Moment) -> Json:
    return {
        "ip": at.label.address,
        "proto": "dhcp",
        "netmask": "255.0.0.0",
        "dns": "127.0.0.1",
        "mac": at.label.mac,
        "gateway": "127.0.0.1",
        "hostname": at.label.hostname,
    }


def _miner(at: Moment) -> Json:
    boards = range(at.machine.model.boards)
    each_ghs = round(at.machine.model.nameplate_ths * 1000 / len(boards))
    return {
        "working": "true" if at.machine.is_awake else "false",
        "type": at.type_name,
        "hash-board": _BIN[2:],
        "detect-hash-rate": ":".join(str(each_ghs) for _ in boards),
        "cointype": "BTC/BCH/BSV",
        "pool-strategy": "FAILOVER",
        "heatmode": "",
        "hash-percent": "",
        **{f"chipdata{board}": "H3LA03-00000000 BINVE2-0000000" for board in boards},
        "fast-boot": "enable" if at.table.is_fast_boot else "disable",
        "board-num": str(len(boards)),
        **{f"pcbsn{board}": at.label.board_serials[board] for board in boards},
        "miner-sn": at.label.serial,
        "power-limit-set": "",
        "UpfreqSpeed": "",
        "web-pool": 1,
        "permission": "super=255 user1=0 user2=0 user3=0",
    }


def _system(at: Moment) -> Json:
    return {
        "api": at.table.api,
        "platform": "H616",
        "fwversion": FIRMWARE,
        "control-board-version": "CB6V10",
        "apiswitch": "1" if at.table.is_api_on else "0",
        "ledstatus": at.traits.led,
    }


def _power(at: Moment) -> Json:
    input_w = at.machine.reported_w(at.now_s)
    figures = {
        "iin": round(input_w / _VOLTAGE_V, 2),
        "vin": _VOLTAGE_V,
        "vout": 1222 if at.machine.is_awake else 0,
        "pin": input_w,
        "fanspeed": 4992,
        "temp0": 49,
    }
    texts: dict[str, Any] = {key: str(value) for key, value in figures.items()}
    return {
        "type": "P221B",
        "mode": "1",
        "hwversion": "V00.01",
        "swversion": "V02.01.V02.01",
        "model": "P221B",
        **(texts if at.is_old else figures),
        "sn": f"PS{at.label.serial}",
        "vendor": "7",
    }


_INFO: dict[str, Callable[[Moment], Any]] = {
    "network": _network,
    "miner": _miner,
    "system": _system,
    "power": _power,
    "salt": lambda at: at.traits.salt,
    "error-code": lambda at: at.traits.faults,
}


def _device_info(at: Moment, param: Any) -> Json:
    if param is None:
        return {name: part(at) for name, part in _INFO.items()}
    if param not in _INFO:
        raise AnswerError(INVALID, "invalid param")
    return {param: _INFO[param](at)}


def _summary(at: Moment) -> Json:
    machine, boards = at.machine, range(at.machine.model.boards)
    ths = machine.hashrate_hs.value(at.now_s) / 1e12
    watts = machine.reported_w(at.now_s)
    warmth = [at.temperature_c(board) for board in boards]
    flicker = 1.0 + 0.01 * math.sin(machine.index + at.now_s / 3.0)
    fans = {"fan-speed-in": 5000, "fan-speed-out": 5040}
    return {
        "elapsed": at.elapsed_s,
        "bootup-time": at.elapsed_s,
        "freq-avg": 600,
        "target-freq": 600,
        "factory-hash": machine.model.nameplate_ths,
        "hash-average": ths,
        "hash-1min": ths,
        "hash-15min": ths,
        "hash-realtime": ths * flicker,
        "power-rate": watts / ths if ths else 0.0,
        "power-5min": watts,
        "power-realtime": watts,
        "power-limit": at.traits.limit_w,
        "environment-temperature": 22.0,
        "board-temperature": warmth,
        "chip-temp-min": min(warmth) + 5.0,
        "chip-temp-avg": max(warmth) + 8.0,
        "chip-temp-max": max(warmth) + 12.0,
        **({} if at.name.startswith(_LIQUID_COOLED) else fans),
        "up-freq-finish": int(machine.is_awake and at.now_s >= at.traits.tuned_from_s),
    }


def _edevs(at: Moment) -> list[Json]:
    if not at.machine.is_awake:
        return []
    boards = at.machine.model.boards
    return [
        {
            "id": board,
            "slot": board,
            "hash-average": at.board_ths(board),
            "hash-realtime": at.board_ths(board),
            "factory-hash": at.machine.model.nameplate_ths / boards,
            "freq": 600,
            "effective-chips": _CHIPS[at.name],
            "chip-temp-min": at.temperature_c(board) + 5.0,
            "chip-temp-avg": at.temperature_c(board) + 8.0,
            "chip-temp-max": at.temperature_c(board) + 12.0,
        }
        for board in range(boards)
    ]


def _pools(at: Moment) -> list[Json]:
    rate = "reject-percent" if at.is_old else "reject-rate"
    return [
        {
            "id": slot,
            "url": f"stratum+tcp://pool{slot}.example:3333",
            "status": "alive",
            "account": f"farm.{at.label.hostname}",
            "stratum-active": slot == 0 and at.machine.is_awake,
            rate: 0.1,
            "last-share-time": 1,
        }
        for slot in range(2)
    ]


_STATUS: dict[str, Callable[[Moment], Any]] = {
    "summary": _summary,
    "edevs": _edevs,
    "pools": _pools,
}


def _miner_status(at: Moment, param: Any) -> Json:
    if param is None:
        raise AnswerError(MISSING, "param item is null")
    names = param.split("+") if isinstance(param, str) else []
    if not names or not set(names) <= _STATUS.keys():
        raise AnswerError(INVALID, "invalid param")
    if names == ["pools"] and not at.machine.is_awake:
        raise AnswerError(FAILED, "miner is not working")
    return {name: _STATUS[name](at) for name in names}


def _miner_setting(at: Moment, _param: Any) -> Json:
    return {
        "power-limit": at.traits.limit_w,
        "power-mode": "normal",
        "power-percent": at.traits.percent,
        "power": 0,
        "upfreq-speed": 0,
        "fast-boot": "enable" if at.table.is_fast_boot else "disable",
        "fast-hash": "disable",
        "heat-mode": "normal",
        "target-freq": 0,
    }


def _system_setting(at: Moment, _param: Any) -> Json:
    delay_s = at.table.time_randomized_s
    return {
        "web-pool": 1,
        "timezone": "CST-8",
        "zonename": "Asia/Shanghai",
        "hostname": at.label.hostname,
        "time-randomized": {"start": delay_s, "stop": delay_s},
        "ntp-server": ["0.pool.ntp.example"],
    }


READS: dict[str, Callable[[Moment, Any], Json]] = {
    "get.device.info": _device_info,
    "get.miner.status": _miner_status,
    "get.miner.setting": _miner_setting,
    "get.system.setting": _system_setting,
}
