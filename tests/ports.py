"""Ports of this machine for servers that a test starts, in its own process or in another.

A port that the kernel chose and that was given back may be taken before the server listens: the
kernel gives its ports to every connection that anybody opens. So these lie below the kernel's own,
and each process of the tests takes from a part of its own.
"""

import itertools
import os
import random
import socket
from contextlib import ExitStack

FIRST = 12_000
EACH = 2_000
PARTS = 10  # up to the port where the kernel's own begin

_part = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % PARTS
_numbers = itertools.count(random.randrange(EACH))


def free_port(*, in_a_row: int = 1) -> int:
    """A port on 127.0.0.1 that nobody listens at; the first of so many."""
    for number in itertools.islice(_numbers, EACH):
        port = FIRST + _part * EACH + number % (EACH - in_a_row)
        try:
            with ExitStack() as stack:
                for place in range(in_a_row):
                    probe = stack.enter_context(socket.socket())
                    probe.bind(("127.0.0.1", port + place))
        except OSError:
            continue
        return port
    raise OSError(f"none of {EACH} ports from {FIRST + _part * EACH} on is free")
