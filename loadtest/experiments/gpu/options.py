"""The options of the measurement of a GPU, as its command line has them."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from retort.loadtest.experiments.gpu.variants import NULL, VARIANTS
from retort.models.runtime.cores import usable_cores

PARTS = ("machine", "probe", "bare", "http", "report")
# Client processes leave most of the cores to the server: a request of 10 passages takes a front end
# several times as long as a client.
CORES_PER_CLIENT_PROCESS = 4


@dataclass(frozen=True, slots=True)
class Options:
    """What a part is to measure; `name` is that of its file."""

    part: str
    variant: str
    out: Path
    device: str
    bundle: str
    passages: tuple[int, ...]  # per request
    tokens: int  # per pair
    batch_tokens: tuple[int, ...]  # of larger bare batches
    rounds: int
    seconds: float
    workers: tuple[int, ...]  # front ends of each server; none: one server, with its usual number
    pairs_in_flight: int
    client_processes: int
    torch: bool
    teachers: tuple[str, ...]

    @property
    def name(self) -> str:
        """The part's, with its variant."""
        return f"{self.part}-{self.variant}" if self.variant else self.part

    @property
    def cache(self) -> Path:
        """Where what is built for a provider is kept, for all parts."""
        return self.out / "cache"


def parse(arguments: Sequence[str]) -> Options:
    """Read the command line. Ends the program if a part and its variant do not fit."""
    parser = argparse.ArgumentParser(prog="python -m retort.loadtest.experiments.gpu")
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("variant", nargs="?", default="")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--device", choices=sorted(VARIANTS), default="cuda")
    parser.add_argument("--bundle", default="retort-small")
    parser.add_argument("--passages", type=int, nargs="+", default=[10, 100])
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--batch-tokens", type=int, nargs="*", default=[])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=1.5)
    parser.add_argument("--workers", type=int, nargs="*", default=[])
    # 128 tokens each, they fill two batches of 65,536 tokens three times, and the queue not quite.
    parser.add_argument("--pairs-in-flight", type=int, default=3_200)
    processes = max(1, usable_cores() // CORES_PER_CLIENT_PROCESS)
    parser.add_argument("--client-processes", type=int, default=processes)
    parser.add_argument("--torch", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--teachers", nargs="*", default=["12x768"])
    read = vars(parser.parse_args(arguments))
    allowed = [*VARIANTS[read["device"]]] if read["part"] in ("probe", "http") else [""]
    if read["part"] == "http":
        allowed.append(NULL)
    if read["variant"] not in allowed:
        parser.error(
            f"{read['part']} on {read['device']} takes one of {allowed}, not {read['variant']!r}"
        )
    lists = {name: tuple(value) for name, value in read.items() if isinstance(value, list)}
    return Options(**{**read, **lists})
