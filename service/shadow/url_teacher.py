"""The teacher at a URL: any ranker over HTTP, of somebody else or on another machine.

It needs no idle moment of this machine, but it may be slow, refuse, or be away. So a sample is
asked about once: nothing is tried again. A server that refuses for the moment or does not answer
rests, for as long as it says (`Retry-After`) or longer each time, and what is sampled meanwhile
shares the fate of the sample that made it rest. The log has at most a line per minute of it, and
never what the server said of a client's texts.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import Any

import httpx
import numpy as np
import orjson

from retort.client.errors import ConnectionFailed, DeadlinePassed, Overloaded, RetortError
from retort.client.rankers.asking import (
    Asking,
    Result,
    Route,
    answered_async,
    info_url,
    model_told,
    read_response,
)
from retort.client.rankers.errors import KeyRefused, NoRanker, RankerError
from retort.client.rankers.shapes import Body, Shape
from retort.client.retry import Clock
from retort.models.errors import StartError
from retort.service.settings import Settings
from retort.service.shadow.teacher import DistantTeacher, Missed, Sample, TeacherScores

logger = logging.getLogger("retort")

FIRST_REST_SECONDS, LONGEST_REST_SECONDS = 1.0, 60.0
LONGEST_RETRY_AFTER_SECONDS = 3600.0
LOG_SECONDS = 60.0
# Scores take less, even where a server sends the passages back.
ANSWER_BYTES = 4 * 1024 * 1024
_SENT = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
# What another request would meet too.
_LASTING = (RetortError, KeyRefused, NoRanker)


class _Resting(Exception):
    """It rests by now."""


class UrlTeacher:
    """The ranker at the setting `teacher`, a URL. Raises `StartError` if it is none after all."""

    def __init__(
        self,
        settings: Settings,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        clock: Clock | None = None,
    ) -> None:
        assert settings.teacher_url is not None
        self.raw = settings.teacher_scores == "raw"
        self.concurrency = settings.teacher_concurrency
        self._route = Route(
            settings.teacher_url,
            settings.teacher_shape,
            settings.teacher_model,
            self.raw,
            settings.teacher_passages,
        )
        key = settings.teacher_api_key
        self._key = "" if key is None else key.get_secret_value()
        # Bytes, since httpx takes no key that is not ASCII as text.
        self._headers = {name.encode(): value.encode() for name, value in _SENT.items()}
        if self._key:
            self._headers[b"Authorization"] = f"Bearer {self._key}".encode()
        self._seconds = settings.teacher_timeout_ms / 1000
        self._transport = transport
        self._clock = clock or Clock()
        try:
            url = httpx.URL(settings.teacher_url)
        except httpx.InvalidURL as error:
            raise StartError(f"teacher: not a URL ({error})") from None
        shown = str(url.copy_with(query=None))
        self.distant = DistantTeacher(shown, settings.teacher_model or url.host)
        self._http: httpx.AsyncClient | None = None
        self._shape: Shape | None = None
        self._finding = asyncio.Lock()
        self._probe: asyncio.Task[Any] | None = None
        # Until when it rests, for how long it did the last time, and what becomes of samples.
        self._rest_until = 0.0
        self._rest_seconds = 0.0
        self._resting: Missed = "failed"
        self._logged_at = -math.inf
        self._unlogged = 0
        self._told_trouble = False

    def start(self) -> None:
        """Ask once what it is, while requests are answered already."""
        self._http = httpx.AsyncClient(
            headers=self._headers,
            # A redirection would send the texts, and perhaps the key, to somebody else.
            follow_redirects=False,
            limits=httpx.Limits(max_connections=self.concurrency),
            timeout=self._seconds,
            transport=self._transport,
        )
        self._probe = asyncio.create_task(self._guarded(self._known_shape))

    async def stop(self) -> None:
        """Close the connections."""
        if self._probe is not None:
            self._probe.cancel()
            await asyncio.gather(self._probe, return_exceptions=True)
        if self._http is not None:
            await self._http.aclose()

    async def score(self, sample: Sample) -> TeacherScores | Missed:
        """Ask it about a sample, unless it rests."""
        if self._rests:
            return self._resting
        return await self._guarded(partial(self._score, sample))

    @property
    def _rests(self) -> bool:
        return self._clock.monotonic() < self._rest_until

    async def _score(self, sample: Sample) -> TeacherScores:
        shape = await self._known_shape()
        start = time.perf_counter()
        asking = self._route.score(shape, sample.query, sample.passages)
        scores = await self._answered(asking)
        seconds = time.perf_counter() - start
        self._route.check(shape, scores, "set teacher_scores to raw")
        known = self.distant
        return TeacherScores(np.array(scores), known.name, known.version, self.raw, seconds)

    async def _known_shape(self) -> Shape:
        """The shape of its route, which is found by the first who gets an answer."""
        async with self._finding:
            if self._shape is None:
                if self._rests:
                    raise _Resting  # who had asked before found nobody
                shape, answer = await self._answered(self._route.find(), probing=True)
                name, version = model_told(answer) or model_told(await self._info()) or ("", "")
                self.distant = replace(
                    self.distant,
                    shape=shape.name,
                    name=self._route.model or name or self.distant.name,
                    version=version,
                )
                self._shape = shape
                logger.info(
                    "teacher: %s at %s, in the shape of %s",
                    self.distant.name,
                    self.distant.url,
                    shape.name,
                )
            return self._shape

    async def _guarded(self, work: Callable[[], Awaitable[Result]]) -> Result | Missed:
        """What `work` comes to; what fails is counted, told and, if it will last, rested from."""
        try:
            result = await work()
        except _Resting:
            return self._resting
        except (RankerError, RetortError) as error:
            missed: Missed = "dropped" if isinstance(error, Overloaded) else "failed"
            self._tell(error)
            if isinstance(error, _LASTING):
                self._rest(missed, error.retry_after if isinstance(error, RetortError) else None)
            return missed
        self.distant = replace(self.distant, problem="")
        if not self._rests:  # another may have been told to wait meanwhile
            self._rest_seconds = 0.0
        if self._told_trouble:
            self._told_trouble = False
            logger.info("the teacher at %s answers again", self.distant.url)
        return result

    def _rest(self, missed: Missed, retry_after: float | None) -> None:
        now = self._clock.monotonic()
        if retry_after is not None:
            seconds = min(max(retry_after, FIRST_REST_SECONDS), LONGEST_RETRY_AFTER_SECONDS)
        elif self._rests:
            return  # of several samples that failed together, the first has said so
        else:
            longer = max(FIRST_REST_SECONDS, 2 * self._rest_seconds)
            seconds = self._rest_seconds = min(LONGEST_REST_SECONDS, longer)
        self._rest_until = max(self._rest_until, now + seconds)
        self._resting = missed

    def _tell(self, error: RankerError | RetortError) -> None:
        """Keep what is wrong for `/info`, and log it unless that was done a moment ago."""
        if isinstance(error, RankerError):
            problem = error.what
        else:
            problem = error.message if error.status is None else f"status {error.status}"
        if isinstance(error, KeyRefused):
            problem += ": set teacher_api_key (RETORT_TEACHER_API_KEY)"
        self.distant = replace(self.distant, problem=problem)
        now = self._clock.monotonic()
        if now - self._logged_at < LOG_SECONDS:
            self._unlogged += 1
            return
        # What it says of the probe, which holds no client's text, helps to find the mistake.
        said = f" ({error})" if self._shape is None and str(error) != problem else ""
        if self._key:
            said = said.replace(self._key, "…")
        more = f"; {self._unlogged} more since the last such line" if self._unlogged else ""
        where = self.distant.url
        logger.warning("the teacher at %s gave no scores: %s%s%s", where, problem, said, more)
        self._logged_at, self._unlogged, self._told_trouble = now, 0, True

    async def _answered(self, asking: Asking[Result], probing: bool = False) -> Result:
        try:
            async with asyncio.timeout(self._seconds):
                return await answered_async(asking, partial(self._post, probing=probing))
        except TimeoutError:
            raise DeadlinePassed(f"no answer within {self._seconds:g} s") from None

    async def _post(self, body: Body, probing: bool) -> Any:
        try:
            response, content = await self._fetch("POST", self._route.url, orjson.dumps(body))
        except httpx.TimeoutException:
            raise TimeoutError from None
        except httpx.RequestError as error:
            told_so = str(error) or type(error).__name__
            raise ConnectionFailed(f"no answer ({told_so})") from None
        return read_response(
            response.status_code, response.headers, content, self._clock.wall(), probing
        )

    async def _info(self) -> Any:
        """What `GET /info` of the server says; None where there is no such route."""
        try:
            async with asyncio.timeout(self._seconds):
                response, content = await self._fetch("GET", info_url(self._route.url))
            return orjson.loads(content) if response.status_code == httpx.codes.OK else None
        except (TimeoutError, httpx.RequestError, ValueError):
            return None

    async def _fetch(
        self, method: str, url: str, body: bytes | None = None
    ) -> tuple[httpx.Response, bytes]:
        """A response and its content. Raises `RankerError` if it is too long."""
        assert self._http is not None
        content = bytearray()
        async with self._http.stream(method, url, content=body) as response:
            async for chunk in response.aiter_bytes():
                content += chunk
                if len(content) > ANSWER_BYTES:
                    raise RankerError(f"an answer of more than {ANSWER_BYTES} bytes")
        return response, bytes(content)
