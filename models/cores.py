"""The cores: how many of them this process may run on."""

from __future__ import annotations

import os


def usable_cores() -> int:
    """Cores of the machine, less those that the process is kept from.

    >>> usable_cores() >= 1
    True
    """
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
