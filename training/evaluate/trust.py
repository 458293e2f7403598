"""Trust: how far the numbers that a bundle gives with its scores can be believed, as measured.

These are the figures behind docs/scores.md, as they stand in docs/scores.json. Each part
is measured by a file of its own, and may be measured again alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from retort.failures import reading
from retort.training.evaluate.bootstrap import Estimate
from retort.training.evaluate.measures import Bin

Part = Literal["probabilities", "windows", "questions", "highlights"]
PARTS: tuple[Part, ...] = ("probabilities", "windows", "questions", "highlights")


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Curve(_Value):
    """Probabilities of one set: how far they are from the shares, and what chance would make of it.

    `error` is over bins of equal mass (`bins`), `wide_error` over 15 of equal width, as
    `retort evaluate` gives it; `plain_error` is that without calibration, None where there is none.
    `floor` is the `error` of probabilities that are all right, and `relevant` the share that is.
    """

    name: str
    count: int
    relevant: float
    error: float
    floor: float
    wide_error: float
    plain_error: float | None = None
    bins: tuple[Bin, ...]


class Heads(_Value):
    """Kendall's tau with the mean of the heads' probabilities, the mean over `queries`.

    `golden` is that of the golden head alone, `logits` that of the mean of the heads' logits.
    """

    name: str
    golden: Estimate
    logits: Estimate
    queries: int


class Depth(_Value):
    """R@1 of chunks with the answer at this depth: read in windows, and cut at the first one."""

    name: str
    depth: int
    queries: int
    windows: Estimate
    cut: Estimate


class LongSet(_Value):
    """What reading the chunks of a set costs: chunks, their mean words, pairs that were scored."""

    name: str
    chunks: int
    words: float
    pairs: int


class Rule(_Value):
    """Hit@1 with long queries shortened by a rule, over hit@1 with the question alone.

    `kept` are one for each preamble, in the order of `Questions.preambles`.
    """

    name: str
    kept: tuple[Estimate, ...]


class Questions(_Value):
    """`hit` is hit@1 with the question alone."""

    queries: int
    passages: int
    hit: Estimate
    preambles: tuple[str, ...]
    rules: tuple[Rule, ...]


class Sentences(_Value):
    """How often each system's best sentence of a passage is the right one, over `queries`.

    `sentences` is how many a passage has on average, `chance` the hit rate of drawing one, and
    `slower` how many times as long it takes to rank a passage with a highlight.
    """

    name: str
    queries: int
    sentences: float
    chance: float
    slower: float
    systems: dict[str, Estimate]


class TrustReport(_Value):
    """What was measured of `bundle`; parts that were not are empty.

    `query_tokens` is how many tokens of a query the bundle reads.
    """

    bundle: str
    query_tokens: int
    created: str
    scores: tuple[Curve, ...] = ()
    answerable: tuple[Curve, ...] = ()
    heads: tuple[Heads, ...] = ()
    depths: tuple[Depth, ...] = ()
    long: tuple[LongSet, ...] = ()
    questions: Questions | None = None
    highlights: tuple[Sentences, ...] = ()

    def to_json(self) -> str:
        """The report as JSON, read back by `read_trust`."""
        return self.model_dump_json(indent=1) + "\n"


def read_trust(path: Path) -> TrustReport:
    """Raises `OSError` or `ValueError`."""
    with reading(path, "figures of `retort trust`"):
        return TrustReport.model_validate_json(path.read_text(encoding="utf-8"))
