"""The activation: what sentence-transformers' `CrossEncoder` makes of a folder's logits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from transformers import PretrainedConfig
from transformers.utils.hub import cached_file

from retort.training.nn.backbone import BackboneError
from retort.training.recipes.kinds import MODULES_FILE, SENTENCE_FILE

TRANSFORMER = "Transformer"


def read_activation(found: Path | str, config: PretrainedConfig, place: str) -> str:
    """The name of a folder's activation, such as `Sigmoid`; its default where it names none.

    Raises `BackboneError` for a folder whose `CrossEncoder` does more than classify a pair: one
    with a prompt, or with modules after the transformer.
    """
    settings, modules = (
        read_settings(found, SENTENCE_FILE) or {},
        read_settings(found, MODULES_FILE) or [],
    )
    kinds = [str(module.get("type", "")).rpartition(".")[2] for module in modules]
    if kinds and kinds != [TRANSFORMER]:
        raise BackboneError(
            f"{place}: a folder of sentence-transformers with the modules {', '.join(kinds)}: a "
            "bundle is made of one sequence classifier, without modules after it"
        )
    if prompt := settings.get("default_prompt_name"):
        raise BackboneError(
            f"{place}: its CrossEncoder puts the prompt {prompt} before each text, which a bundle "
            "cannot: save it without a default prompt"
        )
    own: Any = getattr(config, "sentence_transformers", None) or {}
    named = (
        own.get("activation_fn")
        or getattr(config, "sbert_ce_default_activation_function", None)
        or settings.get("activation_fn")
    )
    if named:
        return str(named).rpartition(".")[2]
    return "Sigmoid" if config.num_labels == 1 else "Identity"


def read_settings(found: Path | str, name: str) -> Any:
    """The content of a JSON file of a folder or a model on the hub; None where there is none."""
    path = cached_file(
        str(found),
        name,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
    )
    return None if path is None else json.loads(Path(path).read_text(encoding="utf-8"))
