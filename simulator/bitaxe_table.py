"""``[bitaxe]`` of a farm file."""

from typing import Annotated, Literal

from pydantic import Field

from simulator.table import Table


class BitaxeTable(Table):
    """``[bitaxe]``: how all Bitaxes and NerdQAxes of the farm are set up.

    ESP-Miner pauses from 2.14 on; 2.6.0 does not describe its chips either. ``is_private`` false
    turns every caller away, as machines do outside private networks. ``has_otp`` makes a NerdQAxe
    demand a one-time password of every write.
    """

    version: Literal["v2.6.0", "v2.9.0", "v2.14.0"] = "v2.14.0"
    is_private: bool = True
    has_otp: bool = False
    answer_delay_s: Annotated[float, Field(ge=0.0, le=60.0)] = 0.0
