"""How many replicas Ray Serve runs: as many as keep the queue short, counted in tokens."""

from __future__ import annotations

import math
from typing import Any

QUEUE = "queue_tokens"  # what a replica tells, by this name


class QueuedTokens:
    """A policy of autoscaling: so many replicas that each has at most `tokens` waiting.

    Serve asks it now and then, keeps to `min_replicas` and `max_replicas`, and waits its delays. A
    request's cost is its tokens and not its number, which Serve counts otherwise: one with 400
    passages waits a hundred times as long as one with four.
    """

    def __init__(self, tokens: int = 16_384) -> None:
        if tokens < 1:
            raise ValueError(f"tokens is {tokens}: let at least one wait")
        self._tokens = tokens

    def __call__(self, context: Any) -> tuple[int, dict[str, Any]]:
        """The number of replicas, from an `AutoscalingContext`; and what to remember, nothing.

        A replica that has told nothing yet counts as if its queue were empty.
        """
        told: dict[Any, float] = (context.aggregated_metrics or {}).get(QUEUE) or {}
        replicas = math.ceil(sum(told.values()) / self._tokens)
        return max(1, replicas), {}
