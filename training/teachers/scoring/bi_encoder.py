"""Bi-encoders as scorers: query and passage are encoded apart and compared.

A folder of sentence-transformers is asked by its own words: pooling, prompts, similarity and
length. A checkpoint, a bundle, or an encoder without such words gives the cosine of the means over
a text's tokens. What comes to that on a BERT is computed by a compiled module; all else goes
through the library.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Never

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from tqdm.auto import tqdm

from retort.models.encoding import PairEncoder, Truncation
from retort.training.data.pairs import Pair
from retort.training.nn.backbone import (
    Backbone,
    BackboneError,
    is_bundle,
    load_backbone,
    quiet,
    read_config,
)
from retort.training.nn.encoders import BiEncoder
from retort.training.nn.inference import BACKENDS, Function, backend_name, compile_module
from retort.training.recipes.kinds import is_checkpoint
from retort.training.teachers.pretrained import (
    check_finite,
    check_padding,
    load_tokenizer,
    readable_tokens,
)
from retort.training.teachers.scoring.folder import SentenceFolder, read_folder
from retort.training.teachers.scoring.hub import check_loaded, device, engine
from retort.training.teachers.scoring.identity import Weights, tokenizer_rules
from retort.training.teachers.scoring.scorer import Reference, Scorer, Spec

if TYPE_CHECKING:
    import sentence_transformers

Vectors = NDArray[np.float32]

CHECKPOINT_TOKENS = 128  # what a checkpoint's encoder reads of one text
BATCH_TEXTS = 64
VECTORS_KEPT = 500_000  # texts; at width 384 under a gigabyte


class _Kept:
    """Vectors by text, so that a text is encoded once, however many pairs it is part of."""

    def __init__(self, encode: Callable[[list[str]], Vectors]) -> None:
        self._encode = encode
        self._vectors: dict[str, Vectors] = {}

    def encode(self, texts: Iterable[str], bar: tqdm[Never]) -> None:
        """Encode those that have no vector yet."""
        if len(self._vectors) > VECTORS_KEPT:
            self._vectors.clear()
        new = sorted(set(texts) - self._vectors.keys(), key=lambda text: (len(text), text))
        bar.total = (bar.total or 0) + len(new)
        for start in range(0, len(new), BATCH_TEXTS):
            block = new[start : start + BATCH_TEXTS]
            self._vectors.update(zip(block, self._encode(block), strict=True))
            bar.update(len(block))

    def of(self, texts: Sequence[str]) -> Vectors:
        """Their vectors (texts, width)."""
        return np.stack([self._vectors[text] for text in texts])


@dataclass(frozen=True)
class BiEncoderScorer(Scorer):
    """The similarity of a query's and a passage's vectors; one `_Kept` where both are read alike.

    `compare` takes both as (pairs, width) and gives similarities (pairs,).
    """

    block_pairs = 65_536

    module: nn.Module = field(repr=False)
    queries: _Kept = field(repr=False)
    passages: _Kept = field(repr=False)
    compare: Callable[[Vectors, Vectors], Vectors] = field(repr=False)

    def score(self, pairs: Sequence[Pair], progress: bool = False) -> Vectors:
        """Similarities (pairs,)."""
        with self._bar(progress) as bar:
            self.queries.encode((pair.query for pair in pairs), bar)
            self.passages.encode((pair.passage for pair in pairs), bar)
        found: list[Vectors] = []
        for start in range(0, len(pairs), BATCH_TEXTS * BATCH_TEXTS):
            block = pairs[start : start + BATCH_TEXTS * BATCH_TEXTS]
            queries = self.queries.of([pair.query for pair in block])
            passages = self.passages.of([pair.passage for pair in block])
            found.append(self.compare(queries, passages))
        return np.concatenate(found).astype(np.float32)

    def query_vectors(self, texts: Sequence[str]) -> Vectors:
        """Vectors (texts, width) of queries."""
        with self._bar(True) as bar:
            self.queries.encode(texts, bar)
        return self.queries.of(texts)

    def passage_vectors(self, texts: Sequence[str]) -> Vectors:
        """Vectors (texts, width) of passages."""
        with self._bar(True) as bar:
            self.passages.encode(texts, bar)
        return self.passages.of(texts)

    def _bar(self, shown: bool) -> tqdm[Never]:
        return tqdm(total=0, desc=self.name, disable=not shown, mininterval=10)


def load_embedder(place: str) -> BiEncoderScorer:
    """A bi-encoder for its vectors, by the place of a teacher. Raises as `load_bi_encoder`."""
    return load_bi_encoder(Spec("dense_teacher", "bi-encoder", place))


def load_bi_encoder(reference: Reference) -> BiEncoderScorer:
    """A checkpoint, bundle, folder or hub name as a teacher.

    Raises `BackboneError`, `CheckpointError` or `BundleError`.
    """
    place = reference.path
    if is_checkpoint(place) or is_bundle(place):
        backbone = load_backbone(place)
        room = backbone.encoder.config.max_position_embeddings
        return _compiled(reference, backbone, min(CHECKPOINT_TOKENS, room))
    found, config = read_config(place)
    folder = read_folder(found, place)
    if folder.model_type == "CrossEncoder":
        raise BackboneError(f"{place}: a CrossEncoder: write kind: hub-cross-encoder")
    if config.model_type != "bert" or (folder.modules and not folder.is_mean_cosine):
        return _by_library(reference, found, folder)
    return _plain_bert(reference, found, folder)


def _plain_bert(reference: Reference, found: Path | str, folder: SentenceFolder) -> BiEncoderScorer:
    place = reference.path
    backbone = load_backbone(place)
    check_finite(backbone.encoder, place)
    check_loaded(found, backbone.encoder, place)
    tokenizer = load_tokenizer(found, place)
    return _compiled(
        reference, backbone, readable_tokens(backbone.encoder, tokenizer, folder.max_tokens)
    )


def _compiled(reference: Reference, backbone: Backbone, tokens: int) -> BiEncoderScorer:
    """The cosine of means over at most `tokens` tokens of a text, by a BERT."""
    module = BiEncoder(backbone.encoder)
    encoder = PairEncoder.from_file(backbone.tokenizer_path, Truncation(tokens, tokens // 2))
    function = compile_module(module, ("input_ids", "attention_mask"))
    kept = _Kept(lambda texts: _encode(encoder, function, tokens, texts))
    weights = Weights(module.state_dict())
    former = tuple(weights.identity("cosine", CHECKPOINT_TOKENS, backend) for backend in BACKENDS)
    same = tokens == CHECKPOINT_TOKENS
    return BiEncoderScorer(
        reference.name,
        weights.identity("cosine", tokens, tokenizer_rules(backbone.tokenizer_path)),
        module,
        kept,
        kept,
        lambda queries, passages: np.einsum("pw,pw->p", queries, passages),
        engine=backend_name(),
        about=f"the cosine of the means over a text's tokens, {tokens} of them at most",
        former=former if same else (),
        outdated=() if same else former,
    )


def _encode(encoder: PairEncoder, function: Function, tokens: int, texts: list[str]) -> Vectors:
    (cls,), (sep,) = encoder.layout.before, encoder.layout.after
    encoded = [text.ids[: tokens - 2] for text in encoder.encode_passages(texts)]
    width = max(len(ids) for ids in encoded) + 2
    ids = np.zeros((len(texts), width), dtype=np.int64)
    mask = np.zeros_like(ids)
    for row, own in enumerate(encoded):
        ids[row, : len(own) + 2] = [cls, *own, sep]
        mask[row, : len(own) + 2] = 1
    return function(ids, mask)


def _by_library(reference: Reference, found: Path | str, folder: SentenceFolder) -> BiEncoderScorer:
    place = reference.path
    import sentence_transformers

    with quiet():
        model = sentence_transformers.SentenceTransformer(
            str(found), device=str(device()), model_kwargs={"dtype": torch.float32}
        )
    transformer = model.transformers_model
    if transformer is None:
        raise BackboneError(f"{place}: a bi-encoder without a transformer: serve it (kind: http)")
    check_finite(model, place)
    check_loaded(found, transformer, place)
    tokenizer = model.tokenizer
    check_padding(tokenizer, place)
    tokens = readable_tokens(transformer, tokenizer, model.max_seq_length)
    model.max_seq_length = tokens
    rules = tokenizer_rules(tokenizer.backend_tokenizer.to_str())
    prompts = sorted(model.prompts.items())
    modules = folder.modules or ("Transformer", "Pooling")
    facts = (model.similarity_fn_name, tokens, rules, prompts, folder.default_prompt, modules)
    settings = [repr(module) for module in model]
    return BiEncoderScorer(
        reference.name,
        Weights(model.state_dict()).identity("bi-encoder", *facts, settings[1:]),
        model,
        _Kept(lambda texts: _vectors(model.encode_query, texts)),
        _Kept(lambda texts: _vectors(model.encode_document, texts)),
        lambda queries, passages: np.asarray(model.similarity_pairwise(queries, passages)),
        engine=engine(half=False),
        about=_about(model, folder, tokens),
    )


def _vectors(encode: Callable[..., torch.Tensor], texts: list[str]) -> Vectors:
    found = encode(texts, convert_to_tensor=True, show_progress_bar=False)
    vectors: Vectors = found.float().cpu().numpy()
    return vectors


def _about(
    model: sentence_transformers.SentenceTransformer, folder: SentenceFolder, tokens: int
) -> str:
    prompts = ", ".join(f"{name} {prompt!r}" for name, prompt in folder.prompts.items())
    pooled = "vectors by its own modules" if folder.modules else "the means over a text's tokens"
    added = f", with the prompts {prompts}" if prompts else ""
    return f"the {model.similarity_fn_name} of {pooled}, {tokens} tokens of a text at most{added}"
