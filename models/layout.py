"""The layout of a pair: which special tokens stand around the two texts, and what a graph is told.

    BERT       [CLS] query [SEP] passage [SEP]        token types 0 … 0 1 … 1
    RoBERTa    <s> query </s></s> passage </s>        no token types

A bundle of a cross-encoder that is not laid out as BERT says in its manifest how it is; one that
says nothing is laid out as BERT, by the names of its tokenizer's tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tokenizers import Tokenizer

Input = Literal["input_ids", "attention_mask", "token_type_ids"]
# What a graph can be told of a batch; each is an array (batch, sequence) of int64.
INPUTS: tuple[Input, ...] = ("input_ids", "attention_mask", "token_type_ids")
# Without these no graph knows what to read.
NEEDED = INPUTS[:2]


@dataclass(frozen=True, slots=True)
class PairLayout:
    """Ids of the special tokens `before` the query, `between` the texts and `after` the passage.

    The first `boundary` tokens of `between` have the query's token type, 0; from there on it is 1.
    `inputs` are what the graph takes, in its order. Raises `ValueError` for what no pair can have.
    """

    before: tuple[int, ...]
    between: tuple[int, ...]
    after: tuple[int, ...]
    boundary: int
    pad_id: int
    inputs: tuple[Input, ...] = INPUTS

    def __post_init__(self) -> None:
        if min(self.special_ids) < 0:
            raise ValueError(f"{min(self.special_ids)} is no token id: give ids from 0")
        if not 0 <= self.boundary <= len(self.between):
            raise ValueError(
                f"boundary is {self.boundary}, and there are {len(self.between)} tokens between "
                "the texts"
            )
        if self.inputs not in (INPUTS, NEEDED):
            raise ValueError(
                f"inputs are {', '.join(self.inputs)}: a graph takes {', '.join(NEEDED)}, and "
                f"{INPUTS[-1]} after them or not"
            )

    @property
    def special_tokens(self) -> int:
        """How many special tokens a pair has."""
        return len(self.before) + len(self.between) + len(self.after)

    @property
    def special_ids(self) -> tuple[int, ...]:
        """The id of every special token that it uses, padding included."""
        return (*self.before, *self.between, *self.after, self.pad_id)


def bert_layout(tokenizer: Tokenizer) -> PairLayout:
    """BERT's layout in the ids of `tokenizer`. Raises `ValueError` where it lacks a token."""
    cls, sep = _special(tokenizer, "[CLS]", "<s>"), _special(tokenizer, "[SEP]", "</s>")
    return PairLayout((cls,), (sep,), (sep,), 1, _special(tokenizer, "[PAD]", "<pad>"))


def _special(tokenizer: Tokenizer, *names: str) -> int:
    for name in names:
        token: int | None = tokenizer.token_to_id(name)
        if token is not None:
            return token
    raise ValueError(f"the tokenizer has none of {', '.join(names)}: a pair needs that token")
