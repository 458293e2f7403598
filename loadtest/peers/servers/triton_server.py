"""The script: sentence-transformers' `CrossEncoder` in Triton, started by `nvidia-pytriton`.

    python triton_server.py FOLDER --port 8090

It runs in a virtual environment of its own, so it imports nothing of this project. A row of the
tensors is one pair, so Triton's dynamic batcher puts the pairs of several requests into one batch.
The answer to `POST /v2/models/student/infer` is a column of scores in the order of the rows.
"""

from __future__ import annotations

import argparse
import socket
from importlib import import_module
from typing import Any

import numpy as np

MODEL = "student"
MAX_BATCH_PAIRS = 128
WARM_PASSAGES = 8


def free_port() -> int:
    """A port that nobody listens on; Triton wants three."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def texts(column: Any) -> list[str]:
    """A column of bytes (pairs, 1) as strings."""
    return [cell.decode() for cell in column.reshape(-1)]


def main() -> None:
    """Load the model, score once to be warm, and serve."""
    parser = argparse.ArgumentParser(description="Serve a CrossEncoder with Triton.")
    parser.add_argument("folder", help="what CrossEncoder loads")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8090)
    given = parser.parse_args()
    library: Any = import_module("sentence_transformers")
    config: Any = import_module("pytriton.model_config")
    decorators: Any = import_module("pytriton.decorators")
    triton: Any = import_module("pytriton.triton")
    model = library.CrossEncoder(given.folder, device="cpu")
    model.predict([("is it warm", "it is warm now")] * WARM_PASSAGES, show_progress_bar=False)

    @decorators.batch  # type: ignore[untyped-decorator]
    def infer(query: Any, passage: Any) -> dict[str, Any]:
        pairs = list(zip(texts(query), texts(passage), strict=True))
        scores = model.predict(pairs, show_progress_bar=False)
        return {"score": np.asarray(scores, dtype=np.float32).reshape(-1, 1)}

    settings = triton.TritonConfig(
        http_address=given.host,
        http_port=given.port,
        grpc_port=free_port(),
        metrics_port=free_port(),
    )
    with triton.Triton(config=settings) as server:
        server.bind(
            model_name=MODEL,
            infer_func=infer,
            inputs=[
                config.Tensor(name="query", dtype=bytes, shape=(1,)),
                config.Tensor(name="passage", dtype=bytes, shape=(1,)),
            ],
            outputs=[config.Tensor(name="score", dtype=np.float32, shape=(1,))],
            config=config.ModelConfig(
                max_batch_size=MAX_BATCH_PAIRS, batcher=config.DynamicBatcher()
            ),
            strict=True,
        )
        server.serve()


if __name__ == "__main__":
    main()
