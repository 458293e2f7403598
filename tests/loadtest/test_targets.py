"""Targets: what a server is sent, the scores it gives, and the command that starts it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from retort.loadtest.load import complete
from retort.loadtest.servers import Server
from retort.loadtest.targets import RETORT, Target, serve
from retort.loadtest.traffic import Request

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
def host() -> Iterator[str]:
    """Where `Canned` listens."""
    with HTTPServer(("127.0.0.1", 0), Canned) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_scores_come_in_the_order_of_the_passages(host: str) -> None:
    answer = {"results": [{"index": 1, "score": 0.9}, {"index": 0, "score": 0.1}]}
    Canned.answer = (200, answer)
    assert RETORT.ask(host, REQUEST) == [0.1, 0.9]
    assert complete(json.dumps(answer).encode(), 2, RETORT.results_at)


def test_a_step_has_the_bodies_of_the_api() -> None:
    requests = [REQUEST, Request("r", ("é",))]
    server = Server(serve("small"))
    step = server.step(requests, fields={"mode": "cascade"}, seconds=2.0, users=3)
    assert [json.loads(body) for body in step.bodies] == [
        {"query": "q", "passages": ["a", "b"], "mode": "cascade"},
        {"query": "r", "passages": ["é"], "mode": "cascade"},
    ]
    assert (step.pairs, step.route, step.host) == ((2, 1), "/score", server.host)
    assert step.users == 3


def test_options_win_over_the_settings_file() -> None:
    target = serve("small", "--backend", "openvino", settings=Path("tuned.yaml"))
    assert isinstance(target, Target)
    assert target.command[1:] == (
        "-m", "retort", "serve", "--bundle", "small", "--settings", "tuned.yaml",
        "--backend", "openvino",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((503, {"detail": "busy"}), "answered with 503"),
        ((200, {"results": [{"index": 0}]}), "KeyError"),
        ((200, {"results": [{"index": 0, "score": 1.0}]}), "1 scores for 2 passages"),
    ],
)
def test_an_answer_that_is_none_is_an_error(
    host: str, answer: tuple[int, object], words: str
) -> None:
    Canned.answer = answer
    with pytest.raises(RuntimeError, match=words):
        RETORT.ask(host, REQUEST)
