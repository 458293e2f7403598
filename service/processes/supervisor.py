"""The supervisor: starts, watches, replaces, reloads and drains the processes of a server.

    supervisor ── control channel ──► front end (1 … N): HTTP, tokenizing
        │                                  │ token ids, scores
        └──────── control channel ──► engine (one per model, and its standby)

It is one loop that looks at everything many times per second and never waits for any of them. What
it learns comes from three places: the processes' status, their boards in shared memory, and the
control channel. It speaks no HTTP and runs no model, so there is little that could stop it.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import zmq

from retort.models.errors import StartError
from retort.service.engines import State
from retort.service.metrics import Metrics, Role
from retort.service.processes.child import ENGINE_COMMAND, FRONT_END_COMMAND, Child
from retort.service.processes.control import Message, SupervisorChannel
from retort.service.processes.orders import FRONT_END_NAME, EngineOrder, FrontEndOrder
from retort.service.processes.pool import EngineChild, Pool, StartFailed
from retort.service.settings import Settings, drain_delay

logger = logging.getLogger("retort")

TICK_SECONDS = 0.02
# How often front ends hear from the supervisor though nothing has changed.
WORD_SECONDS = 0.25
# An event loop may be busy for a while, with a large body for instance.
FRONT_END_SILENCE_SECONDS = 3.0
# Until its heart beats for the first time: where cores are few, importing alone takes longer.
FRONT_END_START_SECONDS = 60.0
# One that ended so soon has hardly served: the next one waits.
FRONT_END_WAIT_SECONDS = 1.0
# Beyond `drain_seconds`, for a process to end.
LAST_SECONDS = 2.0
# How long the supervisor remembers that it was late itself.
LAG_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class ModelPlace:
    """A model to serve, and the name or path of its bundle."""

    role: Role
    name: str
    bundle: str


@dataclass(slots=True)
class FrontEnd:
    """A front end's place; `child` is the process that fills it now."""

    name: str
    listener: socket.socket
    child: Child | None = None
    adopted: int = 0
    start_at: float = 0.0

    @property
    def identity(self) -> str:
        """The identity of the process."""
        return "" if self.child is None else self.child.identity

    @property
    def running(self) -> bool:
        """Whether there is a process that runs."""
        return self.child is not None and self.child.status is None

    def end(self) -> None:
        """End the process at once."""
        if self.child is not None:
            self.child.kill()


class Supervisor:
    """Runs a server of several processes; there is one front end per listener.

    `engine_command` is what starts an engine, for tests.
    """

    def __init__(
        self,
        settings: Settings,
        models: Sequence[ModelPlace],
        listeners: Sequence[socket.socket],
        *,
        engine_command: Sequence[str] = ENGINE_COMMAND,
    ) -> None:
        self._settings = settings
        self._engine_command = engine_command
        self._folder = runtime_folder()
        self._metrics_folder = self._folder / "metrics"
        self._metrics_folder.mkdir()
        self._metrics = Metrics(self._metrics_folder, "supervisor")
        self._channel = SupervisorChannel(f"ipc://{self._folder / 'control'}")
        self._count = 0
        self._processes: dict[str, str] = {}  # names by identity, of those that run
        self._pools: list[Pool] = []
        self._pools += [self._pool(model) for model in models]
        self._listeners = list(listeners)
        self._front_ends: list[FrontEnd] = []
        self._state = State.LOADING
        self._epoch = 1
        self._told_at = 0.0
        self._signals: list[int] = []
        # When to tell front ends to stop, once asked to; and when to end whatever still runs.
        self._stop_at: float | None = None
        self._end_at: float | None = None

    def run(self) -> None:
        """Run until SIGTERM or SIGINT; then drain, and return when everything has ended.

        SIGHUP reloads every model. Raises `StartError` if a model cannot be served.
        """
        woken, wake = os.pipe()
        os.set_blocking(woken, False)
        os.set_blocking(wake, False)
        for wanted in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(wanted, lambda number, _: self._signals.append(number))
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        poller = zmq.Poller()
        poller.register(self._channel.socket, zmq.POLLIN)
        poller.register(woken, zmq.POLLIN)
        try:
            for number, listener in enumerate(self._listeners):
                self._front_ends.append(FrontEnd(f"{FRONT_END_NAME}{number}", listener))
            last, lag, lag_until = time.perf_counter(), 0.0, 0.0
            while not self._ended:
                poller.poll(round(TICK_SECONDS * 1000))
                with suppress(BlockingIOError):
                    os.read(woken, 4096)
                now = time.perf_counter()
                late = now - last - TICK_SECONDS
                if late > lag or now > lag_until:
                    # Whatever held us up may have held up the others.
                    lag, lag_until = max(0.0, late), now + LAG_SECONDS
                last = now
                self._hear()
                self._obey(now)
                self._look(now, lag)
                self._tell(now)
        except StartFailed as failed:
            raise StartError(str(failed)) from None
        finally:
            signal.set_wakeup_fd(-1)
            self._end_all()
            os.close(woken)
            os.close(wake)

    @property
    def _ended(self) -> bool:
        """Whether it was asked to stop, and all that was accepted is answered."""
        return self._end_at is not None and not any(front.running for front in self._front_ends)

    def _hear(self) -> None:
        """Read what the processes say."""
        while (heard := self._channel.receive()) is not None:
            identity, message = heard
            engine = self._engine(identity)
            if engine is not None:
                _note(engine, message)
                continue
            front = next((f for f in self._front_ends if f.identity == identity), None)
            if front is None:
                continue
            if message["type"] == "listening":
                self._told_at = 0.0
            elif message["type"] == "adopted":
                front.adopted = message["epoch"]
                for pool in self._pools:
                    for rejected, problem in message["problems"].items():
                        pool.reject(rejected, problem, time.perf_counter())
            elif message["type"] == "load":
                self._load(message["name"], message["bundle"], identity, message["id"])

    def _obey(self, now: float) -> None:
        """Do what signals ask for."""
        signals, self._signals = self._signals, []
        for number in signals:
            if number == signal.SIGHUP:
                for pool in self._pools:
                    logger.info("%s: reloading", pool.name)
                    pool.reload(None, lambda _: None)
            elif self._stop_at is not None or self._state is State.LOADING:
                # Nothing was accepted yet; or this is the second time.
                loading = self._state is State.LOADING
                logger.info(
                    "asked to stop while the model was loading" if loading else "ending at once"
                )
                self._end_at = now
                for front in self._front_ends:
                    front.end()
                return
            else:
                self._state = State.DRAINING
                self._stop_at = now + drain_delay(self._settings)
                self._told_at = 0.0
        if self._stop_at is not None and self._end_at is None and now >= self._stop_at:
            self._end_at = now + self._settings.drain_seconds + LAST_SECONDS
            for listener in self._listeners:
                listener.close()
            for front in self._front_ends:
                self._channel.send(front.identity, {"type": "stop"})
        if self._end_at is not None and now > self._end_at:
            for front in self._front_ends:
                if front.running:
                    logger.error("%s has not ended in time, and is ended now", front.name)
                front.end()

    def _look(self, now: float, lag: float) -> None:
        """Look at every process, and replace those that are lost."""
        for pool in list(self._pools):
            pool.tick(now, lag)
            if pool.changed:
                pool.changed = False
                self._epoch += 1
                self._told_at = 0.0
        self._forget_the_dead()
        for front in self._front_ends:
            self._look_at_front_end(front, now, lag)
        if self._state is State.LOADING and all(pool.active for pool in self._pools):
            self._state = State.READY
            logger.info("ready: mode %s", self._settings.mode)
        running = [front for front in self._front_ends if front.running]
        if all(front.adopted >= self._epoch for front in running):
            for pool in self._pools:
                if pool.active is not None:
                    pool.settle()

    def _look_at_front_end(self, front: FrontEnd, now: float, lag: float) -> None:
        child = front.child
        if child is not None:
            limit = FRONT_END_SILENCE_SECONDS if child.begun else FRONT_END_START_SECONDS
            silent = child.silent_seconds(now) > limit + lag
            if child.status is None and not silent:
                return
            if self._end_at is not None and child.status is not None:
                return
            child.kill()
            reason = "silent" if silent else "died"
            self._metrics.restarts.labels("front_end", reason).inc()
            logger.error("%s is replaced: %s, status %s", front.name, reason, child.status)
            front.child = None
            served = now - child.started_at > FRONT_END_SILENCE_SECONDS
            front.start_at = now if served else now + FRONT_END_WAIT_SECONDS
        if self._end_at is None and now >= front.start_at:
            self._count += 1
            order = FrontEndOrder(
                **self._order(front.name, f"{front.name}.{self._count}"),
                listener=front.listener.fileno(),
            )
            front.adopted = 0
            front.child = Child(FRONT_END_COMMAND, order, [front.listener.fileno()])

    def _tell(self, now: float) -> None:
        """Tell front ends how things are, at once if something has changed."""
        if now - self._told_at < WORD_SECONDS:
            return
        self._told_at = now
        missing = [pool.name for pool in self._pools if pool.active is None]
        hopeless = [pool.name for pool in self._pools if pool.hopeless]
        reason = ""
        if self._state is State.DRAINING:
            reason = "the server is shutting down"
        elif self._state is State.LOADING:
            reason = f"loading {', '.join(missing)}"
        elif missing:
            reason = f"the engine of {', '.join(missing)} is being replaced"
        message: Message = {
            "type": "state",
            "epoch": self._epoch,
            "state": self._state.value,
            "reason": reason,
            "alive": not hopeless,
            "models": [
                {
                    "role": pool.role,
                    "name": pool.name,
                    "engine": None if pool.active is None else pool.active.describe(),
                }
                for pool in self._pools
                if pool.known
            ],
            "living": [e.child.identity for pool in self._pools for e in pool.engines()],
        }
        for front in self._front_ends:
            if front.running:
                self._channel.send(front.identity, message)

    def _load(self, name: str, bundle: str | None, asker: str, number: int) -> None:
        """Load a model as a front end asks, and answer when that has ended."""
        pool = next((pool for pool in self._pools if pool.name == name), None)
        new = pool is None
        if pool is None:
            pool = self._pool(ModelPlace("student", name, bundle or name))
            self._pools.append(pool)

        def ended(problem: str) -> None:
            if problem and new:
                self._pools.remove(pool)
            self._channel.send(asker, {"type": "loaded", "id": number, "problem": problem})

        pool.reload(bundle, ended)

    def _pool(self, model: ModelPlace) -> Pool:
        def launch(bundle: str, preferred: dict[str, Any] | None) -> EngineChild:
            self._count += 1
            identity = f"{self._free_name()}.{self._count}"
            name = identity.partition(".")[0]
            address = f"ipc://{self._folder / identity}"
            order = EngineOrder(
                **self._order(name, identity),
                bundle=bundle,
                model=model.name,
                role=model.role,
                address=address,
                copy=str(self._folder / f"{identity}.bundle"),
                preferred=preferred,
            )
            # Its predecessor's present is not its own.
            self._metrics.forget(name)
            child = Child(self._engine_command, order)
            leave = partial(self._channel.send, identity, {"type": "stop"})
            return EngineChild(child, address, leave)

        return Pool(model.role, model.name, model.bundle, self._settings, self._metrics, launch)

    def _order(self, name: str, identity: str) -> dict[str, Any]:
        return {
            "settings": self._settings.to_json(),
            "name": name,
            "identity": identity,
            "parent": os.getpid(),
            "control": f"ipc://{self._folder / 'control'}",
            "board": str(self._folder / f"{identity}.board"),
            "metrics": str(self._metrics_folder),
        }

    def _engine(self, identity: str) -> EngineChild | None:
        found = (pool.find(identity) for pool in self._pools)
        return next((engine for engine in found if engine is not None), None)

    def _free_name(self) -> str:
        taken = {e.child.name for pool in self._pools for e in pool.engines()}
        return next(name for n in count() if (name := f"engine{n}") not in taken)

    def _forget_the_dead(self) -> None:
        """Take back what processes that have ended told as their present, and their files."""
        engines = {e.child.identity: e.child.name for pool in self._pools for e in pool.engines()}
        here = engines | {front.identity: front.name for front in self._front_ends if front.child}
        for identity in self._processes.keys() - here.keys():
            (self._folder / identity).unlink(missing_ok=True)
            (self._folder / f"{identity}.board").unlink(missing_ok=True)
            shutil.rmtree(self._folder / f"{identity}.bundle", ignore_errors=True)
        for name in set(self._processes.values()) - set(here.values()):
            self._metrics.forget(name)
        self._processes = here

    def _end_all(self) -> None:
        """End every process, and remove what they shared."""
        for front in self._front_ends:
            front.end()
        # Without front ends nobody waits for anything that an engine does.
        for pool in self._pools:
            for engine in pool.engines():
                engine.child.kill()
        for listener in self._listeners:
            listener.close()
        self._channel.close()
        shutil.rmtree(self._folder, ignore_errors=True)


def _note(engine: EngineChild, message: Message) -> None:
    """Keep what an engine says of itself."""
    kind = message.pop("type")
    if kind == "ready":
        engine.told = message
        engine.ready_at = time.perf_counter()
    elif kind in ("failed", "trouble"):
        engine.reason, engine.wrong = message["reason"], message.get("wrong", False)


def runtime_folder() -> Path:
    """A new folder for sockets, boards and metrics, in memory where there is such a place.

    Those of servers that were killed are removed. Its path is short, as a socket's has to be.
    """
    shared = Path("/dev/shm")
    place = shared if os.access(shared, os.W_OK) else Path(tempfile.gettempdir())
    for left in place.glob("retort-*-*"):
        owner = left.name.split("-")[1]
        running = owner.isdigit() and int(owner) != os.getpid() and Path(f"/proc/{owner}").exists()
        if not running and left.stat().st_uid == os.getuid():
            shutil.rmtree(left, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"retort-{os.getpid()}-", dir=place))
