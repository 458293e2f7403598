"""A subject for tests of stress: a server that sleeps, or none where the outcomes are made up."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from retort.loadtest.experiments.stress_parts import Subject
from retort.loadtest.load import Outcome, Step, run_step
from retort.loadtest.options import StressOptions
from retort.loadtest.servers import Server
from retort.loadtest.targets import Target
from tests.fake_bundle import make_encoder, make_fake_bundle

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
def made_up_subject(folder: Path) -> Iterator[Subject]:
    """A subject whose server does not run."""
    bundle = make_fake_bundle(folder / "fake")
    command = (sys.executable, "-m", "tests.loadtest.experiments.sleepy_server")
    server = Server(Target("sleepy", "the sleepy server", (*command, str(bundle.folder))))
    options = StressOptions(
        pairs=write_pairs(folder),
        clients=8,
        rounds=1,
        seconds=0.5,
        rate=10.0,
        large=40,
        timeout_ms=300,
    )
    try:
        yield Subject(server, bundle, make_encoder(), options, log=lambda line: None)
    finally:
        server.stop()


@contextmanager
def sleepy_subject(folder: Path) -> Iterator[Subject]:
    """A subject whose server runs and sleeps for every token."""

    def run(step: Step) -> Outcome:
        return run_step(replace(step, warmup_s=0.2))

    with made_up_subject(folder) as subject, subject.server:
        yield replace(subject, run=run)
