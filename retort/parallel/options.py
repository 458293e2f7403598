"""The options of a command that can run on a Ray cluster."""

from __future__ import annotations

from collections.abc import Mapping
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


def given_of(
    on_ray: bool, address: str | None, cpus: int, gpus: float, **others: object
) -> dict[str, bool]:
    """Which of the options are given, by name; `others` are None or False where they are not."""
    given = {"ray": on_ray, "address": address, "cpus": cpus != 1, "gpus": gpus != 0.0, **others}
    return {f"--{name}": value not in (None, False) for name, value in given.items()}


def check_merge(merge: int, given: Mapping[str, bool]) -> None:
    """Raise `ValueError` for an option that only scoring has a use for."""
    if wrong := [name for name, is_given in given.items() if is_given]:
        raise ValueError(f"{wrong[0]}: --merge {merge} scores nothing: leave it out")


def cluster_of(on_ray: bool, address: str | None, cpus: int, gpus: float) -> Cluster | None:
    """The cluster that the options name; None without --ray.

    Raises `ValueError` for an option that only --ray has a use for.
    """
    if on_ray:
        return Cluster(address, cpus, gpus)
    given = given_of(on_ray, address, cpus, gpus)
    if wrong := [name for name, is_given in given.items() if is_given]:
        raise ValueError(f"{wrong[0]}: it is for --ray: add that, or leave it out")
    return None
