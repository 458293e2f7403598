"""Engines: where a front end's models run.

LocalEngines     in this process: tests, embedding, `--workers 0`
RemoteEngines    in processes of their own, as the supervisor says: see remote.py
"""

from __future__ import annotations

import asyncio
import enum
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from retort.models.bundle import Bundle
from retort.models.errors import BundleError, StartError
from retort.models.manifest import Manifest
from retort.models.runtime.base import Backend, BackendInfo
from retort.service.engine.engine import Engine
from retort.service.engine.link import LocalLink
from retort.service.engine.load import load_model, problem_of, read_model
from retort.service.engine.scorer import Scorer
from retort.service.engine.tokenization import Lookups, Tokenization
from retort.service.errors import LoadFailed, not_loaded
from retort.service.metrics import Metrics, Role
from retort.service.model import Model, Served
from retort.service.settings import Settings

logger = logging.getLogger("retort")


class State(enum.Enum):
    """Where a server is in its life.

    loading ──► ready ──► draining
       └──► failed
    """

    LOADING = "loading"
    READY = "ready"
    DRAINING = "draining"
    FAILED = "failed"


class Health:
    """The state, the reason why it is not ready, and whether the server can still heal itself."""

    def __init__(self) -> None:
        self.state = State.LOADING
        self.reason = "the model is loading"
        self.alive = True
        # Set once the server drains.
        self.draining = asyncio.Event()

    def ready(self) -> None:
        """The models are loaded; a server that is draining already stays so."""
        if self.state is State.LOADING:
            self.state, self.reason = State.READY, ""

    def drain(self) -> None:
        """The server is about to stop."""
        self.state, self.reason = State.DRAINING, "the server is shutting down"
        self.draining.set()

    def fail(self, reason: str) -> None:
        """The models cannot be served."""
        self.state, self.reason = State.FAILED, reason
        self.alive = False


class Engines(ABC):
    """The models of a server, by name, and what runs them; the first student is the default."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self.settings = settings
        self.metrics = metrics
        self.health = Health()
        self.students: dict[str, Model] = {}
        self.teacher: Model | None = None
        # Hears of every version of the default student.
        self.on_student: Callable[[Manifest], None] = lambda _: None

    @property
    def default(self) -> Model:
        """The student of requests that name none."""
        return next(iter(self.students.values()))

    @property
    def models(self) -> list[Model]:
        """Students, then the teacher if there is one."""
        return [*self.students.values(), *([] if self.teacher is None else [self.teacher])]

    def serve(self, model: Model, served: Served | None) -> Served | None:
        """Let `served` answer for `model` from now on; returns what did before."""
        before = model.serve(served)
        if served is not None and model is self.default:
            manifest = served.manifest
            if manifest.agreement is not None:
                at_export = self.metrics.shadow.at_export.labels(manifest.version)
                at_export.set(manifest.agreement.top1)
            self.on_student(manifest)
        return before

    def lookups(self) -> Lookups:
        """Counts what the passage cache is asked."""
        cache = self.metrics.passage_cache
        hit, miss = cache.labels("hit"), cache.labels("miss")

        def count(hits: int, misses: int) -> None:
            hit.inc(hits)
            miss.inc(misses)

        return count

    @property
    @abstractmethod
    def alive(self) -> bool:
        """Whether the server answers, or can still mend itself so that it will."""

    @abstractmethod
    async def start(self) -> None:
        """Begin; returns when requests may come, be they answered with scores or not yet."""

    @abstractmethod
    async def stop(self) -> None:
        """Finish what was accepted."""

    @abstractmethod
    async def load(self, name: str, bundle: str | None) -> dict[str, Any]:
        """Load a version of the model `name` while the present one answers, and let it take over.

        From the place of the one that answers, or from `bundle`, a name or path. Returns what
        answers now. Raises `LoadFailed`; then nothing has changed.
        """


class LocalEngines(Engines):
    """Engines in this process.

    Backends are for tests, by the bundle's name; without them they are chosen. `on_failure` is
    called with the reason if a model cannot be served.
    """

    def __init__(
        self,
        settings: Settings,
        metrics: Metrics,
        bundles: Sequence[Bundle],
        teacher: Bundle | None = None,
        *,
        backends: Mapping[str, Backend] | None = None,
        on_failure: Callable[[str], None] | None = None,
    ) -> None:
        super().__init__(settings, metrics)
        self._backends = backends or {}
        self._on_failure = on_failure
        self._bundles: dict[Model, Bundle] = {}
        for bundle in bundles:
            name = bundle.manifest.name
            self.students[name] = Model("student", name)
            self._bundles[self.students[name]] = bundle
        if teacher is not None:
            self.teacher = Model("teacher", teacher.manifest.name)
            self._bundles[self.teacher] = teacher
        self.reloading: asyncio.Future[None] | None = None
        self._loading: asyncio.Task[None] | None = None
        self._one_at_a_time = asyncio.Lock()

    @property
    def alive(self) -> bool:
        """Nobody can end a pass of this process that hangs, nor replace an engine."""
        if self.health.state is State.FAILED:
            return False
        served = [model.served for model in self.models if model.served is not None]
        return not any(
            time.perf_counter() > one.scorer.link.board.overdue_at or one.trouble for one in served
        )

    async def start(self) -> None:
        """Begin to load the models, one after the other, each off the event loop."""
        self._loading = asyncio.create_task(self._load_all())

    async def stop(self) -> None:
        """Finish what was accepted, and end the engines."""
        if self._loading is not None:
            await self._loading
        for model in self.models:
            served = self.serve(model, None)
            if served is not None:
                await served.scorer.link.close(self.settings.drain_seconds)

    async def load(self, name: str, bundle: str | None) -> dict[str, Any]:
        """Load a version of `name` and let it take over."""
        model = next((m for m in self.models if m.name == name), None)
        role: Role = "student" if model is None else model.role
        try:
            async with self._one_at_a_time:
                place = bundle or (name if model is None else self._bundles[model].folder)
                found = await asyncio.to_thread(read_model, place, name, self.settings.trusted_key)
                served = await self._engine(
                    role, found, before=None if model is None else model.served
                )
        except (BundleError, StartError) as error:
            self.metrics.reloads.labels(name, "failed").inc()
            raise LoadFailed(not_loaded(name, str(error))) from None
        if model is None:
            model = self.students[name] = Model(role, name)
        self._bundles[model] = found
        before = self.serve(model, served)
        if before is not None:
            await before.scorer.link.close(self.settings.drain_seconds)
        self.metrics.reloads.labels(name, "loaded").inc()
        return describe_load(served, before)

    async def _load_all(self) -> None:
        try:
            # One after the other: each is measured, and would disturb the other's figures.
            for model in self.models:
                self.serve(model, await self._engine(model.role, self._bundles[model]))
        except Exception as error:
            problem = problem_of(error)
            self.health.fail(problem)
            if self._on_failure is not None:
                self._on_failure(problem)
            return
        self.metrics.watch_queue_tokens(lambda: sum(model.queue_tokens for model in self.models))
        self.health.ready()

    async def _engine(self, role: Role, bundle: Bundle, before: Served | None = None) -> Served:
        settings = self.settings
        options = settings.runtime if role == "student" else settings.teacher_runtime
        backend = self._backends.get(bundle.manifest.name)
        preferred = None
        if before is not None:
            told = before.backend
            preferred = BackendInfo(told["backend"], told["provider"], told["precision"])
        loaded = await asyncio.to_thread(
            load_model, settings, bundle, options, backend, preferred=preferred
        )
        engine = Engine(
            bundle,
            loaded,
            self.metrics,
            role=role,
            limit_tokens=settings.queue_tokens,
            hang_seconds=settings.hang_after,
            hang_multiple=settings.hang_multiple,
            recheck_seconds=settings.recheck_seconds,
        )
        info = loaded.chosen.backend.info
        self.metrics.begin_model(role, bundle.manifest, info)
        logger.info("%s: %s %s on %s", role, bundle.manifest.name, bundle.manifest.version, info)
        tokenization = Tokenization(loaded.encoder, settings.passage_cache, self.lookups())
        scorer = Scorer(tokenization, LocalLink(engine), self.settings.max_pairs)
        return Served(bundle, scorer, loaded.describe())


def describe_load(served: Served, before: Served | None) -> dict[str, Any]:
    """What a load has changed, for whoever asked for it."""
    manifest = served.manifest
    return {
        "model": manifest.name,
        "version": manifest.version,
        "digest": served.bundle.digest,
        "previous_version": None if before is None else before.manifest.version,
        "previous_digest": None if before is None else before.bundle.digest,
    }
