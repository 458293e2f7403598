"""The client for programs that wait."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from types import TracebackType
from typing import Self, Unpack

import httpx

from retort.client.answers import Answer, PartAnswer
from retort.client.base import (
    ATTEMPTS,
    CONCURRENCY,
    INFO,
    MODELS,
    READY,
    TIMEOUT_SECONDS,
    URL,
    BaseClient,
    Call,
    Shape,
    merged,
    score_call,
)
from retort.client.errors import ConnectionFailed, NotReady, RetortError, TooLarge
from retort.client.information import Limits, ServedModel, ServerInfo
from retort.client.pairs import by_query
from retort.client.questions import Part, Question, RankOptions, ScoreOptions, question
from retort.client.retry import Clock, Deadline
from retort.ranked import Passage, RankedPassage


class Client(BaseClient):
    """Ranks passages over HTTP, as `retort.load(...)` does in this process. Thread-safe.

    `base_url` may have a path. Without `api_key`, the variable RETORT_API_KEY is read here, once.
    `timeout` is in seconds and for a whole call, retries included; a request is sent at most
    `attempts` times. A list of more than `max_passages` (by default the server's limit), or of too
    many bytes, is sent in several requests, `concurrency` of them at once. `transport` is for
    certificates and proxies of your own, and with `sleep` and `clock` for tests. Raises
    `ValueError` for a URL or a number that makes no sense.

    Methods raise `RetortError`; `retort/client/errors.py` draws the tree.
    """

    def __init__(
        self,
        base_url: str = URL,
        api_key: str | None = None,
        *,
        timeout: float = TIMEOUT_SECONDS,
        attempts: int = ATTEMPTS,
        max_passages: int | None = None,
        concurrency: int = CONCURRENCY,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
        clock: Clock | None = None,
    ) -> None:
        super().__init__(base_url, api_key, timeout, attempts, max_passages, concurrency, clock)
        self._http = httpx.Client(base_url=self._url, headers=self._headers, transport=transport)
        self._sleep = sleep

    def rank(
        self,
        query: str,
        passages: Sequence[Passage],
        top_n: int | None = None,
        **options: Unpack[RankOptions],
    ) -> list[RankedPassage]:
        """Passages best first, ties by index; only the best `top_n`, and those with `min_score`.

        A passage is a string, or a mapping with `text` and, to be echoed, `id`. Raises
        `ServerError` if one could not be scored.
        """
        return self.ask(query, passages, top_n, **options).ranked() if passages else []

    def ask(
        self,
        query: str,
        passages: Sequence[Passage],
        top_n: int | None = None,
        **options: Unpack[RankOptions],
    ) -> Answer:
        """As `rank`, with everything else that the server says."""
        asked = question(query, passages, top_n, options)
        (answer,) = self._answers([asked], self._deadline(options.get("timeout")))
        return answer

    def score(
        self, pairs: Sequence[tuple[str, str]], **options: Unpack[ScoreOptions]
    ) -> list[float]:
        """Scores of pairs of a query and a passage, in their order.

        Pairs with one query share a request, so a call costs as many as there are queries.
        """
        grouped = by_query(pairs, **options)
        deadline = self._deadline(options.get("timeout"))
        return grouped.scores(self._answers(grouped.questions, deadline))

    def info(self) -> ServerInfo:
        """The server's release, state, modes and limits."""
        return self._send(INFO, self._deadline(None))

    def models(self) -> list[ServedModel]:
        """The models that a call can name; the first is for those that name none."""
        return list(self._send(MODELS, self._deadline(None)).data)

    def ready(self) -> bool:
        """Whether the server is there and ready; asked once, without another attempt."""
        try:
            self._send(READY, self._deadline(None))
        except (NotReady, ConnectionFailed):
            return False
        return True

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _answers(self, questions: Sequence[Question], deadline: Deadline) -> list[Answer]:
        if not questions:
            return []
        parts = self._split(questions, self._known_limits(deadline))
        answers = self._together([part for own in parts for part in own], deadline)
        return merged(questions, parts, answers)

    def _known_limits(self, deadline: Deadline) -> Limits:
        """The server's limits, asked for once."""
        if self._limits is None:
            self._limits = self._send(INFO, deadline).limits
        return self._limits

    def _together(self, parts: Sequence[Part], deadline: Deadline) -> list[list[PartAnswer]]:
        """The answers to each part. Raises the first error there is, and starts no more then."""
        if len(parts) == 1:
            return [self._score(parts[0], deadline)]
        pool = ThreadPoolExecutor(min(self._concurrency, len(parts)), "retort-client")
        try:
            futures = [pool.submit(self._score, part, deadline) for part in parts]
            done, _ = wait(futures, return_when=FIRST_EXCEPTION)
            for future in done:
                future.result()
            return [future.result() for future in futures]
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def _score(self, part: Part, deadline: Deadline) -> list[PartAnswer]:
        """The answer to a part, or to its halves if it is too large.

        Only the server knows beforehand: it counts windows, and a proxy may take smaller bodies.
        """
        try:
            return [self._send(score_call(part), deadline)]
        except TooLarge:
            halves = part.halves()
            if not halves:
                raise
        return [answer for half in halves for answer in self._score(half, deadline)]

    def _send(self, call: Call[Shape], deadline: Deadline) -> Shape:
        attempts = self._tries(call, deadline)
        while True:
            try:
                response = self._http.send(self._request(self._http, call, deadline))
                return self._value(call, response)
            except (RetortError, httpx.RequestError) as error:
                seconds = self._pause(attempts, error)
            self._sleep(seconds)
