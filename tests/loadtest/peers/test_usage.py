"""The usage: of a process and its children, and nothing while they are stopped."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator

import psutil
import pytest

from retort.loadtest.peers.usage import Tree

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
        tree.end(left)


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


def test_what_a_parent_leaves_behind_is_ended(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("retort.loadtest.peers.usage.KILL_AFTER_S", 0.1)
    parent, child = tree.processes()
    parent.kill()
    tree.end([child])
    child.wait(10)
    assert not child.is_running()
    assert tree.processes() == [] or tree.memory_bytes() == 0
