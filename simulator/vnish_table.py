"""``[vnish]`` of a farm file."""

from typing import Annotated, Literal

from pydantic import Field

from simulator.table import Seconds, Table


class VnishTable(Table):
    """``[vnish]``: how all VNish machines of the farm are set up, and what they do to callers.

    ``version`` 1.2.6 has no throttle. ``has_open_summary`` false asks a login also for the summary.
    A token ends ``token_s`` after it was used last; so many wrong passwords within ``lock_s`` lock
    the login for as long. ``has_silent_yes`` answers commands with nothing instead of ``{}``.
    Choosing a preset that is not tuned starts a tuning run of ``tuning_s``.
    """

    password: Annotated[str, Field(min_length=1, max_length=64)] = "farm-pass"  # noqa: S105 - of no real machine
    version: Literal["1.2.6", "1.3.4"] = "1.3.4"
    has_power_metering: bool = True
    has_open_summary: bool = True
    has_serial: bool = True
    has_older_reads: bool = True
    has_silent_yes: bool = False
    is_switching_presets: bool = False
    token_s: Seconds = 3600.0
    wrong_tries: Annotated[int, Field(ge=1, le=100)] = 5
    lock_s: Seconds = 60.0
    tuning_s: Seconds = 7200.0
    answer_delay_s: Annotated[float, Field(ge=0.0, le=60.0)] = 0.0
