"""Orders: what the supervisor gives a process to start with, as one line on its standard input.

A secret among the settings is on no command line, in no environment and in no file.
"""

from __future__ import annotations

import os
import sys
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import orjson

from retort.service.metrics import Role
from retort.service.settings import Settings

# A front end's name is this and its number.
FRONT_END_NAME = "front"


@dataclass(frozen=True, slots=True)
class Order:
    """What every process needs: who it is, who its supervisor is, and where to reach it.

    `name` is reused by its successor, `identity` is its own; `metrics` is the folder where the
    processes keep their metrics, and `board` the file of its board.
    """

    settings: dict[str, Any]
    name: str
    identity: str
    parent: int
    control: str
    board: str
    metrics: str

    def read_settings(self) -> Settings:
        """The server's settings."""
        return Settings(**self.settings)


@dataclass(frozen=True, slots=True)
class EngineOrder(Order):
    """Also the bundle to load, by name or path, the name it must have, and where to listen.

    In the folder `copy` it leaves what front ends read of the bundle: later the bundle's own folder
    may hold another version. `preferred` are the backend, provider and precision of the
    engine whose place it takes, if there is one.
    """

    bundle: str
    model: str
    role: Role
    address: str
    copy: str
    preferred: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class FrontEndOrder(Order):
    """Also the descriptor of the socket that it accepts connections from."""

    listener: int


AnyOrder = TypeVar("AnyOrder", EngineOrder, FrontEndOrder)


def give(order: EngineOrder | FrontEndOrder) -> bytes:
    """The line."""
    return orjson.dumps(asdict(order)) + b"\n"


def take(kind: type[AnyOrder]) -> AnyOrder:
    """Read the order from standard input, which is closed then."""
    line = sys.stdin.buffer.readline()
    nowhere = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nowhere, sys.stdin.fileno())
    os.close(nowhere)
    return kind(**orjson.loads(line))
