"""The machine: what figures were measured on, in one line."""

from __future__ import annotations

import platform
from pathlib import Path

from retort.models.cores import usable_cores

# Instructions that decide how fast a matrix product is.
TELLING_FLAGS = ("amx_bf16", "amx_int8", "avx512_bf16", "avx512_vnni", "avx512f", "avx2")


def describe_machine(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """Processor, cores that this process may use, telling instructions, Python.

    >>> describe_machine()  # doctest: +SKIP
    'AMD EPYC, 2 cores (avx512_bf16, avx512_vnni, avx512f, avx2), Python 3.11.7'
    """
    try:
        text = cpuinfo.read_text()
    except OSError:
        text = ""
    facts = {
        key.strip(): value.strip()
        for key, colon, value in (line.partition(":") for line in text.splitlines())
        if colon
    }
    flags = set(facts.get("flags", "").split())
    telling = ", ".join(flag for flag in TELLING_FLAGS if flag in flags)
    name = facts.get("model name") or platform.processor() or platform.machine()
    count = usable_cores()
    cores = f"{count} core{'s' * (count != 1)}"
    return (
        f"{name}, {cores}{f' ({telling})' if telling else ''}, Python {platform.python_version()}"
    )


def available_bytes(meminfo: Path = Path("/proc/meminfo")) -> int | None:
    """Memory that a new process may take without swapping; None where the system does not say."""
    try:
        lines = meminfo.read_text().splitlines()
    except OSError:
        return None
    kilobytes = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
    return int(kilobytes[0]) * 1024 if kilobytes else None
