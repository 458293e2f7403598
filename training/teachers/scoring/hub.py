"""Cross-encoders of Hugging Face as scorers: any architecture that transformers loads.

A pair is laid out by the model's own tokenizer and cut as transformers and sentence-transformers
cut it: the longer of the two texts first, down to what the folder allows and the model has
positions for. So a query of any length leaves a pair that can be scored.

Computed in float32. Where a model was saved in half precision, a GPU computes it in bf16. A folder
of sentence-transformers that does more than classify the bare pair, by a prompt or by further
modules, goes through that library.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from tqdm.auto import tqdm
from transformers import PretrainedConfig

from retort.training.data.pairs import Pair
from retort.training.nn.backbone import BackboneError, quiet, read_config
from retort.training.nn.batch_size import CPU_PAIRS, GPU_TOKENS, BatchSize
from retort.training.teachers.pretrained import (
    check_padding,
    check_vocabulary,
    first_of,
    load_sequence_classifier,
    load_tokenizer,
    log_odds,
    output_column,
    readable_tokens,
)
from retort.training.teachers.scoring.folder import SentenceFolder, read_folder
from retort.training.teachers.scoring.identity import Weights, tokenizer_rules
from retort.training.teachers.scoring.scorer import Reference, Scorer

if TYPE_CHECKING:
    import sentence_transformers

HALVES = (torch.float16, torch.bfloat16)
CPU_TOKENS = 32_768  # of one batch: a pair may have thousands
# How many tokens versions before 0.4 read, cutting the passage alone.
OUTDATED_TOKENS = 512


def device() -> torch.device:
    """Where a model of Hugging Face is computed here."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def engine(half: bool) -> str:
    """What computes here, with its precision; `half` is how the model was saved."""
    if device().type == "cpu":
        return "torch-cpu-f32"
    return "torch-cuda-bf16" if half else "torch-cuda-f32"


@dataclass(frozen=True)
class HubCrossEncoder(Scorer):
    """A sequence classifier with its own tokenizer: the log-odds of output `column`.

    `half` says that it was saved in half precision.
    """

    module: nn.Module
    tokenizer: Any
    max_length: int
    column: int
    half: bool

    @torch.inference_mode()
    def score(self, pairs: Sequence[Pair], progress: bool = False) -> NDArray[np.float32]:
        """Logits (pairs,)."""
        where = next(self.module.parameters()).device
        encoded = self.tokenizer(
            [pair.query for pair in pairs], [pair.passage for pair in pairs],
            truncation="longest_first", max_length=self.max_length,
        )  # fmt: skip
        lengths = np.array([len(ids) for ids in encoded["input_ids"]])
        order = np.argsort(-lengths, kind="stable")
        half = self.half and where.type == "cuda"
        scores = np.zeros(len(pairs), dtype=np.float32)
        start = 0
        with (
            torch.autocast("cuda", torch.bfloat16) if half else nullcontext(),
            tqdm(total=len(pairs), desc=self.name, disable=not progress, mininterval=10) as bar,
        ):
            while start < len(order):
                longest = int(lengths[order[start]])
                rows = order[start : start + _most_pairs(where, longest)]
                start += len(rows)
                with quiet():  # padding what is encoded already is what is wanted
                    inputs = self.tokenizer.pad(
                        {name: [values[row] for row in rows] for name, values in encoded.items()},
                        return_tensors="pt",
                    ).to(where)
                outputs = self.module(**inputs).logits.float()
                scores[rows] = log_odds(outputs, self.column).cpu().numpy()
                bar.update(len(rows))
        return scores


def _most_pairs(where: torch.device, longest: int) -> int:
    """How many pairs of `longest` tokens make a batch."""
    if where.type == "cuda":
        return BatchSize(CPU_PAIRS, GPU_TOKENS).pairs_of(longest)
    return min(CPU_PAIRS, BatchSize(CPU_PAIRS, CPU_TOKENS).pairs_of(longest))


@dataclass(frozen=True)
class SentenceCrossEncoder(Scorer):
    """A `CrossEncoder` of sentence-transformers, asked through that library."""

    module: sentence_transformers.CrossEncoder
    column: int

    def score(self, pairs: Sequence[Pair], progress: bool = False) -> NDArray[np.float32]:
        """Logits (pairs,)."""
        found = self.module.predict(
            [(pair.query, pair.passage) for pair in pairs],
            activation_fn=nn.Identity(),
            convert_to_tensor=True,
            show_progress_bar=progress,
        )
        outputs = found.float().cpu().reshape(len(pairs), -1)
        return log_odds(outputs, self.column).numpy()


def load_hub_cross_encoder(reference: Reference) -> Scorer:
    """A folder or hub name as a teacher. Raises `BackboneError` for what cannot rank, and why."""
    place = reference.path
    found, config = read_config(place)
    folder = read_folder(found, place)
    if folder.is_bare_classifier:
        return _classifier(reference, found, config, folder)
    return _by_library(reference, found, config, folder)


def _classifier(
    reference: Reference, found: Path | str, config: PretrainedConfig, folder: SentenceFolder
) -> HubCrossEncoder:
    place = reference.path
    column = output_column(config, reference.output, place)
    model = load_sequence_classifier(found, config, place)
    tokenizer = load_tokenizer(found, place)
    check_vocabulary(tokenizer.backend_tokenizer, config, place)
    check_padding(tokenizer, place)
    # A decoder reads its score at the last token that is none of padding, which is at the end.
    model.config.pad_token_id = tokenizer.pad_token_id
    tokenizer.padding_side = "right"
    length = readable_tokens(model, tokenizer, folder.max_tokens)
    weights = Weights(model.state_dict())
    half = config.dtype in HALVES
    rules = tokenizer_rules(tokenizer.backend_tokenizer.to_str())
    return HubCrossEncoder(
        reference.name,
        weights.identity("hub", length, column, rules),
        nn.Module.to(model, device()),
        tokenizer,
        length,
        column,
        half,
        engine=engine(half),
        about=f"{_output(config, column)} of a {config.model_type} model, {length} tokens",
        outdated=(weights.identity("hub", min(int(tokenizer.model_max_length), OUTDATED_TOKENS)),),
    )


def _output(config: PretrainedConfig, column: int) -> str:
    labels: dict[Any, str] = {**(config.id2label or {})}
    return "the one output" if len(labels) == 1 else f"output {labels[column]}"


def _by_library(
    reference: Reference, found: Path | str, config: PretrainedConfig, folder: SentenceFolder
) -> SentenceCrossEncoder:
    place = reference.path
    import sentence_transformers

    with quiet():
        model = sentence_transformers.CrossEncoder(
            str(found), device=str(device()), model_kwargs={"dtype": torch.float32}
        )
    check_loaded(found, model.transformers_model, place)
    tokenizer = model.tokenizer
    length = readable_tokens(model.transformers_model, tokenizer)
    model.max_seq_length = length
    column = 0
    if model.num_labels > 1:
        column = output_column(config, reference.output, place)
    rules = tokenizer_rules(tokenizer.backend_tokenizer.to_str())
    prompt = folder.prompts.get(folder.default_prompt or "", "")
    return SentenceCrossEncoder(
        reference.name,
        Weights(model.state_dict()).identity(
            "hub", length, column, rules, folder.modules, prompt, str(tokenizer.chat_template)
        ),
        model,
        column,
        engine=engine(half=False),
        about=f"a CrossEncoder of sentence-transformers, {length} tokens"
        + (f", with the prompt {prompt!r}" if prompt else ""),
    )


def check_loaded(found: Path | str, model: Any, place: str) -> None:
    """Raise `BackboneError` if the checkpoint lacks weights that a library loaded, or a tokenizer.

    The library does not say which those are, so they are loaded once more by transformers. A
    pooler is not read where token vectors are pooled otherwise, and may be missing.
    """
    with quiet():
        _, report = type(model).from_pretrained(
            found, config=model.config, dtype=torch.float32, output_loading_info=True
        )
    if missing := sorted(key for key in report["missing_keys"] if "pooler." not in key):
        raise BackboneError(
            f"{place}: its checkpoint lacks {first_of(missing)}, and random weights would rank at "
            "random: save the model whole"
        )
    load_tokenizer(found, place)
