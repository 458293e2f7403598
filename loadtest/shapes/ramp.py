"""The ramp: a warm-up, a slow rise and a while at the peak.

    locust -f loadtest/locustfile.py,loadtest/shapes/ramp.py OpenLoopUser --headless \
        --host http://localhost:8080 --users 50 --run-time 300s
"""

from __future__ import annotations

from retort.loadtest.shapes import StagedShape
from retort.loadtest.stages import RAMP


class Ramp(StagedShape):
    """A warm-up, a slow rise and a while at the peak; see `loadtest/stages.py`."""

    stages = RAMP
    seconds = 300.0
