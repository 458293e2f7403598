"""Servers as scorers: any ranker that answers over HTTP in one of the known shapes.

A query's passages go together, in requests of some passages each, several at a time. What a server
refuses for the moment is asked again when it says (`Retry-After`); a request that is too large is
halved. Which shape the route has is found by asking it once, unless the recipe says.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, ClassVar
from urllib.parse import urlsplit

import httpx
import numpy as np
from numpy.typing import NDArray
from tqdm.auto import tqdm

from retort.client.errors import ConnectionFailed, NotReady, Overloaded, RetortError
from retort.client.retry import Attempts, Clock, Deadline, retry_after
from retort.training.data.pairs import Pair
from retort.training.recipes.parts.teacher import HttpPart
from retort.training.teachers.scoring.identity import state_identity
from retort.training.teachers.scoring.scorer import Reference, Scorer, UnknownScorerError
from retort.training.teachers.scoring.shapes import SHAPES, Shape, StrangeAnswer, likely

ATTEMPTS = 12
SHOWN = 200  # characters of what a server says
# One question with two passages, to find out what a route is.
PROBE = ("how tall is the tower", ("the tower is 330 metres tall", "bread is made of flour"))
# What an answer, or `GET /info` of the same server, may say of the model.
_TELLING = ("model", "version", "model_id", "model_sha")

_PASSING: dict[int, type[RetortError]] = {
    429: Overloaded, 500: NotReady, 502: ConnectionFailed, 503: NotReady, 504: NotReady,
    529: Overloaded,
}  # fmt: skip
_TOO_LARGE = (413, 422, 400)  # who halves a request that is wrong otherwise too is told so at last


class HttpTeacherError(ValueError):
    """A server that cannot be a teacher, or did not answer."""


class _Refused(HttpTeacherError):
    """A request that the server refuses; `status` says how."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Server:
    """A server's route and how it is asked; its connections may be shared between threads."""

    url: str
    asked: HttpPart
    headers: Mapping[str, str] = field(repr=False)
    clock: Clock = field(default_factory=Clock, repr=False)

    def connect(self) -> httpx.Client:
        """Connections to the server, for a `with` statement."""
        return httpx.Client(headers=self.headers, follow_redirects=True)

    def post(self, client: httpx.Client, body: dict[str, Any], probing: bool = False) -> Any:
        """The JSON that answers `body`. Raises `HttpTeacherError`.

        While it is `probing`, a server that fails at a body may only know another shape.
        """
        deadline = Deadline(self.clock.monotonic() + self.asked.timeout, self.clock)
        attempts = Attempts(ATTEMPTS, deadline)
        while True:
            try:
                return self._once(client, body, deadline, probing)
            except RetortError as error:
                failed = error
            try:
                seconds = attempts.pause(failed)
            except RetortError as error:
                raise HttpTeacherError(f"{self.url}: {error}: gave up") from error
            time.sleep(seconds)

    def _once(
        self, client: httpx.Client, body: dict[str, Any], deadline: Deadline, probing: bool
    ) -> Any:
        try:
            response = client.post(self.url, json=body, timeout=deadline.left)
        except httpx.RequestError as error:
            raise ConnectionFailed(f"no answer ({str(error) or type(error).__name__})") from error
        status, said = response.status_code, response.text[:SHOWN]
        if status in _PASSING and not (probing and status == httpx.codes.INTERNAL_SERVER_ERROR):
            pause = retry_after(response.headers.get("Retry-After"), self.clock.wall())
            raise _PASSING[status](f"status {status}: {said}", status=status, retry_after=pause)
        if status in (401, 403):
            raise HttpTeacherError(
                f"{self.url}: status {status}: {said}: put the key into an environment variable "
                "and name that as key"
            )
        if status != httpx.codes.OK:
            raise _Refused(f"{self.url}: status {status}: {said}", status)
        try:
            return response.json()
        except ValueError as error:
            raise HttpTeacherError(f"{self.url}: an answer that is no JSON: {said}") from error

    def info(self, client: httpx.Client) -> Any:
        """What `GET /info` of the server says; None where there is no such route."""
        parts = urlsplit(self.url)
        try:
            response = client.get(f"{parts.scheme}://{parts.netloc}/info", timeout=10.0)
            return response.json() if response.status_code == httpx.codes.OK else None
        except (httpx.RequestError, ValueError):
            return None


@dataclass(frozen=True)
class HttpScorer(Scorer):
    """A ranker over HTTP, asked in one shape."""

    block_pairs: ClassVar[int] = 512  # little is lost if the run is killed
    may_change: ClassVar[bool] = True

    server: Server
    shape: Shape
    raw: bool

    @property
    def probabilities(self) -> bool:
        """Whether the server gives them."""
        return not self.raw

    def score(self, pairs: Sequence[Pair], progress: bool = False) -> NDArray[np.float64]:
        """Scores (pairs,). Raises `HttpTeacherError`."""
        rows: dict[str, dict[str, list[int]]] = {}
        for row, pair in enumerate(pairs):
            rows.setdefault(pair.query, {}).setdefault(pair.passage, []).append(row)
        most = self.server.asked.passages
        requests = [
            (query, list(passages)[start : start + most])
            for query, passages in rows.items()
            for start in range(0, len(passages), most)
        ]
        scores = np.zeros(len(pairs))
        with (
            self.server.connect() as client,
            ThreadPoolExecutor(self.server.asked.concurrency) as pool,
            tqdm(total=len(pairs), desc=self.name, disable=not progress, mininterval=10) as bar,
        ):
            answers = pool.map(lambda request: self._ask(client, *request), requests)
            try:
                for (query, texts), found in zip(requests, answers, strict=True):
                    for text, score in zip(texts, found, strict=True):
                        scores[rows[query][text]] = score
                        bar.update(len(rows[query][text]))
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        if self.probabilities and not ((scores >= 0) & (scores <= 1)).all():
            odd = float(scores[(scores < 0) | (scores > 1)][0])
            raise HttpTeacherError(
                f"{self.server.url}: a score of {odd:g}, which is no probability: say "
                "scores: raw of this teacher"
            )
        return scores

    def _ask(self, client: httpx.Client, query: str, passages: Sequence[str]) -> list[float]:
        asked = self.server.asked
        try:
            answer = self.server.post(client, self.shape.request(query, passages, asked.model))
        except _Refused as error:
            if error.status not in _TOO_LARGE or len(passages) == 1:
                raise
            half = len(passages) // 2
            return [
                *self._ask(client, query, passages[:half]),
                *self._ask(client, query, passages[half:]),
            ]
        try:
            return self.shape.read(answer, len(passages))
        except StrangeAnswer as error:
            raise HttpTeacherError(f"{self.server.url}: {error}") from error


def load_http(reference: Reference) -> HttpScorer:
    """The server at a reference's URL as a teacher; it is asked once.

    Raises `UnknownScorerError` for a key that is not there, `HttpTeacherError` for a server that
    does not answer in any shape.
    """
    url, asked = reference.path, reference.http
    if not urlsplit(url).path.strip("/"):
        raise UnknownScorerError(f"{url}: give the URL of a route, as in {url.rstrip('/')}/score")
    server = Server(url, asked, _headers(asked))
    with server.connect() as client:
        shape, answer = _find_shape(server, client)
        told = _told(answer) or _told(server.info(client))
    raw = shape.raw if asked.scores is None else asked.scores == "raw"
    scores = "scores as they are" if raw else "probabilities"
    return HttpScorer(
        reference.name,
        state_identity({}, url, shape.name, asked.model, raw, sorted(told.items())),
        server,
        shape,
        raw,
        engine="http",
        about=f"{scores} of {told.get('model') or told.get('model_id') or url} in the shape of "
        f"{shape.name}",
    )


def _headers(asked: HttpPart) -> dict[str, str]:
    if asked.key is None:
        return {}
    key = os.environ.get(asked.key)
    if not key:
        raise UnknownScorerError(f"no API key in {asked.key}: set this environment variable")
    return {"Authorization": f"Bearer {key}"}


def _find_shape(server: Server, client: httpx.Client) -> tuple[Shape, Any]:
    """The shape in which the server answers, and what it answered."""
    asked = server.asked
    known = [SHAPES[asked.shape]] if asked.shape else likely(urlsplit(server.url).path)
    query, passages = PROBE
    failed: list[str] = []
    for shape in known:
        try:
            answer = server.post(client, shape.request(query, passages, asked.model), probing=True)
            shape.read(answer, len(passages))
        except (_Refused, StrangeAnswer) as error:
            failed.append(f"as {shape.name} {str(error).removeprefix(server.url + ': ')}")
        else:
            return shape, answer
    raise HttpTeacherError(f"{server.url} does not answer as a ranker: {'; '.join(failed)}")


def _told(answer: Any) -> dict[str, str]:
    """What an answer says of the model."""
    if not isinstance(answer, dict):
        return {}
    return {name: str(answer[name]) for name in _TELLING if answer.get(name)}
