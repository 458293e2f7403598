"""Processes: they use nothing while stopped, and leave nothing behind."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from retort.loadtest.peers import processes
from retort.loadtest.peers.processes import PausableServer, Tree, end, sampling
from retort.loadtest.targets import RETORT, Target
from retort.loadtest.traffic import Request

BUSY = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "print(1, flush=True)\\nwhile True: pass"])
child.wait()
"""


@pytest.fixture
def tree() -> Iterator[Tree]:
    """A process that waits for its child, which is busy."""
    with subprocess.Popen([sys.executable, "-c", BUSY], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        parent.stdout.readline()
        tree = Tree(parent.pid)
        left = tree.processes()
        yield tree
        tree.resume()
        parent.terminate()
        parent.wait()
        end(left, within_s=0.1)


def spent(tree: Tree, seconds: float) -> float:
    """Processor time that it takes in the next `seconds`."""
    before = tree.cpu_seconds()
    time.sleep(seconds)
    return tree.cpu_seconds() - before


def test_a_stopped_tree_takes_no_processor_time_and_goes_on_later(tree: Tree) -> None:
    assert len(tree.processes()) == 2
    tree.pause()
    time.sleep(0.05)
    assert spent(tree, 0.3) == 0
    tree.resume()
    end = time.monotonic() + 20
    while spent(tree, 0.1) == 0:
        assert time.monotonic() < end, "it did not go on"


def test_memory_counts_the_child_too(tree: Tree) -> None:
    parent = psutil.Process(tree.processes()[0].pid).memory_full_info().pss
    with tree.peak_memory() as peak:
        pass
    assert peak[0] > parent > 0


def test_what_a_parent_leaves_behind_is_ended(tree: Tree) -> None:
    parent, child = tree.processes()
    parent.kill()
    end([child], within_s=0.1)
    child.wait(10)
    assert not child.is_running()
    assert tree.processes() == [] or tree.memory_bytes() == 0


def test_samples_are_taken_at_both_ends_and_between() -> None:
    taken: list[float] = []
    with sampling(0.02, lambda: taken.append(time.perf_counter())):
        time.sleep(0.2)
    assert 4 <= len(taken) <= 12


# A server with a child that does not end by itself, as some servers have.
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


def await_status(process: psutil.Process, status: str) -> None:
    """A signal takes its time to arrive."""
    until = time.monotonic() + 20
    while process.status() != status:
        assert time.monotonic() < until, f"it is {process.status()}, not {status}"
        time.sleep(0.01)


def test_a_server_runs_in_its_turn_and_ends_with_its_children(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "KILL_AFTER_S", 0.2)
    script = tmp_path / "server.py"
    script.write_text(SCRIPT)
    target = Target("fake", "a fake", (sys.executable, str(script)), ready_path="/ready")
    with PausableServer(target) as server:
        child = psutil.Process(server.get_json("/x")["child"])
        server.pause()
        await_status(child, psutil.STATUS_STOPPED)
        with server.turn() as usage:
            assert RETORT.ask(server.host, Request("q", ("a", "b"))) == [0.0, 0.1]
            assert child.status() != psutil.STATUS_STOPPED
        await_status(child, psutil.STATUS_STOPPED)
        assert usage.cpu_seconds > 0
        assert usage.memory_bytes > 1e6
    # Its new parent may leave it a zombie.
    _, alive = psutil.wait_procs([child], timeout=20)
    assert all(process.status() == psutil.STATUS_ZOMBIE for process in alive)


def test_a_server_that_does_not_run_cannot_be_paused() -> None:
    server = PausableServer(Target("fake", "a fake", ()))
    with pytest.raises(RuntimeError, match="a fake does not run"):
        server.pause()
    server.stop()
