"""The client for programs that await, with asyncio or Trio."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType
from typing import Self, Unpack

import anyio
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


class AsyncClient(BaseClient):
    """`Client` for programs that await: the same arguments, methods, results and errors."""

    def __init__(
        self,
        base_url: str = URL,
        api_key: str | None = None,
        *,
        timeout: float = TIMEOUT_SECONDS,
        attempts: int = ATTEMPTS,
        max_passages: int | None = None,
        concurrency: int = CONCURRENCY,
        transport: httpx.AsyncBaseTransport | None = None,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
        clock: Clock | None = None,
    ) -> None:
        super().__init__(base_url, api_key, timeout, attempts, max_passages, concurrency, clock)
        self._http = httpx.AsyncClient(
            base_url=self._url, headers=self._headers, transport=transport
        )
        self._sleep = sleep

    async def rank(
        self,
        query: str,
        passages: Sequence[Passage],
        top_n: int | None = None,
        **options: Unpack[RankOptions],
    ) -> list[RankedPassage]:
        """As `Client.rank`."""
        return (await self.ask(query, passages, top_n, **options)).ranked() if passages else []

    async def ask(
        self,
        query: str,
        passages: Sequence[Passage],
        top_n: int | None = None,
        **options: Unpack[RankOptions],
    ) -> Answer:
        """As `Client.ask`."""
        asked = question(query, passages, top_n, options)
        (answer,) = await self._answers([asked], self._deadline(options.get("timeout")))
        return answer

    async def score(
        self, pairs: Sequence[tuple[str, str]], **options: Unpack[ScoreOptions]
    ) -> list[float]:
        """As `Client.score`."""
        grouped = by_query(pairs, **options)
        deadline = self._deadline(options.get("timeout"))
        return grouped.scores(await self._answers(grouped.questions, deadline))

    async def info(self) -> ServerInfo:
        """As `Client.info`."""
        return await self._send(INFO, self._deadline(None))

    async def models(self) -> list[ServedModel]:
        """As `Client.models`."""
        return list((await self._send(MODELS, self._deadline(None))).data)

    async def ready(self) -> bool:
        """As `Client.ready`."""
        try:
            await self._send(READY, self._deadline(None))
        except (NotReady, ConnectionFailed):
            return False
        return True

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def _answers(self, questions: Sequence[Question], deadline: Deadline) -> list[Answer]:
        if not questions:
            return []
        parts = self._split(questions, await self._known_limits(deadline))
        answers = await self._together([part for own in parts for part in own], deadline)
        return merged(questions, parts, answers)

    async def _known_limits(self, deadline: Deadline) -> Limits:
        if self._limits is None:
            self._limits = (await self._send(INFO, deadline)).limits
        return self._limits

    async def _together(self, parts: Sequence[Part], deadline: Deadline) -> list[list[PartAnswer]]:
        """The answers to each part. Raises the first error there is, and cancels the others."""
        answers: list[list[PartAnswer]] = [[] for _ in parts]
        errors: list[Exception] = []
        free = anyio.Semaphore(self._concurrency)

        async def score(number: int) -> None:
            try:
                async with free:
                    answers[number] = await self._score(parts[number], deadline)
            except Exception as error:
                errors.append(error)
                group.cancel_scope.cancel()

        async with anyio.create_task_group() as group:
            for number in range(len(parts)):
                group.start_soon(score, number)
        if errors:
            raise errors[0]
        return answers

    async def _score(self, part: Part, deadline: Deadline) -> list[PartAnswer]:
        try:
            return [await self._send(score_call(part), deadline)]
        except TooLarge:
            halves = part.halves()
            if not halves:
                raise
        return [answer for half in halves for answer in await self._score(half, deadline)]

    async def _send(self, call: Call[Shape], deadline: Deadline) -> Shape:
        attempts = self._tries(call, deadline)
        while True:
            try:
                response = await self._http.send(self._request(self._http, call, deadline))
                return self._value(call, response)
            except (RetortError, httpx.RequestError) as error:
                seconds = self._pause(attempts, error)
            await self._sleep(seconds)
