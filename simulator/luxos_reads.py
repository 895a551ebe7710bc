"""What a LuxOS machine answers to reads: shapes of a recorded S19k Pro, values of the plant.

Shapes of ``limits``, ``profileget`` and ``tempctrl`` and the words for a sleeping machine
(``SystemStatus``, board ``Status``) are not recorded anywhere we could read: assumptions.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from simulator.farm import Farm, Label
from simulator.luxos_wire import (
    BAD_ARGUMENT,
    DESCRIPTION,
    FIRMWARE,
    Json,
    RequestError,
    answer,
)
from simulator.machine import Machine

_COMPILED = "Tue Apr  8 22:05:35 UTC 2025"
_SHARE_DIFFICULTY = 32_768
_HASHES_PER_SHARE = _SHARE_DIFFICULTY * 2.0**32
# Boards as the firmware lists them: not in the order of their numbers.
_BOARD_ORDER = (2, 0, 1)
_CONNECTORS = ("J7", "J9", "J8")


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """One machine at one instant, with everything an answer needs.

    ``troubles`` are events besides those that follow from its state: code, words, board if any.
    """

    farm: Farm
    machine: Machine
    label: Label
    now_s: float
    when_s: int
    troubles: tuple[tuple[str, str, int | None], ...] = field(default=())

    @property
    def point_profile(self) -> str:
        """Name of the configured profile."""
        return self.machine.point.name

    @property
    def elapsed_s(self) -> int:
        """Seconds since the machine started."""
        return max(0, int(self.now_s - self.machine.started_s))

    @property
    def flicker(self) -> float:
        """Short-term readings move around the truth by up to one per cent."""
        return 1.0 + 0.01 * math.sin(self.machine.index + self.now_s / 3.0)

    def board_mhs(self, board: int) -> float:
        """True hashrate of a board in MH/s."""
        return self.machine.boards[board].hashrate_hs.value(self.now_s) / 1e6

    def temperature_c(self, board: int) -> float:
        """Warm in proportion to the board's watts; no thermal mass."""
        watts = self.machine.boards[board].watts.value(self.now_s)
        return round(22.0 + watts * 0.045)

    def shares(self) -> int:
        """Accepted shares: those of the uptime before the start of the simulation, and since."""
        before_s = max(0.0, self.farm.clock.anchor_s - self.machine.started_s)
        hashes = self.machine.hashes + before_s * self.machine.point.hashrate_ths * 1e12
        return int(hashes / _HASHES_PER_SHARE)


def _version(at: Moment) -> Json:
    row = {
        "API": "3.7",
        "CompileTime": _COMPILED,
        "LUXminer": DESCRIPTION.removeprefix("LUXminer "),
        "Miner": FIRMWARE,
        "Type": at.machine.model.name,
    }
    return answer(22, "LUXminer versions", at.when_s, sections={"VERSION": [row]})


def _config(at: Moment) -> Json:
    machine, label = at.machine, at.label
    is_awake = machine.is_awake
    row = {
        "ASC Count": machine.model.boards,
        "BcastAddr": "127.255.255.255",
        "ControlBoardType": "cvitek",
        "Cooling": "Air",
        "CurtailMode": "None" if is_awake else "Sleep",
        "DHCP": True,
        "DNS Servers": "",
        "Device Code": "",
        "FPGABuildIdHex": "0x18351835",
        "FPGABuildIdStr": "2018-35-18 35:00",
        "FeeStatus": "Ok",
        "Gateway": "127.0.0.1",
        "GreenLed": "auto",
        "Hostname": label.hostname,
        "Hotplug": "None",
        "IPAddr": label.address,
        "ImmersionMode": False,
        "IsAtmEnabled": machine.index in at.farm.atm,
        "IsPowerSupplyOn": is_awake,
        "IsSingleVoltage": True,
        "IsTuning": False,
        "Log Interval": 0,
        "LogFileLevel": "info",
        "MACAddr": label.mac,
        "Model": machine.model.name,
        "NameplateTHS": machine.model.nameplate_ths,
        "Netmask": "255.0.0.0",
        "OS": "LuxOS",
        "PGA Count": 0,
        "PSUHwVersion": "75",
        "PSULabel": machine.model.psu_label,
        "Pool Count": 2,
        "Profile": at.point_profile,
        "ProfileStep": str(machine.point.step),
        "RedLed": "auto",
        "SerialNumber": label.serial,
        "Strategy": "Failover",
        "SystemStatus": "Normal" if is_awake else "Sleep",
        "UpdateOnStartup": "off",
        "UpdateOnTimeout": "off",
        "UpdateOnUser": "full",
        "UpdateSource": "",
        "UpdateTimeout": 60,
    }
    return answer(33, "LUXminer config", at.when_s, sections={"CONFIG": [row]})


def _summary(at: Moment) -> Json:
    ghs = at.machine.hashrate_hs.value(at.now_s) / 1e9
    shares = at.shares()
    row = {
        "Accepted": shares,
        "Best Share": _SHARE_DIFFICULTY,
        "Device Hardware%": 0.0,
        "Device Rejected%": 0.0,
        "Difficulty Accepted": shares * _SHARE_DIFFICULTY,
        "Difficulty Rejected": 0,
        "Difficulty Stale": 0,
        "Discarded": 0,
        "Elapsed": at.elapsed_s,
        "Found Blocks": 0,
        **{f"GHS {name}": round(ghs, 2) for name in ("15m", "1m", "24h", "30m", "5m", "av")},
        "GHS 5s": round(ghs * at.flicker, 2),
        "Get Failures": 0,
        "Getworks": at.elapsed_s // 5,
        "Hardware Errors": 0,
        "Last getwork": at.when_s - 4,
        "Local Work": 0,
        "Network Blocks": 0,
        "Pool Rejected%": 0.0,
        "Pool Stale%": 0.0,
        "Rejected": 0,
        "Remote Failures": 0,
        "Stale": 0,
        "Total MH": ghs * 1000.0,
        "Utility": 26.03,
        "Work Utility": 11.5,
    }
    return answer(11, "Summary", at.when_s, sections={"SUMMARY": [row]})


def _dev(at: Moment, board: int) -> Json:
    machine, it = at.machine, at.machine.boards[board]
    is_up = machine.is_awake and it.is_enabled
    mhs, shares = at.board_mhs(board), at.shares() // machine.model.boards
    nominal_mhs = machine.point.hashrate_ths * 1e6 / machine.model.boards
    return {
        "ASC": board,
        "Accepted": shares,
        "Board": machine.model.board_part,
        "Connector": _CONNECTORS[board],
        "ControllerIPVersionHex": "0x18351835",
        "ControllerIPVersionStr": "N/A",
        "Device Elapsed": at.elapsed_s,
        "Device Hardware%": 0,
        "Device Rejected%": 0,
        "Diff1 Work": shares * _SHARE_DIFFICULTY,
        "Difficulty Accepted": shares * _SHARE_DIFFICULTY,
        "Difficulty Rejected": 0,
        "Enabled": "Y" if it.is_enabled else "N",
        "Hardware Error MHS 15m": 0,
        "Hardware Errors": 0,
        "ID": board,
        "IsRamping": machine.is_board_ramping(board, at.now_s),
        "IsUserShutdown": not it.is_enabled,
        "Last Share Difficulty": _SHARE_DIFFICULTY,
        "Last Share Pool": 0,
        "Last Share Time": at.when_s - 1,
        "Last Valid Work": at.when_s - 1,
        **{f"MHS {name}": mhs for name in ("15m", "1m", "30m", "5m", "60m", "av")},
        "MHS 5s": mhs * at.flicker,
        "Name": "",
        "Nominal MHS": nominal_mhs,
        "Profile": at.point_profile,
        "Rejected": 0,
        "SerialNumber": at.label.board_serials[board],
        "Status": "Alive" if is_up else "Dead",
        "Temperature": at.temperature_c(board),
        "Total MH": mhs,
        "Utility": 0,
    }


def _devs(at: Moment) -> Json:
    rows = [_dev(at, board) for board in _BOARD_ORDER]
    return answer(9, f"{len(rows)} ASC(s)", at.when_s, sections={"DEVS": rows})


def _power(at: Moment) -> Json:
    is_metered = at.farm.file.luxos.has_metering_supply
    row = {"PSU": is_metered, "Watts": at.machine.reported_w(at.now_s)}
    return answer(311, "Power usage", at.when_s, sections={"POWER": [row]})


def _temps(at: Moment) -> Json:
    corners = {
        "BottomLeft": ("Board Exhaust (bottom)", [1, 0]),
        "BottomRight": ("Board Intake (bottom)", [1, 1]),
        "TopLeft": ("Board Exhaust (top)", [0, 0]),
        "TopRight": ("Board Intake (top)", [0, 1]),
    }
    rows: list[Json] = []
    for board in range(at.machine.model.boards):
        hot_c = at.temperature_c(board)
        cool_c = round(22.0 + (hot_c - 22.0) * 0.5)
        values = {name: hot_c if "Left" in name else cool_c for name in corners}
        rows.append({"ID": board, "TEMP": board, **{name: float(v) for name, v in values.items()}})
    metadata = {name: {"Label": text, "Position": at_} for name, (text, at_) in corners.items()}
    sections = {"METADATA": [metadata], "TEMPS": rows}
    return answer(201, f"{len(rows)} Temp(s)", at.when_s, sections=sections)


def _fans(at: Moment) -> Json:
    percent = 60 if at.machine.is_awake else 20
    names = ("FAN4", "FAN2", "FAN1", "FAN3")
    rows: list[Any] = [
        {"FAN": name, "ID": index, "RPM": percent * 96 + 30 * index, "Speed": percent}
        for index, name in enumerate(names)
    ]
    sections = {"FANCTRL": [{"MinFans": 3, "PowerOffSpeed": 20}], "FANS": rows}
    return answer(202, "4 Fan(s)", at.when_s, sections=sections)


def _profiles(at: Moment) -> Json:
    is_all_tuned = at.farm.file.luxos.has_tuned_profiles
    rows = [
        {
            "CanRestore": True,
            "Frequency": point.frequency_mhz,
            "HasOverrides": False,
            "Hashrate": point.hashrate_ths,
            "IsDynamic": True,
            "IsTuned": is_all_tuned or point.name == "default",
            "Profile Name": point.name,
            "Step": str(point.step),
            "Voltage": point.voltage_v,
            "Watts": point.watts,
        }
        for point in at.machine.model.profiles
    ]
    return answer(323, "List profiles", at.when_s, sections={"PROFILES": rows})


def _profileget(at: Moment) -> Json:
    rows = [
        {"Board": board, "Profile": at.point_profile} for board in range(at.machine.model.boards)
    ]
    return answer(322, "Profile Get", at.when_s, sections={"PROFILE": rows})


Reader = Callable[[Moment], Json]
READS: dict[str, Reader] = {
    "version": _version,
    "config": _config,
    "summary": _summary,
    "devs": _devs,
    "power": _power,
    "temps": _temps,
    "fans": _fans,
    "profiles": _profiles,
    "profileget": _profileget,
}


def board_number(machine: Machine, text: str) -> int:
    """A board's number. Raises RequestError where the machine has none such."""
    if not text.isascii() or not text.isdigit() or int(text) >= machine.model.boards:
        raise RequestError(BAD_ARGUMENT, f"Invalid board {text[:20]}")
    return int(text)
