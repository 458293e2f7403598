"""The classifier: a cross-encoder of any architecture as one logit per pair, with its tokenizer.

It takes a student's place when a bundle is made, as an ensemble does. How its pairs are laid out is
read off its own tokenizer, and has to hold for the pairs that ship with Retort.

One output is the logit. Of two, the second says yes, and the logit is how far it is above the
first. Of more, one has to be named, and the logit is its log-odds against all others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from inspect import signature
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel

from retort.models.encoding import PairEncoder, Truncation
from retort.models.layout import INPUTS, NEEDED, PairLayout
from retort.models.manifest import LONGEST_PAIR_TOKENS
from retort.training.data.pairs import Pair
from retort.training.nn.backbone import BackboneError, quiet, read_config
from retort.training.nn.student import Head
from retort.training.teachers.activation import activation_of
from retort.training.teachers.pretrained import (
    check_padding,
    check_vocabulary,
    load_sequence_classifier,
    load_tokenizer,
    log_odds,
    output_column,
    readable_tokens,
)
from retort.training.teachers.scoring.folder import TRANSFORMER_FILE, read_folder

# What is read of a pair where nobody says: more is read in windows.
LONGEST = 512
# Any two texts, to see where a tokenizer puts its special tokens.
QUERY, PASSAGE = "who was it", "it was the man in the town"


class Classifier(nn.Module):
    """A sequence classifier as one head: token ids in, logits (batch, 1) out.

    `wanted` is which of its outputs says yes.
    """

    gain: Tensor
    shift: Tensor

    def __init__(
        self, name: str, model: PreTrainedModel, layout: PairLayout, wanted: int = 0
    ) -> None:
        super().__init__()
        self.heads = (Head(name),)
        self.model = model
        self.layout = layout
        self.wanted = wanted
        self.register_buffer("gain", torch.ones(1))
        self.register_buffer("shift", torch.zeros(1))

    @property
    def config(self) -> PretrainedConfig:
        """The model's configuration."""
        config: PretrainedConfig = self.model.config
        return config

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None
    ) -> Tensor:
        """Inputs of shape (batch, sequence), int64; logits (batch, 1), float32."""
        every = zip(INPUTS, (input_ids, attention_mask, token_type_ids), strict=True)
        own = {name: value for name, value in every if name in self.layout.inputs}
        outputs: Tensor = self.model(**own).logits.float()
        return log_odds(outputs, self.wanted)[:, None] * self.gain + self.shift


@dataclass(frozen=True, slots=True)
class LoadedClassifier:
    """A classifier in float32 and evaluation mode, and what belongs to it.

    `activation` is what sentence-transformers' `CrossEncoder` applies to the logits.
    """

    classifier: Classifier
    tokenizer: Tokenizer
    truncation: Truncation
    activation: str

    @property
    def layout(self) -> PairLayout:
        """How its pairs are laid out."""
        return self.classifier.layout


def load_classifier(
    name: str,
    place: str,
    samples: Sequence[Pair] = (),
    *,
    wanted: str | None = None,
    max_length: int | None = None,
    max_query_tokens: int | None = None,
) -> LoadedClassifier:
    """The sequence classifier of a folder or hub name, whatever its architecture and dtype.

    Its layout has to hold for the pairs of `samples`. `wanted` names one of several outputs, by its
    label or number. A pair is as long as is said here, or else as model and tokenizer can read, at
    most `LONGEST` tokens, half of it a query. Raises `BackboneError` for what is no cross-encoder,
    and says what to do.
    """
    found, config = read_config(place)
    folder = read_folder(found, place)
    activation = activation_of(folder, config, place)
    if not folder.plain:
        raise BackboneError(
            f"{place}: its CrossEncoder changes texts before it reads them (its "
            f"{TRANSFORMER_FILE}), which a bundle cannot: it can still label pairs"
        )
    model = load_sequence_classifier(found, config, place)
    tokenizer = load_tokenizer(found, place)
    layout = read_layout(tokenizer, takes_types(model), place)
    readable = min(readable_tokens(model, tokenizer, folder.max_tokens), LONGEST_PAIR_TOKENS)
    if max_length and max_length > readable:
        raise BackboneError(
            f"{place} reads {readable} tokens at most: give a smaller --max-length than "
            f"{max_length}"
        )
    longest = max_length or min(readable, LONGEST)
    truncation = Truncation(
        longest, max_query_tokens or max(1, longest // 2 - layout.special_tokens)
    )
    own = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    check_vocabulary(own, config, place)
    check_layout(tokenizer, PairEncoder(own, truncation, layout), samples, place)
    return LoadedClassifier(
        Classifier(name, model, layout, output_column(config, wanted, place, "--class ")).eval(),
        Tokenizer.from_str(tokenizer.backend_tokenizer.to_str()),
        truncation,
        activation,
    )


def read_layout(tokenizer: Any, takes_types: bool, place: str) -> PairLayout:
    """How `tokenizer`, one of transformers', lays out a pair.

    `takes_types` says that its model takes token types. Raises `BackboneError` for a layout that is
    not query first, passage second, and for token types other than 0 and then 1.
    """
    encoded = tokenizer(QUERY, PASSAGE)
    ids, owners = encoded["input_ids"], encoded.sequence_ids(0)
    if 0 not in owners or 1 not in owners:
        raise BackboneError(f"{place}: its tokenizer makes no tokens of {QUERY!r}: save it again")
    query = [place for place, owner in enumerate(owners) if owner == 0]
    passage = [place for place, owner in enumerate(owners) if owner == 1]
    start, end = query[-1] + 1, passage[0]
    solid = len(query) == start - query[0] and len(passage) == passage[-1] + 1 - end
    if not solid or start > end:
        raise BackboneError(f"{place}: its tokenizer does not put the query before the passage")
    types = encoded.get("token_type_ids") if takes_types else None
    boundary, inputs = end - start, NEEDED
    if types is not None and any(types):
        first = types.index(1) if 1 in types else 0
        if not start <= first <= end or types != [0] * first + [1] * (len(types) - first):
            raise BackboneError(
                f"{place}: its tokenizer gives the token types {types}: a pair has 0 up to its "
                "passage and 1 from there on"
            )
        boundary, inputs = first - start, INPUTS
    check_padding(tokenizer, place)
    return PairLayout(
        before=tuple(ids[: query[0]]),
        between=tuple(ids[start:end]),
        after=tuple(ids[passage[-1] + 1 :]),
        boundary=boundary,
        pad_id=tokenizer.pad_token_id,
        inputs=inputs,
    )


def takes_types(model: PreTrainedModel) -> bool:
    """Whether a model tells token types apart."""
    known = "token_type_ids" in signature(model.forward).parameters
    return known and getattr(model.config, "type_vocab_size", 0) > 1


def check_layout(tokenizer: Any, encoder: PairEncoder, samples: Sequence[Pair], place: str) -> None:
    """Raise `BackboneError` unless pairs are encoded here as `tokenizer` encodes them."""
    for pair in (Pair(QUERY, PASSAGE), *samples):
        with quiet():
            theirs = tokenizer(pair.query, pair.passage)
        ours = encoder.encode(pair.query, [pair.passage])[0]
        if ours.truncated:
            continue
        types = theirs.get("token_type_ids") if INPUTS[-1] in encoder.layout.inputs else None
        own = [0] * ours.boundary + [1] * (len(ours) - ours.boundary)
        if ours.ids.tolist() != theirs["input_ids"] or types not in (None, own):
            raise BackboneError(
                f"{place}: its tokenizer does not lay out every pair alike, for instance "
                f"{pair.query!r} and {pair.passage[:80]!r}: such a model can neither "
                "be taught nor become a bundle"
            )
