"""Shapes of rankers: how one over HTTP is asked for scores, and how it answers.

Every answer is checked: as many scores as passages, each passage once, and all of them numbers. A
server that means something else by a request than was meant is therefore found out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from retort.client.rankers.errors import StrangeAnswer

Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Shape:
    """How one query and its passages are sent, and where an answer has the list of scores.

    `listed` is the field of that list, "" where the answer is the list; `score` the field of one
    score. `raw_field` is the field that asks for scores without a sigmoid, where there is one.
    """

    name: str
    body: Callable[[str, Sequence[str]], Body]
    listed: str
    score: str
    raw_field: str | None = None
    models: bool = True

    def request(self, query: str, passages: Sequence[str], model: str | None, raw: bool) -> Body:
        """The body; `model` is its model's name, where there is one."""
        named = {"model": model} if model is not None and self.models else {}
        scale = {} if self.raw_field is None else {self.raw_field: raw}
        return {**named, **self.body(query, passages), **scale}

    def read(self, answer: Any, count: int) -> list[float]:
        """Scores in the order of the passages. Raises `StrangeAnswer`."""
        listed = answer
        if self.listed:
            listed = answer.get(self.listed) if isinstance(answer, Mapping) else None
        if not isinstance(listed, list):
            raise StrangeAnswer(f"no list {self.listed or 'of scores'}", answer)
        found = dict(self._pairs(listed))
        if len(listed) != count or found.keys() != set(range(count)):
            raise StrangeAnswer(f"{len(listed)} scores of {count} passages", listed)
        return [found[index] for index in range(count)]

    def _pairs(self, listed: list[Any]) -> Iterator[tuple[int, float]]:
        for item in listed:
            index = item.get("index") if isinstance(item, Mapping) else None
            score = _number(item.get(self.score)) if isinstance(item, Mapping) else math.nan
            if not isinstance(index, int) or not math.isfinite(score):
                raise StrangeAnswer(f"no index with a finite {self.score}", item)
            yield index, score


SHAPES: dict[str, Shape] = {
    "retort": Shape("retort", lambda q, p: {"query": q, "passages": list(p)}, "results", "score"),
    "tei": Shape(
        "tei",
        lambda q, p: {"query": q, "texts": list(p), "truncate": True},
        "",
        "score",
        raw_field="raw_scores",
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


def _number(value: Any) -> float:
    """A number of an answer; NaN for what is none, or is beyond floats."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.nan
