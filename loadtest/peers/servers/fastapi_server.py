"""The script: sentence-transformers' `CrossEncoder` behind a minimal FastAPI.

    python fastapi_server.py FOLDER --port 8090

What many teams write first. It runs in a virtual environment of its own, so it imports nothing of
this project. One request is scored at a time, on all cores, first come first served.
"""

from __future__ import annotations

import argparse
import asyncio
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from typing import Any

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

WARM_PASSAGES = 8


class ScoreRequest(BaseModel):
    """One query and its passages."""

    query: str
    passages: list[str]


def create_app(model: Any) -> FastAPI:
    """The application that scores with `model`."""
    app = FastAPI(docs_url=None, redoc_url=None)
    worker = ThreadPoolExecutor(1)

    def score(query: str, passages: list[str]) -> list[float]:
        pairs = [(query, passage) for passage in passages]
        return [float(value) for value in model.predict(pairs, show_progress_bar=False)]

    @app.get("/readyz")
    async def readyz() -> dict[str, str]:
        return {"status": "ready"}

    @app.post("/score")
    async def rank(request: ScoreRequest) -> dict[str, Any]:
        loop = asyncio.get_running_loop()
        scores = await loop.run_in_executor(worker, score, request.query, request.passages)
        results = [{"index": index, "score": value} for index, value in enumerate(scores)]
        results.sort(key=lambda result: -result["score"])
        return {"results": results}

    return app


def main() -> None:
    """Load the model, score once to be warm, and serve."""
    parser = argparse.ArgumentParser(description="Serve a CrossEncoder with FastAPI.")
    parser.add_argument("folder", help="what CrossEncoder loads")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8090)
    given = parser.parse_args()
    library: Any = import_module("sentence_transformers")
    model = library.CrossEncoder(given.folder, device="cpu")
    model.predict([("is it warm", "it is warm now")] * WARM_PASSAGES, show_progress_bar=False)
    uvicorn.run(create_app(model), host=given.host, port=given.port, log_level="warning")


if __name__ == "__main__":
    main()
