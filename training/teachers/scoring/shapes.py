"""Shapes of servers: how a ranker over HTTP is asked for scores, and how it answers.

Every answer is checked: as many scores as passages, each passage once, and all of them numbers. A
server that means something else by a request than was meant is therefore found out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Body = dict[str, Any]


class StrangeAnswer(ValueError):
    """An answer that is not of the shape."""


@dataclass(frozen=True, slots=True)
class Shape:
    """How one query and its passages are sent, and where an answer has the list of scores.

    `listed` is the field of that list, "" where the answer is the list; `score` the field of one
    score. `raw` says that scores are asked for, and given, without a sigmoid.
    """

    name: str
    body: Callable[[str, Sequence[str]], Body]
    listed: str
    score: str
    raw: bool = False
    models: bool = True

    def request(self, query: str, passages: Sequence[str], model: str | None) -> Body:
        """The body; `model` is its model's name, where there is one."""
        named = {"model": model} if model is not None and self.models else {}
        return {**named, **self.body(query, passages)}

    def read(self, answer: Any, count: int) -> list[float]:
        """Scores in the order of the passages. Raises `StrangeAnswer`."""
        listed = answer
        if self.listed:
            listed = answer.get(self.listed) if isinstance(answer, Mapping) else None
        if not isinstance(listed, list):
            raise StrangeAnswer(f"no list {self.listed or 'of scores'} in {str(answer)[:200]}")
        found = dict(self._pairs(listed))
        if len(listed) != count or found.keys() != set(range(count)):
            raise StrangeAnswer(f"{len(listed)} scores of {count} passages: {str(listed)[:200]}")
        return [found[index] for index in range(count)]

    def _pairs(self, listed: list[Any]) -> Iterator[tuple[int, float]]:
        for item in listed:
            index = item.get("index") if isinstance(item, Mapping) else None
            score = item.get(self.score) if isinstance(item, Mapping) else None
            number = isinstance(score, int | float) and not isinstance(score, bool)
            if not isinstance(index, int) or not number or not math.isfinite(score or 0.0):
                raise StrangeAnswer(f"no index with a finite {self.score}: {str(item)[:200]}")
            yield index, float(score or 0.0)


SHAPES: dict[str, Shape] = {
    "retort": Shape("retort", lambda q, p: {"query": q, "passages": list(p)}, "results", "score"),
    "tei": Shape(
        "tei",
        lambda q, p: {"query": q, "texts": list(p), "raw_scores": True, "truncate": True},
        "",
        "score",
        raw=True,
        models=False,
    ),
    "cohere": Shape(
        "cohere", lambda q, p: {"query": q, "documents": list(p)}, "results", "relevance_score"
    ),
    "vllm": Shape("vllm", lambda q, p: {"text_1": q, "text_2": list(p)}, "data", "score"),
}


def likely(path: str) -> list[Shape]:
    """The shapes that the route at `path` may have, the likeliest first."""
    parts = path.rstrip("/").split("/")
    if parts[-1] == "score":
        names = ["vllm"] if "v1" in parts else ["retort", "vllm"]
    elif any(part in ("v1", "v2") for part in parts):
        names = ["cohere"]
    else:
        names = ["tei", "cohere"]
    return [SHAPES[name] for name in names]
