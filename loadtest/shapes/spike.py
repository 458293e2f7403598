"""The spike: a burst of five times the usual load.

    locust -f loadtest/locustfile.py,loadtest/shapes/spike.py OpenLoopUser --headless \
        --host http://localhost:8080 --users 50 --run-time 120s
"""

from __future__ import annotations

from retort.loadtest.shapes import StagedShape
from retort.loadtest.stages import SPIKE


class Spike(StagedShape):
    """A burst of five times the usual load; see `loadtest/stages.py`."""

    stages = SPIKE
    seconds = 120.0
