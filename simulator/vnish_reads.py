"""What a VNish machine answers to reads: the keys of its API description, the values of the plant.

Whether a read is open or needs a login is the server's business.
"""

from collections.abc import Callable
from typing import Any

from simulator.model import OperatingPoint
from simulator.vnish_state import CHIPS, DISABLED, Json, Moment, presets_of

_BUILD = "2026-03-02 11:20:07+00:00"
_FANS = 4
_MAX_RPM = 6200
_RPM = 5400
_SHARE_HASHES = 2.0**50
_OVERCLOCK = {
    "max_voltage": 1535,
    "min_voltage": 1200,
    "default_voltage": 1380,
    "max_freq": 1000,
    "min_freq": 50,
    "default_freq": 675,
    "warn_freq": 850,
    "max_voltage_stock_psu": 1500,
}


def uptime(seconds: float) -> str:
    """As the machine's ``uptime`` writes it."""
    minutes = int(seconds // 60)
    days, rest = divmod(minutes, 1440)
    clock = f"{rest // 60}:{rest % 60:02d}"
    return f"{days} days, {clock}" if days else clock


def _code(at: Moment) -> str:
    return at.machine.model.name.removeprefix("Antminer ").replace(" ", "").lower()


def _info(at: Moment) -> Json:
    return {
        "miner": at.machine.model.name,
        "model": _code(at),
        "fw_name": "Vnish",
        "fw_version": at.table.version,
        "build_name": "vnishnet",
        "platform": "aml",
        "install_type": "nand",
        "build_time": _BUILD,
        "algorithm": "sha256d",
        "hr_measure": "GH/s",
        "system": {
            "os": "GNU/Linux",
            "miner_name": _code(at),
            "file_system_version": "",
            "mem_total": 233712,
            "mem_free": 173956,
            "mem_free_percent": 74,
            "mem_buf": 31928,
            "mem_buf_percent": 13,
            "network_status": {
                "mac": at.mac,
                "dhcp": True,
                "ip": at.label.address,
                "netmask": "255.0.0.0",
                "gateway": "127.0.0.1",
                "dns": ["127.0.0.1"],
                "hostname": at.label.hostname,
            },
            "uptime": uptime(at.now_s - at.machine.started_s),
        },
        "serial": at.serial,
    }


def _model(at: Moment) -> Json:
    return {
        "full_name": at.machine.model.name,
        "model": _code(at),
        "algorithm": "sha256d",
        "series": "x21" if "S21" in at.machine.model.name else "x19",
        "platform": "aml",
        "install_type": "nand",
        "hr_measure": "GH/s",
        "serial": at.serial,
        "chain": {
            "chips_per_chain": CHIPS[at.machine.model.name],
            "chips_per_domain": 2,
            "num_chains": at.machine.model.boards,
            "topology": {"chips": [], "num_cols": 0, "num_rows": 0},
        },
        "cooling": {"min_fan_pwm": 10, "min_target_temp": 20, "max_target_temp": 90},
        "overclock": _OVERCLOCK,
    }


def _miner_status(at: Moment) -> Json:
    status: Json = {"miner_state": at.state, "miner_state_time": at.state_s}
    if at.has_throttle:
        status["throttled"] = at.throttled
    return status | at.traits.failure


def _status(at: Moment) -> Json:
    return {
        "miner_state": at.state,
        "miner_state_time": at.state_s,
        **at.traits.failure,
        "find_miner": at.machine.index in at.farm.blinking,
        "restart_required": at.traits.is_restart_due,
        "reboot_required": False,
        "unlocked": False,
    }


def _chain_state(at: Moment, board: int) -> str:
    told = at.traits.board_states.get(board)
    if told is not None:
        return told
    if not at.machine.boards[board].is_enabled:
        return "disabled"
    if not at.machine.is_awake:
        return "stopped"
    return "mining" if at.board_ghs(board) > 0.0 else "initializing"


def _chain(at: Moment, board: int) -> Json:
    warm = at.temperature_c(board)
    ideal = at.machine.model.nameplate_ths * 1000 / at.machine.model.boards
    return {
        "id": board + 1,
        "frequency": 490.0,
        "voltage": 13800,
        "power_consumption": at.board_w(board),
        "hashrate_ideal": ideal,
        "hashrate_rt": at.board_ghs(board),
        "hashrate_percentage": round(100 * at.board_ghs(board) / ideal, 2),
        "hr_error": 0.0,
        "hw_errors": 0,
        "pcb_temp": {"min": warm - 4, "max": warm},
        "chip_temp": {"min": warm + 8, "max": warm + 15},
        "chip_statuses": {"red": 0, "orange": 0, "grey": CHIPS[at.machine.model.name]},
        "status": {"state": _chain_state(at, board)},
    }


def _pool(at: Moment, slot: int) -> Json:
    is_mining = at.machine.is_awake
    standing = "active" if slot == 0 and is_mining else "working"
    return {
        "id": slot,
        "url": f"pool{slot}.example:3333",
        "pool_type": "UserPool",
        "user": f"farm.{at.label.hostname}",
        "status": standing if slot < 2 else "offline",
        "asic_boost": True,
        "diff": "524k",
        "accepted": int(at.machine.hashes / _SHARE_HASHES) if slot == 0 else 0,
        "rejected": 0,
        "stale": 0,
        "ls_diff": 1.0,
        "ls_time": "0:00:07",
        "diffa": 0.0,
        "ping": 31,
    }


def _fees(at: Moment) -> Json:
    return _pool(at, 0) | {"id": 3, "url": "DevFee", "user": "DevFee", "pool_type": "DevFee"}


def _summary(at: Moment) -> Json:
    boards = range(at.machine.model.boards)
    ghs = at.machine.hashrate_hs.value(at.now_s) / 1e9
    watts = at.machine.reported_w(at.now_s)
    warm = [at.temperature_c(board) for board in boards]
    is_up = at.machine.is_awake
    lost = at.traits.lost_fans
    fans = [
        {
            "id": fan,
            "rpm": 0 if fan in lost or not is_up else _RPM + 20 * fan,
            "status": "lost" if fan in lost else "ok",
            "max_rpm": _MAX_RPM,
        }
        for fan in range(_FANS)
    ]
    stock_ghs = round(at.machine.model.nameplate_ths * 1000)
    return {
        "miner": {
            "miner_status": _miner_status(at),
            "miner_type": f"{at.machine.model.name} (Vnish {at.table.version})",
            "hr_stock": stock_ghs,
            "average_hashrate": ghs / 1000,
            "instant_hashrate": ghs / 1000,
            "hr_realtime": ghs,
            "hr_nominal": stock_ghs if is_up else 0,
            "hr_average": ghs,
            "pcb_temp": {"min": min(warm), "max": max(warm)},
            "chip_temp": {"min": min(warm) + 8, "max": max(warm) + 15},
            "power_consumption": watts,
            "power_usage": watts,
            "power_efficiency": watts / ghs * 1000 if ghs else 0.0,
            "hw_errors_percent": 0.0,
            "hr_error": 0.0,
            "hw_errors": 0,
            "devfee_percent": 2.8,
            "devfee": 0.0,
            "pools": [*(_pool(at, slot) for slot in range(3)), _fees(at)],
            "cooling": {
                "fan_num": _FANS,
                "fans": fans,
                "settings": {"mode": {"name": "auto", "param": 65}},
                "fan_duty": 70 if is_up else 10,
            },
            "chains": [_chain(at, board) for board in boards],
            "found_blocks": 0,
            "best_share": 0,
            "psu": {"psu_power_metering": at.table.has_power_metering},
        }
    }


def _preset(at: Moment, name: str, point: OperatingPoint | None) -> Json:
    is_tuned = name in at.traits.tuned
    pretty = "Disabled"
    if point is not None:
        pretty = f"{point.watts} watt ~ {round(point.hashrate_ths)} TH"
    return {
        "name": name,
        "pretty": pretty,
        "status": "tuned" if is_tuned else "untuned",
        "modded_psu_required": False,
    }


def _perf_summary(at: Moment) -> Json:
    name = at.traits.preset
    point = presets_of(at.machine).get(name)
    return {
        "current_preset": _preset(at, name, point) | {"globals": {"volt": 1380, "freq": 490}},
        "preset_switcher": {
            "enabled": at.table.is_switching_presets,
            "top_preset": None,
            "decrease_temp": 75,
            "rise_temp": 55,
            "check_time": 300,
            "autochange_top_preset": False,
            "ignore_fan_speed": False,
            "min_preset": None,
            "power_delta": 0,
        },
    }


def _presets(at: Moment) -> list[Json]:
    listed = [_preset(at, name, point) for name, point in presets_of(at.machine).items()]
    return [_preset(at, DISABLED, None), *listed]


def overclock(at: Moment) -> Json:
    """``miner.overclock`` of the settings."""
    return {
        "preset": at.traits.preset,
        "modded_psu": False,
        "globals": {"freq": 0, "volt": 0},
        "chains": [
            {"disabled": board in at.traits.disabled, "freq": 0, "chips": []}
            for board in range(at.machine.model.boards)
        ],
        "preset_switcher": {"enabled": at.table.is_switching_presets},
    }


def _settings(at: Moment) -> Json:
    pools = [_pool(at, slot) for slot in range(3)]
    return {
        "miner": {
            "overclock": overclock(at),
            "misc": at.traits.misc,
            "cooling": {"fan_min_count": _FANS, "mode": {"name": "auto", "param": 65}},
            "pools": [{"url": one["url"], "user": one["user"], "pass": "x"} for one in pools],
        },
        "network": {"dhcp": True, "hostname": at.label.hostname, "ipaddress": at.label.address},
        "regional": {"timezone": {"current": "GMT+5"}},
        "ui": {"consts": {"overclock": _OVERCLOCK}},
    }


def _chips(at: Moment, board: int) -> list[Json]:
    count = CHIPS[at.machine.model.name]
    each = at.board_ghs(board) / count
    return [
        {
            "id": chip,
            "hr": each,
            "freq": 490,
            "volt": 320,
            "temp": at.temperature_c(board) + 10,
            "errs": 0,
            "grade": "grey",
            "throttled": False,
        }
        for chip in range(count)
    ]


def _chains(at: Moment) -> list[Json]:
    return [
        {
            "id": board + 1,
            "freq": 490.0,
            "hr_nominal": at.machine.model.nameplate_ths * 1000 / at.machine.model.boards,
            "hr_realtime": at.board_ghs(board),
            "chips": _chips(at, board),
            "sensors": [],
            "status": {"state": _chain_state(at, board)},
        }
        for board in range(at.machine.model.boards)
    ]


def _factory_info(at: Moment) -> Json:
    return {
        "hr_stock": at.machine.model.nameplate_ths * 1000,
        "has_pics": True,
        "psu_model": "APW171215a",
        "psu_serial": f"PS{at.label.serial}",
        "chains": [
            {
                "id": board + 1,
                "board_model": "BHB68606",
                "chip_bin": 1,
                "freq": 490,
                "volt": 1380,
                "hashrate": at.machine.model.nameplate_ths / at.machine.model.boards,
                "serial": serial,
            }
            for board, serial in enumerate(at.label.board_serials)
        ],
    }


OPEN: dict[str, Callable[[Moment], Any]] = {
    "info": _info,
    "model": _model,
    "status": _status,
    "summary": _summary,
    "perf-summary": _perf_summary,
    "chains": _chains,
    "chains/factory-info": _factory_info,
}
LOCKED: dict[str, Callable[[Moment], Any]] = {
    "settings": _settings,
    "autotune/presets": _presets,
}
