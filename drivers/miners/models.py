"""Hardware models of machines: one row of ``models.toml`` each.

Nameplates are catalogue figures. A machine that tells its own nameplate is believed before the
table; the table bounds what a machine may say and fills in what a firmware leaves out.
"""

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_TABLE = Path(__file__).with_name("models.toml")


@dataclass(frozen=True, slots=True, kw_only=True)
class HardwareModel:
    """One model. ``name`` is what the firmware reports; None where no source has the figure.

    ``low_mode`` is the number of the low-power mode in the vendor's own firmware.
    """

    name: str
    board_count: int
    chips_per_board: int | None
    nameplate_hashrate_hs: float
    nameplate_power_w: float
    source: str
    low_mode: int | None = None


@cache
def models() -> dict[str, HardwareModel]:
    """All rows by name, read once. Raises ValueError for a row that is not complete or twice."""
    rows: dict[str, HardwareModel] = {}
    for row in tomllib.loads(_TABLE.read_text("utf-8"))["models"]:
        model = HardwareModel(
            name=row["name"],
            board_count=row["boards"],
            chips_per_board=row.get("chips"),
            nameplate_hashrate_hs=row["ths"] * 1e12,
            nameplate_power_w=float(row["w"]),
            source=row["source"],
            low_mode=row.get("low_mode"),
        )
        if model.name in rows:
            raise ValueError(f"models.toml: {model.name} stands twice")
        rows[model.name] = model
    return rows


def find_model(name: str) -> HardwareModel | None:
    """The row of exactly this name."""
    return models().get(name)


@cache
def _models_by_spelling() -> dict[str, HardwareModel]:
    return {model.name.casefold(): model for model in models().values()}


def find_spelt_model(name: str) -> HardwareModel | None:
    """The row of this name, in whatever capitals."""
    return _models_by_spelling().get(name.casefold())


def nameplate_hs(model: str, told_hs: float | None) -> float | None:
    """What a machine should hash: its own word before the table's, None where neither has one."""
    found = None if told_hs is not None else find_model(model)
    return told_hs if found is None else found.nameplate_hashrate_hs
