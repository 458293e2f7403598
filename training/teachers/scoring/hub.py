"""Cross-encoders of Hugging Face as scorers: any architecture that transformers loads.

A pair is laid out by the model's own tokenizer and cut as transformers and sentence-transformers
cut it: the longer of the two texts first, down to what the folder allows and the model has
positions for. So a query of any length leaves a pair that can be scored.

A CPU computes in float32. A GPU computes in float16, and in float32 what is not finite then. A
folder of sentence-transformers that does more than classify the bare pair, by a prompt or by
further modules, goes through that library, in float32.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer
from torch import Tensor, nn
from tqdm.auto import tqdm
from transformers import PretrainedConfig

from retort.training.data.pairs import Pair
from retort.training.nn.backbone import BackboneError, quiet, read_config
from retort.training.nn.batch_size import CPU_PAIRS, GPU_TOKENS, BatchSize, padded
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

CPU_TOKENS = 32_768  # of one batch: a pair may have thousands
# How many tokens versions before 0.4 read, cutting the passage alone.
OUTDATED_TOKENS = 512


def device() -> torch.device:
    """Where a model of Hugging Face is computed here."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def engine(half: bool) -> str:
    """What computes here, with its precision; `half` is what is asked of a GPU."""
    if device().type == "cpu":
        return "torch-cpu-f32"
    return "torch-cuda-f16" if half else "torch-cuda-f32"


@dataclass(frozen=True)
class HubCrossEncoder(Scorer):
    """A sequence classifier with its own tokenizer: the log-odds of output `column`.

    `inputs` are what it takes, and `half` is the same model in float16.
    """

    threads_may_share = True

    module: nn.Module
    half: nn.Module | None
    tokenizer: Tokenizer
    inputs: Sequence[str]
    pad_id: int
    max_length: int
    column: int

    @torch.inference_mode()
    def score(self, pairs: Sequence[Pair], progress: bool = False) -> NDArray[np.float32]:
        """Logits (pairs,)."""
        encoded = self.tokenizer.encode_batch([(pair.query, pair.passage) for pair in pairs])
        scores = np.zeros(len(pairs), dtype=np.float32)
        with tqdm(total=len(pairs), desc=self.name, disable=not progress, mininterval=10) as bar:
            for rows in _batches(encoded, device()):
                scores[rows] = self._logits([encoded[row] for row in rows])
                bar.update(len(rows))
        return scores

    def _logits(self, encoded: Sequence[Encoding]) -> NDArray[np.float32]:
        width = min(padded(max(map(len, encoded))), self.max_length)
        inputs = self._pad(encoded, width)
        for module in (self.half, self.module):
            if module is not None:
                logits = log_odds(module(**inputs).logits.float(), self.column).cpu().numpy()
                if np.isfinite(logits).all():
                    break
        return logits

    def _pad(self, encoded: Sequence[Encoding], width: int) -> dict[str, Tensor]:
        """What the model takes of a batch, (batch, width) each."""
        mask = np.arange(width) < np.array([len(one) for one in encoded])[:, None]
        arrays = {"attention_mask": mask.astype(np.int64)}
        for name, pad, values in (
            ("input_ids", self.pad_id, [one.ids for one in encoded]),
            ("token_type_ids", 0, [one.type_ids for one in encoded]),
        ):
            if name in self.inputs:
                arrays[name] = np.full(mask.shape, pad, dtype=np.int64)
                flat = chain.from_iterable(values)
                arrays[name][mask] = np.fromiter(flat, np.int64, int(mask.sum()))
        return {name: torch.from_numpy(array).to(device()) for name, array in arrays.items()}


def _batches(encoded: Sequence[Encoding], where: torch.device) -> Iterator[NDArray[np.intp]]:
    """Rows that meet in a batch, the longest pairs first."""
    lengths = np.array([len(one) for one in encoded])
    order = np.argsort(-lengths, kind="stable")
    start = 0
    while start < len(order):
        rows = order[start : start + _most_pairs(where, int(lengths[order[start]]))]
        start += len(rows)
        yield rows


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
    length = readable_tokens(model, tokenizer, folder.max_tokens)
    weights = Weights(model.state_dict())
    rules = tokenizer_rules(tokenizer.backend_tokenizer.to_str())
    on_gpu = device().type == "cuda"
    half = deepcopy(model).half().to(device()) if on_gpu else None
    return HubCrossEncoder(
        reference.name,
        weights.identity("hub", length, column, rules),
        nn.Module.to(model, device()),
        half,
        _cutting(tokenizer, length),
        tokenizer.model_input_names,
        tokenizer.pad_token_id,
        length,
        column,
        engine=engine(half=True),
        about=f"{_output(config, column)} of a {config.model_type} model, {length} tokens",
        outdated=(weights.identity("hub", min(int(tokenizer.model_max_length), OUTDATED_TOKENS)),),
    )


def _cutting(tokenizer: Any, length: int) -> Tokenizer:
    """The same tokenizer, one that threads may share: it cuts pairs to `length` tokens."""
    own = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    own.no_padding()
    own.enable_truncation(
        length, strategy="longest_first", direction=str(tokenizer.truncation_side)
    )
    return own


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
