"""``[epic]`` of a farm file."""

from typing import Annotated, Literal

from pydantic import Field

from simulator.table import Table


class EpicTable(Table):
    """``[epic]``: how all machines with ePIC's PowerPlay are set up.

    ``letmein`` is the password that machines come with. Version 1.22.5 knows neither the machine's
    own serial nor whether its power supply measures. With ``is_idle_on_loss`` a machine idles by
    itself while it has no pool. With ``has_tuner`` the tuner of the chips runs, and has finished.
    """

    password: Annotated[str, Field(min_length=1, max_length=64)] = "letmein"  # noqa: S105 - published by the vendor
    version: Literal["1.22.5", "1.30.0"] = "1.30.0"
    is_power_measured: bool = True
    is_idle_on_loss: bool = False
    has_schedule: bool = False
    has_tuner: bool = True
    answer_delay_s: Annotated[float, Field(ge=0.0, le=60.0)] = 0.0
