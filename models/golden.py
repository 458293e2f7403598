"""Golden pairs: real pairs with the scores of the PyTorch original.

A server scores them at start, and refuses a bundle whose graph does not reproduce them.

One line of `golden.jsonl`:

    {"query": "…", "passage": "…", "logits": [2.1, 1.7], "score": 0.868}
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from retort.models.errors import InvalidGolden, MissingFile

GOLDEN_FILE = "golden.jsonl"
MIN_GOLDEN_PAIRS = 64


@dataclass(frozen=True, slots=True)
class GoldenPair:
    """One pair, its logits (heads,) and its score, as PyTorch fp32 gave them."""

    query: str
    passage: str
    logits: tuple[float, ...]
    score: float

    def __post_init__(self) -> None:
        if not self.logits or not all(map(math.isfinite, (*self.logits, self.score))):
            raise ValueError(f"logits {self.logits} and score {self.score} must be finite numbers")


def write_golden(path: Path, pairs: Iterable[GoldenPair]) -> None:
    """Write pairs to `path`, one JSON object a line."""
    with path.open("w", encoding="utf-8") as file:
        for pair in pairs:
            file.write(json.dumps(asdict(pair), ensure_ascii=False) + "\n")


def read_golden(path: Path) -> tuple[GoldenPair, ...]:
    """Read the pairs at `path`.

    Raises `MissingFile`, or `InvalidGolden` with the line at fault or the number of pairs.
    """
    try:
        lines = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    except FileNotFoundError:
        raise MissingFile(path, "not there") from None
    except UnicodeDecodeError as error:
        raise InvalidGolden(path, f"not UTF-8 ({error})") from None
    pairs = tuple(_parse(path, number, line) for number, line in enumerate(lines, start=1))
    check_golden(path, pairs)
    return pairs


def check_golden(path: Path, pairs: tuple[GoldenPair, ...]) -> None:
    """Raise `InvalidGolden` unless there are enough pairs, all with as many logits."""
    if len(pairs) < MIN_GOLDEN_PAIRS:
        raise InvalidGolden(path, f"{len(pairs)} golden pairs, at least {MIN_GOLDEN_PAIRS} needed")
    widths = {len(pair.logits) for pair in pairs}
    if len(widths) > 1:
        raise InvalidGolden(path, f"pairs have {sorted(widths)} logits, all must have as many")


def _parse(path: Path, number: int, line: str) -> GoldenPair:
    try:
        row: dict[str, Any] = json.loads(line)
        return GoldenPair(
            query=str(row["query"]),
            passage=str(row["passage"]),
            logits=tuple(float(logit) for logit in row["logits"]),
            score=float(row["score"]),
        )
    except (ValueError, TypeError, KeyError) as error:
        raise InvalidGolden(
            path, f'line {number}: expected {{"query", "passage", "logits", "score"}} ({error!r})'
        ) from None
