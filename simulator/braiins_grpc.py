"""Braiins OS on gRPC, port 50051: the vendor's public API, of which REST is the younger face.

What it says and does is what REST says and does, in the vendor's messages. Of its methods those
are here that a table row names; streams (GetMinerStatus, GetLicenseState, GetSupportArchive), the
licence, changes of pools, cooling and password, and reflection are not. Assumed, since not
documented: the status that a refusal has, and that SAVE_ACTION_SAVE leaves the running machine as
it is.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from simulator.braiins import BraiinsFarm
from simulator.braiins_compat import BraiinsCompatFarm
from simulator.braiins_logins import login, require_token
from simulator.braiins_messages import MessageError, decoded, encoded
from simulator.braiins_moment import Json, Moment, RefusalError
from simulator.braiins_reads import API, READS
from simulator.braiins_writes import WRITES
from simulator.door import Door
from simulator.faults import FaultKind
from simulator.grpc_caller import CallError, GrpcCaller, Reply, Status

_SAVE = 1  # and do not apply
_OLDEST_API = (1, 0, 0)
_STATUSES = {
    400: Status.INVALID_ARGUMENT,
    401: Status.UNAUTHENTICATED,
    412: Status.FAILED_PRECONDITION,
    422: Status.INVALID_ARGUMENT,
    501: Status.UNIMPLEMENTED,
}


class _Method(NamedTuple):
    """What a call takes and gives, by the names of messages, and who answers it."""

    takes: str
    gives: str
    answer: Callable[[Moment, Any], Json]


def _read(path: str, gives: str, shaped: Callable[[Any], Json] = lambda said: said) -> _Method:
    return _Method("Empty", gives, lambda at, _asked: shaped(READS[path](at)))


def _write(
    method: str,
    path: str,
    messages: tuple[str, str],
    body_of: Callable[[Any], Any],
    shaped: Callable[[Any], Json],
) -> _Method:
    def answer(at: Moment, asked: Any) -> Json:
        at.machine.counters.commands += 1
        body = body_of(asked)
        if getattr(asked, "save_action", 0) == _SAVE:
            return shaped(body)
        return shaped(WRITES[method, path](at, body))

    return _Method(*messages, answer)


def _act(name: str, gives: str, flag: str) -> _Method:
    return _write("PUT", f"actions/{name}", ("Empty", gives), _nothing, lambda was: {flag: was})


def _nothing(_asked: Any) -> None:
    return None


def _switch(*, is_on: bool) -> _Method:
    return _write(
        "PATCH",
        "miner/hw/hashboards",
        ("HashboardsRequest", "HashboardsResponse"),
        lambda asked: {"enable": is_on, "hashboard_ids": list(asked.hashboard_ids)},
        lambda said: said if "hashboards" in said else {"hashboards": []},
    )


def _version(at: Moment, _asked: Any) -> Json:
    version = API.get(at.table.firmware, _OLDEST_API)
    return dict(zip(("major", "minor", "patch"), version, strict=True))


def _login(at: Moment, asked: Any) -> Json:
    return login(at, {"username": asked.username, "password": asked.password})


def _groups(said: Any) -> Json:
    groups = [
        {"name": group["name"], "pools": group["pools"], **group["strategy"]} for group in said
    ]
    return {"pool_groups": groups}


def _tuner_state(said: Json) -> Json:
    states = {
        "powertargetmodestate": "power_target_mode_state",
        "hashratetargetmodestate": "hashrate_target_mode_state",
    }
    mode = {states[name]: state for name, state in said["mode_state"].items()}
    return {"overall_tuner_state": said["overall_tuner_state"], **mode}


def _active_mode(said: Json) -> Json:
    tuner = said["tuner"]
    if not tuner["enabled"]:
        return {"manual_mode": {}}
    targets = {name: tuner[name] for name in ("power_target", "hashrate_target")}
    modes = {name: {name: target} for name, target in targets.items() if target is not None}
    return {"tuner_mode": modes}


_API_VERSION = "/braiins.bos.ApiVersionService/GetApiVersion"
_LOGIN = "/braiins.bos.v1.AuthenticationService/Login"
_V1 = {
    "ActionsService/GetLocateDeviceStatus": _read(
        "actions/locate", "LocateDeviceStatusResponse", lambda is_on: {"enabled": is_on}
    ),
    "ActionsService/PauseMining": _act("pause", "PauseMiningResponse", "already_paused"),
    "ActionsService/Reboot": _write(
        "PUT", "actions/reboot", ("Empty", "Empty"), _nothing, lambda _said: {}
    ),
    "ActionsService/Restart": _act("restart", "StartResponse", "already_running"),
    "ActionsService/ResumeMining": _act("resume", "ResumeMiningResponse", "already_mining"),
    "ActionsService/SetLocateDeviceStatus": _write(
        "PUT",
        "actions/locate",
        ("SetLocateDeviceStatusRequest", "LocateDeviceStatusResponse"),
        lambda asked: asked.enable,
        lambda is_on: {"enabled": is_on},
    ),
    "ActionsService/Start": _act("start", "StartResponse", "already_running"),
    "ActionsService/Stop": _act("stop", "StopResponse", "already_stopped"),
    "ConfigurationService/GetConstraints": _read(
        "configuration/constraints", "GetConstraintsResponse"
    ),
    "ConfigurationService/GetMinerConfiguration": _read(
        "configuration/miner", "GetMinerConfigurationResponse"
    ),
    "CoolingService/GetCoolingState": _read("cooling/state", "GetCoolingStateResponse"),
    "MinerService/DisableHashboards": _switch(is_on=False),
    "MinerService/EnableHashboards": _switch(is_on=True),
    "MinerService/GetErrors": _read("miner/errors", "GetErrorsResponse"),
    "MinerService/GetHashboards": _read("miner/hw/hashboards", "GetHashboardsResponse"),
    "MinerService/GetMinerDetails": _read("miner/details", "GetMinerDetailsResponse"),
    "MinerService/GetMinerStats": _read("miner/stats", "GetMinerStatsResponse"),
    "PerformanceService/GetActivePerformanceMode": _read(
        "configuration/miner", "PerformanceMode", _active_mode
    ),
    "PerformanceService/GetTunerState": _read(
        "performance/tuner-state", "GetTunerStateResponse", _tuner_state
    ),
    "PerformanceService/SetPowerTarget": _write(
        "PUT",
        "performance/power-target",
        ("SetPowerTargetRequest", "SetPowerTargetResponse"),
        lambda asked: {"watt": asked.power_target.watt},
        lambda said: {"power_target": said},
    ),
    "PerformanceService/SetQuickRamping": _write(
        "PUT",
        "performance/quick-ramping",
        ("SetQuickRampingRequest", "QuickRampingResponse"),
        lambda asked: {"up_s": asked.up_s, "down_s": asked.down_s},
        lambda said: said,
    ),
    "PoolService/GetPoolGroups": _read("pools", "GetPoolGroupsResponse", _groups),
}
METHODS: Mapping[str, _Method] = {
    _API_VERSION: _Method("Empty", "ApiVersion", _version),
    _LOGIN: _Method("LoginRequest", "LoginResponse", _login),
    **{f"/braiins.bos.v1.{name}": method for name, method in _V1.items()},
}


@dataclass(slots=True, kw_only=True)
class BraiinsGrpcFarm:
    """All machines of a farm with Braiins OS, with gRPC beside all that they speak otherwise."""

    older: BraiinsCompatFarm
    callers: set[GrpcCaller] = field(init=False, default_factory=set)

    @property
    def machines(self) -> BraiinsFarm:
        """The machines themselves."""
        return self.older.machines

    def doors(self, index: int) -> Sequence[Door]:
        """HTTP, the older reads, and gRPC."""
        port = self.machines.farm.file.addresses.grpc_port
        grpc = Door(port=port, receive=lambda: GrpcCaller(self, index))
        return (*self.older.doors(index), grpc)

    def password(self, index: int) -> str:
        """The one of the account "root"."""
        return self.machines.password(index)

    async def close(self) -> None:
        """Cut off whoever is connected."""
        for caller in tuple(self.callers):
            caller.abort()
        await self.older.close()

    def is_rebooting(self, index: int) -> bool:
        """Whether the control board is down."""
        return self.older.is_rebooting(index)

    def is_silent(self, index: int) -> bool:
        """Whether the fault of silence is on this machine."""
        return self.machines.farm.faults.has_miner(FaultKind.MINER_SILENT, index)

    def is_garbled(self, index: int) -> bool:
        """Whether the fault of garbage is on this machine."""
        return self.machines.farm.faults.has_miner(FaultKind.MINER_GARBAGE, index)

    def delay_s(self, index: int) -> float:
        """As long as REST."""
        del index
        return self.machines.farm.file.braiins.answer_delay_s

    def reply(self, index: int, path: str, token: str, message: bytes) -> Reply:
        """The answer to a call. Raises CallError."""
        method = METHODS.get(path)
        if method is None:
            raise CallError(Status.UNIMPLEMENTED, f"there is no {path}")
        at = self.machines.moment(index)
        try:
            if path not in (_API_VERSION, _LOGIN):
                require_token(at, token)
            said = method.answer(at, decoded(method.takes, message))
        except MessageError as error:
            raise CallError(Status.INTERNAL, str(error)) from error
        except RefusalError as error:
            status = _STATUSES.get(error.status, Status.UNKNOWN)
            raise CallError(status, str(error)) from error
        metadata = (("authorization", said["token"]),) if path == _LOGIN else ()
        return Reply(message=encoded(method.gives, said), metadata=metadata)
