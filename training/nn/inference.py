"""Inference: the logits of many pairs, from a PyTorch student or from its exported graph.

Pairs are encoded by the rule that serves (`models/encoding.py`) and batched by length.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from retort.models.encoding import Batch, EncodedPair, EncodedText, PairEncoder
from retort.training.data.pairs import Pair
from retort.training.nn.ensemble import Ensemble
from retort.training.nn.student import Student

Logits = NDArray[np.float32]
Model = Callable[[Batch], Logits]

BATCH_PAIRS = 64
PROVIDER = "CPUExecutionProvider"


def encode_pairs(encoder: PairEncoder, pairs: Sequence[Pair]) -> list[EncodedPair]:
    """Encode pairs in order, each distinct query once."""
    queries: dict[str, EncodedText] = {}
    encoded = []
    for start in range(0, len(pairs), 1024):
        block = pairs[start : start + 1024]
        passages = encoder.encode_passages([pair.passage for pair in block])
        for pair, passage in zip(block, passages, strict=True):
            if pair.query not in queries:
                queries[pair.query] = encoder.encode_query(pair.query)
            encoded.append(encoder.join(queries[pair.query], passage))
    return encoded


def run(
    model: Model,
    encoder: PairEncoder,
    pairs: Sequence[Pair],
    *,
    batch_pairs: int = BATCH_PAIRS,
    progress: str = "",
) -> Logits:
    """Logits (pairs, heads) of `model`. `progress` names a bar on standard error; "" shows none.

    Raises `ValueError` for no pairs, or for a logit that is not finite.
    """
    if not pairs:
        raise ValueError("no pairs to score: give at least one")
    encoded = encode_pairs(encoder, pairs)
    order = np.argsort([len(pair) for pair in encoded], kind="stable")[::-1]
    rows: list[Logits] = []
    with tqdm(total=len(pairs), desc=progress, unit="pair", disable=not progress) as bar:
        for chosen in _chunks(order, batch_pairs):
            rows.append(model(encoder.collate([encoded[index] for index in chosen])))
            bar.update(len(chosen))
    stacked = np.concatenate(rows)
    logits = np.empty_like(stacked)
    logits[order] = stacked
    broken = np.flatnonzero(~np.isfinite(logits).all(axis=1))
    if broken.size:
        raise ValueError(
            f"{broken.size} of {len(pairs)} pairs have logits that are not finite, the first is "
            f"pair {broken[0]}: {logits[broken[0]]}"
        )
    return logits


def student_model(student: Student | Ensemble, device: str | torch.device = "cpu") -> Model:
    """The PyTorch student, or ensemble, in float32 and evaluation mode, on `device`."""
    student.eval().to(device)

    @torch.inference_mode()
    def model(batch: Batch) -> Logits:
        tensors = (
            torch.from_numpy(array).to(device)
            for array in (batch.input_ids, batch.attention_mask, batch.token_type_ids)
        )
        logits: Logits = student(*tensors).float().cpu().numpy()
        return logits

    return model


def graph_model(graph: Path, threads: int = 0) -> Model:
    """The ONNX graph at `graph` in ONNX Runtime on the CPU; `threads` 0 takes all cores."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(graph), options, providers=[PROVIDER])

    def model(batch: Batch) -> Logits:
        inputs = {
            "input_ids": batch.input_ids,
            "attention_mask": batch.attention_mask,
            "token_type_ids": batch.token_type_ids,
        }
        logits: Logits = session.run(["logits"], inputs)[0]
        return logits

    return model


def _chunks(order: NDArray[np.int64], size: int) -> Iterator[NDArray[np.int64]]:
    for start in range(0, len(order), size):
        yield order[start : start + size]
