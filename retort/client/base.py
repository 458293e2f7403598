"""The base of both clients: everything that needs no waiting."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import httpx
import msgspec

from retort.client.answers import Answer, PartAnswer, merge
from retort.client.errors import RetortError
from retort.client.information import Limits, ModelList, Readiness, ServerInfo
from retort.client.questions import Part, Question
from retort.client.replies import REQUEST_ID, failure, read
from retort.client.retry import Attempts, Clock, Deadline

Shape = TypeVar("Shape")

URL = "http://localhost:8080"
TIMEOUT_SECONDS = 10.0
ATTEMPTS = 4
CONCURRENCY = 4


@dataclass(frozen=True, slots=True)
class Call(Generic[Shape]):
    """A route, the shape of its answer, and the part of a question that it is asked, if any."""

    method: str
    path: str
    shape: type[Shape]
    part: Part | None = None
    retried: bool = True


INFO = Call("GET", "info", ServerInfo)
MODELS = Call("GET", "v1/models", ModelList)
# Here a refusal is the answer.
READY = Call("GET", "readyz", Readiness, retried=False)


def score_call(part: Part) -> Call[PartAnswer]:
    """The call that asks a part of a question."""
    return Call("POST", "score", PartAnswer, part)


class BaseClient:
    """What a client keeps, and what it does without waiting."""

    def __init__(
        self,
        base_url: str,
        api_key: str | None,
        timeout: float,
        attempts: int,
        max_passages: int | None,
        concurrency: int,
        clock: Clock | None,
    ) -> None:
        self._url = _checked_url(base_url)
        for name, value in (
            ("attempts", attempts),
            ("concurrency", concurrency),
            ("max_passages", max_passages),
        ):
            if value is not None and value < 1:
                raise ValueError(f"{name} is {value}: at least 1 is needed")
        key = os.environ.get("RETORT_API_KEY") if api_key is None else api_key
        # Bytes, since httpx takes no key that is not ASCII as text.
        self._headers = {b"Authorization": f"Bearer {key.strip()}".encode()} if key else {}
        self._timeout = _checked_seconds(timeout)
        self._attempts = attempts
        self._max_passages = max_passages
        self._concurrency = concurrency
        self._clock = clock or Clock()
        self._limits: Limits | None = None

    def _deadline(self, timeout: float | None) -> Deadline:
        """The deadline of a call that begins now."""
        seconds = self._timeout if timeout is None else _checked_seconds(timeout)
        return Deadline(self._clock.monotonic() + seconds, self._clock)

    def _tries(self, call: Call[Shape], deadline: Deadline) -> Attempts:
        """The attempts of a call."""
        return Attempts(self._attempts if call.retried else 1, deadline)

    def _request(
        self, http: httpx.Client | httpx.AsyncClient, call: Call[Shape], deadline: Deadline
    ) -> httpx.Request:
        """The request of a call; its body says how much time is left."""
        body = None if call.part is None else call.part.body(max(1, int(deadline.left * 1000)))
        return http.build_request(
            call.method,
            call.path,
            content=body,
            headers=None if body is None else {"Content-Type": "application/json"},
            extensions={"timeout": deadline},
        )

    def _value(self, call: Call[Shape], response: httpx.Response) -> Shape:
        """The value of a response. Raises `RetortError`."""
        value = read(response, call.shape, self._clock.wall())
        if isinstance(value, PartAnswer) and call.part is not None:
            request_id = response.headers.get(REQUEST_ID, value.id)
            value = msgspec.structs.replace(value, id=request_id, start=call.part.start)
        return value

    def _pause(self, attempts: Attempts, error: RetortError | httpx.RequestError) -> float:
        """Seconds until the next attempt; without one, raises `error` as a `RetortError`."""
        if isinstance(error, RetortError):
            return attempts.pause(error)
        try:
            return attempts.pause(failure(error))
        except RetortError as stated:
            raise stated from error

    def _split(self, questions: Sequence[Question], limits: Limits) -> list[list[Part]]:
        """The parts of each question."""
        most = min(limits.max_passages, self._max_passages or limits.max_passages)
        return [question.parts(most, limits.max_body_bytes) for question in questions]


def merged(
    questions: Sequence[Question],
    parts: Sequence[Sequence[Part]],
    answers: Sequence[Sequence[PartAnswer]],
) -> list[Answer]:
    """The answer to each question, from the answers to all parts in turn."""
    left = iter(answers)
    return [
        merge(question, [answer for _ in own for answer in next(left)])
        for question, own in zip(questions, parts, strict=True)
    ]


def _checked_seconds(timeout: float) -> float:
    if timeout <= 0:
        raise ValueError(f"timeout is {timeout}: give a number of seconds above 0")
    return timeout


def _checked_url(base_url: str) -> httpx.URL:
    try:
        url = httpx.URL(base_url)
    except httpx.InvalidURL as error:
        raise ValueError(f"base_url is {base_url!r}: {error}") from None
    if url.scheme not in ("http", "https") or not url.host:
        raise ValueError(f"base_url is {base_url!r}: give one like {URL}")
    return url
