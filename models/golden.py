"""Golden pairs: real pairs with the scores of the PyTorch original.

A server scores them at start, and refuses a bundle whose graph does not reproduce them.

One line of `golden.jsonl`:

    {"query": "…", "passage": "…", "logits": [2.1, 1.7], "score": 0.868}
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from pydantic import Field, FiniteFloat, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from retort.models.errors import InvalidGolden, MissingFile, mistakes

GOLDEN_FILE = "golden.jsonl"
MIN_GOLDEN_PAIRS = 64
# Each is compared with each other one.
MAX_GOLDEN_PAIRS = 4_096


@dataclass(frozen=True, slots=True)
class GoldenPair:
    """One pair, its logits (heads,) and its score, as PyTorch fp32 gave them.

    Raises `ValueError` without logits, or if a number is not finite.
    """

    query: str
    passage: str
    logits: Annotated[tuple[FiniteFloat, ...], Field(min_length=1)]
    score: FiniteFloat


_LINE = TypeAdapter(GoldenPair)


def write_golden(path: Path, pairs: Iterable[GoldenPair]) -> None:
    """Write pairs to `path`, one JSON object per line."""
    with path.open("w", encoding="utf-8") as file:
        for pair in pairs:
            file.write(json.dumps(asdict(pair), ensure_ascii=False) + "\n")


def read_golden(path: Path, heads: int) -> tuple[GoldenPair, ...]:
    """Read the pairs at `path`.

    Raises `MissingFile`, `InvalidGolden` with the line at fault, or as `check_golden` does.
    """
    try:
        lines = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    except FileNotFoundError:
        raise MissingFile(path, "not there") from None
    except UnicodeDecodeError as error:
        raise InvalidGolden(path, f"not UTF-8 ({error})") from None
    pairs = tuple(_parse(path, number, line) for number, line in enumerate(lines, start=1))
    check_golden(path, pairs, heads)
    return pairs


def check_golden(path: Path, pairs: tuple[GoldenPair, ...], heads: int) -> None:
    """Raise `InvalidGolden` unless there are enough pairs, and each has all its logits."""
    if not MIN_GOLDEN_PAIRS <= len(pairs) <= MAX_GOLDEN_PAIRS:
        raise InvalidGolden(
            path,
            f"{len(pairs)} golden pairs, from {MIN_GOLDEN_PAIRS} to {MAX_GOLDEN_PAIRS} are needed",
        )
    widths = {len(pair.logits) for pair in pairs}
    if widths != {heads}:
        raise InvalidGolden(path, f"pairs have {sorted(widths)} logits, the manifest has {heads}")


def _parse(path: Path, number: int, line: str) -> GoldenPair:
    try:
        return _LINE.validate_json(line)
    except ValidationError as error:
        raise InvalidGolden(
            path,
            f'line {number}: expected {{"query", "passage", "logits", "score"}}: {mistakes(error)}',
        ) from None
