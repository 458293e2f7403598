"""The teacher's server: a ranker in PyTorch behind FastAPI, the way most teams put one up.

    python -m retort.loadtest.teacher_server cross-encoder:runs/teachers/ce-pointwise --port 8090

Several teachers are an ensemble whose scores are averaged. It answers `POST /score` in the shape
of `retort serve`, so the same load goes to both. One request is scored at a time, first come first
served, on all cores: let several run at once and they only take the cores from each other. There
is no bound to the queue, no batching across requests and no deadline.
"""

from __future__ import annotations

import argparse
import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import import_module
from time import perf_counter
from typing import Annotated, Any
from uuid import uuid4

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, Field

from retort.loadtest.teachers import PREDICT_BATCH, Ensemble, load_teacher

MAX_LENGTH = 128
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


@dataclass(frozen=True)
class Result:
    """One scored passage; teachers have one head, so there is no spread."""

    index: int
    id: str | int | None
    score: float
    spread: float = 0.0


def create_app(teacher: Ensemble, max_length: int) -> FastAPI:
    """The application that scores with `teacher`."""
    app = FastAPI(title="Teacher", docs_url=None, redoc_url=None)
    # One thread and its queue. Forty threads that wait for a lock starve the event loop of
    # Python's own lock, and answers that are ready are not sent.
    worker = ThreadPoolExecutor(1, thread_name_prefix="teacher")

    def work(query: str, texts: list[str]) -> tuple[list[float], float, float]:
        start = perf_counter()
        return teacher.score(query, texts), start, perf_counter()

    @app.get("/readyz")
    async def readyz() -> dict[str, str]:
        return {"status": "ready"}

    @app.get("/info")
    async def info() -> dict[str, Any]:
        torch: Any = import_module("torch")
        library: Any = import_module("sentence_transformers")
        return {
            "model": teacher.name,
            "members": [member.name for member in teacher.members],
            "shape_only": teacher.shape_only,
            "engine": f"PyTorch {torch.__version__} fp32, sentence-transformers "
            f"{library.__version__}, {torch.get_num_threads()} threads, batch {PREDICT_BATCH}, "
            f"{max_length} tokens",
        }

    @app.post("/score")
    async def score(request: ScoreRequest) -> dict[str, Any]:
        began = perf_counter()
        passages = [p if isinstance(p, Passage) else Passage(text=p) for p in request.passages]
        scores, start, done = await asyncio.get_running_loop().run_in_executor(
            worker, work, request.query, [passage.text for passage in passages]
        )
        results = [
            Result(index, passage.id, value)
            for index, (passage, value) in enumerate(zip(passages, scores, strict=True))
        ]
        results.sort(key=lambda result: (-result.score, result.index))
        return {
            "id": uuid4().hex,
            "model": teacher.name,
            "version": "shape only" if teacher.shape_only else "",
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


def main() -> None:
    """Load the teachers, score once to be warm, and serve."""
    parser = argparse.ArgumentParser(description="Serve teachers with FastAPI and PyTorch fp32.")
    parser.add_argument("teachers", nargs="+", help="cross-encoder:PLACE or bi-encoder:PLACE")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8090)
    parser.add_argument("--max-length", type=int, default=MAX_LENGTH, help="tokens of a pair")
    given = parser.parse_args()
    try:
        members = tuple(load_teacher(spec, given.max_length) for spec in given.teachers)
    except ValueError as error:
        parser.error(str(error))
    teacher = Ensemble(members)
    teacher.score("is it warm", ["it is warm now"] * WARM_PASSAGES)
    uvicorn.run(
        create_app(teacher, given.max_length),
        host=given.host, port=given.port, log_level="warning",
    )  # fmt: skip


if __name__ == "__main__":
    main()
