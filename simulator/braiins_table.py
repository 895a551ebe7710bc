"""``[braiins]`` of a farm file."""

from typing import Annotated, Literal

from pydantic import Field

from simulator.table import Seconds, Table


class BraiinsTable(Table):
    """``[braiins]``: how all machines with Braiins OS are set up, and what they do to callers.

    Firmware before 25.07 has no REST API, only GraphQL. A machine that asks for no login answers
    everybody, as one without a password may. ``token_s`` is how long a token lives after its last
    use. Boards are numbered from ``first_board``. With ``has_older_reads`` a few reads of cgminer's
    kind are answered on ``rpc_port``.
    """

    password: Annotated[str, Field(min_length=1, max_length=64)] = "farm-pass"  # noqa: S105 - of no real machine
    firmware: Literal["25.05.1", "25.07", "26.04"] = "25.07"
    asks_login: bool = True
    token_s: Seconds = 3600.0
    first_board: Literal[1, 6] = 1
    tuner: Literal["power", "hashrate", "off"] = "power"
    licence: Literal["valid", "none", "limited", "expired"] = "valid"
    is_scaling: bool = False
    pause_s: Annotated[int, Field(ge=1, le=600)] | None = None
    resume_s: Annotated[int, Field(ge=1, le=600)] | None = None
    can_switch_boards: bool = True
    has_older_reads: bool = True
    answer_delay_s: Annotated[float, Field(ge=0.0, le=60.0)] = 0.0
