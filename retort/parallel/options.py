"""The options of a command that can run on a Ray cluster."""

from __future__ import annotations

from typing import Annotated

import typer

from retort.parallel.cluster import Cluster

RayOption = Annotated[
    bool, typer.Option("--ray", help="Let the nodes of a Ray cluster score. Extra ray.")
]
AddressOption = Annotated[
    str | None,
    typer.Option(
        metavar="HOST:PORT",
        help="With --ray, the cluster's head (default: RAY_ADDRESS, else Ray on this machine).",
    ),
]
CpusOption = Annotated[int, typer.Option(min=1, help="With --ray, the cores that each task gets.")]
GpusOption = Annotated[
    float, typer.Option(min=0.0, help="With --ray, the GPUs, or the share of one, likewise.")
]


def cluster_of(on_ray: bool, address: str | None, cpus: int, gpus: float) -> Cluster | None:
    """The cluster that the options name; None without --ray.

    Raises `ValueError` for an option that only --ray has a use for.
    """
    if on_ray:
        return Cluster(address, cpus, gpus)
    given = {"--address": address is not None, "--cpus": cpus != 1, "--gpus": gpus != 0.0}
    if wrong := [name for name, is_given in given.items() if is_given]:
        raise ValueError(f"{wrong[0]}: it is for --ray: add that, or leave it out")
    return None
