"""One setting of a relay board, as it stands in its holding register."""

from drivers.link.modbus import BusLease, ReadRequest, RegisterRefusedError
from drivers.link.requests import HOLDING, Timing


async def setting_value(
    lease: BusLease, timing: Timing, *, unit: int, address: int, is_optional: bool
) -> int | None:
    """What the register holds; None where the board has no such one and need not have it.

    Raises DriverError.
    """
    request = ReadRequest(unit=unit, function=HOLDING, address=address, count=1)
    try:
        return (await lease.read(request, timing)).registers[0]
    except RegisterRefusedError as error:
        if is_optional and error.is_absence:
            return None
        raise
