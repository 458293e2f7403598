"""Retort: distil slow question-answering rankers into one small, fast one, and serve it.

In Python, without a server:

>>> import retort
>>> ranker = retort.load("retort-small")
>>> passages = ["Paris is in France.", "The tower is 330 metres tall."]
>>> [result.index for result in ranker.rank("how tall is the eiffel tower", passages)]
[1, 0]

Importing the package costs nothing: numpy and a backend are imported by `load`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from retort.ranker import RankedPassage, Ranker, load

__all__ = ["RankedPassage", "Ranker", "load"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from retort import ranker

    return getattr(ranker, name)
