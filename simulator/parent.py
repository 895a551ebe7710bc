"""Ends this process when the one that started it has gone."""

import ctypes
import os
import signal

_PR_SET_PDEATHSIG = 1


def die_with_parent() -> int:
    """Ask the kernel for SIGTERM at the parent's death; returns the parent's id for polling too.

    The kernel's signal follows the thread that forked; polling covers what it misses.
    """
    parent = os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    return parent


def is_orphan(parent: int) -> bool:
    """Whether the parent has gone."""
    return os.getppid() != parent
