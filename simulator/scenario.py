"""A scenario: one site, its purchases and what goes wrong, as a file that a person can read.

Times are minutes (or seconds, where the key says so) after the start, energies kWh, powers kW.
Every unknown key is a fault. ``scenarios/`` holds the named ones.
"""

import tomllib
from importlib import resources
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from simulator.families import families, model_keys


class ScenarioError(Exception):
    """The scenario cannot be used; the message names every fault in it."""


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


Share = Annotated[float, Field(ge=0.0, le=1.0)]
Minutes = Annotated[float, Field(ge=0.0, le=10_080.0)]

METER_FAULTS = (
    "meter_silent",  # does not answer
    "meter_frozen",  # energy register stands still, power goes on
    "meter_frozen_all",  # energy and power stand still
    "meter_backwards",  # register falls by value kWh and counts on from there
    "meter_ahead",  # register jumps ahead by value kWh and counts on from there
    "meter_glitch",  # as meter_ahead, for the time of the fault only
    "meter_nan",  # answers, but not with a number
    "meter_slow",  # answers after value seconds
)
MINER_FAULTS = (
    "miner_ignores",  # accepts, changes nothing
    "miner_late",  # acts value seconds after the command
    "miner_refuses",  # says no to every command
    "miner_unreachable",  # neither answers nor obeys
    "miner_reboots",  # restarts by itself, once
    "miner_resumes",  # wakes by itself value seconds after it was put to sleep
    "miner_misreports",  # reports its power off by the share value
)
AGENT_FAULTS = (
    "agent_killed",  # gone, started again by the service manager after for_s
    "agent_paused",  # stands still for for_s, or until the watchdog of the service manager bites
    "clock_step",  # wall clock off by value seconds
)
SITE_FAULTS = ("base_load_jump",)  # value kW more (or less)
FaultName = Literal[
    "meter_silent", "meter_frozen", "meter_frozen_all", "meter_backwards", "meter_ahead",
    "meter_glitch", "meter_nan", "meter_slow", "miner_ignores", "miner_late", "miner_refuses",
    "miner_unreachable", "miner_reboots", "miner_resumes", "miner_misreports", "agent_killed",
    "agent_paused", "clock_step", "base_load_jump",
]  # fmt: skip


class SiteTable(_Table):
    """``[site]``. ``tolerance`` spreads true power around the table, ``reporting`` the report."""

    rated_kw: Annotated[float, Field(gt=0.0)]
    start: Literal["running", "asleep"] = "running"
    base_load_kw: Annotated[float, Field(ge=0.0)] = 0.0
    base_load_wander_kw: Annotated[float, Field(ge=0.0)] = 0.0
    base_load_max_kw: Annotated[float, Field(ge=0.0)]
    tolerance: Share = 0.02
    reporting: Share = 0.03
    cap_kwh: Annotated[float, Field(gt=0.0)] = 1000.0
    reserve_share: Share = 0.002
    miner_poll_s: Annotated[float, Field(ge=1.0, le=60.0)] = 5.0


class GroupTable(_Table):
    """``[[machines]]``: so many of one model under one family's control, behind a relay or not."""

    family: str
    model: str
    count: Annotated[int, Field(ge=1, le=20_000)]
    relay: str | None = None

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.family not in families():
            known = ", ".join(families())
            raise ValueError(f"there is no family {self.family!r}; known: {known}")
        if self.model not in model_keys(self.family):
            known = ", ".join(model_keys(self.family))
            raise ValueError(f"{self.family} does not run on {self.model!r}; known: {known}")
        return self


class MeterTable(_Table):
    """``[meter]``. ``gain_error`` is what it really reads too much, ``guard_share`` what the agent
    was told to allow for."""

    refresh_s: Annotated[float, Field(ge=0.2, le=60.0)] = 0.5
    step_wh: Annotated[int, Field(ge=1, le=10_000)] = 10
    gain_error: Annotated[float, Field(ge=-0.05, le=0.05)] = 0.0
    guard_share: Annotated[float, Field(ge=0.0, le=0.05)] = 0.0
    poll_s: Annotated[float, Field(ge=0.2, le=60.0)] = 0.5


class PurchaseTable(_Table):
    """``[[purchases]]``. Without ``to_min`` it is open-ended; it arrives before its window unless
    ``arrives_min`` says when; ``again_min`` sends it twice, ``revised_kwh`` changed."""

    id: str
    from_min: Minutes
    to_min: Minutes | None = None
    kwh: Annotated[float, Field(gt=0.0)]
    arrives_min: Minutes = 0.0
    again_min: Minutes | None = None
    revised_kwh: Annotated[float, Field(gt=0.0)] | None = None


class SeriesTable(_Table):
    """``[series]``: windows of equal length in a row, each bought in ``split`` equal purchases."""

    from_min: Minutes = 2.0
    each_min: Annotated[float, Field(gt=0.0)] = 60.0
    kwh: tuple[float, ...]
    split: Annotated[int, Field(ge=1, le=100)] = 1
    arrives_before_min: Annotated[float, Field(gt=0.0)] = 100_000.0

    def purchases(self) -> tuple[PurchaseTable, ...]:
        """The purchases that the series stands for; a window of 0 kWh has none."""
        return tuple(
            PurchaseTable(
                id=f"w{number:02d}-{part + 1:02d}",
                from_min=self.from_min + number * self.each_min,
                to_min=self.from_min + (number + 1) * self.each_min,
                kwh=kwh / self.split,
                arrives_min=max(
                    self.from_min + number * self.each_min - self.arrives_before_min, 0.0
                ),
            )
            for number, kwh in enumerate(self.kwh)
            for part in range(self.split)
            if kwh > 0.0
        )


class OrderTable(_Table):
    """``[[orders]]``: the grid operator's order to draw no more than ``kw``.

    It comes ``notice_s`` before it begins. With less notice than ``within_s`` it is to be kept
    that long after it came, else from its first second on.
    """

    kw: Annotated[float, Field(ge=0.0)]
    at_min: Minutes
    for_min: Annotated[float, Field(gt=0.0)]
    notice_s: Annotated[float, Field(ge=0.0)] = 300.0
    within_s: Annotated[float, Field(gt=0.0)] = 60.0

    @property
    def comes_min(self) -> float:
        """When the agent is told."""
        return max(self.at_min - self.notice_s / 60.0, 0.0)

    @property
    def kept_from_s(self) -> float:
        """From when on it is to be kept."""
        return max(self.at_min * 60.0, self.comes_min * 60.0 + self.within_s)


class FaultTable(_Table):
    """``[[faults]]``. For machines: a share of all, or of one family."""

    what: FaultName
    at_min: Minutes
    for_s: Annotated[float, Field(gt=0.0)] = 1e9
    value: float = 0.0
    share: Share = 1.0
    family: str | None = None


class BarsTable(_Table):
    """``[bars]``: what this scenario has to reach besides the promise itself."""

    unused_share: Share | None = None
    hashes_share: Share | None = None
    rollover_gap_s: float | None = None


class Scenario(_Table):
    """The whole file."""

    title: str
    story: str
    minutes: Annotated[float, Field(gt=0.0, le=10_080.0)]
    seed: int = 1
    site: SiteTable
    machines: Annotated[tuple[GroupTable, ...], Field(min_length=1)]
    meter: MeterTable = MeterTable()
    purchases: tuple[PurchaseTable, ...] = ()
    series: SeriesTable | None = None
    orders: tuple[OrderTable, ...] = ()
    faults: tuple[FaultTable, ...] = ()
    bars: BarsTable = BarsTable()

    def all_purchases(self) -> tuple[PurchaseTable, ...]:
        """The purchases listed one by one, and those of the series."""
        listed = () if self.series is None else self.series.purchases()
        return (*self.purchases, *listed)


def named_scenarios() -> dict[str, str]:
    """The scenarios that come with the test rig: name and title."""
    folder = resources.files("simulator").joinpath("scenarios")
    texts = {
        file.name.removesuffix(".toml"): file.read_text(encoding="utf-8")
        for file in folder.iterdir()
        if file.name.endswith(".toml")
    }
    return {name: tomllib.loads(texts[name])["title"] for name in sorted(texts)}


def load_scenario(name: str) -> Scenario:
    """A scenario by its file, or by its name where it comes with the rig. Raises ScenarioError."""
    path = Path(name)
    if path.suffix != ".toml" and not path.exists():
        packaged = resources.files("simulator").joinpath("scenarios", f"{name}.toml")
        if not packaged.is_file():
            known = ", ".join(named_scenarios())
            raise ScenarioError(f"there is no scenario {name!r}; give a file, or one of: {known}")
        return parse_scenario(packaged.read_text(encoding="utf-8"), name)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ScenarioError(f"{path}: cannot be read: {error}") from error
    return parse_scenario(text, str(path))


def parse_scenario(text: str, origin: str) -> Scenario:
    """A scenario from TOML. Raises ScenarioError naming the origin and every fault."""
    try:
        return Scenario.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise ScenarioError(f"{origin}: is not TOML: {error}") from error
    except ValidationError as error:
        lines = []
        for fault in error.errors():
            key = ".".join(str(part) for part in fault["loc"])
            reason = "unknown key" if fault["type"] == "extra_forbidden" else fault["msg"]
            lines.append(f"{origin}: {key}: {reason}")
        raise ScenarioError("\n".join(lines)) from error
