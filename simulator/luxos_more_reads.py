"""The rest of what a LuxOS machine answers: pools, limits, statistics, chips."""

from datetime import UTC, datetime
from typing import Any

from simulator.luxos_reads import READS, Moment, Reader, board_number
from simulator.luxos_wire import (
    BAD_ARGUMENT,
    FIRMWARE,
    INVALID_COMMAND,
    Json,
    RequestError,
    answer,
    refusal,
)

_POOLS = ("stratum+tcp://stratum.pool.example:3333", "stratum+tcp://backup.pool.example:3333")
_SUPPLY_REPORT = 433  # not published by the vendor
_SUPPLY_FLAGS = ("FanFault", "FanWarning", "InputCurrentWarning", "InputPowerWarning")
_EVENTS_PAGE = "https://docs.luxor.tech/firmware/api/luxminer/events"


def _pool(at: Moment, slot: int) -> Json:
    is_active = slot == 0
    shares = at.shares() if is_active else 0
    url = _POOLS[slot]
    return {
        "Accepted": shares,
        "AsicBoost": True,
        "Bad Work": 0,
        "Best Share": 32_768 if is_active else 0,
        "Current Block Height": 0,
        "Current Block Version": 536_870_912 if is_active else 0,
        "Diff": "32K" if is_active else "0",
        "Diff1 Shares": shares * 32_768,
        "Difficulty Accepted": shares * 32_768,
        "Difficulty Rejected": 0,
        "Difficulty Stale": 0,
        "Discarded": 0,
        "GROUP": 0,
        "Get Failures": 0,
        "Getworks": at.elapsed_s // 5,
        "Has GBT": False,
        "Has Stratum": True,
        "Has Vmask": True,
        "Last Share Difficulty": 32_768 if is_active else 0,
        "Last Share Time": "00:00:01",
        "Long Pool": "N",
        "POOL": slot,
        "Pool Rejected%": 0.0,
        "Pool Stale%": 0.0,
        "Priority": slot,
        "Proxy": "",
        "Proxy Type": "",
        "Quota": 1.0,
        "Rejected": 0,
        "Remote Failures": 0,
        "Stale": 0,
        "Status": "Alive" if is_active else "Dead",
        "Stratum Active": is_active,
        "Stratum Difficulty": 32_768 if is_active else 0,
        "Stratum URL": url.removeprefix("stratum+tcp://"),
        "URL": url,
        "User": f"farm.{at.label.hostname}",
        "Work Difficulty": 32_768 if is_active else 0,
        "Works": 0,
    }


def _pools(at: Moment) -> Json:
    rows = [_pool(at, slot) for slot in range(len(_POOLS))]
    return answer(7, f"{len(rows)} Pool(s)", at.when_s, sections={"POOLS": rows})


def _groups(at: Moment) -> Json:
    row = {"GROUP": 0, "Name": "default", "Quota": 1.0}
    return answer(335, "1 Group(s)", at.when_s, sections={"GROUPS": [row]})


def _limits(at: Moment) -> Json:
    points = at.machine.model.profiles
    row = {
        "FrequencyMin": points[0].frequency_mhz,
        "FrequencyMax": points[-1].frequency_mhz,
        "FrequencyStepMin": 1.0,
        "FrequencyStepMax": 100.0,
        "VoltageMin": points[0].voltage_v,
        "VoltageMax": points[-1].voltage_v,
        "VoltageStepMin": 0.01,
        "VoltageStepMax": 1.0,
    }
    return answer(337, "Limits", at.when_s, sections={"LIMITS": [row]})


def _atm(at: Moment) -> Json:
    row: Json = {
        "ChipTempWindow": 8.0,
        "Enabled": at.machine.index in at.farm.atm,
        "MaxProfile": "default",
        "MaxProfileStep": "0",
        "MinProfile": "",
        "PostRampMinutes": 15,
        "StartupMinutes": 15,
        "TempWindow": 5.0,
        "WaterInletTempWindow": 7.0,
    }
    if at.farm.file.luxos.has_power_target:
        least_w, most_w = power_targets(at)
        row |= {"PowerLimit": most_w, "PowerMin": least_w, "PowerTarget": at.machine.point.watts}
    return answer(339, "ATM configuration values", at.when_s, sections={"ATM": [row]})


def power_targets(at: Moment) -> tuple[int, int]:
    """The lowest and the highest watts that a target may have."""
    points = at.machine.model.profiles
    return points[0].watts, points[-1].watts


def _psuget(at: Moment) -> Json:
    if not at.farm.file.luxos.has_supply_report:
        return refusal(INVALID_COMMAND, "Invalid command", at.when_s)
    troubled = {code for code, _, _ in at.troubles}
    identity = {
        "Manufacturer": "N/A",
        "Model": at.machine.model.psu_label,
        "SerialNumber": f"PS{at.label.serial}",
    }
    monitoring = {"InputPower": str(at.machine.reported_w(at.now_s)), "InputVoltage": "N/A"}
    flags = {name: str(name in troubled).lower() for name in _SUPPLY_FLAGS}
    sections = {
        "PSUBYPASS": [{"BypassEnabled": False, "BypassVoltage": 12.0}],
        "PSUFLAGS": [flags],
        "PSUINFORMATION": [identity],
        "PSUMONITORING": [monitoring],
    }
    return answer(_SUPPLY_REPORT, "PSU configuration", at.when_s, sections=sections)


def _tempctrl(at: Moment) -> Json:
    row = {"Dangerous": 75.0, "Hot": 70.0, "Mode": "Automatic", "Target": 55.0}
    return answer(329, "Temperature control", at.when_s, sections={"TEMPCTRL": [row]})


def _event(at: Moment, code: str, text: str, board: int | None) -> Json:
    row: Json = {
        "Code": code,
        "CreatedAt": datetime.fromtimestamp(at.when_s, tz=UTC).isoformat(timespec="seconds"),
        "Description": text,
        "DocUrl": _EVENTS_PAGE,
        "Target": "MINER" if board is None else "BOARD",
    }
    return row if board is None else {**row, "ID": board}


def _events(at: Moment) -> Json:
    rows: list[Any] = []
    if not at.machine.is_awake:
        rows.append(_event(at, "SLEEP", "Miner is in Sleep mode.", None))
    for number, board in enumerate(at.machine.boards):
        if not board.is_enabled:
            text = "Board shutdown due to user request."
            rows.append(_event(at, "SHUTDOWN_USER", text, number))
    rows += [_event(at, *trouble) for trouble in at.troubles if trouble[0] not in _SUPPLY_FLAGS]
    return answer(357, "Miner Events", at.when_s, sections={"EVENTS": rows})


def _stats(at: Moment) -> Json:
    machine = at.machine
    ghs = machine.hashrate_hs.value(at.now_s) / 1e9
    row: Json = {
        "Elapsed": at.elapsed_s,
        "GHS 5s": round(ghs * at.flicker, 2),
        "GHS av": round(ghs, 2),
        "frequency": machine.point.frequency_mhz,
        "miner_count": machine.model.boards,
        "rate_unit": "GH",
        "total_rateideal": machine.point.hashrate_ths * 1000.0,
    }
    for number, board in enumerate(machine.boards, start=1):
        hot_c = int(at.temperature_c(number - 1))
        is_up = machine.is_awake and board.is_enabled
        chips = machine.model.chips_per_board if is_up else 0
        row[f"chain_acn{number}"] = chips
        row[f"chain_acs{number}"] = "o" * chips
        row[f"chain_rate{number}"] = round(at.board_mhs(number - 1) / 1000.0, 2)
        row[f"fan{number}"] = 5_760
        row[f"freq{number}"] = machine.point.frequency_mhz if is_up else 0
        row[f"temp_chip{number}"] = "-".join(str(hot_c + 15) for _ in range(4))
        row[f"temp_pcb{number}"] = "-".join(str(hot_c) for _ in range(4))
    header = {
        "BMMiner": "1.0.0",
        "CompileTime": "Tue Apr  8 22:05:35 UTC 2025",
        "Miner": FIRMWARE,
        "Type": machine.model.name,
    }
    return answer(70, "LUXminer stats", at.when_s, sections={"STATS": [header, row]})


MORE_READS: dict[str, Reader] = {
    **READS,
    "pools": _pools,
    "groups": _groups,
    "limits": _limits,
    "atm": _atm,
    "tempctrl": _tempctrl,
    "events": _events,
    "psuget": _psuget,
    "stats": _stats,
}


def health_of_chips(at: Moment, parameters: tuple[str, ...]) -> Json:
    """``healthchipget <board>[,chip]``."""
    if not parameters:
        raise RequestError(BAD_ARGUMENT, "Missing board")
    board = board_number(at.machine, parameters[0])
    chips = range(at.machine.model.chips_per_board)
    if len(parameters) > 1:
        if not parameters[1].isdigit() or int(parameters[1]) not in chips:
            raise RequestError(BAD_ARGUMENT, f"Invalid chip {parameters[1][:20]}")
        chips = range(int(parameters[1]), int(parameters[1]) + 1)
    ghs = at.board_mhs(board) / 1000.0 / at.machine.model.chips_per_board
    is_healthy = ghs > 0.0
    rows = [
        {
            "Board": board,
            "Chip": chip,
            "Column": chip % 11,
            "Domain": chip // 7,
            "Frequency": at.machine.point.frequency_mhz if is_healthy else 0,
            **{f"GHS {name}": round(ghs, 2) for name in ("15m", "1m", "5m")},
            "HashCount": 476,
            "HashExpected": 452,
            "HashMin": 91,
            "Healthy": "Y" if is_healthy else "Unknown",
            "IsChecking": False,
            "Row": chip // 11,
            "Score": 105.3,
            "When": at.when_s * 1000,
        }
        for chip in chips
    ]
    return answer(314, "Health Chip Get", at.when_s, sections={"CHIPS": rows})


def voltage(at: Moment, parameters: tuple[str, ...]) -> Json:
    """``voltageget <board>[,true]``; this model has no reading on the board itself."""
    if not parameters:
        raise RequestError(BAD_ARGUMENT, "Missing board")
    board = board_number(at.machine, parameters[0])
    volts = at.machine.point.voltage_v if at.machine.is_awake else 0.0
    row = {"Board": board, "IsOnBoard": False, "Voltage": volts}
    return answer(307, "Get Voltage", at.when_s, sections={"VOLTAGE": [row]})
