"""A server's disagreement file as stage-1 pairs: the service finds its own training data.

Each line is a shadowed request on which student and teacher put another passage first (the format
is told in `service/disagreements.py`). Its query with each of its passages is a pair without a
label; who answers is left to the teachers of the next distillation, who score it anew. Records
whose texts were hashed cannot be trained on.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from retort.training.data.pairs import Pair
from retort.training.data.readers.rows import BadRows, DataError, lines, parse

EXPECTED = "a record with query, passages and hashed, as the server writes it"


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
    for number, (query, passages, hashed) in parse(path, EXPECTED, bad, _record):
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
