"""Pretrained models: what transformers loads of a cross-encoder, and what is refused.

Weights that a checkpoint lacks are random, and a random ranker looks like any other: whatever is
missing, or does not fit, is an error that names it. Code that a model brings is never run
(`trust_remote_code` stays off), so that a model that needs its own is an error too.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
)

from retort.models.manifest import LONGEST_PAIR_TOKENS
from retort.training.nn.backbone import BackboneError, quiet
from retort.training.recipes.kinds import LANGUAGE_MODELS


def load_sequence_classifier(
    found: Path | str, config: PretrainedConfig, place: str
) -> PreTrainedModel:
    """The sequence classifier of `place`, found at `found`, in float32, ready to score.

    Raises `BackboneError` for a language model, for a checkpoint without a head, and for weights
    that are no numbers.
    """
    kind = " ".join(config.architectures or ["an unknown class"])
    if kind.endswith(LANGUAGE_MODELS):
        raise BackboneError(
            f"{place}: a language model ({kind}), whose ranker is in its words: serve it, for "
            "instance with vLLM, and name that URL (kind: http); or convert it to "
            "…ForSequenceClassification, as docs/distillation.md says"
        )
    model, report = load_reporting(found, config.model_type, place, config=config)
    if missing := sorted(report["missing_keys"]):
        raise BackboneError(
            f"{place}: no cross-encoder: its checkpoint, of {kind}, lacks {first_of(missing)}, and "
            "random weights would rank at random. Name one that was trained to classify pairs "
            "(…ForSequenceClassification)"
        )
    check_finite(model, place)
    model.eval()
    return model


def load_reporting(
    found: Path | str, model_type: str, place: str, **options: Any
) -> tuple[PreTrainedModel, Mapping[str, Any]]:
    """A sequence classifier in float32, and what transformers reports of the weights it loaded.

    `options` are transformers' own. Raises `BackboneError` for what it cannot load.
    """
    try:
        with quiet():
            model, report = AutoModelForSequenceClassification.from_pretrained(
                found, dtype=torch.float32, output_loading_info=True, **options
            )
    except (OSError, ValueError, RuntimeError) as error:
        raise BackboneError(
            f"{place}: a {model_type} model that transformers cannot load as a sequence "
            f"classifier ({str(error).splitlines()[0]})"
        ) from error
    return model, report


def first_of(names: list[str]) -> str:
    """Some of many names."""
    return f"{', '.join(names[:3])}{' and more' if len(names) > 3 else ''}"


def check_finite(model: nn.Module, place: str) -> None:
    """Raise `BackboneError` for weights that are no numbers."""
    broken = [
        name for name, value in model.state_dict().items() if not bool(torch.isfinite(value).all())
    ]
    if broken:
        raise BackboneError(
            f"{place}: weights that are not finite (NaN or infinite), in {first_of(broken)}: its "
            "training diverged or the file is damaged; name another checkpoint"
        )


def positions(model: PreTrainedModel) -> int:
    """How many tokens a model has positions for.

    RoBERTa and those that came of it begin to count after the padding token's own position.
    """
    tables = [
        module.num_embeddings - (-1 if module.padding_idx is None else module.padding_idx) - 1
        for name, module in model.named_modules()
        if isinstance(module, nn.Embedding) and name.endswith("position_embeddings")
    ]
    known = getattr(model.config, "max_position_embeddings", None) or 0
    return min([*tables, int(known) if known > 0 else LONGEST_PAIR_TOKENS])


def readable_tokens(model: PreTrainedModel, tokenizer: Any, limit: int | None = None) -> int:
    """How many tokens of an input are read: `limit`, or the tokenizer's, if the model has so many.

    `limit` is what a folder of sentence-transformers says.
    """
    return min(limit or int(tokenizer.model_max_length), positions(model))


def check_padding(tokenizer: Any, place: str) -> None:
    """Raise `BackboneError` for a tokenizer, one of transformers', without a padding token."""
    if tokenizer.pad_token_id is None:
        raise BackboneError(
            f"{place}: its tokenizer has no token to pad with: set tokenizer.pad_token (for a "
            "decoder to tokenizer.eos_token) and model.config.pad_token_id, and save both again"
        )


def load_tokenizer(found: Path | str, place: str) -> Any:
    """The fast tokenizer of `place`, found at `found`. Raises `BackboneError` for none of words."""
    advice = "save the tokenizer of its base model there, with tokenizer.save_pretrained"
    try:
        tokenizer = AutoTokenizer.from_pretrained(found)
    except (OSError, ValueError) as error:
        raise BackboneError(
            f"{place}: no tokenizer that transformers can load "
            f"({str(error).splitlines()[0]}): {advice}"
        ) from error
    if not getattr(tokenizer, "is_fast", False):
        raise BackboneError(f"{place}: no fast tokenizer (tokenizer.json): {advice}")
    # Where there is none, transformers makes one of special tokens alone.
    if len(tokenizer) <= len(set(tokenizer.all_special_ids)):
        raise BackboneError(f"{place}: no tokenizer: {advice}")
    return tokenizer


def output_column(
    config: PretrainedConfig, wanted: int | str | None, place: str, option: str = "output: "
) -> int:
    """Which output says yes: that of `wanted`, a number or label, or else the last of two.

    `option` is how a user names one. Raises `BackboneError` where that has to be said.
    """
    labels = [str(label) for _, label in sorted((config.id2label or {}).items())]
    count = len(labels)
    if wanted is None:
        if count > 2:
            raise BackboneError(
                f"{place}: {count} outputs, {', '.join(labels)}: say which one is a ranker's, as "
                f"in {option}{labels[0]}"
            )
        return count - 1
    if count == 1:
        raise BackboneError(f"{place}: one output: leave out {option}{wanted}")
    wanted, lower = str(wanted), [label.lower() for label in labels]
    if lower.count(wanted.lower()) == 1:
        return lower.index(wanted.lower())
    if wanted.isdecimal() and int(wanted) < count:
        return int(wanted)
    raise BackboneError(f"{place}: no output {wanted}: there are {', '.join(labels)}")


def log_odds(outputs: Tensor, column: int) -> Tensor:
    """From a classifier's outputs (pairs, outputs) to one logit per pair, (pairs,).

    Of one output that is it; of several, the log-odds of `column` against all others.
    """
    logit = outputs[:, column]
    others = [other for other in range(outputs.shape[1]) if other != column]
    return logit - torch.logsumexp(outputs[:, others], dim=1) if others else logit


def check_vocabulary(tokenizer: Tokenizer, config: PretrainedConfig, place: str) -> None:
    """Raise `BackboneError` for a tokenizer with tokens that the model does not know."""
    last = max(tokenizer.get_vocab().values())
    if last >= config.vocab_size:
        raise BackboneError(
            f"{place}: its tokenizer has a token with id {last}, and the model knows "
            f"{config.vocab_size}: save both from one model"
        )
