"""A served bundle: in its role, with a backend, a queue and a health of its own."""

from __future__ import annotations

import asyncio
import logging

from retort.models.bundle import Bundle
from retort.models.manifest import Manifest
from retort.models.runtime.base import Backend
from retort.models.runtime.choose import Wish
from retort.service.engine.scorer import Scorer
from retort.service.engine.tokenization import PassageTokens
from retort.service.errors import NotReady, ServiceError
from retort.service.loading import Loaded, load
from retort.service.metrics import Metrics, Role
from retort.service.settings import Settings

logger = logging.getLogger("retort")

PROBE_SECONDS = 1.0


class Served:
    """Student or teacher. `backend` is for tests; without it one is chosen as `wish` says."""

    def __init__(
        self, role: Role, bundle: Bundle, wish: Wish, backend: Backend | None = None
    ) -> None:
        self.role = role
        self.bundle = bundle
        self.loaded: Loaded | None = None
        self._wish = wish
        self._backend = backend
        self._scorer: Scorer | None = None
        self._probe = asyncio.Lock()

    @property
    def manifest(self) -> Manifest:
        """What the bundle says of itself."""
        return self.bundle.manifest

    @property
    def scorer(self) -> Scorer:
        """Where requests go in. Raises `NotReady` before `load` has ended."""
        if self._scorer is None:
            raise NotReady(f"the {self.role} is loading", retry_after=1)
        return self._scorer

    @property
    def queue_tokens(self) -> int:
        """Tokens accepted and not yet scored."""
        return 0 if self._scorer is None else self._scorer.queue_tokens

    @property
    def healthy(self) -> bool:
        """Whether it is loaded, and its last forward pass worked."""
        return self._scorer is not None and self._scorer.healthy

    async def load(self, settings: Settings, metrics: Metrics) -> None:
        """Load, off the event loop. Raises `StartError` or `BundleError`."""
        loaded = await asyncio.to_thread(load, settings, self.bundle, self._backend, self._wish)
        self.loaded = loaded
        cache = metrics.passage_cache
        hit, miss = cache.labels("hit"), cache.labels("miss")

        def lookups(hits: int, misses: int) -> None:
            hit.inc(hits)
            miss.inc(misses)

        self._scorer = Scorer(
            loaded.encoder,
            loaded.chosen.backend,
            loaded.policy,
            metrics,
            limit_tokens=settings.queue_tokens,
            role=self.role,
            tokens=PassageTokens(loaded.encoder, settings.passage_cache, lookups),
            slots=loaded.slots,
            streams=loaded.streams,
            seconds_per_token=loaded.seconds_per_token,
        )
        info = loaded.chosen.backend.info
        metrics.pair_seconds.begin(self.role)
        metrics.model_info.labels(
            self.role,
            self.manifest.name,
            self.manifest.version,
            info.backend,
            info.provider,
            info.precision,
        ).set(1)
        logger.info("%s: %s %s on %s", self.role, self.manifest.name, self.manifest.version, info)

    async def recovered(self) -> bool:
        """Whether it is healthy; a backend that failed last is asked whether it is back."""
        if self.healthy or self._scorer is None or self._probe.locked():
            return self.healthy
        async with self._probe:
            golden = self.bundle.golden[0]
            try:
                await self._scorer.score(golden.query, [golden.passage], PROBE_SECONDS)
            except ServiceError as error:
                logger.warning("the %s's backend does not answer: %s", self.role, error)
        return self.healthy

    async def close(self) -> None:
        """Finish what was accepted."""
        if self._scorer is not None:
            await self._scorer.close()
