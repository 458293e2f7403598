"""The scorer: a model that scores pairs, and how one is named.

A name is `[NAME=][KIND:]PLACE[#OPTION=VALUE,…]`, or what a recipe says of a teacher.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from retort.models.errors import mistakes
from retort.models.scores import log_odds
from retort.training.data.pairs import Pair
from retort.training.recipes.kinds import KINDS, URLS
from retort.training.recipes.parts.teacher import HttpPart, TeacherRef

Scores = NDArray[np.float32] | NDArray[np.float64]

MODEL = "model"  # where no kind is named: a student, or what else is found at the place
OUTPUT = "output"  # the one option that is not of an HTTP teacher
_OPTIONS = re.compile(r"#(?=\w+=)")
# A teacher's probability of 0 or 1 is taken to be so far from it: a student should not learn the
# logit of what was rounded.
SUREST = 1e-7


PLAIN_HTTP = HttpPart()


class UnknownScorerError(ValueError):
    """There is no such scorer, or it has no scores of a set."""


@dataclass(frozen=True, slots=True)
class Spec:
    """What a command line says of a scorer; `output` and `http` are as a recipe has them."""

    name: str
    kind: str
    path: str
    output: int | str | None = None
    http: HttpPart = PLAIN_HTTP


Reference = Spec | TeacherRef  # what names a scorer


def parse(text: str) -> Spec:
    """`[NAME=][KIND:]PLACE[#OPTION=VALUE,…]` in its parts. Nothing is looked up.

    Without a name it goes by the last part of its place. Raises `UnknownScorerError` for an option
    that there is not.

    >>> parse("bi=bi-encoder:package:gt")
    Spec(name='bi', kind='bi-encoder', path='package:gt', output=None, http=...)
    >>> parse("runs/teachers/ce").kind, parse("http://host/rerank#model=m").http.model
    ('model', 'm')
    >>> parse("nli=hub-cross-encoder:models/nli#output=entailment").output
    'entailment'
    """
    what, *options = _OPTIONS.split(text, maxsplit=1)
    before, equals, rest = what.partition("=")
    named = bool(equals) and not what.startswith(URLS)
    what = rest if named else what
    kind, colon, place = what.partition(":")
    if what.startswith(URLS):
        kind, place = "http", what
    elif not colon or kind not in KINDS:
        kind, place = MODEL, what
    short = place.rstrip("/").replace(":", "/").rpartition("/")[2]
    output, http = _options(text, options[0] if options else "")
    return Spec(before if named else short, kind, place, output, http)


def _options(text: str, options: str) -> tuple[str | None, HttpPart]:
    given = dict(item.partition("=")[::2] for item in options.split(",")) if options else {}
    output = given.pop(OUTPUT, None)
    try:
        return output, HttpPart.model_validate(given)
    except ValidationError as error:
        known = ", ".join((OUTPUT, *HttpPart.model_fields))
        raise UnknownScorerError(
            f"{text}: {mistakes(error)}: there are the options {known}"
        ) from error


@dataclass(frozen=True)
class Scorer:
    """A model that scores pairs.

    `identity` is the content hash of its weights, its tokenizer and how it is asked; "" where
    scores are not kept by it. `engine` is what computes, with its precision, and is no part of the
    identity. `about` says in a few words how it reads a pair. `former` are the identities under
    which earlier versions kept the same scores, `outdated` those of scores that are different.
    `block_pairs` is how many pairs to score per call; more where pairs share texts. What a scorer
    `may_change` says is checked against the scores that are kept whenever it is asked. One that
    `threads_may_share` scores several blocks at once.
    """

    name: str
    identity: str
    engine: str = field(default="", kw_only=True)
    about: str = field(default="", kw_only=True)
    former: tuple[str, ...] = field(default=(), kw_only=True, repr=False)
    outdated: tuple[str, ...] = field(default=(), kw_only=True, repr=False)
    block_pairs: ClassVar[int] = 8_192
    may_change: ClassVar[bool] = False
    threads_may_share: ClassVar[bool] = False

    @property
    def probabilities(self) -> bool:
        """Whether its scores are probabilities, else logits or similarities."""
        return False

    def score(self, pairs: Sequence[Pair], progress: bool = False) -> Scores:
        """One score per pair, (pairs,); higher is better."""
        raise NotImplementedError

    def logits(self, pairs: Sequence[Pair]) -> Scores:
        """What a student learns of it, (pairs,): scores, or the logits of probabilities."""
        scores = self.score(pairs)
        if not self.probabilities:
            return scores
        return log_odds(np.clip(scores.astype(np.float64), SUREST, 1 - SUREST))
