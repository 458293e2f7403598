"""Asking: how a ranker over HTTP is asked for scores, and what its responses mean.

Nothing here sends anything. What has to be asked is a generator: it yields the body of one request
after the other, and is given the JSON that answers it, or `Refused`. `answered` and
`answered_async` run one, each with a function that sends a body; so whoever waits in a thread and
whoever awaits ask in the same way.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlsplit

from retort.client.errors import ConnectionFailed, NotReady, Overloaded, RetortError
from retort.client.rankers.errors import (
    SHOWN,
    KeyRefused,
    NoRanker,
    RankerError,
    Refused,
    StrangeAnswer,
)
from retort.client.rankers.shapes import SHAPES, Body, Shape, likely
from retort.client.retry import retry_after

Result = TypeVar("Result")
Asking = Generator[Body, Any, Result]

# One question with two passages, to find out what a route is.
PROBE = ("how tall is the tower", ("the tower is 330 metres tall", "bread is made of flour"))
# What an answer, or `GET /info` of the same server, may say of the model.
_TELLING = ("model", "version", "model_id", "model_sha")

_PASSING: dict[int, type[RetortError]] = {
    429: Overloaded, 500: NotReady, 502: ConnectionFailed, 503: NotReady, 504: NotReady,
    529: Overloaded,
}  # fmt: skip
_TOO_LARGE = (413, 422, 400)  # who halves a request that is wrong otherwise too is told so at last


@dataclass(frozen=True, slots=True)
class Route:
    """A ranker's route, and how it is asked.

    `shape` is the name of its shape, None to find it; `raw` whether its scores are as they are,
    else probabilities, None for what is usual for its shape. `passages` are the most per request.
    """

    url: str
    shape: str | None = None
    model: str | None = None
    raw: bool | None = None
    passages: int = 32

    def find(self) -> Asking[tuple[Shape, Any]]:
        """The shape in which it answers, and an answer. Raises `NoRanker` if in none."""
        known = [SHAPES[self.shape]] if self.shape else likely(urlsplit(self.url).path)
        query, passages = PROBE
        failed: dict[str, RankerError] = {}
        for shape in known:
            try:
                answer = yield self._body(shape, query, passages)
                shape.read(answer, len(passages))
            except (Refused, StrangeAnswer) as error:
                failed[shape.name] = error
            else:
                return shape, answer
        raise NoRanker(failed)

    def score(self, shape: Shape, query: str, passages: Sequence[str]) -> Asking[list[float]]:
        """The scores of passages, in their order; what is too large for a request is halved.

        Raises `RankerError`.
        """
        scores: list[float] = []
        for start in range(0, len(passages), self.passages):
            part = passages[start : start + self.passages]
            scores += yield from self._score(shape, query, part)
        return scores

    def is_raw(self, shape: Shape) -> bool:
        """Whether scores in `shape` are as they are, else probabilities."""
        return shape.raw_field is not None if self.raw is None else self.raw

    def check(self, shape: Shape, scores: Sequence[float], advice: str) -> None:
        """Raise `RankerError`, with `advice`, if scores cannot be the probabilities they should."""
        odd = [score for score in scores if not 0 <= score <= 1]
        if odd and not self.is_raw(shape):
            raise RankerError(f"a score of {odd[0]:g}, which is no probability: {advice}")

    def _score(self, shape: Shape, query: str, passages: Sequence[str]) -> Asking[list[float]]:
        try:
            answer = yield self._body(shape, query, passages)
        except Refused as error:
            if error.status not in _TOO_LARGE or len(passages) == 1:
                raise
            half = len(passages) // 2
            first = yield from self._score(shape, query, passages[:half])
            return first + (yield from self._score(shape, query, passages[half:]))
        return shape.read(answer, len(passages))

    def _body(self, shape: Shape, query: str, passages: Sequence[str]) -> Body:
        return shape.request(query, passages, self.model, self.is_raw(shape))


def answered(asking: Asking[Result], post: Callable[[Body], Any]) -> Result:
    """The result of `asking`, with `post` to send each body. Raises what both raise."""
    try:
        body = next(asking)
        while True:
            try:
                answer = post(body)
            except Refused as error:
                body = asking.throw(error)
            else:
                body = asking.send(answer)
    except StopIteration as ended:
        result: Result = ended.value
        return result


async def answered_async(asking: Asking[Result], post: Callable[[Body], Awaitable[Any]]) -> Result:
    """As `answered`, for who awaits."""
    try:
        body = next(asking)
        while True:
            try:
                answer = await post(body)
            except Refused as error:
                body = asking.throw(error)
            else:
                body = asking.send(answer)
    except StopIteration as ended:
        result: Result = ended.value
        return result


def read_response(
    status: int, headers: Mapping[str, str], content: bytes, now: float, probing: bool = False
) -> Any:
    """The JSON of a response that came at `now`, in seconds since 1970.

    Raises `Refused`, `KeyRefused`, `RankerError` for what is no JSON, or what passes by itself as
    the client's `Overloaded`, `NotReady` or `ConnectionFailed`. While it is `probing`, a server
    that fails at a body may only know another shape.
    """
    if status == 200:
        try:
            return json.loads(content)
        except (ValueError, RecursionError):
            raise RankerError("an answer that is no JSON", _said(content)) from None
    said = _said(content)
    if status in _PASSING and not (probing and status == 500):
        pause = retry_after(headers.get("Retry-After"), now)
        raise _PASSING[status](f"status {status}: {said}", status=status, retry_after=pause)
    if status in (401, 403):
        raise KeyRefused(f"status {status}", said)
    if 300 <= status < 400:
        raise RankerError(f"status {status}, a redirection: give the URL that it leads to", said)
    raise Refused(status, said)


def info_url(url: str) -> str:
    """The URL of `GET /info` of the same server, which some rankers have."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}/info"


def told(answer: Any) -> dict[str, str]:
    """What an answer, or what `GET /info` says, tells of the model.

    >>> told({"model": "large", "version": 2, "results": []})
    {'model': 'large', 'version': '2'}
    """
    if not isinstance(answer, dict):
        return {}
    found = {name: answer.get(name) for name in _TELLING}
    return {name: str(value) for name, value in found.items() if value and _is_plain(value)}


def model_told(answer: Any) -> tuple[str, str] | None:
    """Name and version of the model, as an answer or `GET /info` tells them; None if neither.

    The `version` of text-embeddings-inference is that of the server, its `model_sha` the model's.
    """
    said = told(answer)
    if "model" in said:
        return said["model"], said.get("version", "")
    return (said["model_id"], said.get("model_sha", "")) if "model_id" in said else None


def _is_plain(value: Any) -> bool:
    return isinstance(value, str | int)


def _said(content: bytes) -> str:
    return content[: 4 * SHOWN].decode(errors="replace")[:SHOWN]
