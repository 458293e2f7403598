"""Models: which are served, and another version in the place of one, while the server runs."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
import orjson
from fastapi import FastAPI, Request
from fastapi.responses import Response
from pydantic import BaseModel

from retort.service.http.bodies import parse, read_body
from retort.service.http.edge.content import told
from retort.service.http.openapi import request_body
from retort.service.http.refusals import JSON
from retort.service.http.schemas import ErrorResponse, RequestBody
from retort.service.model import Model
from retort.service.service import Service
from retort.service.settings import ANY_NAME


class LoadRequest(RequestBody):
    """Which bundle to load, by name or path; by default the one that the model came from."""

    bundle: str | None = None


class LoadResponse(BaseModel):
    """What answers now, and what did before."""

    model: str
    version: str
    digest: str
    previous_version: str | None
    previous_digest: str | None


class ModelEntry(BaseModel):
    """A model that is served; `created` is the bundle's, in Unix seconds."""

    id: str
    object: str
    created: int
    owned_by: str
    version: str
    role: str


class ModelList(BaseModel):
    """Every model, in OpenAI's shape; the first is for requests that name none."""

    object: str
    data: list[ModelEntry]


def add_models(app: FastAPI, service: Service) -> None:
    """Add the routes to `app`."""
    decoder = msgspec.json.Decoder(LoadRequest)

    listed_models: dict[int | str, dict[str, Any]] = {200: {"model": ModelList}}

    @app.get("/v1/models", tags=["models"], summary="Models by name", responses=listed_models)
    @app.get(
        "/models",
        name="models_unversioned",
        tags=["models"],
        summary="The same as /v1/models",
        responses=listed_models,
    )
    async def models() -> Response:
        named = {model.name: model for model in service.engines.models} | service.names
        listed = [
            _entry(name, model)
            for name, model in named.items()
            if model.served is not None and name != ANY_NAME
        ]
        return Response(orjson.dumps({"object": "list", "data": listed}), media_type=JSON)

    @app.post(
        "/admin/models/{name}",
        tags=["models"],
        summary="Load a version of a model, and let it take over",
        responses={
            200: {"model": LoadResponse},
            **{status: {"model": ErrorResponse} for status in (401, 403, 409, 422)},
        },
        openapi_extra=request_body(
            {"bundle": LoadRequest}, {"bundle": {"bundle": "models/retort-small"}}
        ),
    )
    async def load(name: str, request: Request) -> Response:
        settings = service.settings
        raw = await read_body(
            request.scope,
            request.receive,
            told(request.scope["headers"]),
            settings.max_body_bytes,
        )
        asked = parse(decoder.decode, raw) if raw else LoadRequest()
        loaded = await service.engines.load(name, asked.bundle)
        return Response(orjson.dumps(loaded), media_type=JSON)


def _entry(name: str, model: Model) -> dict[str, Any]:
    manifest = model.now().manifest
    return {
        "id": name,
        "object": "model",
        "created": int(datetime.fromisoformat(manifest.created).timestamp()),
        "owned_by": "retort",
        "version": manifest.version,
        "role": model.role,
    }
