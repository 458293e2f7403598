"""OpenAPI: the document that `/docs` shows and that clients are generated from.

Scoring routes read their bodies themselves, so FastAPI does not know what they take: this adds it,
each shape under its own name, and how a key is sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from operator import or_
from typing import Any

import msgspec
from pydantic import BaseModel

from retort.service.errors import ANSWERED
from retort.service.http.context import ErrorShape
from retort.service.http.schemas import (
    AliasErrorResponse,
    ErrorResponse,
    InfinityErrorResponse,
    TeiErrorResponse,
)
from retort.service.http.shapes import ScoringRoute

JSON = "application/json"
_REFERENCE = "#/components/schemas/{name}"
_ERRORS: dict[ErrorShape, type[BaseModel]] = {
    "own": ErrorResponse,
    "tei": TeiErrorResponse,
    "infinity": InfinityErrorResponse,
    "others": AliasErrorResponse,
}
# Under the name of a parameter, how a key may be sent.
_SECURITY = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}
_KEY_NEEDED: list[dict[str, list[str]]] = [{"bearer": []}, {"header": []}]


def request_body(
    shapes: Mapping[str, type[msgspec.Struct]], examples: Mapping[str, Any]
) -> dict[str, Any]:
    """The body of a route that reads it itself: its shapes and an example of each, by name."""
    references = [
        {"$ref": _REFERENCE.format(name=shape.__name__)} for shape in dict.fromkeys(shapes.values())
    ]
    content = {
        "schema": references[0] if len(references) == 1 else {"anyOf": references},
        "examples": {name: {"value": example} for name, example in examples.items()},
    }
    return {"requestBody": {"required": True, "content": {JSON: content}}}


def responses(route: ScoringRoute) -> dict[int | str, dict[str, Any]]:
    """What a scoring route answers, errors included."""
    shapes = route.shapes
    good: dict[str, Any] = {
        "description": "Scores",
        "model": reduce(or_, (shape.response for shape in shapes)),
        "content": {
            JSON: {"examples": {shape.name: {"value": shape.answer_example} for shape in shapes}}
        },
    }
    errors = reduce(or_, dict.fromkeys(_ERRORS[shape.errors] for shape in shapes))
    return {
        200: good,
        **{
            error.status: {"model": errors, "description": error.__doc__ or ""}
            for error in ANSWERED
        },
    }


def complete(
    document: dict[str, Any], shapes: list[type[msgspec.Struct]], open_paths: frozenset[str]
) -> dict[str, Any]:
    """Add to FastAPI's document the schemas of `shapes`, and the key that most paths need."""
    _, found = msgspec.json.schema_components(shapes, ref_template=_REFERENCE)
    for schema in found.values():
        for field in schema["properties"].values():
            # A generator for TypeScript takes a field with a default for one that is always there.
            field.pop("default", None)
    components = document.setdefault("components", {})
    components.setdefault("schemas", {}).update(found)
    components["securitySchemes"] = _SECURITY
    for path, operations in document["paths"].items():
        if path not in open_paths:
            for operation in operations.values():
                operation["security"] = _KEY_NEEDED
    return document
