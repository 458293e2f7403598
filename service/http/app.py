"""The app: HTTP routes over the service."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import orjson
from fastapi import FastAPI, Request
from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException

from retort.service.errors import ServiceError, error_body
from retort.service.http.aliases import alias_router
from retort.service.http.answers import compared, describe, render
from retort.service.http.gate import Gate
from retort.service.http.page import add_pages
from retort.service.http.schemas import (
    ComparisonResponse,
    ScoreRequest,
    ScoreResponse,
    check_passages,
    error_responses,
    parse,
    read_body,
    request_body,
)
from retort.service.modes import Question
from retort.service.service import Service, State

JSON = "application/json"


def create_app(service: Service) -> FastAPI:
    """Make the app; when it starts, `service` begins to load its models."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        service.start()
        yield
        await service.stop()

    app = FastAPI(
        title="Retort",
        description="Scores how well passages answer a query.",
        version=package_version(),
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
    )
    _add_scoring(app, service)
    app.include_router(alias_router(service))
    _add_watching(app, service)
    add_pages(app)
    _add_errors(app, service)
    secret = service.settings.api_key
    key = secret.get_secret_value() if secret else None
    paths = {path for route in app.routes if (path := getattr(route, "path", None))}
    app.add_middleware(Gate, metrics=service.metrics, api_key=key, paths=paths)
    return app


def package_version() -> str:
    """This release's version."""
    try:
        return version("retort")
    except PackageNotFoundError:
        return "0"


def _add_scoring(app: FastAPI, service: Service) -> None:
    settings = service.settings
    total = service.metrics.stages["total"]

    @app.post(
        "/score",
        summary="Score passages against a query",
        responses={200: {"model": ScoreResponse}, **error_responses()},
        openapi_extra=request_body(ScoreRequest),
    )
    async def score(request: Request) -> Response:
        start = time.perf_counter()
        asked = parse(ScoreRequest, await read_body(request, settings.max_body_bytes))
        check_passages(len(asked.passages), settings.max_passages, "passages")
        question = Question(asked.query, asked.texts(), asked.top_n)
        answer = await service.score(request, question, asked.timeout_ms, asked.mode)
        seconds = time.perf_counter() - start
        total.observe(seconds)
        body = render(asked, answer, service.manifest(answer.mode), seconds * 1000)
        return Response(body, media_type=JSON)


def _add_watching(app: FastAPI, service: Service) -> None:
    health = service.health

    def answer(status: int, body: dict[str, Any]) -> Response:
        return Response(orjson.dumps(body), status, media_type=JSON)

    @app.get("/livez", summary="Whether the server is alive")
    async def livez() -> Response:
        return answer(200, {"status": "alive"})

    @app.get("/readyz", summary="Whether the server is ready for requests")
    async def readyz() -> Response:
        if await service.ready():
            return answer(200, {"status": "ready"})
        reason = health.reason or "the last forward pass failed"
        state = "failing" if health.state is State.READY else health.state.value
        return answer(503, {"status": state, "reason": reason})

    app.get("/health", summary="The same as /readyz")(readyz)

    @app.get("/info", summary="Bundles, backends and limits")
    async def info() -> Response:
        return answer(200, describe(service, package_version()))

    @app.get(
        "/comparison",
        summary="Student compared with teacher, live: speedup and agreement",
        responses={200: {"model": ComparisonResponse}},
    )
    async def comparison() -> Response:
        return answer(200, compared(service))

    @app.get("/metrics", summary="Metrics for Prometheus")
    async def metrics() -> Response:
        return Response(service.metrics.render(), media_type=CONTENT_TYPE_LATEST)


def _add_errors(app: FastAPI, service: Service) -> None:
    @app.exception_handler(ServiceError)
    async def service_error(_: Request, error: ServiceError) -> Response:
        service.metrics.rejected.labels(error.type).inc()
        return Response(error.body(), error.status, error.headers(), JSON)

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> Response:
        message = f"{request.method} {request.url.path}: {error.detail}; /docs lists what there is"
        type_ = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "http")
        headers = dict(error.headers or {})
        return Response(error_body(type_, message), error.status_code, headers, JSON)

    @app.exception_handler(Exception)
    async def unexpected(_: Request, error: Exception) -> Response:
        return Response(
            error_body("internal", "an unexpected error; the server's log has it"), 500, None, JSON
        )
