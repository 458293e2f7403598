"""Inference: the logits of many pairs, from PyTorch, from a compiled module or from a graph.

Pairs are encoded by the rule that serves (`models/encoding.py`) and batched by length.

Labelling is most of a distillation's cost, so a frozen module is compiled: OpenVINO on a CPU,
PyTorch in bf16 on a GPU, which gets batches of 131,072 tokens. OpenVINO in bf16 scored a 6-layer
teacher at twice the speed of PyTorch in bf16 on the machine this was written on.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from tqdm import tqdm

from retort.models.encoding import Batch, EncodedPair, PairEncoder
from retort.models.layout import INPUTS, Input
from retort.training.data.pairs import Pair
from retort.training.nn.batch_size import BatchSize, padded, scoring_size
from retort.training.nn.precision import has_bf16

Logits = NDArray[np.float32]
Model = Callable[[Batch], Logits]
Function = Callable[..., Logits]

BACKENDS = ("torch-cuda-bf16", "openvino-bf16", "openvino-f32")


def encode_pairs(encoder: PairEncoder, pairs: Sequence[Pair]) -> list[EncodedPair]:
    """Encode pairs in order, each distinct text once."""
    asked = list(dict.fromkeys(pair.query for pair in pairs))
    queries = dict(zip(asked, encoder.encode_queries(asked), strict=True))
    texts = list(dict.fromkeys(pair.passage for pair in pairs))
    passages = dict(zip(texts, encoder.encode_passages(texts), strict=True))
    return [encoder.join(queries[pair.query], passages[pair.passage]) for pair in pairs]


def run(
    model: Model,
    encoder: PairEncoder,
    pairs: Sequence[Pair],
    *,
    size: BatchSize | None = None,
    progress: str = "",
) -> Logits:
    """Logits (pairs, heads) of `model`, in batches of `size`, or of what suits this machine.

    `progress` names a bar on standard error; "" shows none.
    Raises `ValueError` for no pairs, or for a logit that is not finite.
    """
    if not pairs:
        raise ValueError("no pairs to score: give at least one")
    size = size or scoring_size()
    encoded = encode_pairs(encoder, pairs)
    lengths = np.array([len(pair) for pair in encoded])
    order = np.argsort(lengths, kind="stable")[::-1]
    rows: list[Logits] = []
    with tqdm(total=len(pairs), desc=progress, unit="pair", disable=not progress) as bar:
        start = 0
        while start < len(order):
            # The first of a batch is its longest.
            longest = padded(int(lengths[order[start]]))
            chosen = order[start : start + size.pairs_of(longest)]
            rows.append(model(encoder.collate([encoded[index] for index in chosen], longest)))
            bar.update(len(chosen))
            start += len(chosen)
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


def student_model(student: nn.Module, device: str | torch.device = "cpu") -> Model:
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


def graph_model(graph: Path, inputs: Sequence[Input] = INPUTS, threads: int = 0) -> Model:
    """The ONNX graph at `graph`, which takes `inputs`, in ONNX Runtime on the CPU.

    `threads` 0 takes all cores.
    """
    from retort.models.runtime.onnxruntime import OnnxRuntimeBackend

    return OnnxRuntimeBackend(graph, inputs=inputs, threads=threads).infer


def compiled_model(module: nn.Module) -> Model:
    """A module of the student's inputs, compiled."""
    function = compile_module(module, INPUTS)

    def model(batch: Batch) -> Logits:
        return function(batch.input_ids, batch.attention_mask, batch.token_type_ids)

    return model


def compile_module(module: nn.Module, inputs: Sequence[str]) -> Function:
    """A function from int64 arrays (batch, sequence), one each of `inputs`, to float32 output.

    It is compiled at its first call, so that reading a teacher's identity does not wait for it.
    """
    module = module.eval()

    @cache
    def compiled() -> Function:
        return _torch_function(module) if torch.cuda.is_available() else _openvino(module, inputs)

    def function(*arrays: NDArray[np.int64]) -> Logits:
        return compiled()(*arrays)

    return function


def backend_name() -> str:
    """What `compile_module` uses here, with its precision."""
    if torch.cuda.is_available():
        return BACKENDS[0]
    return BACKENDS[1] if has_bf16() else BACKENDS[2]


def _torch_function(module: nn.Module) -> Function:
    module = module.cuda()

    @torch.inference_mode()
    def function(*arrays: NDArray[np.int64]) -> Logits:
        tensors = [torch.from_numpy(array).cuda() for array in arrays]
        with torch.autocast("cuda", torch.bfloat16):
            result: Logits = module(*tensors).float().cpu().numpy()
        return result

    return function


def _openvino(module: nn.Module, inputs: Sequence[str]) -> Function:
    from retort.models.runtime.openvino import quiet_openvino

    openvino = quiet_openvino()
    example = torch.ones((2, 8), dtype=torch.int64)
    with torch.no_grad(), warnings.catch_warnings():
        # OpenVINO traces by torch.jit, which this torch calls deprecated; there is no other way
        # yet that keeps both dimensions dynamic.
        warnings.simplefilter("ignore")
        model = openvino.convert_model(module, example_input=tuple(example for _ in inputs))
    for port in model.inputs:
        port.get_node().set_partial_shape(openvino.PartialShape([-1, -1]))
    model.validate_nodes_and_infer_types()
    hints = {
        "INFERENCE_PRECISION_HINT": "bf16" if has_bf16() else "f32",
        "PERFORMANCE_HINT": "LATENCY",
        # One that computes several batches at once may score wrongly.
        "NUM_STREAMS": 1,
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
    }
    request = openvino.Core().compile_model(model, "CPU", hints).create_infer_request()

    def function(*arrays: NDArray[np.int64]) -> Logits:
        request.infer(dict(enumerate(arrays)))
        return np.array(request.get_output_tensor(0).data, dtype=np.float32)

    return function
