"""What an Avalon answers to reads: shapes of a recorded A1246 and Avalon Q, values of the plant.

Assumed: what the power supply loses, and how the readings flicker. In sleep the seventh value of PS
stands as recorded: 11 on the A series, 146 on the Q.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from simulator.avalon_table import AvalonTable
from simulator.avalon_wire import Json, Told
from simulator.farm import Farm, Label
from simulator.machine import Machine

FIRMWARE = "24102401_25462b2_9ddf522"
_LOSS = 1.07
_SHARE_HASHES = 262_144 * 2.0**32
# What is printed on the machine, by the plant's model: series and bin, chips of one board.
_PLATES = {
    "Avalon A1366": ("1366-130", 120),
    "Avalon A1466": ("1466-150", 176),
    "Avalon A1566": ("15-194", 160),
    "Avalon Q": ("Q", 160),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """One machine at one instant. ``complaints`` replaces values of its report."""

    farm: Farm
    machine: Machine
    label: Label
    complaints: dict[str, str]
    now_s: float
    when_s: int

    @property
    def table(self) -> AvalonTable:
        """The firmware's personality."""
        return self.farm.file.avalon

    @property
    def plate(self) -> str:
        """MODEL as the machine tells it."""
        return _PLATES[self.machine.model.name][0]

    @property
    def chips(self) -> int:
        """Chips of one board."""
        return _PLATES[self.machine.model.name][1]

    @property
    def is_q(self) -> bool:
        """Whether it wraps its report as Q and Nano do."""
        return self.plate == "Q"

    @property
    def dna(self) -> str:
        """The machine's serial number, hexadecimal."""
        return f"0201{self.label.mac.replace(':', '')}"

    @property
    def elapsed_s(self) -> int:
        """Seconds since the mining program started."""
        return max(1, int(self.now_s - self.machine.started_s))

    @property
    def ghs(self) -> float:
        """What it hashes now, flickering a little."""
        flicker = 1.0 + 0.004 * math.sin(self.machine.index + self.now_s / 3.0)
        return self.machine.hashrate_hs.value(self.now_s) / 1e9 * flicker

    @property
    def average_ghs(self) -> float:
        """The mean since the start: it hardly falls while the machine sleeps."""
        before_s = max(0.0, self.farm.clock.anchor_s - self.machine.started_s)
        hashes = self.machine.hashes + before_s * self.machine.point.hashrate_ths * 1e12
        return hashes / self.elapsed_s / 1e9

    @property
    def boards_w(self) -> float:
        """Watts of all boards, without the rest."""
        return sum(board.watts.value(self.now_s) for board in self.machine.boards)

    @property
    def shares(self) -> int:
        """Shares that the pool has taken."""
        return int(self.average_ghs * 1e9 * self.elapsed_s / _SHARE_HASHES)


def version(at: Moment) -> Told:
    """``version``: the Q calls its firmware differently and its MAC has colons."""
    row: Json = {"CGMiner": "4.11.1", "API": "3.7"}
    if at.is_q:
        row |= {"PROD": "Avalon Q", "MODEL": "Q", "HWTYPE": "Q_MM1v1_X1", "SWTYPE": "MM319"}
        row |= {"CGVERSION": FIRMWARE, "LVERSION": FIRMWARE, "BVERSION": FIRMWARE}
        row |= {"HBMCUVERSION": "Q_hb_v1.1", "FANMCUVERSION": "Q_fb_v1.2"}
        row |= {"DNA": at.dna, "MAC": at.label.mac.upper()}
    else:
        row |= {"STM8": "20.08.01", "PROD": f"AvalonMiner {at.plate}", "MODEL": at.plate}
        row |= {"HWTYPE": "MM4v2_X3", "SWTYPE": "MM319", "VERSION": FIRMWARE}
        row |= {"LOADER": "d0d779de.00", "DNA": at.dna, "UPAPI": "2"}
        row |= {"MAC": at.label.mac.replace(":", "")}
    return Told(code=22, message="CGMiner versions", section="VERSION", rows=(row,))


def summary(at: Moment) -> Told:
    """``summary``: MH/s."""
    mhs = round(at.ghs * 1000.0, 2)
    row = {
        "Elapsed": at.elapsed_s,
        "MHS av": round(at.average_ghs * 1000.0, 2),
        **{f"MHS {name}": mhs for name in ("5s", "1m", "5m", "15m")},
        "Accepted": at.shares,
        "Rejected": 0,
        "Hardware Errors": 0,
        "Utility": 1.42,
        "Best Share": 354_914_572,
    }
    return Told(code=11, message="Summary", section="SUMMARY", rows=(row,))


def devs(at: Moment) -> Told:
    """``devs``: all boards as one device."""
    mhs = round(at.ghs * 1000.0, 2)
    row = {
        "ASC": 0,
        "Name": "AVA10",
        "ID": 0,
        "Enabled": "Y",
        "Status": "Alive",
        "Temperature": -273.0,
        "MHS av": round(at.average_ghs * 1000.0, 2),
        **{f"MHS {name}": mhs for name in ("30s", "1m", "5m", "15m")},
        "Accepted": at.shares,
        "Rejected": 0,
        "Device Elapsed": at.elapsed_s,
    }
    return Told(code=9, message="1 ASC(s)", section="DEVS", first_key="ASC", rows=(row,))


def pools(at: Moment) -> Told:
    """``pools``: one in use and two fallbacks."""
    rows = tuple(
        {
            "POOL": slot,
            "URL": f"stratum+tcp://pool{slot}.example:3333",
            "Status": "Alive",
            "Priority": slot,
            "Quota": 1,
            "Long Poll": "N",
            "Getworks": at.elapsed_s // 50,
            "Accepted": at.shares if slot == 0 else 0,
            "Rejected": 0,
            "Stale": 0,
            "User": f"farm.{at.label.hostname}",
            "Has Stratum": True,
            "Stratum Active": slot == 0 and at.machine.is_awake,
            "Stratum URL": f"pool{slot}.example",
            "Stratum Difficulty": 262_144.0,
            "Best Share": 19_649_871,
        }
        for slot in range(3)
    )
    return Told(code=7, message="3 Pool(s)", section="POOLS", first_key="POOL", rows=rows)


def stats(at: Moment) -> Told:
    """``stats`` and ``estats``: everything, chip by chip."""
    return _stats(at, has_chips=True)


def lite_stats(at: Moment) -> Told:
    """``litestats``: the same without the chips."""
    return _stats(at, has_chips=False)


def _stats(at: Moment, *, has_chips: bool) -> Told:
    row: Json = {"STATS": 0, "ID": "AVA100", "Elapsed": at.elapsed_s, "MM Count": 1}
    values = _values(at) | at.complaints
    if at.is_q:
        row["MM ID0:Summary"] = "'STATS':{" + _joined(values) + "}"
        if has_chips:
            row["HBinfo"] = "'HB0':{" + _joined(_chips(at)) + "}"
    else:
        row["MM ID0"] = _joined(values | (_chips(at) if has_chips else {}))
    row["Nonce Mask"] = 25
    pool = {"STATS": 1, "ID": "POOL0", "Elapsed": at.elapsed_s, "Calls": 0, "Pool Calls": 0}
    return Told(
        code=70, message="CGMiner stats", section="STATS", first_key="STATS", rows=(row, pool)
    )


def _joined(values: dict[str, str]) -> str:
    return " ".join(f"{key}[{value}]" for key, value in values.items())


def _values(at: Moment) -> dict[str, str]:
    machine = at.machine
    boards = machine.model.boards
    average = " ".join([f"{at.average_ghs / boards:.2f}"] * boards)
    hot_c = [_celsius(at, board) for board in range(boards)]
    wall_w = machine.reported_w(at.now_s)
    values = {
        "Ver": f"{at.plate}-{FIRMWARE}",
        "DNA": at.dna,
        "SYSTEMSTATU": f"Work: In {_work(at)}, Hash Board: {boards} ",
        "Elapsed": str(at.elapsed_s),
        "BOOTBY": "0x04.00000000",
        "DH": "1.299%",
        "ITemp" if at.is_q else "Temp": "26",
        "TMax": str(max(hot_c)),
        "TAvg": str(sum(hot_c) // boards),
        **{f"Fan{number}": str(_rpm(at, number)) for number in range(1, _fans(at) + 1)},
        "FanR": "67%" if machine.is_awake else "0%",
        "PS": _supply(at, wall_w),
        "WALLPOWER": str(wall_w),
        "GHSspd": f"{at.ghs:.2f}",
        "GHSmm": f"{machine.point.hashrate_ths * 1000.0 if machine.is_awake else 0.0:.2f}",
        "GHSavg": f"{at.average_ghs:.2f}",
        "Freq": "345.94",
        "Led": "0",
        "MGHS": average,
        "MTmax": _listed(hot_c),
        "MTavg": _listed([max(value - 7, 0) for value in hot_c]),
        "TA": str(at.chips * boards),
        "HASHS": _listed([0] * boards),
        "SoftOFF": _soft_off(at),
        "ECHU": _listed([0] * boards),
        "ECMM": "0",
        "CRC": _listed([0] * boards),
        "MPO": str(machine.point.watts),
        "WORKMODE": str(machine.profile),
        "WORKLEVEL": "0",
    }
    left_out = {"WALLPOWER"} if not at.table.has_wall_power else set()
    left_out |= {"GHSspd"} if not at.table.has_present_rate else set()
    left_out |= {"MTmax", "MTavg"} if at.is_q else set()
    return {key: value for key, value in values.items() if key not in left_out}


def _chips(at: Moment) -> dict[str, str]:
    values: dict[str, str] = {}
    for board in range(at.machine.model.boards):
        values[f"PVT_T{board}"] = _listed([_celsius(at, board)] * at.chips)
        values[f"PVT_V{board}"] = _listed([290] * at.chips)
        values[f"MW{board}"] = _listed([22] * at.chips)
    return values


def _work(at: Moment) -> str:
    if not at.machine.is_awake:
        return "Idle"
    is_starting = at.ghs <= 0.0 and at.now_s < at.machine.hashrate_hs.end_s
    return "Init" if is_starting else "Work"


def _soft_off(at: Moment) -> str:
    if at.machine.is_awake:
        return "0"
    return "4" if at.is_q else "5"


def _supply(at: Moment, wall_w: int) -> str:
    is_on = at.boards_w > 1.0
    output_w = round(wall_w / _LOSS) if is_on else 0
    values = [0, 1209, 1187 if is_on else 1, round(output_w / 11.87), output_w, 1188]
    if at.table.has_input_power:
        asleep = 146 if at.is_q else 11
        values.append(wall_w if is_on else asleep)
    return _listed(values)


def _celsius(at: Moment, board: int) -> int:
    if not at.machine.is_awake:
        return 0
    return 30 + int(at.machine.boards[board].watts.value(at.now_s) * 0.04)


def _fans(at: Moment) -> int:
    return 4 if at.is_q else 2


def _rpm(at: Moment, number: int) -> int:
    return 4_270 + 7 * number if at.machine.is_awake else 0


def _listed(values: list[int]) -> str:
    return " ".join(str(value) for value in values)


READS: dict[str, Callable[[Moment], Told]] = {
    "version": version,
    "summary": summary,
    "devs": devs,
    "pools": pools,
    "stats": stats,
    "estats": stats,
    "litestats": lite_stats,
}
