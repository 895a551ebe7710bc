"""``[avalon]`` of a farm file."""

from typing import Annotated

from pydantic import Field

from simulator.table import Table


class AvalonTable(Table):
    """``[avalon]``: which firmware all Avalons of the farm run, and what it does to callers.

    Newer firmware tells the watts at the wall and the power supply's input; older lacks the short
    report (``has_lite_stats``), the present hashrate, or ``softoff`` itself. ``counts_from_start``:
    the machine has no time of day, its clock counts from its start. ``is_softon_silent``: the
    connection closes without a word. ``wakes_by_reboot_only``: ``softon`` is accepted and nothing
    follows.
    """

    has_wall_power: bool = True
    has_input_power: bool = True
    has_lite_stats: bool = True
    has_present_rate: bool = True
    has_soft_switch: bool = True
    counts_from_start: bool = False
    is_softon_silent: bool = False
    wakes_by_reboot_only: bool = False
    answers_text_only: bool = False
    answer_delay_s: Annotated[float, Field(ge=0.0, le=60.0)] = 0.0
