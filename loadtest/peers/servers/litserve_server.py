"""The script: sentence-transformers' `CrossEncoder` behind LitServe, with its batching.

    python litserve_server.py FOLDER --port 8090

It runs in a virtual environment of its own, so it imports nothing of this project. LitServe batches
whole requests: their pairs are scored together and handed back request by request.
"""

# Annotations stay what they are and not text: LitServe looks at them for the request's type.
import argparse
from importlib import import_module
from itertools import accumulate, pairwise
from typing import Any

import litserve
from pydantic import BaseModel

MAX_BATCH_REQUESTS = 8
# A batch starts this long after its first request, or as soon as it is full.
BATCH_TIMEOUT_S = 0.005
REQUEST_TIMEOUT_S = 60.0
WARM_PASSAGES = 8


class ScoreRequest(BaseModel):
    """One query and its passages."""

    query: str
    passages: list[str]


class RankingApi(litserve.LitAPI):  # type: ignore[misc]
    """`POST /score` in LitServe's steps: decode, predict a batch, encode."""

    def __init__(self, folder: str) -> None:
        super().__init__(
            max_batch_size=MAX_BATCH_REQUESTS, batch_timeout=BATCH_TIMEOUT_S, api_path="/score"
        )
        self.folder = folder
        self.model: Any = None

    def setup(self, device: str) -> None:
        """Load the model in the worker's process and score once to be warm."""
        library: Any = import_module("sentence_transformers")
        self.model = library.CrossEncoder(self.folder, device=device)
        warm = ScoreRequest(query="is it warm", passages=["it is warm now"] * WARM_PASSAGES)
        self.predict([warm])

    def decode_request(self, request: ScoreRequest) -> ScoreRequest:
        """Unchanged."""
        return request

    def batch(self, inputs: list[ScoreRequest]) -> list[ScoreRequest]:
        """Unchanged: `predict` lays the requests' pairs end to end."""
        return inputs

    def predict(self, requests: list[ScoreRequest]) -> list[list[float]]:
        """The scores of each request."""
        pairs = [(one.query, passage) for one in requests for passage in one.passages]
        found = [float(value) for value in self.model.predict(pairs, show_progress_bar=False)]
        ends = accumulate((len(one.passages) for one in requests), initial=0)
        return [found[start:end] for start, end in pairwise(ends)]

    def unbatch(self, output: list[list[float]]) -> list[list[float]]:
        """Unchanged: one list per request."""
        return output

    def encode_response(self, output: list[float]) -> dict[str, Any]:
        """Results, best first."""
        results = [{"index": index, "score": value} for index, value in enumerate(output)]
        results.sort(key=lambda result: -result["score"])
        return {"results": results}


def main() -> None:
    """Serve."""
    parser = argparse.ArgumentParser(description="Serve a CrossEncoder with LitServe.")
    parser.add_argument("folder", help="what CrossEncoder loads")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8090)
    given = parser.parse_args()
    server = litserve.LitServer(
        RankingApi(given.folder), accelerator="cpu", timeout=REQUEST_TIMEOUT_S
    )
    server.run(
        host=given.host,
        port=given.port,
        num_api_servers=1,
        log_level="warning",
        generate_client_file=False,
    )


if __name__ == "__main__":
    main()
