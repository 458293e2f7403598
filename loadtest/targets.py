"""Targets: the servers that are put under load, how each is started and its API.

    retort   {"query", "passages"} -> {"results": [{"index", "score"}]}

is the API of `retort serve` and of the teachers' server; other servers have one of their own.
"""

from __future__ import annotations

import http.client
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from retort.loadtest.load import ResultsAt
from retort.loadtest.traffic import Request

TIMEOUT_S = 120.0
# A minute, because a request that waits long at the highest load should be timed, not refused.
# No cache of passages, because a load test sends the same ones again and again.
PATIENT = ("--log-level", "warning", "--timeout-ms", "60000", "--passage-cache", "0")


@dataclass(frozen=True, slots=True)
class Api:
    """The HTTP API of a server.

    `results_at` leads to a list in the answer's JSON that has one item for each passage, and
    `scores` gets one score for each passage out of that JSON, in the order of the request.
    """

    route: str
    results_at: ResultsAt
    body: Callable[[Request], dict[str, Any]]
    scores: Callable[[Any], list[float]]

    def ask(self, host: str, request: Request) -> list[float]:
        """One score for each passage, from the server at the URL `host`.

        Raises `RuntimeError` for an answer that is no 200, or not of this shape, and `OSError`.
        """
        connection = http.client.HTTPConnection(urlsplit(host).netloc, timeout=TIMEOUT_S)
        try:
            headers = {"Content-Type": "application/json"}
            connection.request("POST", self.route, json.dumps(self.body(request)), headers)
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


def by_index(results: Sequence[Mapping[str, Any]], score: str) -> list[float]:
    """Sorted results back in the order of the passages.

    >>> by_index([{"index": 1, "score": 0.9}, {"index": 0, "score": 0.1}], "score")
    [0.1, 0.9]
    """
    return [float(result[score]) for result in sorted(results, key=lambda one: int(one["index"]))]


RETORT = Api(
    route="/score",
    results_at=("results",),
    body=lambda request: {"query": request.query, "passages": list(request.passages)},
    scores=lambda answer: by_index(answer["results"], "score"),
)


@dataclass(frozen=True, slots=True)
class Target:
    """A server under test.

    `command` starts it, with `--host` and `--port` appended; `environment` is added to that of
    this process.
    """

    name: str
    label: str
    command: tuple[str, ...]
    api: Api = RETORT
    ready_path: str = "/readyz"
    environment: Mapping[str, str] = field(default_factory=dict)


def serve(
    bundle: str | Path,
    *options: str,
    name: str = "retort",
    label: str = "retort",
    settings: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> Target:
    """`retort serve` of a bundle, by name or folder; options win over the settings file."""
    file = ("--settings", str(settings)) if settings else ()
    command = (sys.executable, "-m", "retort", "serve", "--bundle", str(bundle), *file, *options)
    return Target(name, label, command, environment=environment or {})
