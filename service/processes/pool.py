"""The pool: the engine processes of one model.

    active      answers requests
    standby     is loaded and waits, if the setting `standby` is on
    coming      loads, to become active: at the start, after a loss, or for a reload
    replaced    was active before a reload, until every front end has switched over
    leaving     finishes what it has accepted

The supervisor calls `tick` many times per second; all that happens, happens there. An engine that
has ended, whose heart stops, or whose pass takes far too long is lost: the standby takes over, or
a new one is started.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from retort.service.errors import not_loaded
from retort.service.metrics import Metrics, Role
from retort.service.processes.child import Child
from retort.service.settings import Settings

logger = logging.getLogger("retort")

# An engine that ends so soon after it became ready has not served: the next one waits longer.
SERVED_SECONDS = 0.5
FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 0.25, 10.0
# After so many failed starts in a row the server says that it cannot mend itself.
HOPELESS = 4
# After a failed pass the engine tries a golden pair again and again. If that fails for so long,
# another engine may do better.
UNWELL_SECONDS = 5.0


class StartFailed(Exception):
    """The first engine of a model could not start; the message says why."""


# Hears how a reload ended: what was wrong, or an empty text.
Ended = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Reload:
    """A reload under way."""

    bundle: str
    ended: Ended


@dataclass(slots=True)
class EngineChild:
    """An engine process; `told` is what it said of itself when it was ready."""

    child: Child
    address: str
    leave: Callable[[], None]  # tells it to finish what it has, and end
    told: dict[str, Any] = field(default_factory=dict)
    # Why it failed or is in trouble, in its own words.
    reason: str = ""
    wrong: bool = False
    ready_at: float = math.inf
    unwell_since: float = math.inf

    @property
    def ready(self) -> bool:
        """Whether it can take jobs."""
        return self.ready_at < math.inf

    @property
    def end(self) -> str:
        """How it ended, in its own words if it had any."""
        if self.reason:
            return self.reason
        status = self.child.status
        if status is not None and status < 0:
            return f"it was ended by signal {-status}"
        return f"it ended with status {status}"

    @property
    def summary(self) -> str:
        """One line about what it runs."""
        info = self.told["info"]
        runtime = f"{info['backend']}/{info['provider']}/{info['precision']}"
        took = self.ready_at - self.child.started_at
        return f"version {self.told['version']} on {runtime}, ready after {took:.1f} s"

    def describe(self) -> dict[str, Any]:
        """What front ends need to know."""
        return {
            "id": self.child.identity,
            "address": self.address,
            "board": str(self.child.board.path),
            **self.told,
        }


# Starts an engine for a bundle, named by name or path; also the backend to prefer.
Launch = Callable[[str, dict[str, Any] | None], EngineChild]


class Pool:
    """The engines of the model `name`; `bundle` is the name or path that it is loaded from."""

    def __init__(
        self,
        role: Role,
        name: str,
        bundle: str,
        settings: Settings,
        metrics: Metrics,
        launch: Launch,
    ) -> None:
        self.role = role
        self.name = name
        self.bundle = bundle
        self.active: EngineChild | None = None
        self.standby: EngineChild | None = None
        self.coming: EngineChild | None = None
        # What answered before a reload, until every front end has switched over.
        self.replaced: EngineChild | None = None
        self.leaving: list[EngineChild] = []
        # Whether front ends have to be told of another active engine.
        self.changed = False
        self.failures = 0
        self._reload: Reload | None = None
        self._settings = settings
        self._metrics = metrics
        self._launch = launch
        self._backend: dict[str, Any] | None = None
        self._start_at = 0.0
        self._was_ready = False

    @property
    def hopeless(self) -> bool:
        """Whether it has failed too often to expect that the next start helps."""
        return self.active is None and self.failures >= HOPELESS

    @property
    def known(self) -> bool:
        """Whether front ends are to know of it: not while its first bundle is tried out."""
        return self._was_ready or self._reload is None

    def engines(self) -> Iterator[EngineChild]:
        """Every engine there is."""
        kept = (self.active, self.standby, self.coming, self.replaced)
        for engine in (*kept, *self.leaving):
            if engine is not None:
                yield engine

    def find(self, identity: str) -> EngineChild | None:
        """The engine of that identity."""
        return next((e for e in self.engines() if e.child.identity == identity), None)

    def reload(self, bundle: str | None, ended: Ended) -> None:
        """Start a new engine, which takes over when it is ready; `ended` hears how it went."""
        if self._reload is not None or (self.coming is not None and self.active is None):
            ended(f"{self.name} is being loaded already: ask again when that has ended")
            return
        if self.coming is not None:
            self.coming.child.kill()
        self._reload = Reload(bundle or self.bundle, ended)
        self.coming = self._start(self._reload.bundle)

    def settle(self) -> None:
        """Every front end has switched over: what answered before may leave."""
        if self.replaced is not None:
            self.leaving.append(self.replaced)
            self.replaced.leave()
            self.replaced = None
        if self._reload is not None and self.coming is None:
            self.bundle = self._reload.bundle
            if self.standby is not None:
                self.standby.child.kill()
                self.standby = None
            self._end_reload("")

    def reject(self, identity: str, problem: str, now: float) -> None:
        """A front end cannot use the engine of that identity."""
        if self.active is not None and self.active.child.identity == identity:
            self._lose("rejected", f"a front end cannot use it: {problem}", now)

    def tick(self, now: float, lag: float) -> None:
        """Look at every engine. `lag` is how late the supervisor itself is, in seconds.

        Raises `StartFailed` if the first engine of all does not start.
        """
        self.leaving = [engine for engine in self.leaving if engine.child.status is None]
        self._look_at_active(now, lag)
        self._look_at_coming(now)
        self._look_at_standby(now, lag)
        if now < self._start_at or self.coming is not None:
            return
        if self.active is None:
            self.coming = self._start(self.bundle)
        elif self._settings.standby and self.standby is None and self._reload is None:
            self.standby = self._start(self.bundle)

    def _start(self, bundle: str) -> EngineChild:
        return self._launch(bundle, self._backend)

    def _look_at_active(self, now: float, lag: float) -> None:
        engine = self.active
        if engine is None:
            return
        board, patience = engine.child.board, self._settings.hang_after + lag
        if engine.child.status is not None:
            self._lose("wrong" if engine.wrong else "died", engine.end, now)
        elif (silent := engine.child.silent_seconds(now)) > patience:
            self._lose("silent", f"its heart has not beaten for {silent:.1f} s", now)
        elif now > board.overdue_at + lag:
            self._lose("overdue", "a pass takes far longer than it should", now)
        elif board.healthy:
            engine.unwell_since = math.inf
            if now - engine.ready_at > SERVED_SECONDS:
                self.failures = 0
        else:
            engine.unwell_since = min(now, engine.unwell_since)
            if now - engine.unwell_since > UNWELL_SECONDS:
                self._lose("unwell", f"every pass has failed for {UNWELL_SECONDS:.0f} s", now)

    def _look_at_coming(self, now: float) -> None:
        engine = self.coming
        if engine is None:
            return
        if engine.ready:
            self.coming = None
            self.replaced, self.active = self.active, engine
            self.changed = self._was_ready = True
            info = engine.told["info"]
            self._backend = {name: info[name] for name in ("backend", "provider", "precision")}
            logger.info("%s: %s", self.name, engine.summary)
            return
        if engine.child.status is not None:
            problem = engine.end
        elif now - engine.child.started_at > self._settings.start_seconds:
            engine.child.kill()
            problem = f"it was not ready after {self._settings.start_seconds} s (start_seconds)"
        else:
            return
        self.coming = None
        if self._reload is not None:
            self._end_reload(problem)
        elif not self._was_ready:
            raise StartFailed(problem)
        if self.active is None:
            self._failed(now)
            logger.error("%s: an engine did not start: %s", self.name, problem)

    def _look_at_standby(self, now: float, lag: float) -> None:
        engine = self.standby
        if engine is None:
            return
        silent = engine.ready and engine.child.silent_seconds(now) > self._settings.hang_after + lag
        if engine.child.status is not None or silent:
            engine.child.kill()
            self.standby = None
            self._start_at = now + FIRST_WAIT_SECONDS
            logger.warning("%s: the standby is replaced: %s", self.name, engine.end)
        elif self.active is None and engine.ready:
            self.standby, self.active = None, engine
            self.changed = True

    def _lose(self, reason: str, why: str, now: float) -> None:
        engine = self.active
        assert engine is not None
        engine.child.kill()
        self._metrics.restarts.labels("engine", reason).inc()
        logger.error("%s: the engine is replaced: %s", self.name, why)
        self.active, self.changed = None, True
        if self.replaced is not None:
            # The new one is lost before all had switched over: the old one is still there.
            self.active, self.replaced = self.replaced, None
            self._end_reload(f"the new engine was lost at once: {why}")
        elif self.standby is not None and self.standby.ready:
            self.active, self.standby = self.standby, None
        elif self.standby is not None and self.coming is None:
            self.coming, self.standby = self.standby, None
        if now - engine.ready_at < SERVED_SECONDS:
            self._failed(now)

    def _failed(self, now: float) -> None:
        self.failures += 1
        wait = FIRST_WAIT_SECONDS * 2 ** min(self.failures - 1, 10)
        self._start_at = now + min(wait, LONGEST_WAIT_SECONDS)

    def _end_reload(self, problem: str) -> None:
        reload, self._reload = self._reload, None
        if reload is None:
            return
        self._metrics.reloads.labels(self.name, "failed" if problem else "loaded").inc()
        if problem:
            problem = not_loaded(self.name, problem)
            logger.error("%s", problem)
        reload.ended(problem)
