"""The door: a TLS connection until its handshake is done, so that it is bounded from the start."""

from __future__ import annotations

import asyncio
import ssl
from time import monotonic
from typing import cast

from retort.service.errors import Busy, ServiceError
from retort.service.http.edge.connections import LAST_SECONDS, Connections, Place, address_of
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
        self._early = b""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has come."""
        self.transport = transport
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

    def data_received(self, data: bytes) -> None:
        """Keep what comes too early: for TLS, as uvloop reads already, and then for `inner`."""
        self._early += data

    def connection_lost(self, exc: Exception | None) -> None:
        """It has ended before it was open."""
        self._among.leave(self)

    def late(self, error: ServiceError) -> None:
        """The handshake has taken too long."""
        self.cut()

    def cut(self) -> None:
        """Close it."""
        self.transport.abort()
        self._among.leave(self)

    async def _open(self) -> None:
        loop = asyncio.get_running_loop()
        shaking = loop.create_task(
            loop.start_tls(
                self.transport,
                self,
                self._context,
                server_side=True,
                ssl_handshake_timeout=self._among.settings.header_seconds,
                # An idle client does not answer a farewell.
                ssl_shutdown_timeout=LAST_SECONDS,
            )
        )
        # By then it has taken over, and it is connected in the next turn of the loop.
        await asyncio.sleep(0)
        early, self._early = self._early, b""
        if early:
            loop.call_soon(self._pass_on, early)
        try:
            secured = await shaking
        except OSError:
            # Not TLS, or of a version or with a cipher that is not accepted, or gone.
            self.transport.abort()
            secured = None
        finally:
            self._among.leave(self)
        if secured is not None:
            secured.set_protocol(self._inner)
            self._inner.connection_made(secured)
            if self._early:
                self._inner.data_received(self._early)

    def _pass_on(self, data: bytes) -> None:
        """Give what came before it to what reads TLS now."""
        if self.transport.is_closing():
            return
        # Of uvloop or of asyncio: both have its methods, only one its class.
        reader = cast(asyncio.BufferedProtocol, self.transport.get_protocol())
        early = memoryview(data)
        while early:
            buffer = memoryview(reader.get_buffer(len(early)))
            size = min(len(buffer), len(early))
            buffer[:size] = early[:size]
            reader.buffer_updated(size)
            early = early[size:]
