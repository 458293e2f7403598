"""The ground for tests of limits: a sleepy server, or none where steps are made up."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from retort.loadtest.limits.ground import Ground, Options
from retort.loadtest.server import Server
from retort.service.settings import Settings
from tests.fake_bundle import make_encoder, make_fake_bundle

OPTIONS = Options(clients=8, rounds=1, seconds=1.0, rate=5.0, large=40, timeout_ms=300)
TEXTS = (
    "what is the tower\tthe tower is old in paris",
    "where is france\tfrance is in it by a tower the old one",
    "who is in paris\tparis",
)


def write_pairs(folder: Path) -> Path:
    """A file of three questions with a passage each, and ten passages more."""
    path = folder / "pairs.tsv"
    more = [f"what else {n}\tthe {'old ' * n}tower {n}" for n in range(10)]
    path.write_text("\n".join([*TEXTS, *more]) + "\n", encoding="utf-8")
    return path


@contextmanager
def made_up_ground(folder: Path) -> Iterator[Ground]:
    """A ground whose server does not run: for parts whose steps are given."""
    bundle = make_fake_bundle(folder / "fake")
    server = Server([])
    try:
        yield Ground(
            server=server,
            bundle=bundle,
            encoder=make_encoder(),
            settings=Settings(),
            options=replace(OPTIONS, pairs=write_pairs(folder)),
            progress=lambda step: None,
        )
    finally:
        server.stop()


@contextmanager
def sleepy_ground(folder: Path) -> Iterator[Ground]:
    """A ground whose server runs and sleeps for every token."""
    command = [sys.executable, "-m", "tests.loadtest.limits.sleepy_server"]
    with (
        made_up_ground(folder) as ground,
        Server([*command, str(ground.bundle.folder)]) as server,
    ):
        yield replace(ground, server=server)
