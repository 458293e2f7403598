"""Remote engines: a front end's models, on engine processes that the supervisor looks after.

The supervisor tells which engine answers for each model; this follows. For a version that is new
here, the tokenizer is read before the first request goes there, so nothing waits for it.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from retort.models.bundle import TOKENIZER_FILE, Bundle, read_bundle
from retort.models.errors import BundleError
from retort.service.engine.board import Board
from retort.service.engine.link import RemoteLink
from retort.service.engine.scorer import Scorer
from retort.service.engine.tokenization import Tokenization
from retort.service.engines import Engines, State, describe_load
from retort.service.errors import LoadFailed
from retort.service.metrics import Metrics
from retort.service.model import Model, Served
from retort.service.processes.control import Message, ProcessChannel
from retort.service.settings import Settings

logger = logging.getLogger("retort")

BEAT_SECONDS = 0.05
# Without a word from the supervisor for so long, this front end is on its own.
SILENCE_SECONDS = 2.0


class RemoteEngines(Engines):
    """Models as the supervisor at the other end of `channel` says."""

    def __init__(
        self, settings: Settings, metrics: Metrics, channel: ProcessChannel, board: Board
    ) -> None:
        super().__init__(settings, metrics)
        self._channel = channel
        self._board = board
        self._links: dict[str, RemoteLink] = {}
        # By digest: the bundle and its tokenizer with the passages' cache.
        self._known: dict[str, tuple[Bundle, Tokenization]] = {}
        self._epoch = 0
        self._heard_at = time.perf_counter()
        self._states: asyncio.Queue[Message] = asyncio.Queue()
        self._loads: dict[int, asyncio.Future[Message]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._first = asyncio.Event()
        self._count = 0
        self.on_stop: Callable[[], None] = lambda: None

    @property
    def alive(self) -> bool:
        """As the supervisor says, while it says anything."""
        return self.health.alive and time.perf_counter() - self._heard_at < SILENCE_SECONDS

    async def start(self) -> None:
        """Begin to follow the supervisor; returns when it has said how things are.

        Connections wait until then, so one that takes another's place turns nobody away.
        """
        loop = asyncio.get_running_loop()
        loop.add_reader(self._channel.socket.fileno(), self._readable)
        self._tasks = [asyncio.create_task(self._beat()), asyncio.create_task(self._follow())]
        self._channel.send({"type": "listening"})
        await self._first.wait()
        # What lives as long as the process is nothing to look through again and again.
        gc.collect()
        gc.freeze()

    async def stop(self) -> None:
        """Let go of the engines."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        asyncio.get_running_loop().remove_reader(self._channel.socket.fileno())
        for link in self._links.values():
            await link.close()

    async def load(self, name: str, bundle: str | None) -> dict[str, Any]:
        """Ask the supervisor for it, and wait for its answer."""
        model = next((m for m in self.models if m.name == name), None)
        before = None if model is None else model.served
        self._count += 1
        number = self._count
        answer: asyncio.Future[Message]
        answer = self._loads[number] = asyncio.get_running_loop().create_future()
        self._channel.send({"type": "load", "id": number, "name": name, "bundle": bundle})
        try:
            message = await answer
        finally:
            del self._loads[number]
        if message.get("problem"):
            raise LoadFailed(message["problem"])
        served = next(m for m in self.models if m.name == name).now()
        return describe_load(served, before)

    def _readable(self) -> None:
        while (message := self._channel.receive()) is not None:
            self._heard_at = time.perf_counter()
            kind = message["type"]
            if kind == "state":
                self._states.put_nowait(message)
            elif kind == "loaded" and (answer := self._loads.get(message["id"])) is not None:
                answer.set_result(message)
            elif kind == "stop":
                self.on_stop()

    async def _beat(self) -> None:
        parent = os.getppid()
        while True:
            self._board.beat = time.perf_counter()
            if os.getppid() != parent:
                os._exit(1)
            # The descriptor tells once that something has come, and a send may have used that up.
            self._readable()
            await asyncio.sleep(BEAT_SECONDS)

    async def _follow(self) -> None:
        while True:
            message = await self._states.get()
            try:
                if message["epoch"] != self._epoch:
                    problems = await self._adopt(message)
                    self._epoch = message["epoch"]
                    adopted = {"type": "adopted", "epoch": self._epoch, "problems": problems}
                    self._channel.send(adopted)
                # Last, so that nobody hears "ready" before there is an engine to ask.
                self._tell_health(message)
                self._first.set()
            except Exception:
                logger.exception("the supervisor's word could not be followed")

    def _tell_health(self, message: Message) -> None:
        health = self.health
        health.state, health.reason = State(message["state"]), message["reason"]
        health.alive = message["alive"]
        if health.state is State.DRAINING:
            health.draining.set()

    async def _adopt(self, message: Message) -> dict[str, str]:
        """Follow the supervisor's choice of engines; problems by the engine's identity."""
        problems: dict[str, str] = {}
        for told in message["models"]:
            model = self._model(told)
            engine = told["engine"]
            if engine is None:
                self.serve(model, None)
            elif engine["id"] not in self._links:
                try:
                    served = await self._reach(engine)
                except (BundleError, OSError) as error:
                    problems[engine["id"]] = str(error)
                    continue
                self.serve(model, served)
        for identity in [name for name in self._links if name not in message["living"]]:
            await self._links.pop(identity).close()
        digests = {model.served.bundle.digest for model in self.models if model.served}
        self._known = {digest: known for digest, known in self._known.items() if digest in digests}
        return problems

    def _model(self, told: dict[str, Any]) -> Model:
        name, role = told["name"], told["role"]
        if role == "teacher":
            self.teacher = self.teacher or Model("teacher", name)
            return self.teacher
        return self.students.setdefault(name, Model("student", name))

    async def _reach(self, engine: dict[str, Any]) -> Served:
        digest = engine["digest"]
        if digest not in self._known:
            if engine["info"]["provider"] == "cpu":
                # The engine has every core: tokenizing on all of them only gets in its way.
                os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
            self._known[digest] = await asyncio.to_thread(
                self._read, Path(engine["folder"]), digest
            )
        bundle, tokenization = self._known[digest]
        link = self._links[engine["id"]] = RemoteLink(engine["address"], Path(engine["board"]))
        scorer = Scorer(tokenization, link, self.settings.max_pairs)
        return Served(bundle, scorer, engine["info"])

    def _read(self, folder: Path, digest: str) -> tuple[Bundle, Tokenization]:
        bundle = read_bundle(folder, [TOKENIZER_FILE])
        if bundle.digest != digest:
            raise BundleError(folder, "has changed since the engine read it")
        tokenization = Tokenization(bundle.encoder(), self.settings.passage_cache, self.lookups())
        return bundle, tokenization
