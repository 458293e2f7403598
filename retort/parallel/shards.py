"""Shards: which blocks of the work are whose, where several processes divide it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Shard:
    """The shard of that `number`, from 1, `of` so many; as even as they get, and in order.

    >>> [Shard(number, 3).own("abcdefgh") for number in (1, 2, 3)]
    ['ab', 'cde', 'fgh']
    """

    number: int = 1
    of: int = 1

    @property
    def whole(self) -> bool:
        """Whether it is everything."""
        return self.of == 1

    def own(self, blocks: Sequence[T]) -> Sequence[T]:
        """Those of all blocks that are its own."""
        start, stop = (number * len(blocks) // self.of for number in (self.number - 1, self.number))
        return blocks[start:stop]

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"


def shard_of(text: str) -> Shard:
    """The shard that `--shard` names. Raises `ValueError`.

    >>> shard_of("2/8")
    Shard(number=2, of=8)
    """
    found = re.fullmatch(r"\s*(\d+)\s*/\s*(\d+)\s*", text)
    if found is None or not 1 <= int(found[1]) <= int(found[2]):
        raise ValueError(f"--shard {text}: write I/N, as in 1/8 to 8/8 for eight shards")
    return Shard(int(found[1]), int(found[2]))
