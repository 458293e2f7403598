"""The served backend: the one that a server says it runs, loaded in this process too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from retort.models.bundle import Bundle
from retort.models.runtime.base import Backend, BackendInfo
from retort.models.runtime.choose import load
from retort.service.settings import Settings


def load_served(told: Mapping[str, Any], bundle: Bundle, settings: Settings) -> Backend:
    """Load what `told`, the backend of `GET /info`, describes; `settings` are the server's.

    Raises `BackendUnavailable` if it does not run in this process.
    """
    info = BackendInfo(told["backend"], told["provider"], told["precision"])
    wish = replace(settings.wish, streams=told["streams"])
    return load(info, bundle, wish, settings.cache_dir)
