"""The front end: a process that speaks HTTP and tokenizes, and has engines score.

python -m retort.service.processes.front_end    # the supervisor starts it, with an order on stdin
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

from retort.service.engine.board import Board
from retort.service.http.serving import PatientServer
from retort.service.log import log_to_stderr
from retort.service.metrics import Metrics
from retort.service.processes.control import ProcessChannel, live_with
from retort.service.processes.orders import FRONT_END_NAME, FrontEndOrder, take
from retort.service.processes.remote import RemoteEngines
from retort.service.service import Service


class QuietServer(PatientServer):
    """A server that leaves signals to its supervisor."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


def main() -> None:
    """Serve HTTP as ordered, until the supervisor says stop."""
    order = take(FrontEndOrder)
    live_with(order.parent)
    settings = order.read_settings()
    log_to_stderr(settings, order.name)
    metrics = Metrics(Path(order.metrics), order.name)
    channel = ProcessChannel(order.control, order.identity)
    engines = RemoteEngines(settings, metrics, channel, Board(Path(order.board)))
    place = int(order.name.removeprefix(FRONT_END_NAME))
    service = Service(settings, engines, Path(order.metrics).parent, place)
    server = QuietServer(service, settings)

    def stop() -> None:
        server.should_exit = True

    engines.on_stop = stop
    with socket.socket(fileno=order.listener) as listener:
        server.run(sockets=[listener])
    channel.close()


if __name__ == "__main__":
    main()
