"""The locustfile as Locust's users call it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.loadtest.stalling import serve

ROOT = Path(__file__).parents[2]


def locust(*arguments: str, file: str = "loadtest/locustfile.py", **variables: str) -> Any:
    """Run locust headless; its statistics, the only JSON it prints."""
    done = subprocess.run(
        [sys.executable, "-m", "locust", "-f", file, *arguments, "--headless", "--json",
         "--loglevel", "WARNING"],
        cwd=ROOT, env=os.environ | variables, capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_without_a_name_only_closed_users_run() -> None:
    seen: list[str] = []
    with serve(seen=seen) as host:
        (row,) = locust(
            "--host", host, "--users", "2", "--run-time", "1s", "--passages", "3",
            "--mode", "cascade", RETORT_API_KEY="secret",
        )  # fmt: skip
    assert (row["name"], row["method"], row["num_failures"]) == ("/score", "POST", 0)
    # Two open users would have sent two a second.
    assert row["num_requests"] > 10
    assert set(seen) == {"/score cascade Bearer secret"}


@pytest.mark.slow
def test_an_open_user_follows_its_rate_under_a_shape() -> None:
    with serve() as host:
        (row,) = locust(
            "OpenLoopUser", "--host", host, "--users", "5", "--run-time", "2s", "--rate", "10",
            "--arrivals", "even", file="loadtest/locustfile.py,loadtest/shapes/soak.py",
        )  # fmt: skip
    # The first tick has one user, the next all five: ten and fifty requests a second.
    assert 30 <= row["num_requests"] <= 80
    assert row["num_failures"] == 0
