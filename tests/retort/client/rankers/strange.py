"""A strange ranker over HTTP: it answers in one shape only, and fails as it is told to."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeVar

Failure = tuple[int, dict[str, str]]  # a status and headers


def length_score(query: str, passage: str) -> float:
    """A probability that depends on both texts."""
    return (1 + len(query)) / (2 + len(query) + len(passage))


@dataclass
class Strange:
    """What the server does, and what it was asked."""

    shape: str = "cohere"
    failures: list[Failure] = field(default_factory=list)
    most: int = 1000  # passages per request
    key: str | None = None
    add: float = 0.0  # to every score
    answer: Any = None  # instead of a true one
    asked: list[tuple[str, list[str]]] = field(default_factory=list)
    held: threading.Event | None = None  # every answer waits for it
    url: str = ""

    def reply(self, body: dict[str, Any], authorization: str | None) -> tuple[Failure, Any]:
        """Status with headers, and the content."""
        if self.key is not None and authorization != f"Bearer {self.key}":
            return (401, {}), {"message": "invalid api token"}
        fields = {"cohere": ("query", "documents"), "tei": ("query", "texts"),
                  "vllm": ("text_1", "text_2")}[self.shape]  # fmt: skip
        if not all(name in body for name in fields):
            return (422, {}), {"error": f"missing {fields[1]}"}
        query, passages = body[fields[0]], body[fields[1]]
        if self.held is not None:
            self.held.wait(60)
        if len(passages) > self.most:
            return (413, {}), {"error": "too many"}
        if self.failures:
            return self.failures.pop(0), {"error": "not now"}
        self.asked.append((query, passages))
        if self.answer is not None:
            return (200, {}), self.answer
        found = [
            {"index": index, self._name(): length_score(query, passage) + self.add}
            for index, passage in enumerate(passages)
        ]
        found.sort(key=lambda item: -item[self._name()])
        wrapped = {"cohere": {"results": found, "model": body.get("model", "m")}, "tei": found,
                   "vllm": {"data": found}}  # fmt: skip
        return (200, {}), wrapped[self.shape]

    def _name(self) -> str:
        return "relevance_score" if self.shape == "cohere" else "score"


Served = TypeVar("Served", bound=Strange)


@contextmanager
def serve_strange(strange: Served, path: str = "/v1/rerank", port: int = 0) -> Iterator[Served]:
    """Serve it in a thread of this process; its `url` is that of the route."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            (status, headers), content = strange.reply(body, self.headers.get("Authorization"))
            sent = json.dumps(content).encode()
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(sent))}.items():
                self.send_header(name, value)
            self.end_headers()
            with suppress(BrokenPipeError):  # who asked may have left
                self.wfile.write(sent)

        def do_GET(self) -> None:
            self.send_error(404)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        strange.url = f"http://127.0.0.1:{server.server_address[1]}{path}"
        try:
            yield strange
        finally:
            server.shutdown()
