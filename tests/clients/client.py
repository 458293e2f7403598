"""A client that is put to work: where it comes from, how it is set up, and what is asked of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Literal


class Case(Enum):
    """What a client is asked for; the value is how the page calls it."""

    ALL = "all"
    TOP_N = "top_n"
    KEY = "a key"
    WRONG_KEY = "wrong key"
    TOO_MANY = "too many documents"
    OVERLOAD = "overload"
    UNKNOWN_MODEL = "unknown model"


RANKINGS = (Case.ALL, Case.TOP_N, Case.KEY)
# What the server's message says in each, as a regular expression.
ERRORS: dict[Case, str] = {
    Case.WRONG_KEY: "API key",
    Case.TOO_MANY: "the limit is 50|more than 50",
    Case.OVERLOAD: "wait already",
    Case.UNKNOWN_MODEL: "no-such-model",
}


@dataclass(frozen=True, slots=True)
class Environment:
    """Packages that can be installed together; without any, the standard library is enough."""

    name: str
    kind: Literal["python", "node"]
    requirements: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Client:
    """One way of using a client: which function of which script, and what is expected of it."""

    name: str
    environment: Environment
    # Its requirement, whose version the page shows; none for bodies that are replayed.
    package: str | None
    script: str
    function: str
    # What is set to the server's URL, and what has to follow it there.
    setting: str
    path: str = ""
    # A regular expression for the classes of its errors.
    raises: str = "RuntimeError"
    # What the client itself cannot do, and why. It is tried: if it works, this is out of date.
    limits: Mapping[Case, str] = field(default_factory=dict)
    # What does not exist for this client, and is not tried.
    without: frozenset[Case] = frozenset()
    # What the client makes of the scores: log-odds, or those of an answer stretched to 0 … 1.
    scores: Literal["probabilities", "log-odds", "stretched"] = "probabilities"
    note: str = ""

    @property
    def key(self) -> str:
        """A short name, for choosing it and for its test."""
        return f"{self.environment.name}:{self.script}:{self.function}"
