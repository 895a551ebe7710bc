"""``[whatsminer]`` of a farm file."""

from typing import Annotated, Literal

from pydantic import Field

from simulator.table import Seconds, Table

# As machines come from the factory: all writes are refused until it is changed.
DEFAULT_PASSWORD = "super"  # noqa: S105 - published by the vendor


class WhatsminerTable(Table):
    """``[whatsminer]``: how all Whatsminers of the farm are set up, and what they do to callers.

    ``api`` 3.0.1 writes the power supply's numbers as text. ``token_window_s`` is how far a write's
    clock may be off. Without Fast Boot a change of the percent restarts mining. With
    ``has_older_reads`` a few reads of API v2 are answered on ``rpc_port``.
    """

    password: Annotated[str, Field(min_length=1, max_length=64)] = "farm-pass"  # noqa: S105 - of no real machine
    api: Literal["3.0.1", "3.0.2", "3.0.3"] = "3.0.2"
    is_api_on: bool = True
    is_fast_boot: bool = True
    has_heartbeats: bool = False
    has_older_reads: bool = True
    clock_skew_s: Annotated[int, Field(ge=-1_000_000_000, le=1_000_000_000)] = 0
    token_window_s: Seconds = 60.0
    answer_delay_s: Annotated[float, Field(ge=0.0, le=60.0)] = 0.0
    time_randomized_s: Annotated[int, Field(ge=0, le=120)] = 0
