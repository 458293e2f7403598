"""A user's own pairs: tab-separated or JSON lines, or a server's disagreement file.

Each line of a disagreement file is a shadowed request on which student and teacher put a different
passage first: the service finds its own training data. Its query with each of its passages is a
pair without a label; the teachers of the next distillation score it anew. Records whose texts were
hashed cannot be trained on.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

from retort.training.data.pairs import Pair
from retort.training.data.readers.rows import (
    BadRows,
    DataError,
    lines,
    open_text,
    parse,
    unit_score,
)

_REQUIRED = ("query", "passage")
_OPTIONAL = ("label", "query_id", "passage_id")
_RECORD = "a record with query, passages and hashed, as the server writes it"


def is_own(source: str) -> bool:
    """Whether a source is a file of one's own, or of the hub, rather than one of the catalog."""
    return source.startswith("hub:") or source.removesuffix(".gz").endswith((".tsv", ".jsonl"))


def read_file(path: Path, bad: BadRows) -> list[Pair]:
    """Read `.tsv` or `.jsonl`, gzipped or not. Raises `DataError`.

    A `.tsv` has a header that names `query` and `passage`, and may name `label`, `query_id` and
    `passage_id`; without a header it is query, passage and perhaps label. A `.jsonl` has these
    fields by name, or is a server's disagreement file.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    if path.name.removesuffix(".gz").endswith(".jsonl"):
        if is_disagreements(path):
            return read_disagreements(path, bad)
        expected = "an object with query, passage and perhaps label, query_id, passage_id"
        return [
            pair for _, pair in parse(path, expected, bad, lambda line: _pair(json.loads(line)))
        ]
    return _read_tsv(path, bad)


def _pair(row: dict[str, object]) -> Pair:
    unknown = set(row) - {*_REQUIRED, *_OPTIONAL}
    query, passage = (row[name] for name in _REQUIRED)
    if unknown or not isinstance(query, str) or not isinstance(passage, str):
        raise ValueError(unknown)
    if not query.strip() or not passage.strip():
        raise ValueError("empty text")
    label = row.get("label")
    value = None if label in (None, "") else unit_score(str(label))
    return Pair(query, passage, value, str(row.get("query_id", "")), str(row.get("passage_id", "")))


def _read_tsv(path: Path, bad: BadRows) -> list[Pair]:
    pairs = []
    with open_text(path) as handle:
        names: list[str] | None = None
        reader = csv.reader(handle, delimiter="\t", quoting=csv.QUOTE_NONE)
        for number, row in enumerate(reader, start=1):
            if not row:
                continue
            lower = [name.strip().lower() for name in row]
            if number == 1 and set(_REQUIRED) <= set(lower):
                names = lower
                continue
            columns = names or [*_REQUIRED, "label"][: max(2, len(row))]
            try:
                pairs.append(_pair(dict(zip(columns, row, strict=names is not None))))
            except (ValueError, KeyError):
                bad.report(
                    path, number, f"the columns {', '.join(columns)}, a label from 0 to 1", row
                )
    return pairs


def is_disagreements(path: Path) -> bool:
    """Whether the file's first line is a record of a disagreement."""
    first = next((text for _, text in lines(path)), "")
    try:
        record = json.loads(first)
    except ValueError:
        return False
    return isinstance(record, dict) and "passages" in record and "student_scores" in record


def read_disagreements(path: Path, bad: BadRows) -> list[Pair]:
    """The pairs of all records, each pair once, in the file's order.

    Raises `DataError` for records whose texts are hashed, and for malformed ones.
    """
    pairs: dict[int, Pair] = {}
    for number, (query, passages, hashed) in parse(path, _RECORD, bad, _record):
        if hashed:
            raise DataError(
                f"{path}, line {number}: the texts are hashed, and a hash cannot be trained on. "
                "Serve with disagreement_texts on (RETORT_DISAGREEMENT_TEXTS=true) to write "
                "texts, if those who ask allow it, and collect a new file"
            )
        for place, passage in enumerate(passages):
            pair = Pair(query, passage, None, f"disagreement-{number}", str(place))
            pairs.setdefault(pair.key, pair)
    return list(pairs.values())


def _record(line: str) -> tuple[str, list[str], bool]:
    record: dict[str, Any] = json.loads(line)
    query, passages, hashed = record["query"], record["passages"], record["hashed"]
    texts = [query, *passages]
    if not isinstance(hashed, bool) or not isinstance(passages, list):
        raise ValueError(line)
    if not all(isinstance(text, str) and text.strip() for text in texts):
        raise ValueError(line)
    return query, passages, hashed
