"""The started peer: runs in its turn alone, is measured there, and leaves nothing behind."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import psutil
import pytest

from retort.loadtest.peers.api import RETORT
from retort.loadtest.peers.peer import Peer, Places
from retort.loadtest.peers.started import Started
from retort.loadtest.texts import Request

PLACES = Places(Path("a"), Path("b"), Path("c"))
# A server with a child that does not end by itself, as some peers have.
SCRIPT = """
import json, subprocess, sys
from http.server import BaseHTTPRequestHandler, HTTPServer

child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])

class Handler(BaseHTTPRequestHandler):
    def answer(self, body):
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.answer(json.dumps({"child": child.pid, "path": self.path}).encode())

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        sum(range(3_000_000))
        found = [{"index": i, "score": i / 10} for i in range(len(asked["passages"]))]
        self.answer(json.dumps({"results": found}).encode())

HTTPServer(("127.0.0.1", int(sys.argv[-1])), Handler).serve_forever()
"""


def await_status(process: psutil.Process, wanted: str) -> None:
    """A signal takes its time to arrive."""
    end = time.monotonic() + 20
    while process.status() != wanted:
        assert time.monotonic() < end, f"it is {process.status()}, not {wanted}"
        time.sleep(0.01)


def test_it_runs_in_its_turn_and_ends_with_its_children(tmp_path: Path) -> None:
    script = tmp_path / "server.py"
    script.write_text(SCRIPT)
    peer = Peer(
        "fake", "a fake", RETORT, lambda places, python: [str(python), str(script)],
        ready_path="/ready",
    )  # fmt: skip
    with Started(peer, PLACES, Path(sys.executable)) as started:
        child = psutil.Process(started.get_json("/x")["child"])
        started.pause()
        await_status(child, psutil.STATUS_STOPPED)
        with started.turn() as used:
            assert started.ask(Request("q", ("a", "b"))) == [0.0, 0.1]
            assert child.status() != psutil.STATUS_STOPPED
        await_status(child, psutil.STATUS_STOPPED)
        assert used.cpu_seconds > 0
        assert used.memory_bytes > 1e6
        assert (started.name, started.label, started.host[:17]) == (
            "fake", "a fake", "http://127.0.0.1:",
        )  # fmt: skip
    # Who adopts it may leave it a zombie.
    _, alive = psutil.wait_procs([child], timeout=20)
    assert all(process.status() == psutil.STATUS_ZOMBIE for process in alive)


def test_outside_the_block_it_does_not_run() -> None:
    peer = Peer("fake", "a fake", RETORT, lambda places, python: [])
    with pytest.raises(RuntimeError, match="fake does not run"):
        Started(peer, PLACES).pause()
