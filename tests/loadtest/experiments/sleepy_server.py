"""A server for tests of stress: the real one over a backend that sleeps for every token.

Sleeping costs no core, so its capacity hardly depends on what else the machine does.
`python -m tests.loadtest.experiments.sleepy_server BUNDLE --host H --port P` serves until it is
stopped.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import uvicorn

from retort.models.arrays import LogitArray
from retort.models.bundle import read_bundle
from retort.models.encoding import Batch
from retort.service.http.app import create_app
from retort.service.settings import Settings
from tests.fake_bundle import overlap
from tests.service.running import fake_service

BATCH_SECONDS = 0.002
TOKEN_SECONDS = 100e-6
BATCH_TOKENS = 512


def sleepy(batch: Batch) -> LogitArray:
    """The scores of `overlap`, after the time that they are said to take."""
    rows, columns = batch.shape
    time.sleep(BATCH_SECONDS + rows * columns * TOKEN_SECONDS)
    return overlap(batch)


def main() -> None:
    """Serve."""
    parser = argparse.ArgumentParser()
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--host")
    parser.add_argument("--port", type=int)
    asked = parser.parse_args()
    settings = Settings(batch_tokens=BATCH_TOKENS, passage_cache=100)
    app = create_app(fake_service(read_bundle(asked.bundle), sleepy, settings))
    uvicorn.run(app, host=asked.host, port=asked.port, log_level="warning")


if __name__ == "__main__":
    main()
