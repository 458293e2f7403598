"""The load shapes, one Locust `LoadTestShape` per file, so that `locust -f` can be given one.

A shape takes its peak from Locust's `--users` and its length from `--run-time`, on the command
line and in the web page alike. For `OpenLoopUser`s the users are requests per second.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from locust import LoadTestShape

from retort.loadtest.stages import Stage, users_at

USERS = 10


class StagedShape(LoadTestShape):
    """Follows its stages; a subclass sets them, and the seconds of a run without `--run-time`."""

    abstract = True
    use_common_options = True
    stages: ClassVar[Sequence[Stage]] = ()
    seconds: ClassVar[float] = 300.0

    def tick(self) -> tuple[int, float] | None:
        """Users at this moment and how many to start per second; None ends the test."""
        options = self.runner.environment.parsed_options if self.runner else None
        peak = getattr(options, "num_users", None) or USERS
        seconds = getattr(options, "run_time", None) or self.seconds
        passed: float = self.get_run_time()  # type: ignore[no-untyped-call]
        users = users_at(self.stages, passed / float(seconds), peak)
        return None if users is None else (users, float(peak))
