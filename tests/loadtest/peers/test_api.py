"""The API of a peer: what is asked, and the scores in the order of the passages."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from retort.loadtest.peers.api import DOCUMENTS, RETORT, TENSORS
from retort.loadtest.step import complete
from retort.loadtest.texts import Request

REQUEST = Request("q", ("a", "b"))


class Canned(BaseHTTPRequestHandler):
    """Answers every POST with what `answer` says."""

    answer: tuple[int, object] = (200, {})

    def do_POST(self) -> None:
        """Answer."""
        self.rfile.read(int(self.headers["Content-Length"]))
        body = json.dumps(self.answer[1]).encode()
        self.send_response(self.answer[0])
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""


@pytest.fixture
def port() -> Iterator[int]:
    """Where `Canned` listens."""
    with HTTPServer(("127.0.0.1", 0), Canned) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


ANSWERS = [
    (RETORT, {"results": [{"index": 1, "score": 0.9}, {"index": 0, "score": 0.1}]}),
    (DOCUMENTS, {"results": [{"index": 1, "relevance_score": 0.9},
                             {"index": 0, "relevance_score": 0.1}]}),
    (TENSORS, {"outputs": [{"name": "score", "data": [0.1, 0.9]}]}),
]  # fmt: skip


@pytest.mark.parametrize("number", range(3))
def test_scores_come_in_the_order_of_the_passages(port: int, number: int) -> None:
    api, answer = ANSWERS[number]
    Canned.answer = (200, answer)
    assert api.ask("127.0.0.1", port, REQUEST) == [0.1, 0.9]
    content = json.dumps(answer).encode()
    assert complete(content, 2, api.results_at)
    assert not complete(content, 3, api.results_at)
    assert not complete(b'{"error": "no"}', 2, api.results_at)


def test_each_is_asked_in_its_own_words() -> None:
    assert json.loads(RETORT.encoded(REQUEST)) == {"query": "q", "passages": ["a", "b"]}
    assert json.loads(DOCUMENTS.encoded(REQUEST))["documents"] == ["a", "b"]
    inputs = json.loads(TENSORS.encoded(REQUEST))["inputs"]
    assert [(one["name"], one["shape"], one["data"]) for one in inputs] == [
        ("query", [2, 1], ["q", "q"]), ("passage", [2, 1], ["a", "b"]),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((503, {"detail": "busy"}), "answered with 503"),
        ((200, {"results": [{"index": 0}]}), "KeyError"),
        ((200, {"results": [{"index": 0, "score": 1.0}]}), "1 scores for 2 passages"),
    ],
)
def test_an_answer_that_is_none_is_an_error(
    port: int, answer: tuple[int, object], words: str
) -> None:
    Canned.answer = answer
    with pytest.raises(RuntimeError, match=words):
        RETORT.ask("127.0.0.1", port, REQUEST)
