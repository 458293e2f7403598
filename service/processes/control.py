"""The control channel: what the supervisor and its processes tell each other.

    engine → supervisor       ready {info} · failed {reason} · trouble {reason}
    front end → supervisor    listening · adopted {epoch, problems} · load {id, name, bundle}
    supervisor → engine       stop
    supervisor → front end    state {…} · loaded {id, reply | problem} · stop

Each message is one JSON object with a `type`, over ZeroMQ. They are few: what has to be known all
the time, such as heartbeats, lies on boards in shared memory.
"""

from __future__ import annotations

import ctypes
import os
import signal
from typing import Any

import orjson
import zmq

Message = dict[str, Any]

PR_SET_PDEATHSIG = 1


class SupervisorChannel:
    """The supervisor's end, listening at `address`. Messages to whoever is gone are dropped."""

    def __init__(self, address: str) -> None:
        self.socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.ROUTER)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.set_hwm(0)
        self.socket.bind(address)

    def send(self, identity: str, message: Message) -> None:
        """Send to one process; returns at once."""
        self.socket.send_multipart([identity.encode(), orjson.dumps(message)], zmq.NOBLOCK)

    def receive(self) -> tuple[str, Message] | None:
        """The next message and who sent it; None if there is none."""
        try:
            identity, frame = self.socket.recv_multipart(zmq.NOBLOCK)
        except zmq.Again:
            return None
        return identity.decode(), orjson.loads(frame)

    def close(self) -> None:
        """Close the socket."""
        self.socket.close()


class ProcessChannel:
    """The end of the process called `identity`; the supervisor listens at `address`."""

    def __init__(self, address: str, identity: str) -> None:
        self.socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.DEALER)
        self.socket.setsockopt(zmq.IDENTITY, identity.encode())
        # The last words of a process that ends.
        self.socket.setsockopt(zmq.LINGER, 1_000)
        self.socket.set_hwm(0)
        self.socket.connect(address)

    def send(self, message: Message) -> None:
        """Send; returns at once."""
        self.socket.send(orjson.dumps(message), zmq.NOBLOCK)

    def receive(self) -> Message | None:
        """The next message; None if there is none."""
        try:
            message: Message = orjson.loads(self.socket.recv(zmq.NOBLOCK))
        except zmq.Again:
            return None
        return message

    def close(self) -> None:
        """Send what is left, for a second at most, and close."""
        self.socket.close()


def live_with(parent: int) -> None:
    """Make this process end when its supervisor, the process `parent`, does.

    Its signals are the supervisor's business: a terminal and systemd send them to everybody.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    if os.uname().sysname == "Linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
