"""Where a machine stands: as the configuration says, else as far as its own name tells."""

import re

# "r1-s07" stands in r1; "hall2/a-03/12" in hall2/a-03; "m-17" says nothing of a place.
_PLACED = re.compile(
    r"(?P<rack>(?=.*[0-9].*[-_./:]).*[A-Za-z0-9])[-_./:](?P<place>[A-Za-z]{0,5}[0-9]{1,4})"
)


def rack_of(miner_id: str, told: str | None = None) -> str | None:
    """The rack of a machine; None where neither the file nor the name says one."""
    if told is not None:
        return told
    found = _PLACED.fullmatch(miner_id)
    return None if found is None else found["rack"]
