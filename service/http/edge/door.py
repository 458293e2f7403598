"""The door: a TLS connection until its handshake is done, so that it is bounded from the start."""

from __future__ import annotations

import asyncio
import ssl
from time import monotonic

from retort.service.errors import Busy
from retort.service.http.edge.connections import Connections, Place, address_of
from retort.service.http.edge.protocol import EdgeProtocol


class Door(asyncio.Protocol):
    """Opens for `inner`, the protocol that goes on once the client has shaken hands."""

    def __init__(
        self, inner: EdgeProtocol, context: ssl.SSLContext, connections: Connections
    ) -> None:
        self.place: Place | None = None
        self.address = ""
        self.body_bytes = 0
        self._inner = inner
        self._context = context
        self._among = connections

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has come."""
        self.transport = transport
        # What comes is for TLS.
        transport.pause_reading()
        peer = transport.get_extra_info("peername")
        if isinstance(peer, tuple):
            self.address = address_of(peer[0])
        try:
            self._among.enter(self, monotonic())
        except Busy:
            # In plain text nobody would understand why.
            transport.close()
            return
        self._opening = asyncio.create_task(self._open())

    def connection_lost(self, exc: Exception | None) -> None:
        """It has ended before it was open."""
        self._among.leave(self)

    def late(self) -> None:
        """The handshake has taken too long."""
        self.cut()

    def cut(self) -> None:
        """Close it."""
        self.transport.abort()
        self._among.leave(self)

    async def _open(self) -> None:
        loop = asyncio.get_running_loop()
        seconds = self._among.settings.header_seconds
        try:
            secured = await loop.start_tls(
                self.transport,
                self._inner,
                self._context,
                server_side=True,
                ssl_handshake_timeout=seconds,
            )
        except OSError:
            # Not TLS, or of a version or with a cipher that is not accepted, or gone.
            self.transport.abort()
            secured = None
        finally:
            self._among.leave(self)
        if secured is not None:
            self._inner.connection_made(secured)
