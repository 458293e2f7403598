"""Retort in Ray Serve: `serve run retort.ray:app bundle=retort-small`.

`app` makes a Serve application of the settings of `retort serve`; `QueuedTokens` is a policy of
autoscaling for it. Both are named in a Serve config file by `retort.ray:…`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from retort.ray.policy import QueuedTokens

if TYPE_CHECKING:
    from ray.serve import Application

__all__ = ["QueuedTokens", "app"]


def app(args: Mapping[str, Any]) -> Application:
    """The Serve application; `args` are settings of `retort serve` by their names.

    Raises `StartError` for a setting that there is not, or that is not for a replica.
    """
    from retort.ray.serving import application

    return application(args)
