"""Cores: how many of the machine's this process may use.

A container's limit of CPU time (`docker run --cpus`, `limits.cpu` of Kubernetes) leaves all cores
visible. A thread on each of them would use up the time early in every period, and the process would
stand still for the rest of it.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

_CGROUPS, _OWN = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def usable_cores() -> int:
    """Cores that this process may run on, and has CPU time for.

    >>> usable_cores() >= 1
    True
    """
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    return max(1, math.ceil(min(cores, cpu_limit())))


def cpu_limit(mounted: Path = _CGROUPS, own: Path = _OWN) -> float:
    """The least limit of CPU time on this process's control groups, in cores; infinity for none.

    `mounted` is where control groups are found, version 2 or 1; `own` names those of the process.
    """
    return min(_limits(mounted, own), default=math.inf)


def _limits(mounted: Path, own: Path) -> Iterator[float]:
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, name = line.split(":", 2)
        if controllers == "":
            root = mounted
        elif "cpu" in controllers.split(","):
            root = mounted / "cpu"
        else:
            continue
        place = Path(name.lstrip("/"))
        # In a container the root is often its own group, and the name one that it cannot see.
        for group in {root, *(root / part for part in (place, *place.parents))}:
            try:
                quota, period = _quota(group, second=controllers == "")
            except (OSError, ValueError):
                continue
            if quota > 0 and period > 0:
                yield quota / period


def _quota(group: Path, *, second: bool) -> tuple[int, int]:
    """Microseconds of CPU time in each period, of a group of version 2 or 1.

    Raises `OSError` where the group has none, `ValueError` where it is unlimited.
    """
    if second:
        quota, period = (group / "cpu.max").read_text().split()
        return int(quota), int(period)
    read = [(group / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period")]
    return int(read[0]), int(read[1])
