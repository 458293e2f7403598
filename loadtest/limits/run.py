"""The run: a fresh server for every part, each finding kept as soon as it is there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from retort.loadtest.limits.arithmetic import measure_arithmetic
from retort.loadtest.limits.breakdown import measure_breakdown
from retort.loadtest.limits.found import Kept, Part, read_kept
from retort.loadtest.limits.ground import Ground, Options, Progress
from retort.loadtest.limits.memory import measure_memory
from retort.loadtest.limits.neighbour import measure_neighbour
from retort.loadtest.limits.overload import measure_overload
from retort.loadtest.limits.padding import measure_padding
from retort.loadtest.machine import describe_machine
from retort.loadtest.server import Server, serve_command
from retort.models.bundle import read_bundle
from retort.models.find import find_bundle
from retort.service.settings import load_settings

# In the order in which they are measured and shown; the memory takes longest.
PARTS: dict[str, Callable[[Ground], Part]] = {
    "padding": measure_padding,
    "neighbour": measure_neighbour,
    "overload": measure_overload,
    "arithmetic": measure_arithmetic,
    "breakdown": measure_breakdown,
    "memory": measure_memory,
}
# What two cores manage at least, of pairs as mixed as these.
SLOW_PAIRS_PER_SECOND = 300
# Starting Locust for a step, and the server for a part.
STEP_S, START_S = 4.0, 12.0


@dataclass(frozen=True, slots=True)
class Missed:
    """A part that could not be measured, and why."""

    part: str
    why: str


def check_parts(names: Sequence[str]) -> tuple[str, ...]:
    """The parts of these names in their order, all where none is given.

    Raises `ValueError` for a name that there is not.
    """
    unknown = sorted(set(names) - set(PARTS))
    if unknown:
        raise ValueError(f"no part {', '.join(unknown)}: there are {', '.join(PARTS)}")
    return tuple(part for part in PARTS if part in names or not names)


def about_s(options: Options, parts: Sequence[str]) -> float:
    """About how many seconds the parts take on two cores."""
    step = options.seconds + STEP_S
    memory = (options.memory_pairs + options.warmup_pairs) / SLOW_PAIRS_PER_SECOND
    each = {
        "padding": 2 * step,
        "neighbour": 2 * options.rounds * step,
        "overload": 2 * options.rounds * step,
        "arithmetic": 2 * options.rounds * options.seconds,
        "breakdown": 2 * step,
        "memory": memory,
    }
    return sum(each[part] + START_S for part in parts)


def run_parts(
    options: Options, parts: Sequence[str], keep: Path, progress: Progress
) -> Iterator[Kept | Missed]:
    """Measure part by part; each finding is kept in `keep` before it is given.

    A part that fails does not stop the others. Raises `BundleError` or `StartError` if there is
    nothing to serve.
    """
    bundle = read_bundle(find_bundle(options.bundle))
    settings = load_settings(options.settings)
    file = ("--settings", str(options.settings)) if options.settings else ()
    command = serve_command(str(bundle.folder), "--log-level", "warning", *file)
    for part in parts:
        progress(f"starting the server for {part}")
        try:
            with Server(command) as server:
                ground = Ground(server, bundle, bundle.encoder(), settings, options, progress)
                kept = Kept(
                    created=datetime.now(UTC).strftime("%Y-%m-%d"),
                    command=options.command,
                    machine=describe_machine(),
                    served=_served(ground),
                    finding=PARTS[part](ground).finding(),
                )
        except (ValueError, RuntimeError, OSError) as error:
            yield Missed(part, str(error))
            continue
        kept.write(keep)
        yield kept


def all_kept(keep: Path) -> list[Kept]:
    """Every finding in `keep`, of this run and of earlier ones, in the parts' order."""
    return [kept for part in PARTS if (kept := read_kept(keep, part)) is not None]


def _served(ground: Ground) -> str:
    told, manifest = ground.backend(), ground.bundle.manifest
    return (
        f"{manifest.name} {manifest.version} on {told['backend']}/{told['provider']}/"
        f"{told['precision']}, batches of up to {told['batch_tokens']:,} tokens, "
        f"{told['slots']} at once"
    )
