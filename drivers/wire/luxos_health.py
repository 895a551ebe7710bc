"""What a LuxOS machine complains of, and what it knows of its power supply.

``events`` (docs.luxor.tech, LuxOS API, events) lists what is the matter now; what somebody asked
for, such as a sleep, is in the list too and is no fault. ``psuget`` and the power target of ``atm``
exist on firmware of 2026 only; text "N/A" stands there for a register that a supply does not have.
Never saw a socket; what is of another kind than documented is a BadReplyError.
"""

from collections.abc import Mapping

from drivers.errors import BadReplyError
from drivers.readings import MinerFault
from drivers.wire.cgminer import Answer, Row

_WORDS_MAX = 200
_NOT_THERE = frozenset({"", "n/a"})
_ASKED_FOR = frozenset({"SLEEP", "IDLE", "REBOOT_SYSINIT", "REBOOT_USER", "SHUTDOWN_USER"})
_FLAG_ENDS = ("Fault", "Warning")

_WORDS: Mapping[str, str] = {
    "BAD_DOMAIN": "some of its chips have failed",
    "BOARD_ASIC_ENUMERATION_FAILURE": "not all of its chips answer",
    "BOARD_ASIC_INIT_FAILURE": "its chips do not start",
    "BOARD_CRITICAL_PIC_FAILURE": "its controller has failed",
    "BOARD_CRITICAL_SENSOR_FAILURE": "its temperature cannot be measured",
    "BOARD_HIGH_TEMPERATURE": "it is hotter than the limit set in LuxOS, check the air",
    "BOARD_NOT_DETECTED": "it is not found, check its plugs",
    "BOARD_NOT_ENOUGH_SENSORS_FAILURE": "too few of its temperature sensors work",
    "BOARD_OVERTEMP_SHUTDOWN": "it was too hot and is off",
    "CANT_READ_PSU_PROTOCOL": "the power supply cannot be read",
    "CANT_READ_PSU_TYPE": "the power supply cannot be read",
    "DETECTION_ERROR": "the hardware was not recognised",
    "EXTERNAL_ERROR": "a program of the firmware has failed",
    "FAN_FAILURE": "a fan has failed",
    "FAN_PANIC": "too few fans run, so it has stopped",
    "I2C_ERROR": "a part does not answer on its bus",
    "INCOMPATIBLE_PIC": "its hashboards do not fit together",
    "INVALID_MINER_MODEL": "the firmware does not know this model",
    "NO_ACTIVE_POOLS": "no pool can be reached",
    "NO_BOARDS": "no hashboard was found",
    "NOPIC_PROTECTION": "it has stopped, because a hashboard without protection of its own failed",
    "NOPIC_SHUTDOWN": "it is off to protect it",
    "OVERTEMP_PROTECTION": "it was too hot and protects itself",
    "PSU_PANIC": "the power supply has failed",
    "REBOOT_NOT_HASHING": "it did not hash and was restarted",
}


def faults_of(events: Answer | None, supply: Answer | None) -> tuple[MinerFault, ...]:
    """``events`` and the flags of ``psuget``; None where this firmware lacks the command."""
    found = [] if events is None else [_event(row) for row in events.rows("EVENTS")]
    flags = () if supply is None else supply.sections.get("PSUFLAGS", ())
    found += [
        MinerFault(code=key, words=f"The power supply reports {key}.")
        for row in flags
        for key, value in row.values.items()
        if key.endswith(_FLAG_ENDS) and str(value).lower() == "true"
    ]
    return tuple([fault for fault in found if fault.code not in _ASKED_FOR])


def _event(row: Row) -> MinerFault:
    code = row.text("Code").strip()[:_WORDS_MAX]
    if not code:
        raise BadReplyError("The machine lists an event without a code.")
    is_board = row.has("Target") and row.text("Target").upper() == "BOARD" and row.has("ID")
    what = f"Hashboard {row.whole('ID')}" if is_board else "The machine"
    if code in _WORDS:
        return MinerFault(code=code, words=f"{what}: {_WORDS[code]}.")
    told = row.text("Description")[:_WORDS_MAX].rstrip(".") if row.has("Description") else code
    return MinerFault(code=code, words=f"{what} has an event that kwota does not know ({told}).")


def power_limit_of(atm: Answer | None) -> float | None:
    """The watts that the machine holds itself to; None outside of power targeting."""
    rows = () if atm is None else atm.rows("ATM")
    if not rows or not rows[0].has("PowerTarget"):
        return None
    target_w = rows[0].number("PowerTarget")
    if target_w < 0:
        raise BadReplyError("The machine says that its power target is negative.")
    return target_w or None


def supply_serial_of(supply: Answer | None) -> str | None:
    """The power supply's serial. The vendor's pages do not show the key: it is the one of its kind.

    None where the firmware or the supply tells none, or tells two.
    """
    rows = () if supply is None else supply.sections.get("PSUINFORMATION", ())
    serials = {
        value.strip()
        for row in rows
        for key, value in row.values.items()
        if "serial" in key.lower() and isinstance(value, str)
    }
    serials = {serial for serial in serials if serial.lower() not in _NOT_THERE}
    return serials.pop() if len(serials) == 1 else None
