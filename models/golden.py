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

from retort.models.errors import InvalidGolden, mistakes

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


def parse_golden(path: Path, content: bytes, heads: int) -> tuple[GoldenPair, ...]:
    """The pairs whose file, at `path`, has this content.

    Raises `InvalidGolden` with the line at fault, or as `check_golden` does.
    """
    try:
        text = content.decode("utf-8").removesuffix("\n")
    except UnicodeDecodeError as error:
        raise InvalidGolden(path, f"not UTF-8 ({error})") from None
    # Counted first: a line becomes several objects.
    _check_count(path, text.count("\n") + 1)
    pairs = tuple(_parse(path, number, line) for number, line in enumerate(text.split("\n"), 1))
    check_golden(path, pairs, heads)
    return pairs


def check_golden(path: Path, pairs: tuple[GoldenPair, ...], heads: int) -> None:
    """Raise `InvalidGolden` unless there are enough pairs, and each has all its logits."""
    _check_count(path, len(pairs))
    widths = {len(pair.logits) for pair in pairs}
    if widths != {heads}:
        raise InvalidGolden(path, f"pairs have {sorted(widths)} logits, the manifest has {heads}")


def _check_count(path: Path, pairs: int) -> None:
    if not MIN_GOLDEN_PAIRS <= pairs <= MAX_GOLDEN_PAIRS:
        raise InvalidGolden(
            path, f"{pairs} golden pairs, from {MIN_GOLDEN_PAIRS} to {MAX_GOLDEN_PAIRS} are needed"
        )


def _parse(path: Path, number: int, line: str) -> GoldenPair:
    try:
        return _LINE.validate_json(line)
    except ValidationError as error:
        raise InvalidGolden(
            path,
            f'line {number}: expected {{"query", "passage", "logits", "score"}}: {mistakes(error)}',
        ) from None
