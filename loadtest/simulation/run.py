"""The run of a simulation: from options to the report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from retort.loadtest.simulation.demand import Demand, read_demand
from retort.loadtest.simulation.policies import CONTENDERS
from retort.loadtest.simulation.report import Report, Setup
from retort.loadtest.simulation.scenarios import Told, head_of_line, sizes, starvation, sweep
from retort.loadtest.simulation.scene import Scene
from retort.loadtest.simulation.simulator import Machine
from retort.models.bundle import read_bundle
from retort.models.find import find_bundle
from retort.service.engine.scheduler import Policy, length_steps


@dataclass(frozen=True, slots=True)
class Options:
    """What `retort simulate` was asked for."""

    bundle: str
    requests: int
    passages: int
    loads: tuple[float, ...]
    batch_tokens: int
    length_step: int
    overhead_tokens: int
    tokens_per_second: float
    queue_tokens: int
    seed: int
    pairs: Path | None = None
    command: str = "retort simulate"


def run_simulation(options: Options, told: Told) -> Report:
    """Simulate every scenario; `told` hears what begins.

    Raises `BundleError`, or `ValueError` for options or pairs that do not fit the bundle.
    """
    encoder = read_bundle(find_bundle(options.bundle)).encoder()
    told("counting the tokens of the requests")
    demand = read_demand(encoder, options.pairs, options.passages)
    policy = Policy(
        length_steps(encoder.truncation.max_length, options.length_step),
        options.batch_tokens,
        options.overhead_tokens,
    )
    machine = Machine(options.overhead_tokens, 1 / options.tokens_per_second, options.queue_tokens)
    scene = Scene(demand, policy, machine, options.requests, options.seed)
    points = tuple(sweep(scene, sorted(options.loads), told))
    told("requests of 1,000 passages among requests of 10; a flood of short pairs")
    return Report(
        setup=Setup(
            command=options.command,
            demand=_describe(demand, options),
            machine=(
                f"{options.tokens_per_second:,.0f} tokens a second, "
                f"and {options.overhead_tokens} tokens' time to start a batch"
            ),
            limits=(
                f"{options.batch_tokens:,} tokens a batch, lengths in steps of "
                f"{options.length_step}, {options.queue_tokens:,} tokens waiting"
            ),
            requests=options.requests,
            seed=options.seed,
        ),
        points=points,
        heads=tuple(head_of_line(scene, contender) for contender in CONTENDERS),
        starved=tuple(starvation(scene, contender) for contender in CONTENDERS),
        sizes=tuple(sizes(scene, told)),
    )


def _describe(demand: Demand, options: Options) -> str:
    lengths = [length for request in demand.requests for length in request]
    source = options.pairs.name if options.pairs else "the extract that ships"
    return (
        f"drawn from {len(demand.requests):,} of {source}, {_passages(demand)} passages each, "
        f"{min(lengths)} to {max(lengths)} tokens a pair, mean {sum(lengths) / len(lengths):.0f}"
    )


def _passages(demand: Demand) -> str:
    counts: Sequence[int] = [len(request) for request in demand.requests]
    least, most = (1, demand.most) if demand.most else (min(counts), max(counts))
    return f"{least} to {most}"
