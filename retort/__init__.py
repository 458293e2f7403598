"""Retort: distil slow question-answering rankers into one small, fast one, and serve it.

In Python, without a server:

>>> import retort
>>> ranker = retort.load("retort-small")
>>> passages = ["Paris is in France.", "The tower is 330 metres tall."]
>>> [result.index for result in ranker.rank("how tall is the eiffel tower", passages)]
[1, 0]

`retort.Client` does the same over HTTP. Importing the package costs nothing: `load` imports numpy
and a backend, `Client` imports httpx.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from retort.client import AsyncClient, Client, RetortError
    from retort.ranked import RankedPassage
    from retort.ranker import Ranker, load

__all__ = ["AsyncClient", "Client", "RankedPassage", "Ranker", "RetortError", "load"]

_HOMES = {
    "AsyncClient": "retort.client",
    "Client": "retort.client",
    "RankedPassage": "retort.ranked",
    "Ranker": "retort.ranker",
    "RetortError": "retort.client",
    "load": "retort.ranker",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(home), name)
