"""What a Bitaxe or a NerdQAxe answers to GET: keys of ESP-Miner and of its fork's sources."""

from dataclasses import dataclass, field
from typing import Any

from simulator.bitaxe_table import BitaxeTable
from simulator.farm import Farm, Label
from simulator.machine import Machine

Json = dict[str, Any]

NERD_VERSION = "v1.0.36"
_SHARE_HASHES = 2.0**50
_GHS = 1e9
_SMALL_CORES = 2040
_DEFAULT_MV = 1150
_ECO = (450, 1060)
# Above the default: what the maker's own page offers to whoever wants more than stock.
_MORE_MHZ = (50, 75, 100)
_MORE_MV = (1060, 1100, 1150, 1200, 1250)
_PAUSING = "v2.14.0"
_WITHOUT_CHIPS = "v2.6.0"


@dataclass(slots=True, kw_only=True)
class Traits:
    """What one machine keeps besides its physics."""

    frequency_mhz: int
    core_voltage_mv: int = _DEFAULT_MV
    is_overheated: bool = False
    is_shut_down: bool = False
    is_on_fallback: bool = False
    power_fault: str = ""
    writes: list[Json] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """One machine at one instant, with everything an answer needs."""

    farm: Farm
    machine: Machine
    label: Label
    traits: Traits
    now_s: float

    @property
    def table(self) -> BitaxeTable:
        """How this farm's machines of the kind are set up."""
        return self.farm.file.bitaxe

    @property
    def is_nerd(self) -> bool:
        """Whether it runs the fork for several chips."""
        return "Nerd" in self.machine.model.name

    @property
    def device(self) -> str:
        """The model as the firmware names it."""
        return self.machine.model.name.removeprefix("Bitaxe ")

    @property
    def chips(self) -> int:
        """How many chips it has."""
        return 4 if self.is_nerd else 1

    @property
    def can_pause(self) -> bool:
        """Whether the firmware has pause and resume."""
        return not self.is_nerd and self.table.version == _PAUSING

    @property
    def describes_chips(self) -> bool:
        """Whether the firmware answers ``/api/system/asic``."""
        return self.is_nerd or self.table.version != _WITHOUT_CHIPS

    @property
    def hashrate_ghs(self) -> float:
        """True hashrate in GH/s."""
        return self.machine.hashrate_hs.value(self.now_s) / _GHS

    @property
    def power_w(self) -> float:
        """Watts as its regulator measures them: with this machine's own bias, in hundredths."""
        true_w = self.machine.watts.value(self.now_s)
        return round(true_w * (1.0 + self.machine.bias.reporting), 2)

    @property
    def chip_c(self) -> float:
        """Warm in proportion to the watts of a chip; no thermal mass."""
        return round(24.0 + self.machine.watts.value(self.now_s) / self.chips * 1.8, 1)


def info(at: Moment) -> Json:
    """``/api/system/info``."""
    return _shared(at) | (_nerd(at) if at.is_nerd else _bitaxe(at))


def _shared(at: Moment) -> Json:
    watts, accepted = at.power_w, int(at.machine.hashes / _SHARE_HASHES)
    return {
        "power": watts,
        "voltage": 5112.5,
        "current": round(watts / 5.1125 * 1000.0, 1),
        "temp": at.chip_c,
        "vrTemp": round(at.chip_c - 8.0, 1),
        "maxPower": 100 if at.is_nerd else 40,
        "hashRate": at.hashrate_ghs,
        "hashRate_1m": at.hashrate_ghs,
        "hashRate_10m": at.hashrate_ghs,
        "hashRate_1h": at.hashrate_ghs,
        "bestDiff": 1_000_000,
        "bestSessionDiff": 500_000,
        "poolDifficulty": 1000,
        "coreVoltage": at.traits.core_voltage_mv,
        "coreVoltageActual": at.traits.core_voltage_mv - 4 if at.machine.is_awake else 0,
        "frequency": at.traits.frequency_mhz,
        "ssid": "farm",
        "macAddr": at.label.mac.upper(),
        "hostname": at.label.hostname,
        "wifiStatus": "Connected!",
        "wifiRSSI": -52,
        "sharesAccepted": accepted,
        "sharesRejected": 0,
        "uptimeSeconds": max(0, int(at.now_s - at.machine.started_s)),
        "smallCoreCount": _SMALL_CORES,
        "ASICModel": "BM1370",
        "stratumURL": "pool0.example",
        "stratumPort": 3333,
        "stratumUser": f"farm.{at.label.hostname}",
        "fallbackStratumURL": "pool1.example",
        "fallbackStratumPort": 3333,
        "fallbackStratumUser": f"farm.{at.label.hostname}",
        "fanspeed": 60,
        "fanrpm": 4800 if at.machine.is_awake else 0,
        "autofanspeed": 1,
        "freeHeap": 8_000_000,
        "runningPartition": "ota_0",
    }


def _bitaxe(at: Moment) -> Json:
    expected = at.traits.frequency_mhz * _SMALL_CORES * at.chips / 1000.0
    told = {
        "version": at.table.version,
        "axeOSVersion": at.table.version,
        "idfVersion": "v5.5.1",
        "boardVersion": "601",
        "isUsingFallbackStratum": int(at.traits.is_on_fallback),
        "overheat_mode": int(at.traits.is_overheated),
        "overclockEnabled": 0,
        "expectedHashrate": expected,
        "nominalVoltage": 5,
        "temp2": -1,
        "fan2rpm": 0,
    }
    if at.can_pause:
        told["miningPaused"] = not at.machine.is_awake
    if at.traits.power_fault:
        told["power_fault"] = at.traits.power_fault
    return told


def _nerd(at: Moment) -> Json:
    is_down = at.traits.is_shut_down
    return {
        "version": NERD_VERSION,
        "deviceModel": at.device,
        "asicCount": at.chips,
        "hostip": at.label.address,
        "minPower": 52,
        "defaultCoreVoltage": _DEFAULT_MV,
        "defaultFrequency": _default_mhz(at),
        "fanrpm2": 0,
        "fanCount": 1,
        "shutdown": is_down,
        "otp": at.table.has_otp,
        "asicTemps": [at.chip_c] * at.chips,
        "stratum": {"usingFallback": at.traits.is_on_fallback},
        "isUsingFallbackStratum": at.traits.is_on_fallback,
        "lastResetReason": "POWERON",
    }


def asic(at: Moment) -> Json:
    """``/api/system/asic``."""
    default_mhz = _default_mhz(at)
    stock = [point.frequency_mhz for point in _points(at)]
    told = {
        "ASICModel": "BM1370",
        "deviceModel": at.device,
        "swarmColor": "green",
        "asicCount": at.chips,
        "defaultFrequency": default_mhz,
        "frequencyOptions": stock + [default_mhz + more for more in _MORE_MHZ],
        "defaultVoltage": _DEFAULT_MV,
        "voltageOptions": list(_MORE_MV),
    }
    if at.is_nerd:
        told |= {
            "absMaxFrequency": 800,
            "absMaxVoltage": 1400,
            "ecoFrequency": _ECO[0],
            "ecoVoltage": _ECO[1],
        }
    return told


@dataclass(frozen=True, slots=True, kw_only=True)
class StockPoint:
    """One operating point of the model and the frequency in its name."""

    place: int
    frequency_mhz: int


def _points(at: Moment) -> list[StockPoint]:
    return [
        StockPoint(place=place, frequency_mhz=int(point.name.removesuffix("MHz")))
        for place, point in enumerate(at.machine.model.profiles)
    ]


def _default_mhz(at: Moment) -> int:
    return max(point.frequency_mhz for point in _points(at))


def nearest_place(at: Moment, frequency_mhz: int) -> int:
    """The operating point of the plant nearest to a frequency; it has none above the default."""
    points = _points(at)
    return min(points, key=lambda point: abs(point.frequency_mhz - frequency_mhz)).place
