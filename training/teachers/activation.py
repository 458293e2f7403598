"""The activation: what sentence-transformers' `CrossEncoder` makes of a folder's logits."""

from __future__ import annotations

from typing import Any

from transformers import PretrainedConfig

from retort.training.nn.backbone import BackboneError
from retort.training.teachers.scoring.folder import TRANSFORMER, SentenceFolder


def activation_of(folder: SentenceFolder, config: PretrainedConfig, place: str) -> str:
    """The name of a folder's activation, such as `Sigmoid`; its default where it names none.

    Raises `BackboneError` for a folder whose `CrossEncoder` does more than classify a pair: one
    with a prompt, or with modules after the transformer.
    """
    if folder.modules not in ((), (TRANSFORMER,)):
        raise BackboneError(
            f"{place}: a folder of sentence-transformers with the modules "
            f"{', '.join(folder.modules)}: a bundle is made of one sequence classifier, without "
            "modules after it"
        )
    if folder.default_prompt:
        raise BackboneError(
            f"{place}: its CrossEncoder puts the prompt {folder.default_prompt} before each text, "
            "which a bundle cannot: save it without a default prompt"
        )
    own: Any = getattr(config, "sentence_transformers", None) or {}
    named = (
        own.get("activation_fn")
        or getattr(config, "sbert_ce_default_activation_function", None)
        or folder.activation
    )
    if named:
        return str(named).rpartition(".")[2]
    return "Sigmoid" if config.num_labels == 1 else "Identity"
