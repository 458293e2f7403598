"""The cost of a request in the front end: its arithmetic, and once for real."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from retort.loadtest.experiments.frontend import (
    HERE,
    Cost,
    Turn,
    export,
    main,
    row,
    run_turn,
    targets,
)
from retort.loadtest.null_bundle import write_null_bundle
from retort.loadtest.result import read
from retort.loadtest.rounds import Spread
from retort.loadtest.servers import Server
from retort.loadtest.traffic import fixed
from retort.models.bundle import find_bundle, read_bundle


def value(cell: object) -> float:
    assert isinstance(cell, Spread)
    return cell.value


def test_a_row_compares_the_front_end_and_all_processes() -> None:
    single = [Turn(Cost(0.002), 500.0), Turn(Cost(0.004), 300.0)]
    several = [Turn(Cost(0.001, 0.002, 0.0005), 700.0), Turn(Cost(0.002, 0.003, 0.0005), 500.0)]
    name, old, front, engine, over, whole, old_rate, rate = row("load", single, several)
    assert name == "load"
    assert [value(cell) for cell in (old, front, engine)] == pytest.approx([3.0, 1.5, 2.5])
    assert value(over) == pytest.approx(0.5)
    assert value(whole) == pytest.approx(9.0 / 6.0)
    assert (old_rate, rate) == (400.0, 600.0)


def test_a_cost_is_that_of_the_requests_since() -> None:
    found = Cost(3.0, 5.0, 1.0).since(Cost(1.0, 1.0, 1.0), 4)
    assert (found.front_end, found.engine, found.supervisor) == (0.5, 1.0, 0.0)
    assert found.total == 1.5


def test_each_server_is_that_of_its_checkout(tmp_path: Path) -> None:
    (tmp_path / "retort").mkdir()
    (tmp_path / "retort" / "__init__.py").write_text("")
    old, new = targets(Path("bundle"), tmp_path, HERE, 2)
    assert "--workers" not in old.command
    assert new.command[-2:] == ("--workers", "2")
    for target, folder in ((old, tmp_path), (new, HERE)):
        code = "import retort; print(retort.__file__)"
        found = subprocess.run(
            [sys.executable, "-c", code],
            cwd=HERE,
            env={**os.environ, **target.environment},
            capture_output=True,
            text=True,
            check=True,
        )
        assert found.stdout.strip() == str(folder / "retort" / "__init__.py")


def test_a_revision_that_is_not_there_is_told_of(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="no files of revision no-such-one"):
        export("no-such-one", tmp_path)


@pytest.mark.slow
def test_requests_that_fail_are_no_measurement(tmp_path: Path) -> None:
    like = read_bundle(find_bundle("retort-small"))
    made = write_null_bundle(tmp_path / "null", like)
    target, _ = targets(made.folder, HERE, HERE, None)
    requests = fixed(like.encoder(), passages=2, requests=4).requests
    with Server(target) as server:
        step = server.step(requests, seconds=0.3, users=2)
        assert run_turn(server, step).cost.front_end > 0
        late = server.step(requests, fields={"timeout_ms": 1}, seconds=0.3, users=200)
        with pytest.raises(RuntimeError, match=r"failed|answered no request"):
            run_turn(server, late)


@pytest.mark.slow
def test_it_measures_both_servers_and_writes_a_record(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    shared = ["--old", str(HERE), "--new", str(HERE), "--output", str(page)]
    main([*shared, "--rounds", "1", "--seconds", "0.3", "--clients", "2"])
    (found,) = read(tmp_path / "measured" / "frontend.json")
    names = [cells[0] for cells in found.table("costs").rows]
    assert names == ["2 clients, passages in the cache", "2 clients, passages new"]
    kept, new = (value(cells[1]) for cells in found.table("costs").rows)
    assert 0 < kept < new, "new passages are tokenized"
    assert "`python -m retort.loadtest.experiments.frontend`" in page.read_text()
