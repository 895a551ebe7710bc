"""Hardware models and their operating points, read from ``models.toml``."""

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatingPoint:
    """One profile of a firmware, for the machine with all boards on."""

    name: str
    step: int
    frequency_mhz: int
    voltage_v: float
    hashrate_ths: float
    watts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineModel:
    """One hardware model. ``profiles`` rise with the step; one of them is called ``default``."""

    name: str
    boards: int
    chips_per_board: int
    nameplate_ths: float
    psu_label: str
    board_part: str
    profiles: tuple[OperatingPoint, ...]

    def profile_index(self, name: str) -> int:
        """Position of a profile by its name. Raises KeyError where the model has none such."""
        for index, profile in enumerate(self.profiles):
            if profile.name == name:
                return index
        raise KeyError(name)


@cache
def machine_models() -> dict[str, MachineModel]:
    """All models by their key in ``models.toml``."""
    text = resources.files("simulator").joinpath("models.toml").read_text(encoding="utf-8")
    return {
        key: MachineModel(
            **{name: value for name, value in row.items() if name != "profiles"},
            profiles=tuple(OperatingPoint(**profile) for profile in row["profiles"]),
        )
        for key, row in tomllib.loads(text).items()
    }
