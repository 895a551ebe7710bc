"""Every family that a farm can speak, by its name: one line each."""

from collections.abc import Callable, Mapping

from simulator.door import Dialect
from simulator.farm import Farm
from simulator.luxos import LuxosFarm
from simulator.vnish import VnishFarm
from simulator.whatsminer_compat import CompatFarm
from simulator.whatsminer_v3 import WhatsminerFarm

DIALECTS: Mapping[str, Callable[[Farm], Dialect]] = {
    "luxos": lambda farm: LuxosFarm(farm=farm),
    "vnish": lambda farm: VnishFarm(farm=farm),
    "whatsminer-v3": lambda farm: CompatFarm(whatsminers=WhatsminerFarm(farm=farm)),
}
