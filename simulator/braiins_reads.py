"""What Braiins OS answers to reads: keys of a recorded S19 XP with 25.07, values of the plant.

Not recorded, and from the vendor's document alone: constraints, licence, locate. That reads answer
412 while the mining program does not run is assumed.
"""

from collections.abc import Callable, Mapping
from typing import Any

from simulator.braiins_moment import Json, Moment, RefusalError

API = {"25.07": (1, 0, 0), "26.04": (1, 10, 0)}
# Chips per board, chip and board part of the models that a farm can have.
_HARDWARE = {
    "Antminer S19 XP": (110, "BM1366", "BHB56801"),
    "Antminer S19k Pro": (77, "BM1366", "BHB56903"),
}
_SHARE_HASHES = 2.0**50
_WINDOWS = ("5s", "15s", "30s", "1m", "5m", "15m", "30m", "1h", "24h")
_STATUS = {"stopped": 1, "normal": 2, "paused": 3, "suspended": 4}
_TUNER = {"off": 1, "stable": 2, "tuning": 3}


def _ghs(value: float) -> Json:
    return {"gigahash_per_second": value}


def _rates(ghs: float) -> Json:
    return {f"last_{window}": _ghs(ghs) for window in _WINDOWS} | {"since_restart": _ghs(ghs)}


def _solver(ghs: float, nominal_ghs: float) -> Json:
    return {
        "best_share": 776342690,
        "error_hashrate": {"megahash_per_second": 0.0},
        "found_blocks": 0,
        "nominal_hashrate": _ghs(nominal_ghs),
        "real_hashrate": _rates(ghs),
    }


def _require_running(at: Moment) -> None:
    if at.traits.is_stopped:
        raise RefusalError(412, "BOSminer is not running")


def status_of(at: Moment) -> int:
    """The number of the status."""
    if at.traits.is_stopped:
        return _STATUS["stopped"]
    if not at.machine.is_awake:
        return _STATUS["paused"]
    return _STATUS["suspended" if at.traits.is_suspended else "normal"]


def _version(at: Moment) -> Json:
    return dict(zip(("major", "minor", "patch"), API[at.table.firmware], strict=True))


def _details(at: Moment) -> Json:
    name = at.machine.model.name
    return {
        "bos_mode": 4,
        "bos_version": {"bos_plus": True, "current": at.build, "major": at.build},
        "bosminer_uptime_s": 0 if at.traits.is_stopped else at.uptime_s,
        "control_board_soc_family": 3,
        "hostname": at.label.hostname,
        "kernel_version": "4.9.113",
        "mac_address": at.label.mac,
        "miner_identity": {"brand": 1, "miner_model": name, "model": 18, "name": name},
        "platform": 4,
        "psu_info": {
            "fw_version": None,
            "max_voltage": {"volt": 15.2},
            "min_voltage": {"volt": 11.96},
            "model_name": "APW121215d/e",
            "serial_number": f"PS{at.label.serial}",
            "version": 117,
        },
        "serial_number": at.label.serial,
        "status": status_of(at),
        "sticker_hashrate": _ghs(at.machine.model.nameplate_ths * 1000.0),
        "system_uptime": at.uptime_s,
        "system_uptime_s": at.uptime_s,
        "uid": f"uid{at.label.index:013d}",
    }


def _network(at: Moment) -> Json:
    return {
        "default_gateway": "127.0.0.1",
        "dns_servers": ["127.0.0.1"],
        "hostname": at.label.hostname,
        "mac_address": at.label.mac,
        "name": "eth0",
        "networks": [{"address": at.label.address, "netmask": "255.0.0.0"}],
        "protocol": 1,
    }


def _shares(at: Moment, *, is_active: bool) -> Json:
    accepted = int(at.machine.hashes / _SHARE_HASHES) if is_active else 0
    return {
        "accepted_shares": accepted,
        "best_share": 776342690,
        "generated_work": 262144 * accepted,
        "last_difficulty": 262144,
        "last_share_time": {"nanos": 0, "seconds": 1776446524},
        "rejected_shares": accepted // 500,
        "stale_shares": 0,
    }


def _stats(at: Moment) -> Json:
    _require_running(at)
    watts, ths = at.machine.reported_w(at.now_s), at.ghs / 1000.0
    return {
        "miner_stats": _solver(at.ghs, at.machine.point.hashrate_ths * 1000.0),
        "pool_stats": _shares(at, is_active=True),
        "power_stats": {
            "approximated_consumption": {"watt": watts},
            "efficiency": {"joule_per_terahash": watts / ths} if ths else None,
        },
    }


def _boards(at: Moment) -> Json:
    _require_running(at)
    return {"hashboards": [_board(at, board) for board in range(at.machine.model.boards)]}


def _board(at: Moment, board: int) -> Json:
    chips, chip, part = _HARDWARE[at.machine.model.name]
    warmth_c = at.temperature_c(board)
    is_enabled = at.machine.boards[board].is_enabled
    is_hashing = is_enabled and at.machine.is_awake
    nominal_ghs = at.machine.point.hashrate_ths * 1000.0 / at.machine.model.boards
    return {
        "board_name": part,
        "board_temp": {"degree_c": warmth_c},
        "chip_type": chip,
        "chips_count": chips,
        "current_frequency": {"hertz": 486704545.0} if is_hashing else None,
        "current_voltage": {"volt": 12.938} if is_hashing else None,
        "enabled": is_enabled,
        "highest_chip_temp": {
            "id": 1,
            "location": 1,
            "temperature": {"degree_c": round(warmth_c + 15.0, 1)},
        },
        "highest_outlet_temp": {"degree_c": warmth_c},
        "id": at.board_name(board),
        "lowest_inlet_temp": {"degree_c": 24.0},
        "model": part,
        "serial_number": at.label.board_serials[board],
        "stats": _solver(at.board_ghs(board), nominal_ghs) if is_enabled else None,
    }


def _cooling(at: Moment) -> Json:
    rpm = 5880 if at.machine.is_awake else 1200
    warmest = max(range(at.machine.model.boards), key=at.temperature_c)
    return {
        "fans": [
            {"position": place, "rpm": rpm + 6 * place, "target_speed_ratio": 1.0}
            for place in range(4)
        ],
        "highest_temperature": {
            "id": None,
            "location": 1,
            "temperature": {"degree_c": round(at.temperature_c(warmest) + 15.0, 1)},
        },
    }


def _configuration(at: Moment) -> Json:
    mode = {"power": 1, "hashrate": 2, "off": 1}[at.table.tuner]
    is_power = mode == 1
    return {
        "dps": {"enabled": at.table.is_scaling},
        "hashboard_config": {
            "hashboards": [],
            "quick_ramping_time_down_s": at.traits.down_s,
            "quick_ramping_time_up_s": at.traits.up_s,
        },
        "pool_groups": [],
        "tuner": {
            "enabled": at.table.tuner != "off",
            "hashrate_target": None
            if is_power
            else {"terahash_per_second": at.machine.point.hashrate_ths},
            "power_target": {"watt": at.machine.point.watts} if is_power else None,
            "tuner_mode": mode,
        },
    }


def _constraints(at: Moment) -> Json:
    least_w, default_w, most_w = at.limits_w
    boards = range(at.machine.model.boards)
    return {
        "cooling_constraints": None,
        "dps_constraints": None,
        "hashboards_constraints": {
            "enabled": {"default": True},
            "hashboard_ids": [at.board_name(board) for board in boards],
            "quick_ramping_time_s": {"default": 2, "max": 600, "min": 1},
        },
        "tuner_constraints": {
            "default_mode": 1,
            "enabled": {"default": True},
            "power_target": {
                "default": {"watt": default_w},
                "max": {"watt": most_w},
                "min": {"watt": least_w},
            },
        },
    }


def _tuner(at: Moment) -> Json:
    _require_running(at)
    point = at.machine.point
    state = "off" if at.table.tuner == "off" else "tuning" if at.is_moving else "stable"
    profile = {
        "created": {"nanos": 0, "seconds": 1776086368},
        "estimated_power_consumption": {"watt": point.watts},
        "measured_hashrate": _ghs(point.hashrate_ths * 1000.0),
        "target": {"watt": point.watts},
    }
    power: Json = {
        "current_target": {"watt": point.watts},
        "profile": None if at.is_moving else profile,
    }
    hashes: Json = {"current_target": {"terahash_per_second": point.hashrate_ths}, "profile": None}
    mode: Json = {"hashratetargetmodestate": hashes}
    if at.table.tuner != "hashrate":
        mode = {"powertargetmodestate": power}
    return {"mode_state": mode, "overall_tuner_state": _TUNER[state]}


def _errors(at: Moment) -> Json:
    return {"errors": at.traits.faults}


def _licence(at: Moment) -> Json:
    states: dict[str, Json] = {
        "none": {"time_to_restricted": 86400},
        "limited": {},
        "valid": {
            "contract_name": "farm",
            "dev_fee": {"bsp": 200},
            "time_to_restricted": 1,
            "type": 1,
        },
        "expired": {"contract_name": "farm", "dev_fee": None, "type": 1},
    }
    return {"state": {at.table.licence: states[at.table.licence]}}


def _pools(at: Moment) -> list[Json]:
    pools = [
        {
            "active": slot == 0 and at.machine.is_awake,
            "alive": True,
            "enabled": True,
            "stats": _shares(at, is_active=slot == 0),
            "uid": f"pool{slot}",
            "url": f"stratum+tcp://pool{slot}.example:3333",
            "user": f"farm.{at.label.hostname}",
        }
        for slot in range(2)
    ]
    strategy = {"quota": {"value": 1}}
    return [{"name": "farm", "pools": pools, "strategy": strategy, "uid": "group0"}]


# Without the slash that some addresses end with.
READS: Mapping[str, Callable[[Moment], Any]] = {
    "version": _version,
    "network": _network,
    "pools": _pools,
    "actions/locate": lambda at: at.traits.is_located,
    "configuration/constraints": _constraints,
    "configuration/miner": _configuration,
    "cooling/state": _cooling,
    "license/license": _licence,
    "miner/details": _details,
    "miner/errors": _errors,
    "miner/hw/hashboards": _boards,
    "miner/stats": _stats,
    "performance/tuner-state": _tuner,
}
