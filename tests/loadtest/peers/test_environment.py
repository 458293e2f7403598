"""The environment: made once, made again for other requirements, and pinned throughout."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from retort.loadtest.peers.environment import make_environment, requirements_of
from retort.loadtest.peers.peer import PEERS

NAMES = sorted({peer.environment for peer in PEERS if peer.environment})


@pytest.mark.parametrize("name", NAMES)
def test_everything_that_is_installed_is_pinned(name: str) -> None:
    lines = requirements_of(name).read_text(encoding="utf-8").splitlines()
    pins = [Requirement(line) for line in lines]
    assert all([s.operator for s in pin.specifier] == ["=="] for pin in pins)
    assert "torch==2.13.0" in lines


@pytest.mark.slow
def test_it_is_made_once_for_the_same_requirements(tmp_path: Path) -> None:
    wanted = tmp_path / "own.txt"
    wanted.write_text("# nothing\n")
    said: list[str] = []
    python = make_environment(tmp_path / "own", wanted, said.append)
    where = subprocess.run(
        [str(python), "-c", "import sys; print(sys.prefix)"],
        capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    assert where == str(tmp_path / "own")
    assert make_environment(tmp_path / "own", wanted, said.append) == python
    assert len(said) == 1
    wanted.write_text("no such requirement ==\n")
    with pytest.raises(RuntimeError, match="ended with status 1"):
        make_environment(tmp_path / "own", wanted, said.append)
    assert len(said) == 2
