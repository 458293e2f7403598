"""Servers as scorers: any ranker that answers over HTTP in one of the known shapes.

A query's passages go together, in requests of some passages each, several at a time. What a server
refuses for the moment is asked again when it says (`Retry-After`). How a ranker is asked and what
it answers is in `retort/client/rankers/`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar
from urllib.parse import urlsplit

import httpx
import numpy as np
from numpy.typing import NDArray
from tqdm.auto import tqdm

from retort.client.errors import ConnectionFailed, RetortError
from retort.client.rankers.asking import Route, answered, info_url, read_response, told
from retort.client.rankers.errors import KeyRefused, NoRanker, RankerError
from retort.client.rankers.shapes import Body, Shape
from retort.client.retry import Attempts, Clock, Deadline
from retort.training.data.pairs import Pair
from retort.training.recipes.parts.teacher import HttpPart
from retort.training.teachers.scoring.identity import state_identity
from retort.training.teachers.scoring.scorer import Reference, Scorer, UnknownScorerError

ATTEMPTS = 12


class HttpTeacherError(ValueError):
    """A server that cannot be a teacher, or did not answer."""


@dataclass(frozen=True)
class Server:
    """A ranker, and how long it is waited for; its connections may be shared between threads."""

    route: Route
    timeout: float  # seconds for a request with all its attempts
    headers: Mapping[str, str] = field(repr=False)
    clock: Clock = field(default_factory=Clock, repr=False)

    def connect(self) -> httpx.Client:
        """Connections to the server, for a `with` statement."""
        return httpx.Client(headers=self.headers, follow_redirects=True)

    def find(self, client: httpx.Client) -> tuple[Shape, Any]:
        """The shape in which the server answers, and an answer. Raises `HttpTeacherError`."""
        with self._told():
            return answered(self.route.find(), partial(self._post, client, probing=True))

    def score(
        self, client: httpx.Client, shape: Shape, query: str, passages: Sequence[str]
    ) -> list[float]:
        """The scores of passages, in their order. Raises `HttpTeacherError`."""
        with self._told():
            scores = answered(self.route.score(shape, query, passages), partial(self._post, client))
            self.route.check(shape, scores, "say scores: raw of this teacher")
            return scores

    def info(self, client: httpx.Client) -> Any:
        """What `GET /info` of the server says; None where there is no such route."""
        try:
            response = client.get(info_url(self.route.url), timeout=10.0)
            return response.json() if response.status_code == httpx.codes.OK else None
        except (httpx.RequestError, ValueError):
            return None

    def _post(self, client: httpx.Client, body: Body, probing: bool = False) -> Any:
        """The JSON that answers `body`. What passes by itself is asked again."""
        deadline = Deadline(self.clock.monotonic() + self.timeout, self.clock)
        attempts = Attempts(ATTEMPTS, deadline)
        while True:
            try:
                return self._once(client, body, deadline, probing)
            except RetortError as error:
                failed = error
            time.sleep(attempts.pause(failed))

    def _once(self, client: httpx.Client, body: Body, deadline: Deadline, probing: bool) -> Any:
        try:
            response = client.post(self.route.url, json=body, timeout=deadline.left)
        except httpx.RequestError as error:
            raise ConnectionFailed(f"no answer ({str(error) or type(error).__name__})") from error
        return read_response(
            response.status_code, response.headers, response.content, self.clock.wall(), probing
        )

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Tell what fails within as a teacher's failure, with the URL."""
        try:
            yield
        except RetortError as error:
            raise HttpTeacherError(f"{self.route.url}: {error}: gave up") from error
        except NoRanker as error:
            raise HttpTeacherError(f"{self.route.url} {error}") from error
        except KeyRefused as error:
            raise HttpTeacherError(
                f"{self.route.url}: {error}: put the key into an environment variable and name "
                "that as key"
            ) from error
        except RankerError as error:
            raise HttpTeacherError(f"{self.route.url}: {error}") from error


@dataclass(frozen=True)
class HttpScorer(Scorer):
    """A ranker over HTTP, asked in one shape."""

    block_pairs: ClassVar[int] = 512  # little is lost if the run is killed
    may_change: ClassVar[bool] = True

    server: Server
    shape: Shape
    raw: bool
    concurrency: int  # requests at a time

    @property
    def probabilities(self) -> bool:
        """Whether the server gives them."""
        return not self.raw

    def score(self, pairs: Sequence[Pair], progress: bool = False) -> NDArray[np.float64]:
        """Scores (pairs,). Raises `HttpTeacherError`."""
        rows: dict[str, dict[str, list[int]]] = {}
        for row, pair in enumerate(pairs):
            rows.setdefault(pair.query, {}).setdefault(pair.passage, []).append(row)
        most = self.server.route.passages
        requests = [
            (query, list(passages)[start : start + most])
            for query, passages in rows.items()
            for start in range(0, len(passages), most)
        ]
        scores = np.zeros(len(pairs))
        with (
            self.server.connect() as client,
            ThreadPoolExecutor(self.concurrency) as pool,
            tqdm(total=len(pairs), desc=self.name, disable=not progress, mininterval=10) as bar,
        ):
            ask = partial(self.server.score, client, self.shape)
            answers = pool.map(lambda request: ask(*request), requests)
            try:
                for (query, texts), found in zip(requests, answers, strict=True):
                    for text, score in zip(texts, found, strict=True):
                        scores[rows[query][text]] = score
                        bar.update(len(rows[query][text]))
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        return scores


def load_http(reference: Reference) -> HttpScorer:
    """The server at a reference's URL as a teacher; it is asked once.

    Raises `UnknownScorerError` for a key that is not there, `HttpTeacherError` for a server that
    does not answer in any shape.
    """
    url, asked = reference.path, reference.http
    if not urlsplit(url).path.strip("/"):
        raise UnknownScorerError(f"{url}: give the URL of a route, as in {url.rstrip('/')}/score")
    raw = None if asked.scores is None else asked.scores == "raw"
    route = Route(url, asked.shape, asked.model, raw, asked.passages)
    server = Server(route, asked.timeout, _headers(asked))
    with server.connect() as client:
        shape, answer = server.find(client)
        said = told(answer) or told(server.info(client))
    raw = route.is_raw(shape)
    scores = "scores as they are" if raw else "probabilities"
    return HttpScorer(
        reference.name,
        state_identity({}, url, shape.name, asked.model, raw, sorted(said.items())),
        server,
        shape,
        raw,
        asked.concurrency,
        engine="http",
        about=f"{scores} of {said.get('model') or said.get('model_id') or url} in the shape of "
        f"{shape.name}",
    )


def _headers(asked: HttpPart) -> dict[str, str]:
    if asked.key is None:
        return {}
    key = os.environ.get(asked.key)
    if not key:
        raise UnknownScorerError(f"no API key in {asked.key}: set this environment variable")
    return {"Authorization": f"Bearer {key}"}
