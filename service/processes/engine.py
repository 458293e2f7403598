"""The engine process: one engine, fed by every front end over ZeroMQ.

    python -m retort.service.processes.engine    # the supervisor starts it, with an order on stdin

It loads, checks and warms the model, says so to the supervisor, and then moves messages: from the
socket into the engine, and scores back. Workers never touch the socket, which belongs to one
thread; they leave their replies and wake it up.
"""

from __future__ import annotations

import gc
import logging
import os
import sys
import time
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Any

import zmq

from retort.models.bundle import TOKENIZER_FILE, Bundle
from retort.models.manifest import MANIFEST_FILE
from retort.models.runtime.base import BackendInfo
from retort.service.engine.board import Board
from retort.service.engine.engine import Engine, Reply
from retort.service.engine.load import Wrap, load_model, problem_of, read_model
from retort.service.engine.wire import BadFrame, Failure, Result, read_request
from retort.service.log import log_to_stderr
from retort.service.metrics import Metrics
from retort.service.processes.control import ProcessChannel, live_with
from retort.service.processes.orders import EngineOrder, take

logger = logging.getLogger("retort")

# The heart beats at least so often, whatever goes on.
BEAT_MS = 20
# Messages that are read before the others get their turn.
READ_AT_ONCE = 256
# A front end may have sent its last job before it heard of a newer engine.
LAST_JOBS_SECONDS = 0.5
# Threads of Python take turns: the one that moves messages must not wait long for its own.
SWITCH_SECONDS = 0.0005


def main(wrap: Wrap = lambda backend: backend) -> None:
    """Run an engine as ordered; `wrap` is for tests, which put a fault before the backend."""
    order = take(EngineOrder)
    live_with(order.parent)
    settings = order.read_settings()
    log_to_stderr(settings, order.name)
    channel = ProcessChannel(order.control, order.identity)
    metrics = Metrics(Path(order.metrics), order.name)
    options = settings.runtime if order.role == "student" else settings.teacher_runtime
    try:
        bundle = read_model(order.bundle, order.model, settings.trusted_key)
        preferred = BackendInfo(**order.preferred) if order.preferred else None
        loaded = load_model(settings, bundle, options, wrap=wrap, preferred=preferred)
    except Exception as error:
        channel.send({"type": "failed", "reason": problem_of(error)})
        channel.close()
        zmq.Context.instance().term()
        sys.exit(1)
    engine = Engine(
        bundle,
        loaded,
        metrics,
        role=order.role,
        limit_tokens=settings.queue_tokens,
        board=Board(Path(order.board)),
        hang_seconds=settings.hang_after,
        hang_multiple=settings.hang_multiple,
        recheck_seconds=settings.recheck_seconds,
    )
    metrics.begin_model(order.role, bundle.manifest, loaded.chosen.backend.info)
    copy_for_front_ends(bundle, Path(order.copy))
    ready: dict[str, Any] = {
        "folder": order.copy,
        "digest": bundle.digest,
        "version": bundle.manifest.version,
        "info": loaded.describe(),
    }
    EngineProcess(order, engine, channel, metrics).run(ready)


def copy_for_front_ends(bundle: Bundle, folder: Path) -> None:
    """Leave in a new `folder` what front ends need of the bundle.

    Raises `BundleError` if that has changed since this engine read it.
    """
    folder.mkdir()
    for name in (MANIFEST_FILE, TOKENIZER_FILE):
        (folder / name).write_bytes(bundle.read(name))


class EngineProcess:
    """Moves messages between front ends, an engine and the supervisor."""

    def __init__(
        self, order: EngineOrder, engine: Engine, channel: ProcessChannel, metrics: Metrics
    ) -> None:
        self._order = order
        self._metrics = metrics
        self._engine = engine
        self._channel = channel
        self._replies: deque[tuple[bytes, Result | Failure]] = deque()
        self._woken, self._wake = os.pipe()
        os.set_blocking(self._woken, False)
        os.set_blocking(self._wake, False)
        self._data: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.ROUTER)
        self._data.set_hwm(0)
        self._data.setsockopt(zmq.LINGER, 1_000)
        self._data.bind(order.address)
        self._busy_at = time.perf_counter()

    def run(self, ready: dict[str, Any]) -> None:
        """Serve until the supervisor says stop, or the engine is in trouble."""
        sys.setswitchinterval(SWITCH_SECONDS)
        poller = zmq.Poller()
        for source in (self._data, self._channel.socket, self._woken):
            poller.register(source, zmq.POLLIN)
        self._engine.tick()
        # What lives as long as the process is nothing to look through again and again.
        gc.collect()
        gc.freeze()
        self._channel.send({"type": "ready", **ready})
        stopping = False
        while True:
            poller.poll(BEAT_MS)
            self._engine.tick()
            self._metrics.set_queue_tokens(self._engine.board.tokens)
            self._answer()
            self._read()
            while (message := self._channel.receive()) is not None:
                stopping |= message["type"] == "stop"
            if self._engine.trouble is not None:
                trouble = {"reason": self._engine.trouble, "wrong": self._engine.wrong}
                self._channel.send({"type": "trouble", **trouble})
                self._end()
                # Some of its threads may never end.
                os._exit(1)
            if stopping and self._quiet():
                break
            if os.getppid() != self._order.parent:
                os._exit(1)
        self._engine.close()
        self._answer()
        self._end()

    def _end(self) -> None:
        """Close the sockets, once they have sent what they have."""
        self._data.close()
        self._channel.close()
        zmq.Context.instance().term()

    def _read(self) -> None:
        for _ in range(READ_AT_ONCE):
            try:
                sender, frame = self._data.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            self._busy_at = time.perf_counter()
            try:
                self._engine.handle(sender, read_request(frame), self._reply_to(sender))
            except BadFrame:
                logger.exception("a front end sent what is no request")

    def _reply_to(self, sender: bytes) -> Reply:
        def reply(message: Result | Failure) -> None:
            self._replies.append((sender, message))
            if len(self._replies) == 1:
                os.write(self._wake, b"1")

        return reply

    def _answer(self) -> None:
        with suppress(BlockingIOError):
            os.read(self._woken, 4096)
        while self._replies:
            sender, message = self._replies.popleft()
            self._data.send_multipart([sender, message.pack()], zmq.NOBLOCK)

    def _quiet(self) -> bool:
        now = time.perf_counter()
        if not self._engine.idle or self._replies:
            self._busy_at = now
        return now - self._busy_at > LAST_JOBS_SECONDS


if __name__ == "__main__":
    main()
