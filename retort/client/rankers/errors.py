"""Errors of rankers: why one over HTTP gave no scores.

RankerError
├── Refused         a request that the server refuses; halved where it may be too large
├── KeyRefused      401, 403: the key is missing or wrong
├── StrangeAnswer   an answer that is not of the shape
└── NoRanker        it was asked in every likely shape, and answered in none

What passes by itself (429, 5xx, no answer) is one of the client's errors that may be tried again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

SHOWN = 200  # characters of what a server says


class RankerError(ValueError):
    """A server that cannot be asked for scores, or did not answer with any.

    `what` is the reason without what the server `said`: a refusal may repeat the texts it was sent.
    """

    def __init__(self, what: str, said: str = "") -> None:
        super().__init__(f"{what}: {said}" if said else what)
        self.what = what


class Refused(RankerError):
    """A request that the server refuses; `status` says how."""

    def __init__(self, status: int, said: str = "") -> None:
        super().__init__(f"status {status}", said)
        self.status = status


class KeyRefused(RankerError):
    """The API key is missing or wrong."""


class StrangeAnswer(RankerError):
    """An answer that is not of the shape."""

    def __init__(self, what: str, answer: Any) -> None:
        super().__init__(what, str(answer)[:SHOWN])


class NoRanker(RankerError):
    """It answers in no shape; `failed` has the reasons, by the shape's name."""

    def __init__(self, failed: Mapping[str, RankerError]) -> None:
        super().__init__(f"does not answer as a ranker: {_listed(failed, str)}")
        self.what = f"does not answer as a ranker: {_listed(failed, lambda error: error.what)}"


def _listed(failed: Mapping[str, RankerError], tell: Callable[[RankerError], str]) -> str:
    return "; ".join(f"as {name} {tell(error)}" for name, error in failed.items())
