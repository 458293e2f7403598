"""Files of pairs for tests of bulk scoring, and how they are ranked."""

from __future__ import annotations

import csv
import gzip
import json
import random
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from typer.testing import CliRunner, Result

from retort.cli import app
from tests.tiny_texts import WORDS

ROOT = Path(__file__).parents[3]
BACKEND = ("--backend", "onnxruntime", "--precision", "fp32", "--threads", "1")
SCORING = ("--bundle", str(ROOT / "tests" / "tiny-bundle"), *BACKEND)
FORMS = (".tsv", ".tsv.gz", ".jsonl", ".parquet")

Rows = list[dict[str, Any]]

# `retort` with small blocks, so that a small file has many of them.
SMALL_BLOCKS = (
    sys.executable,
    "-c",
    "import retort.bulk.sources as sources; sources.BLOCK_ROWS = 40\n"
    "from retort.cli import main; main()",
)


def make_rows(queries: int, most: int = 30, seed: int = 1) -> Rows:
    """Rows of so many queries with up to `most` passages each, some of them of several windows."""
    draw = random.Random(seed)
    texts = [f"what is {' '.join(draw.choices(WORDS, k=3))} {query}" for query in range(queries)]
    return [
        {
            "query": text,
            "passage": " ".join(draw.choices(WORDS, k=draw.choice((3, 8, 20, 130)))),
            "doc_id": f"d{query}-{number}",
            "price": draw.randint(1, 99),
        }
        for query, text in enumerate(texts)
        for number in range(draw.randint(1, most))
    ]


def write(path: Path, rows: Rows, row_group_size: int = 100) -> Path:
    """Write the rows in the format of the file's name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=row_group_size)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    else:
        lines = ["\t".join(rows[0]), *("\t".join(map(str, row.values())) for row in rows)]
        content = "".join(line + "\n" for line in lines).encode()
        path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def read(path: Path) -> Rows:
    """The rows of a file, with numbers where the output adds some."""
    if path.suffix == ".parquet":
        rows: Rows = pq.read_table(path).to_pylist()
        return rows
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    content = path.read_bytes()
    text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode()
    kinds: dict[str, Any] = {"price": int, "score": float, "spread": float, "rank": int}
    return [
        {name: kinds.get(name, str)(value) for name, value in row.items()}
        for row in csv.DictReader(text.splitlines(), delimiter="\t")
    ]


def call(*arguments: object) -> Result:
    """Call `retort rank`."""
    return CliRunner().invoke(app, ["rank", *map(str, arguments)])


def rank(source: Path, out: Path, *options: object, scoring: Sequence[str] = SCORING) -> Result:
    """Rank a file, which has to succeed."""
    ended = call(source, "--out", out, *scoring, *options)
    assert ended.exit_code == 0, ended.output + ended.stderr
    assert not out.with_name(f"{out.name}.partial").exists()
    return ended


def by_query(rows: Iterable[dict[str, Any]]) -> dict[str, Rows]:
    """The rows of each query."""
    found: dict[str, Rows] = {}
    for row in rows:
        found.setdefault(row["query"], []).append(row)
    return found
