"""Information: what a server says of itself."""

from __future__ import annotations

import msgspec


class Limits(msgspec.Struct, frozen=True):
    """What a request may ask for. `max_pairs` counts each window of a long passage."""

    max_passages: int
    max_body_bytes: int
    max_pairs: int
    max_windows: int
    overlap_tokens: int
    timeout_ms: int
    max_timeout_ms: int


class ServerInfo(msgspec.Struct, frozen=True):
    """`GET /info`: the release, the state (`ready` and others), the modes and the limits."""

    release: str
    status: str
    mode: str
    modes: tuple[str, ...]
    limits: Limits


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
