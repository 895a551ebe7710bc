"""Families of miners as the physics knows them, read from ``families.toml``.

Knows no protocol and nothing of the agent: only what a command does to watts and hashes, and when.
"""

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from simulator.machine import Timings
from simulator.model import MachineModel, OperatingPoint, machine_models


@dataclass(frozen=True, slots=True, kw_only=True)
class Nameplate:
    """Full name, terahashes per second, watts and boards of a model."""

    name: str
    ths: float
    watts: float
    boards: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """One family: its abilities, its speed, its models. ``write_s`` is least and most, ``watts``
    where the machine's own watts come from: metered_psu, firmware_estimate or absent."""

    name: str
    switches_boards: bool
    sleeps: bool
    selects_profiles: bool
    watts: str
    timings: Timings
    write_s: tuple[float, float]
    models: tuple[MachineModel, ...]

    def model(self, key: str) -> MachineModel:
        """One of the models that ``model_keys`` names. Raises KeyError for an unknown one."""
        name = nameplate(key).name
        return next(model for model in self.models if model.name == name)


@cache
def _document() -> dict[str, Any]:
    text = resources.files("simulator").joinpath("families.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


@cache
def families() -> dict[str, Family]:
    """All families by name."""
    return {name: _family(name, row) for name, row in _document().items() if name != "nameplates"}


@cache
def model_keys(family: str) -> tuple[str, ...]:
    """The models that a family runs on, by their keys."""
    return tuple(_document()[family]["models"])


@cache
def nameplate(key: str) -> Nameplate:
    """What is printed on a model. Raises KeyError for an unknown one."""
    return Nameplate(**_document()["nameplates"][key])


def _family(name: str, row: dict[str, Any]) -> Family:
    timings = Timings(
        board_on_s=row["board_on_s"],
        board_off_s=row["board_off_s"],
        profile_up_s=row["up_s"],
        profile_down_s=row["down_s"],
        restart_gap_s=row.get("gap_s", 0.0),
        is_board_change_live=row.get("board_change", "live") == "live",
        sleep_s=row["sleep_s"],
        wake_s=row["wake_s"],
        fixed_w=row.get("fixed_w", 80.0),
        standby_w=row.get("standby_w", 25.0),
    )
    least_s, most_s = row["write_s"]
    return Family(
        name=name,
        switches_boards=row["switches_boards"],
        sleeps=row["sleeps"],
        selects_profiles=row["selects_profiles"],
        watts=row.get("watts", "firmware_estimate"),
        timings=timings,
        write_s=(least_s, most_s),
        models=tuple(
            _model(key, row.get("own_points", {}).get(key, row["points"])) for key in row["models"]
        ),
    )


def _model(key: str, points: list[dict[str, Any]]) -> MachineModel:
    if not points:
        return machine_models()[key]
    plate = nameplate(key)
    return MachineModel(
        name=plate.name,
        boards=plate.boards,
        chips_per_board=0,
        nameplate_ths=plate.ths,
        psu_label="",
        board_part="",
        profiles=tuple(
            OperatingPoint(
                name=point["name"],
                step=point["step"],
                frequency_mhz=0,
                voltage_v=0.0,
                hashrate_ths=plate.ths * point["hashes"],
                watts=round(plate.watts * point["power"]),
            )
            for point in points
        ),
    )
