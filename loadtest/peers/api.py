"""The API of a peer: its route, what it wants to be asked, and where its answer has the scores.

retort      {"query", "passages"}    {"results": [{"index", "score"}]}
documents   {"query", "documents"}   {"results": [{"index", "relevance_score"}]}
tensors     columns of bytes         {"outputs": [{"data": [score, …]}]}
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from retort.loadtest.step import ResultsAt
from retort.loadtest.texts import Request

TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True)
class Api:
    """How to ask. `results_at` leads to a list in the answer that has one item for each passage."""

    route: str
    results_at: ResultsAt
    body: Callable[[Request], dict[str, Any]]
    scores: Callable[[Any], list[float]]

    def encoded(self, request: Request) -> str:
        """The request as a JSON body."""
        return json.dumps(self.body(request))

    def ask(self, host: str, port: int, request: Request) -> list[float]:
        """One score for each passage, in the order of the request.

        Raises `RuntimeError` for an answer that is no 200, or not of this shape.
        """
        connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT_S)
        try:
            headers = {"Content-Type": "application/json"}
            connection.request("POST", self.route, self.encoded(request), headers)
            answer = connection.getresponse()
            text = answer.read()
        finally:
            connection.close()
        if answer.status != 200:
            raise RuntimeError(f"{self.route} was answered with {answer.status}: {text[:300]!r}")
        try:
            scores = self.scores(json.loads(text))
        except (ValueError, KeyError, IndexError, TypeError) as error:
            raise RuntimeError(f"{self.route} answered {text[:300]!r}: {error!r}") from error
        if len(scores) != len(request.passages):
            raise RuntimeError(
                f"{self.route} gave {len(scores)} scores for {len(request.passages)} passages"
            )
        return scores


def by_index(results: list[dict[str, Any]], field: str) -> list[float]:
    """Sorted results back in the order of the passages.

    >>> by_index([{"index": 1, "score": 0.9}, {"index": 0, "score": 0.1}], "score")
    [0.1, 0.9]
    """
    return [float(result[field]) for result in sorted(results, key=lambda one: int(one["index"]))]


def tensors(request: Request) -> dict[str, Any]:
    """The request as two columns of bytes, a row for each pair."""
    pairs = len(request.passages)
    columns = {"query": [request.query] * pairs, "passage": list(request.passages)}
    return {
        "inputs": [
            {"name": name, "shape": [pairs, 1], "datatype": "BYTES", "data": data}
            for name, data in columns.items()
        ]
    }


RETORT = Api(
    route="/score",
    results_at=("results",),
    body=lambda request: {"query": request.query, "passages": list(request.passages)},
    scores=lambda answer: by_index(answer["results"], "score"),
)
DOCUMENTS = Api(
    route="/rerank",
    results_at=("results",),
    body=lambda request: {
        "model": "student", "query": request.query, "documents": list(request.passages),
    },
    scores=lambda answer: by_index(answer["results"], "relevance_score"),
)  # fmt: skip
TENSORS = Api(
    route="/v2/models/student/infer",
    results_at=("outputs", 0, "data"),
    body=tensors,
    scores=lambda answer: [float(score) for score in answer["outputs"][0]["data"]],
)
