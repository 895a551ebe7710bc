"""What a stock Antminer tells: keys of answers recorded from an S19 Pro, values of the plant.

The newer shape, with a list ``chain``, is that of the web pages; where the API knows the flag
``new_api`` it says the same. Nobody publishes what a sleeping machine answers: lists without a row
are what one other simulator gives, rows of zeros are assumed.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from simulator.antminer_table import AntminerTable
from simulator.farm import Farm, Label
from simulator.machine import Machine

Json = dict[str, Any]

SLEEP, NORMAL = 1, 0
_CHIPS = {"Antminer S19j Pro": 126, "Antminer S19 XP": 110, "Antminer S21 Pro": 65}
_SLOTS = 4
_SHARE_HASHES = 2.0**51
_DESCRIPTION = "cgminer 1.0.0"
_COMPILED = {"legacy": "Tue Dec  6 16:12:30 CST 2022", "new_api": "Thu Oct  9 18:55:45 CST 2025"}
_VERSION = {"legacy": "49.0.1.3", "new_api": "71.0.1.3"}
_PARTITION = {"legacy": "Tue Dec  6 16:12:30 CST 2022", "new_api": "FR-1.12(251009)"}


@dataclass(slots=True, kw_only=True)
class Traits:
    """What one machine keeps in its flash, and since when it mines. ``writes`` wear the flash."""

    mode: int
    mining_since_s: float
    pools: list[Json]
    fan_ctrl: Any = False
    fan_pwm: Any = "100"
    freq_level: Any = "100"
    writes: int = 0
    warning: str = "None"
    is_blinking: bool = False
    is_service_old: bool = False
    hides_pools: bool = False
    checks: dict[str, Json] = field(default_factory=dict)


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
    def table(self) -> AntminerTable:
        """How this farm's Antminers are set up."""
        return self.farm.file.antminer

    @property
    def type_name(self) -> str:
        """The model, as the firmware writes it."""
        return self.machine.model.name

    @property
    def compiled(self) -> str:
        """When the mining program was made."""
        return _COMPILED[self.table.stats]

    @property
    def boards(self) -> range:
        """The slots that hold a board."""
        return range(self.machine.model.boards)

    @property
    def chips(self) -> int:
        """Chips of each board."""
        return _CHIPS.get(self.type_name, 100)

    @property
    def elapsed_s(self) -> int:
        """Seconds since the mining program started."""
        since_s = max(self.traits.mining_since_s, self.machine.started_s)
        return max(0, int(self.now_s - since_s))

    @property
    def shows_nothing(self) -> bool:
        """Whether the lists of statistics have no rows now."""
        return not self.machine.is_awake and self.table.sleep_shows == "empty"

    @property
    def ideal_ghs(self) -> float:
        """What the machine should hash at its operating point."""
        return round(self.machine.point.hashrate_ths * 1000.0, 2)

    def board_ghs(self, board: int) -> float:
        """True hashrate of a board in GH/s."""
        return round(self.machine.boards[board].hashrate_hs.value(self.now_s) / 1e9, 2)

    @property
    def ghs(self) -> float:
        """True hashrate of the machine in GH/s."""
        return round(self.machine.hashrate_hs.value(self.now_s) / 1e9, 2)

    def temperatures_c(self, board: int, above_c: int) -> list[int]:
        """Warm in proportion to the board's watts; no thermal mass."""
        warm_c = 22.0 + self.machine.boards[board].watts.value(self.now_s) * 0.03 + above_c
        return [int(warm_c), int(warm_c) - 20, int(warm_c) - 6, int(warm_c) - 5]

    def fans_rpm(self) -> list[int]:
        """Four fans; they stand still in sleep."""
        return [5880, 6000, 5040, 5040] if self.machine.is_awake else [0] * 4

    def power(self) -> Json:
        """Watts among the statistics, on firmware that tells them."""
        watts = self.machine.reported_w(self.now_s)
        if self.table.power == "chain_power":
            return {"chain_power": f"{watts} W"}
        return {"watt": watts} if self.table.power == "watt" else {}


def _listed(at: Moment, section: str, rows: list[Json], code: int, words: str) -> Json:
    status = {"STATUS": "S", "When": at.when_s, "Code": code, "Msg": words}
    return {"STATUS": [status | {"Description": _DESCRIPTION}], section: rows, "id": 1}


def _newer(at: Moment, section: str, rows: list[Json]) -> Json:
    info = {"miner_version": _VERSION[at.table.stats], "CompileTime": at.compiled}
    status = {"STATUS": "S", "when": at.when_s, "Msg": section.lower(), "api_version": "1.0.0"}
    return {"STATUS": status, "INFO": info | {"type": at.type_name}, section: rows}


def _header(at: Moment) -> Json:
    return {
        "BMMiner": "1.0.0",
        "CompileTime": at.compiled,
        "Miner": _VERSION[at.table.stats],
        "Type": at.type_name,
    }


def version(at: Moment) -> Json:
    """``version`` of the API."""
    return _listed(at, "VERSION", [{"API": "3.1"} | _header(at)], 22, "CGMiner versions")


def older_stats(at: Moment) -> Json:
    """``stats`` with one key for each slot."""
    if at.shows_nothing:
        return _listed(at, "STATS", [], 70, "CGMiner stats")
    row: Json = {"STATS": 0, "ID": "BTM_SOC0", "Elapsed": at.elapsed_s, "Mode": 2}
    row |= {"GHS 5s": at.ghs, "GHS av": at.ghs, "rate_30m": at.ghs, "rate_unit": "GH"}
    row |= {"miner_count": len(at.boards), "frequency": 525, "fan_num": 4}
    row |= {f"fan{number}": rpm for number, rpm in enumerate(at.fans_rpm(), 1)}
    for slot in range(_SLOTS):
        number, is_there = slot + 1, slot in at.boards
        pcb_c = at.temperatures_c(slot, 0) if is_there else [0] * 4
        chip_c = at.temperatures_c(slot, 5) if is_there else [0] * 4
        row |= {
            f"chain_rate{number}": f"{at.board_ghs(slot):.2f}" if is_there else "",
            f"chain_acn{number}": at.chips if is_there else 0,
            f"chain_acs{number}": " ooo" * (at.chips // 3) if is_there else "",
            f"chain_hw{number}": 0,
            f"freq{number}": 525 if is_there else 0,
            f"temp_pcb{number}": "-".join(str(c) for c in pcb_c),
            f"temp_chip{number}": "-".join(str(c) for c in chip_c),
        }
    row |= {"total_rateideal": at.ideal_ghs, "total_acn": at.chips * len(at.boards)}
    return _listed(at, "STATS", [_header(at), row | at.power()], 70, "CGMiner stats")


def newer_stats(at: Moment) -> Json:
    """``stats`` as the web pages show them."""
    if at.shows_nothing:
        return _newer(at, "STATS", [])
    chains = [
        {
            "index": board,
            "freq_avg": 525,
            "rate_ideal": round(at.ideal_ghs / len(at.boards), 2),
            "rate_real": at.board_ghs(board),
            "asic_num": at.chips,
            "asic": " ooo" * (at.chips // 3),
            "temp_pic": at.temperatures_c(board, -10),
            "temp_pcb": at.temperatures_c(board, 0),
            "temp_chip": at.temperatures_c(board, 5),
            "hw": 0,
            "eeprom_loaded": True,
            "sn": at.label.board_serials[board],
        }
        for board in at.boards
    ]
    row = {
        "elapsed": at.elapsed_s,
        **_rates(at),
        "chain_num": len(chains),
        "fan_num": 4,
        "fan": at.fans_rpm(),
        "hwp_total": 0.0,
        "miner-mode": at.traits.mode,
        "freq-level": 100,
        "chain": chains,
    }
    return _newer(at, "STATS", [row | at.power()])


def _rates(at: Moment) -> Json:
    flicker = 1.0 + 0.005 * math.sin(at.machine.index + at.now_s / 3.0)
    return {
        "rate_5s": round(at.ghs * flicker, 2),
        "rate_30m": at.ghs,
        "rate_avg": at.ghs,
        "rate_ideal": at.ideal_ghs,
        "rate_unit": "GH/s",
    }


def older_summary(at: Moment) -> Json:
    """``summary`` of the API."""
    if at.shows_nothing:
        return _listed(at, "SUMMARY", [], 11, "Summary")
    accepted = int(at.machine.hashes / _SHARE_HASHES)
    row = {"Elapsed": at.elapsed_s, "GHS 5s": at.ghs, "GHS av": at.ghs, "GHS 30m": at.ghs}
    shares = {"Accepted": accepted, "Rejected": 0, "Stale": 0, "Hardware Errors": 0}
    return _listed(at, "SUMMARY", [row | shares], 11, "Summary")


def newer_summary(at: Moment) -> Json:
    """``summary`` with the list of checks."""
    if at.shows_nothing:
        return _newer(at, "SUMMARY", [])
    good: Json = {"status": "s", "code": 0, "msg": ""}
    checks = [
        {"type": name} | at.traits.checks.get(name, good)
        for name in ("rate", "network", "fans", "temp")
    ]
    row = {"elapsed": at.elapsed_s, **_rates(at), "hw_all": 0, "bestshare": 0, "status": checks}
    return _newer(at, "SUMMARY", [row])


def older_pools(at: Moment) -> Json:
    """``pools`` of the API."""
    accepted = int(at.machine.hashes / _SHARE_HASHES)
    rows = [
        {
            "POOL": slot,
            "URL": pool["url"],
            "Status": "Alive",
            "Priority": slot,
            "Getworks": 0,
            "Accepted": accepted if slot == 0 else 0,
            "Rejected": 0,
            "Stale": 0,
            "User": pool["user"],
            "Last Share Time": "0:00:03" if slot == 0 else "0",
            "Diff": "524K" if slot == 0 else "",
            "Stratum Active": slot == 0 and at.machine.is_awake,
        }
        for slot, pool in enumerate(at.traits.pools)
    ]
    return _listed(at, "POOLS", rows, 7, f"{len(rows)} Pool(s)")


def newer_pools(at: Moment) -> Json:
    """``pools`` as the web pages show them."""
    accepted = int(at.machine.hashes / _SHARE_HASHES)
    rows = [
        {
            "index": slot,
            "url": pool["url"],
            "user": pool["user"],
            "status": "Alive",
            "priority": slot,
            "accepted": accepted if slot == 0 else 0,
            "rejected": 0,
            "stale": 0,
            "diff": "524K" if slot == 0 else "",
        }
        for slot, pool in enumerate(at.traits.pools)
    ]
    return _newer(at, "POOLS", rows)


def devs(at: Moment) -> Json:
    """``devs`` of the API: one device for the whole machine."""
    row = {"ASC": 0, "Name": "BTM_SOC", "ID": 0, "Enabled": "Y", "Status": "Alive"}
    rate = {"MHS av": 0.0, "MHS 5s": 0.0, "Accepted": 0, "Rejected": 0}
    return _listed(at, "DEVS", [row | rate], 9, "1 ASC(s)")


def system_info(at: Moment) -> Json:
    """``get_system_info.cgi``."""
    key: str = at.table.serial_key
    serial = {} if key == "none" else {key: at.label.serial}
    return {
        "minertype": at.type_name,
        "nettype": "DHCP",
        "netdevice": "eth0",
        "macaddr": at.label.mac.upper(),
        "hostname": at.label.hostname,
        "ipaddress": at.label.address,
        "netmask": "255.0.0.0",
        "gateway": "",
        "dnsservers": "",
        "system_mode": "GNU/Linux",
        "system_kernel_version": "Linux 4.9.113 #1 SMP PREEMPT",
        "system_filesystem_version": _PARTITION[at.table.stats],
        "firmware_type": "Release",
        **serial,
    }


def miner_type(at: Moment) -> Json:
    """``miner_type.cgi``."""
    return {
        "miner_type": at.type_name,
        "subtype": "AMLCtrl_BHB42601",
        "fw_version": _PARTITION[at.table.stats],
    }


def miner_conf(at: Moment) -> Json:
    """``get_miner_conf.cgi``: the pools with their passwords, the mode as text."""
    pools = {} if at.traits.hides_pools else {"pools": [dict(pool) for pool in at.traits.pools]}
    return {
        **pools,
        "api-listen": True,
        "api-network": True,
        "api-groups": "A:stats:pools:devs:summary:version",
        "api-allow": "A:0/0,W:*",
        "bitmain-fan-ctrl": at.traits.fan_ctrl,
        "bitmain-fan-pwm": at.traits.fan_pwm,
        "bitmain-use-vil": True,
        "bitmain-freq": "525",
        "bitmain-voltage": "1350",
        "bitmain-ccdelay": "0",
        "bitmain-pwth": "0",
        "bitmain-freq-level": at.traits.freq_level,
        at.table.mode_key: str(at.traits.mode),
    }


RPC: dict[str, Callable[[Moment], Json]] = {
    "version": version,
    "stats": older_stats,
    "summary": older_summary,
    "pools": older_pools,
    "devs": devs,
}
NEW_API: dict[str, Callable[[Moment], Json]] = {
    "stats": newer_stats,
    "summary": newer_summary,
    "pools": newer_pools,
}
PAGES: dict[str, Callable[[Moment], Json]] = {
    "get_blink_status": lambda at: {"blink": at.traits.is_blinking},
    "get_system_info": system_info,
    "miner_type": miner_type,
    "get_miner_conf": miner_conf,
    "stats": newer_stats,
    "summary": newer_summary,
    "pools": newer_pools,
}
