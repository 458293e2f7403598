"""The snippets of docs/bulk.md do what the page says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import retort
from retort.models.bundle import Bundle
from tests.retort.bulk.files import ROOT, SCORING, Rows, by_query, make_rows, write

PAGE = (ROOT / "docs" / "bulk.md").read_text(encoding="utf-8")
SNIPPETS = {
    library: code
    for code in re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    for library in re.findall(r"^import (duckdb|pandas|polars)", code, re.MULTILINE)
}


def to_rows(best: Any) -> Rows:
    """The rows of a frame of any of the libraries."""
    if hasattr(best, "to_dicts"):
        rows: Rows = best.to_dicts()
        return rows
    if hasattr(best, "fetchall"):
        return [dict(zip(best.columns, row, strict=True)) for row in best.fetchall()]
    rows = best.to_dict("records")
    return rows


@pytest.mark.parametrize("library", ["duckdb", "pandas", "polars"])
def test_snippet(
    library: str, tiny_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip(library, reason=f"the snippet needs {library}")
    rows = make_rows(4, most=20, seed=4)
    # Every other row first: a query's do not lie together.
    write(tmp_path / "pairs.parquet", rows[::2] + rows[1::2])
    ranker = retort.load(tiny_bundle.folder, backend="onnxruntime", precision="fp32", threads=1)
    run = subprocess.run

    def run_here(command: list[str], check: bool) -> object:
        assert command[0] == "retort"
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        return run([sys.executable, "-m", *command, *SCORING], check=check, env=environment)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(retort, "load", lambda name: ranker)
    monkeypatch.setattr(subprocess, "run", run_here)
    names: dict[str, Any] = {}
    exec(compile(SNIPPETS[library], "bulk.md", "exec"), names)
    best = by_query(to_rows(names["best"]))
    for query, given in by_query(rows).items():
        expected = ranker.rank(query, [row["passage"] for row in given], top_n=10)
        found = sorted(row["score"] for row in best[query])
        assert found == pytest.approx(sorted(result.score for result in expected), abs=1e-6)
