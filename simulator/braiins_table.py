"""``[braiins]`` of a farm file."""

from importlib.util import find_spec
from typing import Annotated, Literal

from pydantic import Field, field_validator

from simulator.table import Seconds, Table


def _can_grpc() -> bool:
    # The parent first: looking for a part of a package that is not there is an ImportError.
    return all(find_spec(name) is not None for name in ("h2", "google", "google.protobuf"))


class BraiinsTable(Table):
    """``[braiins]``: how all machines with Braiins OS are set up, and what they do to callers.

    Firmware before 25.07 has no REST API, only GraphQL. A machine that asks for no login answers
    everybody, as one without a password may. ``token_s`` is how long a token lives after its last
    use. Boards are numbered from ``first_board``. With ``has_older_reads`` a few reads of cgminer's
    kind are answered on ``rpc_port``. ``has_grpc`` is true where the packages that it needs are.
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
    has_grpc: bool = Field(default_factory=_can_grpc)
    answer_delay_s: Annotated[float, Field(ge=0.0, le=60.0)] = 0.0

    @field_validator("has_grpc")
    @classmethod
    def _packages(cls, has_grpc: bool) -> bool:
        if has_grpc and not _can_grpc():
            raise ValueError("needs the packages of requirements/demo.txt: h2 and protobuf")
        return has_grpc
