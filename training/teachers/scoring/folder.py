"""A folder of sentence-transformers: what its files say of how texts are read and compared."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers.utils.hub import cached_file

from retort.training.nn.backbone import BackboneError
from retort.training.recipes.kinds import MODULES_FILE, SENTENCE_FILE

TRANSFORMER_FILE = "sentence_bert_config.json"
POOLING_FILE = "config.json"
TRANSFORMER, POOLING, NORMALIZE = "Transformer", "Pooling", "Normalize"
COSINE = "cosine"

# What a transformer's settings may hold and still be read as transformers read it.
_PLAIN = {"max_seq_length", "do_lower_case", "transformer_task", "module_output_name"}
_MODALITIES = "modality_config"


@dataclass(frozen=True, slots=True)
class SentenceFolder:
    """`modules` by their class in their order, none where no library of that name wrote it.

    `prompts` are those with words, by name; `max_tokens` is how much of a text is read, None where
    that is the tokenizer's matter. `plain` says that a transformer's input is the bare text,
    `mean` that it pools by the mean alone. `activation` is of a `CrossEncoder`'s logits.
    """

    model_type: str | None
    modules: tuple[str, ...]
    prompts: Mapping[str, str]
    default_prompt: str | None
    similarity: str
    max_tokens: int | None
    plain: bool
    mean: bool
    activation: str | None

    @property
    def is_mean_cosine(self) -> bool:
        """Whether it compares means of token vectors by their cosine, and adds no words."""
        known = self.modules in ((TRANSFORMER, POOLING), (TRANSFORMER, POOLING, NORMALIZE))
        return known and self.mean and self.plain and self.similarity == COSINE and not self.prompts

    @property
    def is_bare_classifier(self) -> bool:
        """Whether it is a sequence classifier that reads the bare pair."""
        return self.modules in ((), (TRANSFORMER,)) and self.plain and not self.default_prompt


def read_folder(found: Path | str, place: str) -> SentenceFolder:
    """What the folder, or the model on the hub, says. Raises `BackboneError` for another kind."""
    settings = _read_settings(found, SENTENCE_FILE) or {}
    modules = _read_settings(found, MODULES_FILE) or []
    model_type = settings.get("model_type")
    if model_type not in (None, "SentenceTransformer", "CrossEncoder"):
        raise BackboneError(
            f"{place}: a {model_type} of sentence-transformers: only SentenceTransformer and "
            "CrossEncoder score pairs here; serve it and name its URL (kind: http)"
        )
    transformer = _read_settings(found, TRANSFORMER_FILE) or {}
    names = tuple(str(module["type"]).rpartition(".")[2] for module in modules)
    pooling: dict[str, Any] = {}
    if POOLING in names:
        path = modules[names.index(POOLING)]["path"]
        pooling = _read_settings(found, f"{path}/{POOLING_FILE}") or {}
    prompts = settings.get("prompts") or {}
    return SentenceFolder(
        model_type=model_type,
        modules=names,
        prompts={name: prompt for name, prompt in prompts.items() if prompt},
        default_prompt=settings.get("default_prompt_name"),
        similarity=settings.get("similarity_fn_name") or COSINE,
        max_tokens=transformer.get("max_seq_length"),
        plain=_is_plain(transformer),
        mean=_is_mean(pooling),
        activation=settings.get("activation_fn"),
    )


def _is_plain(transformer: Mapping[str, Any]) -> bool:
    text_alone = set(transformer.get(_MODALITIES) or ("text",)) == {"text"}
    return (
        text_alone
        and transformer.keys() <= {*_PLAIN, _MODALITIES}
        and not transformer.get("do_lower_case")
    )


def _is_mean(pooling: Mapping[str, Any]) -> bool:
    """Whether it pools by the mean alone, as versions from 2 to 6 write that."""
    mode = pooling.get("pooling_mode")
    modes = {
        name for name, on in pooling.items() if name.startswith("pooling_mode_") and on is True
    }
    return mode == "mean" if mode is not None else modes == {"pooling_mode_mean_tokens"}


def _read_settings(found: Path | str, name: str) -> Any:
    """The content of a JSON file of a folder or a model on the hub; None where there is none."""
    path = cached_file(
        str(found),
        name,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
    )
    return None if path is None else json.loads(Path(path).read_text(encoding="utf-8"))
