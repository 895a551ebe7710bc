"""Every family that a farm can speak, by its name: one line each."""

from collections.abc import Callable, Mapping
from importlib import import_module

from simulator.antminer import AntminerFarm
from simulator.avalon import AvalonFarm
from simulator.bitaxe import BitaxeFarm
from simulator.braiins import BraiinsFarm
from simulator.braiins_compat import BraiinsCompatFarm
from simulator.door import Dialect
from simulator.epic import EpicFarm
from simulator.farm import Farm
from simulator.luxos import LuxosFarm
from simulator.vnish import VnishFarm
from simulator.whatsminer_compat import CompatFarm
from simulator.whatsminer_v2 import WhatsminerV2Farm
from simulator.whatsminer_v3 import WhatsminerFarm


def _braiins(farm: Farm) -> Dialect:
    older = BraiinsCompatFarm(machines=BraiinsFarm(farm=farm))
    if not farm.file.braiins.has_grpc:
        return older
    with_grpc: Dialect = import_module("simulator.braiins_grpc").BraiinsGrpcFarm(older=older)
    return with_grpc


DIALECTS: Mapping[str, Callable[[Farm], Dialect]] = {
    "braiins": _braiins,
    "bitaxe": lambda farm: BitaxeFarm(farm=farm),
    "epic": lambda farm: EpicFarm(farm=farm),
    "avalon": lambda farm: AvalonFarm(farm=farm),
    "antminer": lambda farm: AntminerFarm(farm=farm),
    "luxos": lambda farm: LuxosFarm(farm=farm),
    "whatsminer-v2": lambda farm: WhatsminerV2Farm(farm=farm),
    "vnish": lambda farm: VnishFarm(farm=farm),
    "whatsminer-v3": lambda farm: CompatFarm(whatsminers=WhatsminerFarm(farm=farm)),
}
