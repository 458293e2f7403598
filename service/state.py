"""The service: what the routes share, and what a request for scores goes through."""

from __future__ import annotations

import asyncio
import gc
import logging
import time
from collections.abc import Callable, Sequence

from starlette.requests import Request

from models.bundle import Bundle
from models.errors import BundleError
from service.backends.base import Backend
from service.engine.job import Outcome
from service.engine.scorer import Scorer
from service.errors import InferenceFailed, NotReady, ServiceError, StartError
from service.health import Health, State
from service.loading import Loaded, load
from service.metrics import Metrics
from service.settings import Settings

logger = logging.getLogger("retort")

PROBE_SECONDS = 1.0


class Service:
    """One bundle, served. `backend` is for tests; without it one is chosen.

    `on_failure` is told why, should the model turn out not to be servable.
    """

    def __init__(
        self,
        settings: Settings,
        bundle: Bundle,
        *,
        backend: Backend | None = None,
        on_failure: Callable[[str], None] | None = None,
    ) -> None:
        self.settings = settings
        self.bundle = bundle
        self.health = Health()
        self.metrics = Metrics()
        self.loaded: Loaded | None = None
        self._backend = backend
        self._on_failure = on_failure
        self._scorer: Scorer | None = None
        self._loading: asyncio.Task[None] | None = None
        self._probe = asyncio.Lock()

    def start(self) -> None:
        """Begin to load; returns at once."""
        self._loading = asyncio.create_task(self._load())

    async def stop(self) -> None:
        """Finish what was accepted."""
        self.health.drain()
        if self._loading is not None:
            await self._loading
        if self._scorer is not None:
            await self._scorer.close()

    async def _load(self) -> None:
        try:
            loaded = await asyncio.to_thread(load, self.settings, self.bundle, self._backend)
        except Exception as error:
            if not isinstance(error, StartError | BundleError):
                logger.exception("the model could not be loaded")
            self.health.fail(str(error))
            if self._on_failure is not None:
                self._on_failure(str(error))
            return
        self.loaded = loaded
        self._scorer = scorer = Scorer(
            loaded.encoder,
            loaded.chosen.backend,
            loaded.policy,
            self.metrics,
            limit_tokens=self.settings.queue_tokens,
            slots=loaded.slots,
            seconds_per_token=loaded.seconds_per_token,
        )
        self.metrics.watch_queue(lambda: scorer.queue_tokens)
        manifest, info = self.bundle.manifest, loaded.chosen.backend.info
        self.metrics.model_info.labels(
            manifest.name, manifest.version, info.backend, info.provider, info.precision
        ).set(1)
        # What lives now lives for ever: let the collector pass over it.
        gc.collect()
        gc.freeze()
        self.health.ready()
        logger.info("ready: %s %s on %s", manifest.name, manifest.version, info)

    async def score(
        self, request: Request, query: str, passages: Sequence[str], timeout_ms: int | None
    ) -> Outcome:
        """Score for a client that may leave: then, or when time is up, its pairs are dropped.

        Raises `ServiceError`, also when not one of the passages could be scored.
        """
        outcomes = await self.score_each(request, [(query, passages)], timeout_ms)
        return outcomes[0]

    async def score_each(
        self,
        request: Request,
        groups: Sequence[tuple[str, Sequence[str]]],
        timeout_ms: int | None,
    ) -> list[Outcome]:
        """Score several queries, each against its own passages, for one client."""
        scorer = self._scorer
        if scorer is None or self.health.state is not State.READY:
            raise NotReady(self.health.reason, retry_after=1)
        wanted = timeout_ms if timeout_ms is not None else self.settings.timeout_ms
        seconds = min(wanted, self.settings.max_timeout_ms) / 1000
        gone = asyncio.ensure_future(_disconnected(request))
        try:
            if len(groups) == 1:
                outcomes = [await scorer.score(*groups[0], seconds, gone)]
            else:
                scoring = [scorer.score(*group, seconds, gone) for group in groups]
                outcomes = await asyncio.gather(*scoring)
        finally:
            # After a failure of one group this also drops the others.
            gone.cancel()
        for outcome in outcomes:
            self._observe(outcome)
            if len(outcome.errors) == len(outcome.score):
                raise InferenceFailed(next(iter(outcome.errors.values())))
        return outcomes

    async def ready(self) -> bool:
        """Whether requests are welcome; a backend that failed last is asked whether it is back."""
        scorer = self._scorer
        if scorer is None or self.health.state is not State.READY:
            return False
        if scorer.healthy:
            return True
        if self._probe.locked():
            return False
        async with self._probe:
            golden = self.bundle.golden[0]
            try:
                await scorer.score(golden.query, [golden.passage], PROBE_SECONDS)
            except ServiceError as error:
                logger.warning("the backend does not answer: %s", error)
            return scorer.healthy

    def _observe(self, outcome: Outcome) -> None:
        stages, seconds = self.metrics.stages, outcome.seconds
        stages["tokenize"].observe(seconds.tokenize)
        stages["queue"].observe(seconds.queue)
        stages["infer"].observe(seconds.infer)
        if outcome.truncated:
            self.metrics.truncated.inc(outcome.truncated)


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def elapsed_ms(since: float) -> float:
    """Milliseconds since `since` on the performance counter."""
    return (time.perf_counter() - since) * 1000
