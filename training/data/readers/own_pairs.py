"""A user's own pairs: tab-separated or JSON lines, with or without labels."""

from __future__ import annotations

import csv
import json
from pathlib import Path

from retort.training.data.catalog import data_root, read_pairs
from retort.training.data.pairs import Pair
from retort.training.data.readers.disagreements import is_disagreements, read_disagreements
from retort.training.data.readers.rows import BadRows, DataError, open_text, parse, unit_score

LABEL_RULE = ", a label from 0 to 1"
_REQUIRED = ("query", "passage")
_OPTIONAL = ("label", "query_id", "passage_id")


def is_own(source: str) -> bool:
    """Whether a source is a file of one's own, or of the hub, rather than one of the catalog."""
    return source.startswith("hub:") or source.removesuffix(".gz").endswith((".tsv", ".jsonl"))


def read_any(source: str, root: Path | None, bad: BadRows) -> list[Pair]:
    """`name/split` of the catalog, `hub:name/split`, or a file of one's own by its path."""
    if source.startswith("hub:"):
        from retort.training.data.readers.hub import read_hub

        return read_hub(source.removeprefix("hub:"))
    if is_own(source):
        return read_file(Path(source), bad)
    if Path(source).suffix and Path(source).is_file():
        raise DataError(f"{source}: a file of your own ends in .tsv or .jsonl, perhaps .gz")
    return read_pairs(root or data_root(), source, bad)


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
        return [pair for _, pair in parse(path, expected, bad, _from_json)]
    return _read_tsv(path, bad)


def _from_json(line: str) -> Pair:
    return _pair(json.loads(line))


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
                bad.report(path, number, f"the columns {', '.join(columns)}{LABEL_RULE}", row)
    return pairs
