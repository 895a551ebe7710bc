"""What a machine with ePIC's PowerPlay answers to GET: keys of the vendor's OpenAPI description.

The MAC under ``dhcp`` is where other clients read it; the description leaves it out. That a stopped
machine lists no boards in ``HBs`` is assumed, and so is that its input is measured all the same.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from simulator.epic_table import EpicTable
from simulator.farm import Farm, Label
from simulator.machine import Machine

Json = dict[str, Any]

_CHIPS = {"Antminer S19 XP": 110}
_CHIPS_ELSE = 100
_CLOCK_MHZ = 500.0
_BOARD_V = 13.6
_CHIP_MV = 330.0
_FANS = 4
_SHARE_HASHES = 2.0**50
_MHS = 1e6
_OLD = "1.22.5"


@dataclass(slots=True, kw_only=True)
class Traits:
    """What one machine keeps besides its physics. ``pending`` is a command that is still at work,
    ``last_error`` the vendor's own JSON for what broke; ``missing`` boards are not found."""

    last_error: Any = None
    last_command: str | None = None
    pending: str = ""
    is_pool_lost: bool = False
    missing: set[int] = field(default_factory=set)


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """One machine at one instant, with everything an answer needs."""

    farm: Farm
    machine: Machine
    label: Label
    traits: Traits
    now_s: float

    @property
    def table(self) -> EpicTable:
        """How this farm's machines with PowerPlay are set up."""
        return self.farm.file.epic

    @property
    def chips(self) -> int:
        """Chips of each board."""
        return _CHIPS.get(self.machine.model.name, _CHIPS_ELSE)

    @property
    def hashing(self) -> list[int]:
        """The boards that the mining program runs."""
        if not self.machine.is_awake:
            return []
        boards = enumerate(self.machine.boards)
        return [
            index
            for index, board in boards
            if board.is_enabled and index not in self.traits.missing
        ]

    @property
    def state(self) -> str:
        """The vendor's word for what the machine does."""
        if not self.machine.is_awake:
            return "Stopping" if self.now_s < self.machine.watts.end_s else "Idling"
        if not self.hashing:
            return "Idling"
        return "Mining" if any(self.board_mhs(n) > 0.0 for n in self.hashing) else "Initializing"

    def board_mhs(self, board: int) -> float:
        """True hashrate of a board in MH/s."""
        return self.machine.boards[board].hashrate_hs.value(self.now_s) / _MHS

    def temperature_c(self, board: int) -> float:
        """Warm in proportion to the board's watts; no thermal mass."""
        return round(22.0 + self.machine.boards[board].watts.value(self.now_s) * 0.04, 1)


def summary(at: Moment) -> Json:
    """``/summary``."""
    wanted = at.machine.point.watts
    errors = at.traits.last_error
    if errors is None and at.machine.is_awake and not at.hashing:
        errors = "NoHashboardsEnabled"
    return {
        "Status": {
            "Operating State": at.state,
            "Last Command": at.traits.last_command,
            "Last Command Result": None if at.traits.last_command is None else "ok",
            "Last Error": errors,
        },
        "Hostname": at.label.hostname,
        "PresetInfo": {"Target Power": wanted},
        "Software": f"PowerPlay-BM v{at.table.version}",
        "OS Type": "UMC OS",
        "Mining": {"Coin": "Btc", "Algorithm": "SHA256d"},
        "Stratum": _stratum(at),
        "Session": _session(at),
        "HBs": [_board(at, index) for index in at.hashing],
        "HBStatus": [
            {"Index": n, "Enabled": board.is_enabled, "Detected": n not in at.traits.missing}
            for n, board in enumerate(at.machine.boards)
        ],
        "Fans": _fans(),
        "Fans Rpm": {
            f"Fans Speed {n}": (4200 + 30 * n if at.machine.is_awake else 0)
            for n in range(1, _FANS + 1)
        },
        "Misc": {"Locate Miner State": False, "Shutdown Temp": 95.0, "Critical Temp": 105.0},
        "StratumConfigs": [
            {"pool": _pool(slot), "login": _login(at), "password": "x"} for slot in range(2)
        ],
        "PerpetualTune": _tuner(at),
        "Power Supply Stats": _power(at),
        "HwConfig": {
            "Boards Target Clock": [
                {"Index": n, "Data": _CLOCK_MHZ} for n in range(len(at.machine.boards))
            ]
        },
        "IdleOnConnectionLost": at.table.is_idle_on_loss,
        "Overdrive": False,
        "Disable Board On Failure": False,
        "Enable Boards On Idle": False,
        "PreInitCooldown Max Duration": 0,
        "Scheduler": {"CurrentIdlePeriod": None, "Enable": at.table.has_schedule},
    }


def _stratum(at: Moment) -> Json:
    return {
        "Config Id": 0,
        "Current Pool": _pool(0).removeprefix("stratum+tcp://"),
        "Current User": _login(at),
        "IsPoolConnected": at.machine.is_awake and not at.traits.is_pool_lost,
        "Average Latency": 31.0,
        "Worker Unique Id": False,
        "Worker Unique Id Variant": "MacAddress",
    }


def _session(at: Moment) -> Json:
    accepted = int(at.machine.hashes / _SHARE_HASHES)
    return {
        "Startup Timestamp": at.farm.clock.ms_at(at.machine.started_s) // 1000,
        "Startup String": "",
        "Uptime": max(0, int(at.now_s - at.machine.started_s)),
        "WorkReceived": accepted,
        "Active HBs": len(at.hashing),
        "Average MHs": sum(at.board_mhs(n) for n in at.hashing),
        "Accepted": accepted,
        "Rejected": 0,
        "Submitted": accepted,
        "Difficulty": 262144.0,
    }


def _board(at: Moment, index: int) -> Json:
    full_mhs = at.machine.point.hashrate_ths * 1e6 / len(at.machine.boards)
    mhs = at.board_mhs(index)
    return {
        "Index": index,
        "Input Voltage": _BOARD_V,
        "Output Voltage": _BOARD_V,
        "Input Current": 0.0,
        "Output Current": 0.0,
        "Input Power": 0.0,
        "Output Power": 0.0,
        "Temperature": at.temperature_c(index),
        "Core Clock": [_CLOCK_MHZ],
        "Core Clock Avg": _CLOCK_MHZ,
        "Hashrate": [mhs, round(100.0 * mhs / full_mhs, 2)],
    }


def _fans() -> Json:
    return {
        "Fans Speed": 60,
        "Fan Mode": {"Auto": {"Target Temperature": 65, "Idle Speed": 20}},
        "Minimum Working Fans": 2,
        "Working Fan Indices": list(range(1, _FANS + 1)),
    }


def _tuner(at: Moment) -> Json:
    if not at.table.has_tuner:
        return {"Running": False, "Algorithm": {}}
    chips = {
        "Target": round(at.machine.model.nameplate_ths),
        "Unit": "TH",
        "Optimized": True,
        "Throttle Target": None,
        "Min Throttle Target": 80,
        "Throttle Step": 10,
    }
    return {"Running": True, "Algorithm": {"ChipTune": chips}}


def _power(at: Moment) -> Json:
    watts = float(at.machine.reported_w(at.now_s))
    return {
        "Input Voltage": 231.5,
        "Output Voltage": _BOARD_V if at.machine.is_awake else 0.0,
        "Input Current": round(watts / 231.5, 2),
        "Output Current": 0.0,
        "Input Power": watts,
        "Output Power": 0.0,
        "Target Voltage": 13600,
        "Temperature": [48, 51],
    }


def _pool(slot: int) -> str:
    return f"stratum+tcp://pool{slot}.example:3333"


def _login(at: Moment) -> str:
    return f"farm.{at.label.hostname}"


def _capabilities(at: Moment) -> Json:
    model = at.machine.model
    clocks = {"clk": int(_CLOCK_MHZ), "voltage": 13600}
    power = {"PSU Type": 34, "FW": 5, "Min Vout": 11960, "Max Vout": 15100}
    is_old = at.table.version == _OLD
    own = {} if is_old else {"Miner Serial Number": at.label.serial}
    measured = {} if is_old else {"True Power": at.table.is_power_measured}
    return {
        "Model": model.name.upper(),
        "Model Subtype": None,
        "Board Serial Numbers": list(at.label.board_serials),
        **own,
        "Default Voltage": 13600,
        "Default Clock": int(_CLOCK_MHZ),
        "Default Hashrate": round(model.nameplate_ths),
        "Chips Per Bank": 10,
        "Max HBs": len(at.machine.boards),
        "Max Clock Configs": 5,
        "Coins": ["Btc"],
        "Display": [],
        "Tune Presets": [
            clocks | {"hashrate": point.hashrate_ths, "power": point.watts}
            for point in model.profiles
        ],
        "PerpetualTune": [],
        "Temp Sensor Info": {"Type": "Board", "Count": 4},
        "Performance Estimator": {"Chip Count": at.chips, "Hashes Per Second Per Chip": 1.0},
        "Control Board Version": {
            "cpuHardware": "GENERIC AM33XX",
            "cpuSerial": f"CPU{at.label.serial}",
            "platform": "UMC",
        },
        "Psu Info": power | {"PSU Model": "APW17", "PSU Serial": f"PS{at.label.serial}"} | measured,
    }


def _network(at: Moment) -> Json:
    return {
        "dhcp": {
            "address": at.label.address,
            "netmask": "255.0.0.0",
            "gateway": "127.0.0.1",
            "dns": "127.0.0.1",
            "dns2": "127.0.0.1",
            "mac_address": at.label.mac,
        }
    }


def _boards(at: Moment, total: Any, data: Callable[[int], list[Any]]) -> list[Json]:
    return [{"Index": n, "Data": data(n), "Total": total} for n in at.hashing]


def _temps(at: Moment) -> list[Json]:
    return _boards(at, 4, lambda n: [at.temperature_c(n)] * 4)


def _chip_temps(at: Moment) -> list[Json]:
    return _boards(at, 0.0, lambda n: [at.temperature_c(n) + 10.0] * at.chips)


def _voltages(at: Moment) -> list[Json]:
    return _boards(at, 0.0, lambda _: [_CHIP_MV] * at.chips)


def _clocks(at: Moment) -> list[Json]:
    return _boards(at, _CLOCK_MHZ, lambda _: [_CLOCK_MHZ] * at.chips)


def _hashrates(at: Moment) -> list[Json]:
    def chips(board: int) -> list[list[float]]:
        return [[at.board_mhs(board) / at.chips, 100.0, 0.0] for _ in range(at.chips)]

    return _boards(at, [0.0, 100.0, 0.0], chips)


READS: dict[str, Callable[[Moment], Any]] = {
    "/summary": summary,
    "/capabilities": _capabilities,
    "/network": _network,
    "/temps": _temps,
    "/temps/chip": _chip_temps,
    "/voltages": _voltages,
    "/clocks": _clocks,
    "/hashrate": _hashrates,
}
