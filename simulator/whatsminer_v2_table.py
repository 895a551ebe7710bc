"""``[whatsminer_v2]`` of a farm file."""

from typing import Annotated, Literal

from pydantic import Field

from simulator.table import Seconds, Table

# As machines come from the factory: all writes are refused until it is changed.
FACTORY_PASSWORD = "admin"  # noqa: S105 - published by the vendor


class WhatsminerV2Table(Table):
    """``[whatsminer_v2]``: how all Whatsminers with API v2 are set up, and what they do to callers.

    ``api`` 1.4.0 is the firmware before: other reads, no percent; 2.0.4 writes its list of faults
    like a table; 2.2.0 tells how long a token lives without use. ``flaw`` is how JSON is broken.
    Without ``tells_percent`` the percent in force is in no answer, without ``has_meter`` the power
    supply measures nothing, without ``answers_asleep`` the mining program's reads fail in sleep.
    The manual lets two commands be joined (``joined_max``); other clients join three at machines
    that they read. With ``is_lying`` a write shows in ``status`` and changes nothing.
    """

    password: Annotated[str, Field(min_length=1, max_length=8)] = "farmpass"  # noqa: S105 - of no real machine
    api: Literal["1.4.0", "2.0.4", "2.0.5", "2.2.0"] = "2.0.5"
    is_api_on: bool = True
    is_fast_boot: bool = True
    tells_percent: bool = True
    has_meter: bool = True
    answers_asleep: bool = True
    is_lying: bool = False
    ends_with_nul: bool = False
    flaw: Literal["none", "newline", "comma", "joint", "inf", "truncated"] = "none"
    padding: Literal["nul", "pkcs7"] = "nul"
    has_sealed_refusals: bool = False
    token_life_s: Seconds = 1800.0
    joined_max: Annotated[int, Field(ge=1, le=8)] = 3
    tokens_max: Annotated[int, Field(ge=1, le=100)] = 32
    answer_delay_s: Annotated[float, Field(ge=0.0, le=60.0)] = 0.0
