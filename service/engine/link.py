"""The link: how a front end reaches an engine, in its own process or in another.

Both kinds speak the messages of the wire, so a server of one process goes the same way as one of
many. What is in flight when an engine ends fails with `EngineLost`; its caller may try it again.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from abc import ABC, abstractmethod
from collections import deque
from pathlib import Path

import zmq

from retort.service.engine.board import Board
from retort.service.engine.engine import Engine
from retort.service.engine.wire import (
    BadFrame,
    Cancel,
    Failure,
    More,
    Open,
    Result,
    read_reply,
)

logger = logging.getLogger("retort")

# How often an engine in this process is looked after.
TICK_SECONDS = 0.05


class EngineLost(Exception):
    """The engine ended with the job in flight."""


class Link(ABC):
    """One front end's way to one engine; used from the event loop alone."""

    def __init__(self, board: Board) -> None:
        self.board = board
        self.lost = False
        self._keys = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Result]] = {}

    @property
    def trouble(self) -> str | None:
        """What the engine cannot mend by itself; one of another process is replaced."""
        return None

    def key(self) -> int:
        """A key for a new job."""
        return next(self._keys)

    def open(self, message: Open) -> asyncio.Future[Result]:
        """Send a job; the future raises `ServiceError` or `EngineLost`."""
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        if self.lost:
            future.set_exception(EngineLost())
            return future
        self._waiting[message.key] = future
        self._send(message)
        return future

    def more(self, message: More) -> None:
        """Send a job's next pairs; nothing happens if it has ended."""
        if message.key in self._waiting:
            self._send(message)

    def leave(self, key: int) -> None:
        """Forget a job; the engine is told, unless it has answered."""
        if self._waiting.pop(key, None) is not None and not self.lost:
            self._send(Cancel(key))

    def lose(self) -> None:
        """The engine has ended: everything in flight fails."""
        self.lost = True
        waiting, self._waiting = self._waiting, {}
        for future in waiting.values():
            if not future.done():
                future.set_exception(EngineLost())

    def _answer(self, reply: Result | Failure) -> None:
        future = self._waiting.pop(reply.key, None)
        if future is None or future.done():
            return
        if isinstance(reply, Failure):
            future.set_exception(reply.error)
        else:
            future.set_result(reply)

    @abstractmethod
    def _send(self, message: Open | More | Cancel) -> None: ...

    @abstractmethod
    async def close(self, seconds: float = 0.0) -> None:
        """Let go of the engine; one of this process gets so many seconds to finish."""


class LocalLink(Link):
    """To an engine in this process, which it also looks after and closes."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine.board)
        self.engine = engine
        self._loop = asyncio.get_running_loop()
        self._replies: deque[Result | Failure] = deque()
        self._ticking = asyncio.create_task(self._tick())

    @property
    def trouble(self) -> str | None:
        """What the engine says."""
        return self.engine.trouble

    def _send(self, message: Open | More | Cancel) -> None:
        self.engine.handle(b"", message, self._reply)

    def _reply(self, reply: Result | Failure) -> None:
        # From a worker thread; one wake-up of the event loop for all that ended together.
        self._replies.append(reply)
        if len(self._replies) == 1:
            self._loop.call_soon_threadsafe(self._drain)

    def _drain(self) -> None:
        while self._replies:
            self._answer(self._replies.popleft())

    async def _tick(self) -> None:
        while True:
            self.engine.tick()
            await asyncio.sleep(TICK_SECONDS)

    async def close(self, seconds: float = 0.0) -> None:
        """Finish what was accepted, and end the engine."""
        await asyncio.to_thread(self.engine.close, seconds)
        self._drain()
        self._ticking.cancel()
        await asyncio.gather(self._ticking, return_exceptions=True)
        self.lose()


class RemoteLink(Link):
    """To an engine that listens at `address`, a ZeroMQ endpoint, and shows the board at `board`."""

    def __init__(self, address: str, board: Path) -> None:
        super().__init__(Board(board))
        self._loop = asyncio.get_running_loop()
        self._socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.DEALER)
        self._socket.setsockopt(zmq.LINGER, 0)
        # What may wait is bounded by admission, in tokens.
        self._socket.set_hwm(0)
        self._socket.connect(address)
        self._loop.add_reader(self._socket.fileno(), self._readable)

    def _send(self, message: Open | More | Cancel) -> None:
        self._socket.send(message.pack(), zmq.NOBLOCK, copy=True)
        # The descriptor tells once that something has come, and a send may have used that up.
        if int(self._socket.getsockopt(zmq.EVENTS)) & zmq.POLLIN:
            self._loop.call_soon(self._readable)

    def _readable(self) -> None:
        while not self._socket.closed:
            try:
                frame = self._socket.recv(zmq.NOBLOCK)
            except zmq.Again:
                return
            try:
                self._answer(read_reply(frame))
            except BadFrame:
                logger.exception("an engine sent what is no reply")

    async def close(self, seconds: float = 0.0) -> None:
        """Close the socket; what is in flight is lost."""
        self.lose()
        if not self._socket.closed:
            self._loop.remove_reader(self._socket.fileno())
            self._socket.close()
