"""Forwarded requests: those of a proxy's connection, which count for the clients it names."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from retort.service.errors import Busy
from retort.service.http.edge.connections import Connections, address_of
from retort.service.http.edge.protocol import CONNECTION
from retort.service.http.refusals import respond


class Forwarded:
    """ASGI middleware behind uvicorn's, which has believed the proxy.

    A client may have as many requests at once as it could have connections without the proxy.
    """

    def __init__(self, app: ASGIApp, connections: Connections) -> None:
        self._app = app
        self._connections = connections

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer 503."""
        client = scope.get("client")
        connection = scope.get(CONNECTION)
        if client is None or connection is None or client == connection.client:
            await self._app(scope, receive, send)
            return
        connections, address = self._connections, address_of(client[0])
        try:
            connections.begin(address)
            await self._app(scope, receive, send)
        except Busy as error:
            body = connections.refuse(scope["path"], error)
            await respond(send, error.status, body, error.headers)
        finally:
            connections.end(address)
