"""``[antminer]`` of a farm file."""

from typing import Annotated, Literal

from pydantic import Field

from simulator.table import Port, Table

DEFAULT_PASSWORD = "root"  # noqa: S105 - published by the vendor


class AntminerTable(Table):
    """``[antminer]``: the firmware of all Antminers of the farm, and what it does to callers.

    ``stats`` says whether a question with ``new_api`` is answered in the shape of the web pages;
    ``flaw`` how the older shape is broken. ``power`` is where watts are told, if anywhere.
    ``takes_mode_as`` is the kind of number that a form must hold; any other is accepted and
    ignored. Where ``needs_reboot`` a mode is kept and followed only after a restart. ``form_s`` is
    how long a form takes to be answered, ``page_s`` any other page.
    """

    password: Annotated[str, Field(min_length=1, max_length=64)] = DEFAULT_PASSWORD
    stats: Literal["legacy", "new_api"] = "legacy"
    flaw: Literal["none", "nul", "joint", "comma"] = "none"
    sleep_shows: Literal["empty", "zeros"] = "empty"
    power: Literal["none", "chain_power", "watt", "service", "old_service"] = "none"
    service_port: Port = 6060
    mode_key: Literal["bitmain-work-mode", "miner-mode"] = "bitmain-work-mode"
    takes_mode_as: Literal["any", "number", "text"] = "any"
    low_mode: Literal[2, 3] = 3
    serial_key: Literal["serinum", "serial_no", "none"] = "serinum"
    needs_reboot: bool = False
    form_s: Annotated[float, Field(ge=0.0, le=60.0)] = 21.0
    page_s: Annotated[float, Field(ge=0.0, le=60.0)] = 0.0
    nonce_uses: Annotated[int, Field(ge=1, le=1_000)] = 1
