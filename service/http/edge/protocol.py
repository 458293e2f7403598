"""The protocol: uvicorn's HTTP/1.1, with the bounds that a server on a network needs.

What goes on per request is in the callbacks of the parser, and is kept to a few assignments.
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import Any

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)
from uvicorn.server import ServerState

from retort.service.errors import BadHttp, Busy, HeadersTooLarge, ServiceError, UrlTooLong
from retort.service.http.edge.connections import (
    LAST_BYTES,
    MOST_LAST,
    RETRY_SECONDS,
    Connections,
    Place,
    address_of,
    plain,
)
from retort.service.http.edge.content import announced, told
from retort.service.http.edge.farewell import Farewell
from retort.service.http.edge.offer import AfterOffer, framing
from retort.service.settings import UNIX

# Where a request's scope has its connection.
CONNECTION = "retort.connection"


class EdgeProtocol(HttpToolsProtocol):
    """One connection of `connections`."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        connections: Connections,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.among = connections
        self.place: Place | None = None
        self.address = ""
        self.url = b""
        self.body_bytes = 0
        # What is wrong with the body that is coming; whoever reads it answers with that.
        self.trouble: ServiceError | None = None
        self._in_head = self._in_body = False
        # Bytes that have come since the one with which the headers began, or since shortly before:
        # `_after_body` if what came with it was the rest of a body.
        self._head_bytes = 0
        self._after_body = False
        self._held = 0
        # Whether the connection goes on after the answer, if the body has come by then.
        self._keep = False
        self._parted = False

    # What the transport calls.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has come."""
        super().connection_made(transport)
        if self.client is None:
            self.client = (UNIX, 0)
        else:
            self.client = (plain(self.client[0]), self.client[1])
            self.address = address_of(self.client[0])
        try:
            self.among.enter(self, monotonic())
        except Busy as error:
            self._refuse(error)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection has ended."""
        self.among.leave(self)
        self._release()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what has come; what is left open after that is watched."""
        if not self._in_head:
            self._head_bytes = 0
            self._after_body = False
        self._head_bytes += len(data)
        try:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as offer:
                self._decline(memoryview(data), offer)
        except httptools.HttpParserError as error:
            refused = error.__context__
            if isinstance(refused, HeadersTooLarge | UrlTooLong):
                self._refuse(refused)
            else:
                self._fail(BadHttp(f"this is not HTTP/1.1: {refused or error}"))
            return
        if self._in_head:
            self._watch_head()
        elif self._in_body:
            self._watch_body()

    def _decline(self, data: memoryview, offer: httptools.HttpParserUpgrade) -> None:
        """Go on in HTTP/1.1, as a server need not upgrade; the parser has left it at that."""
        refused: httptools.HttpParserUpgrade | None = offer
        while refused is not None:
            data = data[refused.args[0] :]
            refused = None
            if self._in_body:
                self.parser = AfterOffer(self, self.headers).parser
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as another:
                refused = another

    # What the parser calls.

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        self._in_head = True
        super().on_message_begin()
        self.scope[CONNECTION] = self  # type: ignore[literal-required]

    def on_headers_complete(self) -> None:
        """The headers are there. Raises what is wrong with them."""
        among = self.among
        if (
            self._head_bytes > among.settings.max_header_bytes
            or len(self.headers) > among.settings.max_headers
        ):
            self._check_head()
        super().on_headers_complete()
        self._in_head = False
        self._in_body = True
        self.body_bytes = 0
        if self.place is not None:
            self.place.remove(self)

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        size = len(body)
        self.body_bytes += size
        if self.trouble is not None:
            return
        if self.cycle.response_complete:
            if self.body_bytes > LAST_BYTES:
                self.transport.close()
            return
        among = self.among
        among.held += size
        self._held += size
        if among.held > among.settings.max_held_bytes:
            self._release()
            self._fail(_full())
            return
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The body is there."""
        if self.parser.should_upgrade() and framing(self.headers):
            # Not yet: the parser takes what follows an offer to upgrade for another protocol's.
            return
        self._in_body = False
        self._after_body = True
        if self.place is not None:
            self.place.remove(self)
            if self._keep and not self.cycle.response_started:
                self.cycle.keep_alive = True
            self.cycle.transport = self.transport
            if self.cycle.response_complete:
                self._rest()
        if self.trouble is None:
            super().on_message_complete()

    # What the answer calls.

    def on_response_complete(self) -> None:
        """An answer is written: start the next request of the pipeline, or wait for one.

        Without uvicorn's timer per answer: the sweep looks after idle connections.
        """
        self.server_state.total_requests += 1
        if self.cycle.response_complete:
            self._release()
        if self.transport.is_closing() or self._parted:
            return
        self.flow.resume_reading()
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)
        elif self.place is None:
            self._rest()

    def shutdown(self) -> None:
        """The server stops: close once the present request is answered."""
        self._keep = False
        super().shutdown()

    # What the sweep calls.

    def late(self, error: ServiceError) -> None:
        """The rest of the headers or the body has not come in time."""
        among = self.among
        if self.place is among.bodies:
            if self.pipeline or self.flow.read_paused:
                # It is this server that does not read.
                among.bodies.add(self, monotonic())
            elif self.cycle.response_complete or self.trouble is not None:
                self.cut()
            else:
                among.bodies.add(self, monotonic())
                self._fail(error)
        elif self._in_head:
            self._refuse(error)
        else:
            self.cut()

    def cut(self) -> None:
        """Close the connection."""
        if self.place is not None:
            self.place.remove(self)
        self.transport.close()

    # What a body's reader calls.

    def hold(self, size: int) -> None:
        """Count bytes that a body has become. Raises `Busy` if they are too many."""
        self.among.held += size
        self._held += size
        if self.among.held > self.among.settings.max_held_bytes:
            self._release()
            raise _full()

    def _rest(self) -> None:
        """Wait for the next request."""
        place = self.among.heads if self._in_head else self.among.idle
        place.add(self, monotonic())

    def _release(self) -> None:
        self.among.held -= self._held
        self._held = 0

    def _watch_head(self) -> None:
        """A part of the headers is missing."""
        if self._after_body:
            self._head_bytes = self._head_size()
            self._after_body = False
        if self._head_bytes > self.among.settings.max_header_bytes:
            try:
                self._check_head(self._head_bytes)
            except (HeadersTooLarge, UrlTooLong) as error:
                self._refuse(error)
        elif self.place is self.among.idle:
            self.among.heads.add(self, monotonic())

    def _check_head(self, size: int = 0) -> None:
        """Raise what is wrong with the headers, of at least `size` bytes."""
        settings = self.among.settings
        limit = settings.max_header_bytes
        size = size or self._head_size()
        if size > limit and 2 * len(self.url) > size:
            raise UrlTooLong(f"the URL is longer than {limit} bytes: put the texts into a body")
        if size > limit:
            raise HeadersTooLarge(f"the headers are more than {limit} bytes: send fewer")
        if len(self.headers) > settings.max_headers:
            raise HeadersTooLarge(f"there are more than {settings.max_headers} headers: send fewer")

    def _head_size(self) -> int:
        """Bytes of the URL and of the headers that are whole: name, colon, blank, value, line."""
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def _watch_body(self) -> None:
        """A part of the body is missing."""
        if self.place is None:
            self.among.bodies.add(self, monotonic())
            length = announced(told(self.headers))
            self._keep = self.cycle.keep_alive
            if length is None or length > LAST_BYTES:
                # Whoever answers before it has come will not read it to its end.
                self.cycle.keep_alive = False
                self.cycle.transport = _Parting(self)  # type: ignore[assignment]
        if len(self.headers) > self.among.settings.max_headers:
            # Trailers.
            self._fail(HeadersTooLarge("there are too many trailers: send fewer"))

    def _fail(self, error: ServiceError) -> None:
        """Have whoever reads the body answer with an error; outside of a body, answer here."""
        if not self._in_body:
            self._refuse(error)
            return
        if self.cycle.response_complete:
            self.part()
            return
        self.trouble = error
        self._keep = self.cycle.keep_alive = False
        self.cycle.transport = _Parting(self)  # type: ignore[assignment]
        self.cycle.message_event.set()

    def _refuse(self, error: ServiceError) -> None:
        """Answer with an error that no route knows of, and close."""
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is not None and not cycle.response_complete:
            # An answer is on its way, and this one would end up in its middle.
            self._keep = cycle.keep_alive = False
            self.flow.pause_reading()
            return
        path = self.url.decode("latin-1").partition("?")[0]
        body = self.among.refuse(path, error)
        fields = [
            *self.server_state.default_headers,
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            *((name.lower().encode(), value.encode()) for name, value in error.headers.items()),
            (b"connection", b"close"),
        ]
        lines = b"".join(b"%s: %s\r\n" % field for field in fields)
        self.transport.write(STATUS_LINE[error.status] + lines + b"\r\n" + body)
        self.part()

    def part(self) -> None:
        """Close, once the client had time to read the answer."""
        if self.place is not None:
            self.place.remove(self)
        self._parted = True
        if self.among.leaving < MOST_LAST and not self.transport.is_closing():
            Farewell(self.transport, self, self.among)
        else:
            self.transport.close()


def _full() -> Busy:
    return Busy(
        "the bodies of other requests take all the memory that they may: "
        "come back after the seconds in Retry-After",
        retry_after=RETRY_SECONDS,
    )


class _Parting:
    """A transport for an answer that may be the last: closing it is parting."""

    def __init__(self, protocol: EdgeProtocol) -> None:
        self._protocol = protocol
        self.write = protocol.transport.write
        self.is_closing = protocol.transport.is_closing

    def close(self) -> None:
        """Let the client read the answer first."""
        self._protocol.part()
