"""Members: the teachers of an ensemble, found by what the command line says of them.

    [NAME=]FOLDER                     a checkpoint with one head
    [NAME=]cross-encoder:FOLDER       the same
    [NAME=]bi-encoder:PLACE           a checkpoint's encoder, or a backbone, asked as a bi-encoder
    [NAME=]hub-cross-encoder:PLACE    a BERT sequence classifier, by folder or hub name

The words are those of `retort evaluate --system` (see `systems.py`). Without a name a member goes
by the last part of its place.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retort.models.encoding import Truncation
from retort.training.nn.backbone import (
    BackboneError,
    load_backbone,
    locate_backbone,
    quiet,
    tokenizer_file,
)
from retort.training.nn.checkpoint import load_student
from retort.training.nn.ensemble import (
    BiMember,
    CrossMember,
    Ensemble,
    EnsembleError,
    HubMember,
    Member,
)
from retort.training.teachers.systems import TEACHERS

# What an ensemble's pair may hold where no member says: what the checkpoints here learned with.
DEFAULT_TRUNCATION = Truncation(128, 48)


@dataclass(frozen=True, slots=True)
class LoadedEnsemble:
    """An ensemble in evaluation mode and what belongs to it."""

    ensemble: Ensemble
    tokenizer_path: Path
    truncation: Truncation


@dataclass(frozen=True, slots=True)
class _Loaded:
    name: str
    member: Member
    tokenizer_path: Path
    truncation: Truncation | None = None


def split_member(spec: str) -> tuple[str, str, str]:
    """Name, kind and place of a member; kind "" where the command line names none.

    Example: `split_member("bi=bi-encoder:package:gt")` is `("bi", "bi-encoder", "package:gt")`.
    """
    before, equals, rest = spec.partition("=")
    what = rest if equals else before
    kind, colon, place = what.partition(":")
    if not colon or kind not in TEACHERS:
        kind, place = "", what
    short = place.rstrip("/").replace(":", "/").rpartition("/")[2]
    return (before if equals else short), kind, place


def load_ensemble(
    specs: Sequence[str], max_length: int | None = None, max_query_tokens: int | None = None
) -> LoadedEnsemble:
    """The ensemble of the members that `specs` name, read by one tokenizer.

    A pair and its query may be as long, in tokens, as is said here, or else as the longest that a
    member learned with. Raises `EnsembleError`, `CheckpointError` or `BackboneError`.
    """
    loaded = [_load(spec) for spec in specs]
    ensemble = Ensemble([(item.name, item.member) for item in loaded])
    first = loaded[0]
    for other in loaded[1:]:
        if _rules(other.tokenizer_path) != _rules(first.tokenizer_path):
            raise EnsembleError(
                f"{other.name} has another tokenizer than {first.name}: one graph reads one kind "
                "of token ids; export them apart"
            )
    learned = [item.truncation for item in loaded if item.truncation] or [DEFAULT_TRUNCATION]
    longest = max_length or max(item.max_length for item in learned)
    chosen = Truncation(
        longest,
        max_query_tokens or min(max(item.max_query_tokens for item in learned), longest // 2),
    )
    for item in loaded:
        room = item.member.config.max_position_embeddings
        if chosen.max_length > room:
            raise EnsembleError(
                f"max_length is {chosen.max_length}, and {item.name} has positions for {room} "
                "tokens: give a smaller --max-length"
            )
    return LoadedEnsemble(ensemble.eval(), first.tokenizer_path, chosen)


def _rules(path: Path) -> list[Any]:
    """What of a tokenizer decides token ids; padding and truncation do not."""
    content = json.loads(path.read_text(encoding="utf-8"))
    return [content.get(part) for part in ("normalizer", "pre_tokenizer", "model")]


def _load(spec: str) -> _Loaded:
    name, kind, place = split_member(spec)
    if kind == "bi-encoder":
        return _bi_encoder(name, place)
    if kind == "hub-cross-encoder":
        return _hub(name, place)
    loaded = load_student(Path(place))
    if len(loaded.student.heads) != 1:
        raise EnsembleError(
            f"{name} has {len(loaded.student.heads)} heads: a member of an ensemble has one; "
            "export this checkpoint alone"
        )
    return _Loaded(name, CrossMember(loaded.student), loaded.tokenizer_path, loaded.truncation)


def _bi_encoder(name: str, place: str) -> _Loaded:
    folder = Path(place)
    if (folder / "student.json").is_file():
        loaded = load_student(folder)
        member = BiMember(loaded.student.encoder)
        return _Loaded(name, member, loaded.tokenizer_path, loaded.truncation)
    backbone = load_backbone(place)
    return _Loaded(name, BiMember(backbone.encoder), backbone.tokenizer_path)


def _hub(name: str, place: str) -> _Loaded:
    from transformers import AutoConfig, BertForSequenceClassification

    found = locate_backbone(place)
    try:
        config = AutoConfig.from_pretrained(found)
    except (OSError, ValueError) as error:
        raise BackboneError(
            f"{place}: neither a folder with a model nor reachable: {error}"
        ) from error
    if config.model_type != "bert":
        raise BackboneError(
            f"{place}: a {config.model_type} model; a graph is written for BERT alone. It can "
            "still label pairs and be evaluated, as hub-cross-encoder"
        )
    if config.num_labels not in (1, 2):
        raise BackboneError(
            f"{place}: {config.num_labels} outputs; a ranker has one, or two of which the second "
            "says yes"
        )
    config._attn_implementation = "eager"
    with quiet():
        model = BertForSequenceClassification.from_pretrained(found, config=config).eval()
    rows, offsets = model.classifier.weight, model.classifier.bias
    two = config.num_labels == 2
    weight = rows[1] - rows[0] if two else rows[0]
    bias = offsets[1] - offsets[0] if two else offsets[0]
    pooler = model.bert.pooler
    if pooler is None:
        raise BackboneError(f"{place}: a classifier without a pooler is none of BERT's")
    member = HubMember(model.bert, pooler.dense, weight, bias)
    longest = min(config.max_position_embeddings, 512)
    truncation = Truncation(longest, max(1, min(64, longest // 4)))
    return _Loaded(name, member, tokenizer_file(found), truncation)
