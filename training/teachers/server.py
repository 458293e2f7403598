"""The teachers' server: rankers in PyTorch behind FastAPI, the way most teams put one up.

    retort teacher-server cross-encoder:runs/teachers/ce-pointwise --port 8090

Several teachers are an ensemble whose scores are averaged. It answers `POST /score` in the shape
of `retort serve`, so the same load goes to both. One request is scored at a time, first come first
served, on all cores: let several run at once and they only take the cores from each other. The
queue has no bound; there is no batching across requests and no deadline.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter
from typing import Annotated, Any
from uuid import uuid4

import sentence_transformers
import torch
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, Field

from retort.training.teachers.baseline import PREDICT_BATCH, Baseline, load_baseline
from retort.training.teachers.scoring.scorer import parse

WARM_PASSAGES = 8


class Passage(BaseModel):
    """A passage with an id of the client's own."""

    model_config = ConfigDict(extra="forbid")

    id: str | int | None = None
    text: str


class ScoreRequest(BaseModel):
    """The part of `retort serve`'s request that a load test sends."""

    model_config = ConfigDict(extra="forbid")

    query: Annotated[str, Field(min_length=1)]
    passages: Annotated[list[str | Passage], Field(min_length=1)]
    top_n: Annotated[int, Field(ge=1)] | None = None


def mean_score(teachers: Sequence[Baseline], query: str, passages: Sequence[str]) -> list[float]:
    """The mean of the teachers' scores for each passage; each teacher in turn."""
    found = [teacher.score(query, passages) for teacher in teachers]
    return [sum(column) / len(found) for column in zip(*found, strict=True)]


def create_app(teachers: Sequence[Baseline], max_length: int) -> FastAPI:
    """The application that scores with `teachers`, which cut pairs at `max_length` tokens."""
    app = FastAPI(title="Teacher", docs_url=None, redoc_url=None)
    names = [teacher.name for teacher in teachers]
    name = " + ".join(names)
    shape_only = any(teacher.shape_only for teacher in teachers)
    # One thread and its queue. Forty threads that wait for a lock starve the event loop of
    # Python's own lock, and answers that are ready are not sent.
    worker = ThreadPoolExecutor(1, thread_name_prefix="teacher")

    def work(query: str, texts: list[str]) -> tuple[list[float], float, float]:
        start = perf_counter()
        return mean_score(teachers, query, texts), start, perf_counter()

    @app.get("/readyz")
    async def readyz() -> dict[str, str]:
        return {"status": "ready"}

    @app.get("/info")
    async def info() -> dict[str, Any]:
        return {
            "model": name,
            "members": names,
            "shape_only": shape_only,
            "engine": f"PyTorch {torch.__version__} fp32, sentence-transformers "
            f"{sentence_transformers.__version__}, {torch.get_num_threads()} threads, "
            f"batch {PREDICT_BATCH}, {max_length} tokens",
        }

    @app.post("/score")
    async def score(request: ScoreRequest) -> dict[str, Any]:
        began = perf_counter()
        passages = [p if isinstance(p, Passage) else Passage(text=p) for p in request.passages]
        scores, start, done = await asyncio.get_running_loop().run_in_executor(
            worker, work, request.query, [passage.text for passage in passages]
        )
        # Teachers have one head, so there is no spread.
        results: list[dict[str, Any]] = [
            {"index": index, "id": passage.id, "score": value, "spread": 0.0}
            for index, (passage, value) in enumerate(zip(passages, scores, strict=True))
        ]
        results.sort(key=lambda result: -result["score"])  # ties stay in their order
        return {
            "id": uuid4().hex,
            "model": name,
            "version": "shape only" if shape_only else "",
            "mode": "teacher",
            "results": results[: request.top_n],
            "usage": {"pairs": len(passages)},
            "timings_ms": {
                "queue": (start - began) * 1e3,
                "infer": (done - start) * 1e3,
                "total": (perf_counter() - began) * 1e3,
            },
        }

    return app


def serve(specs: Sequence[str], host: str, port: int, max_length: int) -> None:
    """Load the teachers, score once to be warm, and serve. Raises `ValueError`."""
    teachers = [load_baseline(parse(spec), max_length) for spec in specs]
    mean_score(teachers, "is it warm", ["it is warm now"] * WARM_PASSAGES)
    uvicorn.run(create_app(teachers, max_length), host=host, port=port, log_level="warning")
