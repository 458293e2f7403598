"""The soak: the peak for the whole run.

    locust -f loadtest/locustfile.py,loadtest/shapes/soak.py OpenLoopUser --headless \
        --host http://localhost:8080 --users 50 --run-time 3600s
"""

from __future__ import annotations

from retort.loadtest.shapes import StagedShape
from retort.loadtest.stages import SOAK


class Soak(StagedShape):
    """The peak for the whole run; see `loadtest/stages.py`."""

    stages = SOAK
    seconds = 3600.0
