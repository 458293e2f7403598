"""A Ray cluster: jobs are scattered over its nodes as tasks, and gathered as they are done.

Ray restarts what a lost node was doing on another one, and nothing else: results that are here are
here. Retort has to be installed on every node, and what a job names by its path must lie there.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

Setup = TypeVar("Setup")
Job = TypeVar("Job")
Argument = TypeVar("Argument")
Result = TypeVar("Result")

# Tasks of each place that runs one: while it works, the next one's argument is on its way.
AHEAD = 2
# How often a task is begun again whose node is lost. It is not endless: a job may kill its worker.
RETRIES = 3


@dataclass(frozen=True, slots=True)
class Cluster:
    """Where tasks run, and what each of them takes up.

    `address` is that of the cluster's head; None is the cluster that RAY_ADDRESS names, or else one
    that is started on this machine for as long as this process lives.
    """

    address: str | None = None
    cpus: int = 1
    gpus: float = 0.0

    def each(
        self,
        function: Callable[[Setup, Argument], Result],
        setup: Setup,
        jobs: Iterable[Job],
        argument_of: Callable[[Job], Argument],
    ) -> Generator[tuple[Job, Result]]:
        """Each job with `function(setup, argument_of(job))`, as they are done.

        What `function` raises is raised here. Raises `ConnectionError` if there is no cluster at
        the address, and `ValueError` if none of its nodes has room for a task.
        """
        ray = self._connect()
        task = ray.remote(function).options(
            num_cpus=self.cpus,
            num_gpus=self.gpus,
            max_retries=RETRIES,
            scheduling_strategy="SPREAD",
        )
        given = ray.put(setup)
        coming = iter(jobs)
        flying: dict[Any, Job] = {}
        try:
            while True:
                room = AHEAD * self._places(ray) - len(flying)
                for found in islice(coming, max(0, room)):
                    flying[task.remote(given, argument_of(found))] = found
                if not flying:
                    return
                done, _ = ray.wait(list(flying), num_returns=1)
                for reference in done:
                    job = flying.pop(reference)
                    try:
                        result: Result = ray.get(reference)
                    except ray.exceptions.RayTaskError as error:
                        raise error.cause from None
                    yield job, result
        finally:
            for reference in flying:
                ray.cancel(reference, force=True)

    def call(self, function: Callable[[Setup], Result], setup: Setup) -> Result:
        """`function(setup)`, on one of the nodes. Raises as `each`."""
        ((_, result),) = self.each(lambda given, _: function(given), setup, [True], bool)
        return result

    def _connect(self) -> Any:
        import ray

        if not ray.is_initialized():
            ray.init(address=self.address, log_to_driver=False, logging_level=logging.WARNING)
        return ray

    def _places(self, ray: Any) -> int:
        """How many tasks run at once; asked again and again, for nodes come and go."""
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        places = sum(
            min(
                int(node.get("CPU", 0) // self.cpus),
                int(node.get("GPU", 0) // self.gpus) if self.gpus else 2**31,
            )
            for node in nodes
        )
        if not places:
            raise ValueError(
                f"none of the cluster's {len(nodes)} nodes has {self.cpus} CPUs and {self.gpus:g} "
                "GPUs: give a smaller --cpus or --gpus"
            )
        return places
