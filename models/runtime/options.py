"""Options of a runtime: backend, provider, precision, threads.

Settings and command lines name these without importing a backend: nothing heavy is imported here.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from retort.models.runtime.cores import usable_cores

if TYPE_CHECKING:
    from retort.models.runtime.base import BackendInfo

BackendName = Literal["auto", "onnxruntime", "openvino"]
ProviderName = Literal["auto", "cpu", "cuda", "tensorrt"]
PrecisionName = Literal["auto", "fp32", "fp16", "bf16", "int8"]

# Threads that work together on one small batch wait for each other, and for long when another
# process takes a core: there two streams of one thread did 1.4 times what one of two did.
MOST_STREAMS = 4


@dataclass(frozen=True, slots=True)
class RuntimeOptions:
    """Which backends may run a bundle; `auto` leaves the choice to a measurement.

    `threads` 0 means one per core; `streams` is how many batches the CPU computes at once.
    """

    backend: BackendName = "auto"
    provider: ProviderName = "auto"
    precision: PrecisionName = "auto"
    threads: int = 0
    streams: int = 1
    cuda_graphs: bool = True

    def allows(self, info: BackendInfo) -> bool:
        """Whether a backend is one that was asked for."""
        asked = (self.backend, self.provider, self.precision)
        offered = (info.backend, info.provider, info.precision)
        return all(a in ("auto", o) for a, o in zip(asked, offered, strict=True))


def default_streams(threads: int) -> int:
    """Batches to compute at once if `streams` is not set; `threads` 0 means one per core."""
    return min(MOST_STREAMS, threads or usable_cores())


def default_cache() -> Path:
    """Where choices and engines are kept: `$XDG_CACHE_HOME/retort` or `~/.cache/retort`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "retort"
