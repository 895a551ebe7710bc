"""LuxOS writes: one session at a time, then commands that change the machine.

The vendor publishes 305 reboot, 316 logon, 321 profileset, 335 curtail, 340 atmset; the numbers of
the other positive answers are this simulator's. Selecting a profile by watts or terahash and
setting single frequencies are refused: nothing here needs them.
"""

import random
import string
from collections.abc import Callable
from dataclasses import dataclass, field
from math import isfinite

from simulator.luxos_more_reads import power_targets
from simulator.luxos_reads import Moment, board_number
from simulator.luxos_wire import (
    BAD_ARGUMENT,
    CURTAILED,
    INVALID_COMMAND,
    REFUSED,
    SESSION_BUSY,
    SESSION_INVALID,
    Json,
    RequestError,
    answer,
)

_LOGGED_OFF = 317
_BOARD_ENABLED = 348
_BOARD_DISABLED = 349
_LED_SET = 350
_DEVICE_REBOOT = 306
_POWER_TARGET_SET = 351


@dataclass(slots=True, kw_only=True)
class Session:
    """The one session of a machine."""

    session_id: str = ""
    used_s: float = 0.0


@dataclass(slots=True, kw_only=True)
class Sessions:
    """Sessions of all machines; an idle one is dropped."""

    idle_s: float
    seed: int
    _by_machine: dict[int, Session] = field(init=False, default_factory=dict)
    _rng: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self._rng = random.Random(f"sessions-{self.seed}")

    def active(self, index: int, now_s: float) -> str:
        """Id of a machine's session, or nothing."""
        session = self._by_machine.get(index)
        if session is None or now_s - session.used_s >= self.idle_s:
            return ""
        return session.session_id

    def open(self, index: int, now_s: float) -> str:
        """Start a session. Raises RequestError while another one is active."""
        if self.active(index, now_s):
            raise RequestError(SESSION_BUSY, "Another session is active")
        session_id = "".join(self._rng.choices(string.ascii_letters + string.digits, k=8))
        self._by_machine[index] = Session(session_id=session_id, used_s=now_s)
        return session_id

    def use(self, index: int, session_id: str, now_s: float) -> None:
        """Refresh a session. Raises RequestError where it is not the active one."""
        if not session_id or self.active(index, now_s) != session_id:
            raise RequestError(SESSION_INVALID, "Invalid session ID")
        self._by_machine[index].used_s = now_s

    def drop(self, index: int) -> None:
        """End a machine's session, if there is one."""
        self._by_machine.pop(index, None)


Rest = tuple[str, ...]
Writer = Callable[[Moment, Rest], Json]


def _must_be_awake(at: Moment) -> None:
    if not at.machine.is_awake:
        raise RequestError(CURTAILED, "Command not allowed while the miner is in sleep mode")


def _argument(rest: Rest, position: int, name: str) -> str:
    if len(rest) <= position or not rest[position]:
        raise RequestError(BAD_ARGUMENT, f"Missing {name}")
    return rest[position]


def _switch(at: Moment, rest: Rest, *, is_on: bool) -> Json:
    _must_be_awake(at)
    board = board_number(at.machine, _argument(rest, 0, "board"))
    at.farm.act(
        at.machine.index,
        lambda machine, now_s: machine.switch_board(board, is_on=is_on, now_s=now_s),
    )
    code = _BOARD_ENABLED if is_on else _BOARD_DISABLED
    word = "enabled" if is_on else "disabled"
    sections = {"BOARD": [{"Board": board, "Enabled": is_on}]}
    return answer(code, f"Board {board} {word}", at.when_s, sections=sections)


def _enableboard(at: Moment, rest: Rest) -> Json:
    return _switch(at, rest, is_on=True)


def _disableboard(at: Moment, rest: Rest) -> Json:
    return _switch(at, rest, is_on=False)


def _profileset(at: Moment, rest: Rest) -> Json:
    # Older callers send a board number first; it is read and has no meaning any more.
    is_legacy = len(rest) > 1 and rest[0] in {"0", "1", "2", "3"}
    name = _argument(rest[1:] if is_legacy else rest, 0, "profile")
    profile = _profile_index(at, name)
    if at.machine.index not in at.farm.atm:
        at.farm.act(
            at.machine.index,
            lambda machine, now_s: machine.select_profile(profile, now_s=now_s),
        )
    row = {
        "Board": 0,
        "FrequencyStep": 5,
        "Profile": at.machine.model.profiles[profile].name,
        "VoltageStep": 0.05,
    }
    return answer(321, "Profile Set", at.when_s, sections={"PROFILE": [row]})


def _profile_index(at: Moment, name: str) -> int:
    model = at.machine.model
    if name[0] in "+-" and name[1:].isascii() and name[1:].isdigit():
        index = at.machine.profile + int(name)
        if not 0 <= index < len(model.profiles):
            raise RequestError(BAD_ARGUMENT, f"No profile at relative position {name[:20]}")
        return index
    if name.endswith(("W", "THs")):
        raise RequestError(REFUSED, "Profiles by power or hashrate are not offered here")
    try:
        return model.profile_index(name)
    except KeyError:
        raise RequestError(BAD_ARGUMENT, f"Invalid profile {name[:40]}") from None


def _curtail(at: Moment, rest: Rest) -> Json:
    action = _argument(rest, 0, "action")
    index = at.machine.index
    if action == "sleep":
        at.farm.act(index, lambda machine, now_s: machine.sleep(now_s=now_s))
        words = "sleep mode"
    elif action == "wakeup":
        is_unsafe = "mode=unsafe" in rest[1:]
        at.farm.act(index, lambda machine, now_s: machine.wake(now_s=now_s, is_unsafe=is_unsafe))
        words = "wake up"
    else:
        raise RequestError(BAD_ARGUMENT, f"Invalid action {action[:20]}")
    sections = {"CURTAIL": [{"Action": words}]}
    return answer(335, "Curtailment command sent", at.when_s, sections=sections)


def _reboot(at: Moment, rest: Rest) -> Json:
    _must_be_awake(at)
    board = board_number(at.machine, _argument(rest, 0, "board"))
    delay_s: float | None = None
    if len(rest) > 1:
        try:
            delay_s = float(rest[1])
        except ValueError:
            raise RequestError(BAD_ARGUMENT, f"Invalid delay {rest[1][:20]}") from None
        if not isfinite(delay_s) or delay_s > 3_600.0:
            raise RequestError(BAD_ARGUMENT, f"Invalid delay {rest[1][:20]}")
    at.farm.act(
        at.machine.index,
        lambda machine, now_s: machine.reboot_board(board, delay_s=delay_s, now_s=now_s),
    )
    row = {"Board": board, "IsShutdown": delay_s is not None and delay_s <= 0}
    return answer(305, "Reboot Scheduled", at.when_s, sections={"REBOOT": [row]})


def _rebootdevice(at: Moment, _rest: Rest) -> Json:
    at.farm.act(at.machine.index, lambda machine, now_s: machine.reboot_device(now_s=now_s))
    return answer(_DEVICE_REBOOT, "Device reboot scheduled", at.when_s)


def _ledset(at: Moment, rest: Rest) -> Json:
    colour, state = _argument(rest, 0, "color"), _argument(rest, 1, "state")
    if colour not in {"red", "green"} or state not in {"on", "off", "blink", "auto"}:
        raise RequestError(BAD_ARGUMENT, "Invalid LED or state")
    (at.farm.blinking.add if state == "blink" else at.farm.blinking.discard)(at.machine.index)
    sections = {"LED": [{"Color": colour, "State": state}]}
    return answer(_LED_SET, "LED set", at.when_s, sections=sections)


def _atmset(at: Moment, rest: Rest) -> Json:
    known = {"enabled", "startup_minutes", "post_ramp_minutes", "temp_window"}
    known |= {"min_profile", "max_profile", "prevent_oc"}
    pairs = dict(item.split("=", 1) for item in rest if "=" in item)
    if not pairs or len(pairs) != len(rest) or not pairs.keys() <= known:
        raise RequestError(BAD_ARGUMENT, "Invalid ATM setting")
    if pairs.get("enabled", "true") not in {"true", "false"}:
        raise RequestError(BAD_ARGUMENT, "Invalid ATM setting")
    if pairs.get("enabled") == "true":
        at.farm.atm.add(at.machine.index)
    elif pairs.get("enabled") == "false":
        at.farm.atm.discard(at.machine.index)
    return answer(340, "ATM configuration set", at.when_s)


def _powertargetset(at: Moment, rest: Rest) -> Json:
    if not at.farm.file.luxos.has_power_target:
        raise RequestError(INVALID_COMMAND, "Invalid command")
    key, _, watts = _argument(rest, 0, "power").partition("=")
    least_w, most_w = power_targets(at)
    if key != "power" or not watts.isdigit() or not least_w <= int(watts) <= most_w:
        raise RequestError(BAD_ARGUMENT, f"Invalid power target {watts[:20]}")
    # The plant has points, not watts: the strongest that keeps the target.
    points = at.machine.model.profiles
    place = max(n for n, point in enumerate(points) if point.watts <= int(watts))
    at.farm.act(at.machine.index, lambda machine, now_s: machine.select_profile(place, now_s=now_s))
    return answer(_POWER_TARGET_SET, "Power target set", at.when_s)


def _frequencyset(_at: Moment, _rest: Rest) -> Json:
    raise RequestError(REFUSED, "Frequencies of single boards are not offered here")


WRITES: dict[str, Writer] = {
    "enableboard": _enableboard,
    "disableboard": _disableboard,
    "profileset": _profileset,
    "frequencyset": _frequencyset,
    "curtail": _curtail,
    "powertargetset": _powertargetset,
    "reboot": _reboot,
    "rebootdevice": _rebootdevice,
    "ledset": _ledset,
    "atmset": _atmset,
}


def logon(at: Moment, sessions: Sessions, _parameters: Rest) -> Json:
    """Start a session."""
    row = {"SessionID": sessions.open(at.machine.index, at.now_s)}
    return answer(316, "Session created", at.when_s, sections={"SESSION": [row]})


def session(at: Moment, sessions: Sessions, _parameters: Rest) -> Json:
    """Id of the active session, which this API tells everybody."""
    row = {"SessionID": sessions.active(at.machine.index, at.now_s)}
    return answer(319, "Session information", at.when_s, sections={"SESSION": [row]})


def logoff(at: Moment, sessions: Sessions, parameters: Rest) -> Json:
    """End the session."""
    sessions.use(at.machine.index, parameters[0] if parameters else "", at.now_s)
    sessions.drop(at.machine.index)
    return answer(_LOGGED_OFF, "Session terminated", at.when_s)


def write(at: Moment, sessions: Sessions, command: str, parameters: Rest) -> Json:
    """Carry out a command under the session that is its first parameter."""
    sessions.use(at.machine.index, parameters[0] if parameters else "", at.now_s)
    at.machine.counters.commands += 1
    return WRITES[command](at, parameters[1:])
