"""The app: HTTP routes over the service."""

from __future__ import annotations

import enum
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import msgspec
import orjson
from fastapi import FastAPI, Request
from fastapi.responses import PlainTextResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from retort.service.engines import State
from retort.service.errors import MethodNotAllowed, NotFound, ServiceError
from retort.service.http.access.budgets import Budgets
from retort.service.http.access.tracing import Tracer
from retort.service.http.admin import LoadRequest, add_models
from retort.service.http.aliases.routes import ALIASES, SCORE
from retort.service.http.gate import UNFORESEEN, Gate, open_paths
from retort.service.http.info import compared, describe
from retort.service.http.openapi import complete
from retort.service.http.page import add_pages
from retort.service.http.refusals import JSON, refuse
from retort.service.http.schemas import ComparisonResponse, InfoResponse, StatusResponse
from retort.service.http.scoring import add_scoring
from retort.service.http.telling import USAGE_HEADER, WARNINGS_HEADER
from retort.service.service import Service

Answered = Callable[[], Awaitable[Response]]
_TAGS: list[str | enum.Enum] = ["server"]


def create_app(service: Service) -> FastAPI:
    """Make the app; when it starts, `service` begins to load its models.

    Raises `StartError` if the file of keys is wrong, or traces are asked for and cannot be made.
    """
    endpoint = service.settings.otlp_endpoint
    tracer = None if endpoint is None else Tracer(endpoint)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await service.start()
        yield
        await service.stop()
        if tracer is not None:
            tracer.close()

    app = App(
        service.settings.root_path or "",
        title="Retort",
        description="Scores how well passages answer a query.",
        version=package_version(),
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        generate_unique_id_function=lambda route: route.name,
    )
    handlers = {route.path: add_scoring(app, service, route) for route in (SCORE, *ALIASES)}
    add_models(app, service)
    _add_watching(app, service)
    add_pages(app)
    _add_errors(app, service)
    paths = {path for route in app.routes if (path := getattr(route, "path", None))}
    app.bodies = [
        *{shape.request for route in (SCORE, *ALIASES) for shape in route.shapes},
        LoadRequest,
    ]
    app.open_paths = open_paths(service.settings)
    gate: ASGIApp = Gate(
        app.ungated,
        settings=service.settings,
        metrics=service.metrics,
        handlers=handlers,
        paths=paths,
        draining=service.health.draining,
        budgets=Budgets(service.shared, service.place),
        tracer=tracer,
    )
    if service.settings.cors_origins:
        # Before the gate: a browser asks for leave without a key.
        gate = CORSMiddleware(
            gate,
            allow_origins=service.settings.cors_origins,
            allow_methods=("GET", "POST"),
            allow_headers=("*",),
            expose_headers=("Retry-After", "X-Request-Id", USAGE_HEADER, WARNINGS_HEADER),
        )
    app.gate = gate
    return app


class App(FastAPI):
    """The app, behind its gate: what the gate answers costs none of FastAPI's own layers.

    `prefix` is what a gateway puts before every path, and may leave out again when it asks.
    """

    gate: ASGIApp
    # The bodies of requests that routes decode themselves.
    bodies: list[type[msgspec.Struct]]
    open_paths: frozenset[str]

    def __init__(self, prefix: str, **options: Any) -> None:
        super().__init__(**options)
        self._prefix = prefix

    def openapi(self) -> dict[str, Any]:
        """The OpenAPI document."""
        if self.openapi_schema is None:
            self.openapi_schema = complete(super().openapi(), self.bodies, self.open_paths)
        return self.openapi_schema

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if self._prefix and scope["type"] == "http":
            path: str = scope["path"]
            if path == self._prefix or path.startswith(f"{self._prefix}/"):
                # The prefix alone leaves nothing, and is redirected: the page's links are relative.
                scope["path"] = path[len(self._prefix) :]
        await self.gate(scope, receive, send)

    async def ungated(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one that the gate lets through."""
        if self._prefix and scope["type"] == "http":
            # Redirects and the API's document are about paths as clients see them.
            path = self._prefix + scope["path"]
            scope = {**scope, "path": path, "root_path": self._prefix}
        await super().__call__(scope, receive, send)


def package_version() -> str:
    """This release's version."""
    try:
        return version("retort")
    except PackageNotFoundError:
        return "0"


def _add_watching(app: FastAPI, service: Service) -> None:
    def answer(status: int, body: dict[str, Any]) -> Response:
        return Response(orjson.dumps(body), status, media_type=JSON)

    status: dict[int | str, dict[str, Any]] = {
        code: {"model": StatusResponse, "description": said}
        for code, said in ((200, "Yes"), (503, "No, and why"))
    }

    def watch(path: str, summary: str) -> Callable[[Answered], Answered]:
        def add(route: Answered) -> Answered:
            name = path.strip("/")
            app.get(path, name=name, tags=_TAGS, summary=summary, responses=status)(route)
            # Balancers ask for no more than the status.
            app.head(path, include_in_schema=False)(route)
            return route

        return add

    @watch("/livez", "Whether the server is alive, or can mend itself")
    async def livez() -> Response:
        if service.engines.alive:
            return answer(200, {"status": "alive"})
        reason = service.health.reason or "an engine hangs, or cannot be replaced"
        return answer(503, {"status": "failed", "reason": reason})

    @watch("/health", "The same as /readyz")
    @watch("/readyz", "Whether the server is ready for requests")
    async def readyz() -> Response:
        health = service.health
        if service.ready:
            return answer(200, {"status": "ready"})
        ready = health.state is State.READY
        reason = health.reason or "the last forward pass failed, or takes too long"
        state = "failing" if ready else health.state.value
        return answer(503, {"status": state, "reason": reason})

    @app.get(
        "/info",
        tags=_TAGS,
        summary="Bundles, backends and limits",
        responses={200: {"model": InfoResponse}},
    )
    async def info() -> Response:
        return answer(200, describe(service, package_version()))

    @app.get(
        "/comparison",
        tags=_TAGS,
        summary="Student compared with teacher, live: speedup and agreement",
        responses={200: {"model": ComparisonResponse}},
    )
    async def comparison() -> Response:
        return answer(200, compared(service))

    @app.get(
        "/metrics",
        tags=_TAGS,
        summary="Metrics for Prometheus",
        response_class=PlainTextResponse,
    )
    async def metrics() -> Response:
        return Response(service.metrics.render(), media_type=CONTENT_TYPE_LATEST)


class _Refusal(Response):
    """An error, answered in the shape that the clients of its path parse."""

    def __init__(self, error: ServiceError) -> None:
        super().__init__()
        self._error = error

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        await refuse(send, scope, self._error)


def _add_errors(app: FastAPI, service: Service) -> None:
    @app.exception_handler(ServiceError)
    async def service_error(_: Request, error: ServiceError) -> Response:
        service.metrics.rejected.labels(error.type).inc()
        return _Refusal(error)

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> Response:
        kind = MethodNotAllowed if error.status_code == 405 else NotFound
        message = f"{request.method} {request.url.path}: {error.detail}; /docs lists what there is"
        return _Refusal(kind(message, headers=error.headers))

    @app.exception_handler(Exception)
    async def unexpected(_: Request, error: Exception) -> Response:
        return _Refusal(UNFORESEEN)
