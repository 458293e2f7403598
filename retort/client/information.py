"""Information: what a server says of itself."""

from __future__ import annotations

from typing import Any

import msgspec


class Limits(msgspec.Struct, frozen=True):
    """What a request may ask for. `max_pairs` counts each window of a long passage.

    `window_score` says how windows make a passage's score; None from a server that does not tell.
    """

    max_passages: int
    max_body_bytes: int
    max_pairs: int
    max_windows: int
    overlap_tokens: int
    timeout_ms: int
    max_timeout_ms: int
    window_score: str | None = None


class NamedVersion(msgspec.Struct, frozen=True):
    """A bundle, or a ranker elsewhere, by its name and version."""

    name: str
    version: str


class RunningModel(msgspec.Struct, frozen=True):
    """A student, by its `name`, or the teacher: its bundle, that bundle's digest, what runs it.

    Nothing of that is known of one that is not loaded; of a teacher at a `url`, not all.
    """

    name: str = ""
    model: NamedVersion | None = None
    digest: str | None = None
    backend: dict[str, Any] | None = None
    url: str | None = None


class ServerInfo(msgspec.Struct, frozen=True):
    """`GET /info`: the release, the state (`ready` and others), the modes, limits and models."""

    release: str
    status: str
    mode: str
    modes: tuple[str, ...]
    limits: Limits
    models: tuple[RunningModel, ...] = ()
    teacher: RunningModel | None = None


class ServedModel(msgspec.Struct, frozen=True):
    """A model that a request can choose by `name`; `created` is in Unix seconds."""

    name: str = msgspec.field(name="id")
    version: str
    role: str
    created: int


class ModelList(msgspec.Struct, frozen=True):
    """`GET /v1/models`; the first is for requests that name none."""

    data: tuple[ServedModel, ...]


class Readiness(msgspec.Struct, frozen=True):
    """`GET /readyz`, of a server that is ready."""

    status: str
