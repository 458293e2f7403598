"""The server under test as a process: started, awaited, stopped."""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path

import pytest

from retort.loadtest.server import Server, serve_command


def script(folder: Path, body: str) -> list[str]:
    """A command that runs `body` with the port in `port`."""
    file = folder / "server.py"
    file.write_text("import sys\nport = int(sys.argv[-1])\n" + textwrap.dedent(body))
    return [sys.executable, str(file)]


READY = """
    from http.server import BaseHTTPRequestHandler, HTTPServer

    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            # Not ready the first time: whoever waits must ask again.
            self.send_response(503 if len(asked) == 1 else 200)
            body = b'{"name": "fake"}' if self.path == "/info" else b"{}"
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    HTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""


def test_inside_the_block_the_server_is_ready(tmp_path: Path) -> None:
    with Server(script(tmp_path, READY)) as server:
        assert server.get_json("/info") == {"name": "fake"}
    with pytest.raises(OSError, match="refused"):
        server.get("/info")


def test_a_server_that_ends_at_once_is_an_error_with_its_words(tmp_path: Path) -> None:
    command = script(tmp_path, "sys.exit('no such bundle')")
    with pytest.raises(RuntimeError, match=r"status 1 before it was ready:\nno such bundle"):
        Server(command).__enter__()


def test_an_answer_that_is_no_200_is_an_error(tmp_path: Path) -> None:
    body = READY.replace("503 if len(asked) == 1", "404 if self.path == '/info'")
    with (
        Server(script(tmp_path, body)) as server,
        pytest.raises(RuntimeError, match="GET /info was answered with 404"),
    ):
        server.get_json("/info")


def test_the_command_names_the_bundle() -> None:
    assert serve_command("small", "--backend", "openvino")[1:] == [
        "-m",
        "retort",
        "serve",
        "--bundle",
        "small",
        "--backend",
        "openvino",
    ]
