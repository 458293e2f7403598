"""Farewell: the end of a connection whose client may still be sending."""

from __future__ import annotations

import asyncio

from retort.service.http.edge.connections import LAST_BYTES, LAST_SECONDS, Connections


class Farewell(asyncio.Protocol):
    """Reads and drops what still comes, for a moment, and then closes.

    The last answer is written. To close with something unread would reset the connection, and some
    systems then throw away the answer too, before the client has read it. `before` is the protocol
    that the connection had.
    """

    def __init__(
        self, transport: asyncio.Transport, before: asyncio.Protocol, connections: Connections
    ) -> None:
        self._transport = transport
        self._before = before
        self._connections = connections
        self._left = LAST_BYTES
        connections.leaving += 1
        transport.set_protocol(self)
        if transport.can_write_eof():
            transport.write_eof()
        if not transport.is_reading():
            transport.resume_reading()
        self._timer = asyncio.get_running_loop().call_later(LAST_SECONDS, transport.close)

    def data_received(self, data: bytes) -> None:
        """Drop it."""
        self._left -= len(data)
        if self._left < 0:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """It has ended."""
        self._timer.cancel()
        self._connections.leaving -= 1
        self._before.connection_lost(exc)
