"""The converter: a bundle's encoder and golden head in the forms in which other servers load them.

    student/    a Hugging Face folder: config, safetensors, tokenizer and an ONNX graph
    segments/   the same, with a graph that works out the token types (see `with_own_segments`)
    golden/     a bundle of the same encoder with the golden head alone, for `retort serve`

Other servers serve one head, so ours serves one too: the comparison is of servers and not of what
they serve. All weights come from the bundle's graph; no checkpoint is involved.

This is the only module of the load test that imports `retort.training`.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import save_file
from tokenizers import Tokenizer
from transformers import BertConfig

from retort.cross_encoder import SMALL, pair_tokenizer
from retort.loadtest.peers.catalog import Forms
from retort.loadtest.traffic import Request
from retort.models.bundle import Bundle, write_bundle
from retort.models.golden import GoldenPair
from retort.models.manifest import HeadInfo, Parity
from retort.models.runtime.base import infer_pairs
from retort.models.runtime.onnxruntime import OnnxRuntimeBackend
from retort.models.scores import head_scores
from retort.training.data.pairs import Pair
from retort.training.export.graph import build_graph
from retort.training.export.parity import DEFAULT_BOUNDS, measure_precisions
from retort.training.export.storage import shrink
from retort.training.nn.student import Head

FloatArray = NDArray[np.float32]

# How a stored weight's name ends: int8 and fp16 weights are restored by nodes of the graph.
INT8, SCALE, FP16 = ".int8", ".scale", ".fp16"
POSITIONS = "encoder.embeddings.position_embeddings.weight"
INNER = "encoder.encoder.layer.0.intermediate.dense.bias"
KEY_BIAS = "encoder.encoder.layer.{}.attention.self.key.bias"
TABLES = "embeddings."  # tables are stored as PyTorch has them, matrices transposed
TYPES = "token_type_ids"
SPECIAL = {"cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]", "unk_token": "[UNK]"}


@dataclass(frozen=True, slots=True)
class Weights:
    """The encoder's arrays by their PyTorch names, and the golden head: (width,) and a bias.

    `config` has the fields of a `BertConfig`; positions end where the bundle cuts its pairs, so
    that every server cuts there.
    """

    config: Mapping[str, Any]
    encoder: Mapping[str, FloatArray]
    head: FloatArray
    bias: float


def convert(bundle: Bundle, forms: Forms, requests: Sequence[Request] = ()) -> Bundle:
    """Write all three forms anew; the golden bundle, read back.

    `requests`, each with its answer first, are what its lower precisions are judged by. Raises
    `ValueError` for a bundle that no other server can serve.
    """
    weights = read_weights(bundle)
    # Not trimmed, as in any export of a BERT classifier: PyTorch computes the last layer of every
    # token too.
    graph = golden_graph(weights, trim=False)
    mended = with_own_segments(graph, pair_tokenizer(bundle.tokenizer_path))
    write_student(forms.student, bundle, weights, graph)
    write_student(forms.segments, bundle, weights, mended)
    return write_golden_bundle(forms.golden, bundle, weights, requests)


def read_weights(bundle: Bundle) -> Weights:
    """Read the bundle's graph.

    Raises `ValueError` for an ensemble, whose graph has several encoders, and for a golden head
    that is not linear.
    """
    name, size = bundle.manifest.name, bundle.manifest.architecture
    if size.encoders > 1:
        raise ValueError(f"{name} is an ensemble: other servers serve one encoder, give a student")
    graph = onnx.load(str(bundle.graph_path)).graph
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    arrays = restored(stored)
    head, bias = golden_head(arrays, _golden_column(bundle))
    if not head.any():
        raise ValueError(
            f"{name}: the golden head is not linear, and other servers serve linear heads alone"
        )
    encoder = {
        key: np.ascontiguousarray(value.T) if value.ndim == 2 and TABLES not in key else value
        for key, value in arrays.items()
        if key.startswith("encoder.")
    }
    for layer in range(size.layers):
        # Of a trimmed layer none is kept: it adds the same to every score of the softmax.
        encoder.setdefault(KEY_BIAS.format(layer), np.zeros(size.width, dtype=np.float32))
    length = bundle.manifest.truncation.max_length
    encoder[POSITIONS] = encoder[POSITIONS][:length].copy()
    config = {
        "vocab_size": size.vocabulary,
        "hidden_size": size.width,
        "num_hidden_layers": size.layers,
        "num_attention_heads": size.attention_heads,
        "intermediate_size": len(encoder[INNER]),
        "max_position_embeddings": len(encoder[POSITIONS]),
        "type_vocab_size": 2,
        "layer_norm_eps": norm_epsilon(graph, stored),
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "pad_token_id": bundle.encoder().pad_id,
    }
    return Weights(config, encoder, head, bias)


def write_student(folder: Path, bundle: Bundle, weights: Weights, graph: onnx.ModelProto) -> None:
    """Write a Hugging Face folder of a `BertForSequenceClassification` with one label.

    The files are written by hand: transformers 5 would name a tokenizer class that infinity's
    transformers 4 does not know.
    """
    # An engine that found its optimised graph of another student would serve that one.
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    save_file(state_dict(weights), folder / "model.safetensors", {"format": "pt"})
    pair_tokenizer(bundle.tokenizer_path).save(str(folder / "tokenizer.json"))
    onnx.save(graph, str(folder / "model.onnx"))
    config = {
        "architectures": ["BertForSequenceClassification"],
        "model_type": "bert",
        **weights.config,
        "id2label": {"0": "relevant"},
        "label2id": {"relevant": 0},
    }
    tokenizer = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": bundle.manifest.truncation.max_length,
        "model_input_names": ["input_ids", TYPES, "attention_mask"],
        **SPECIAL,
    }
    for name, values in (
        ("config", config),
        ("tokenizer_config", tokenizer),
        ("special_tokens_map", SPECIAL),
    ):
        text = json.dumps(values, indent=2) + "\n"
        (folder / f"{name}.json").write_text(text, encoding="utf-8")


def state_dict(weights: Weights) -> dict[str, FloatArray]:
    """The arrays of a `BertForSequenceClassification` that gives the golden head's logit.

    It has a pooler, tanh of a linear map, where the student's head is linear on `[CLS]`. With a
    pooler so small that tanh is the identity, and a classifier so much larger, it is that head:
    tanh(x) differs from x by a share of x²/3, here about a hundred-thousandth.
    """
    found = {f"bert.{name.removeprefix('encoder.')}": a for name, a in weights.encoder.items()}
    width = len(weights.head)
    found["bert.pooler.dense.weight"] = np.eye(width, dtype=np.float32) * np.float32(SMALL)
    found["bert.pooler.dense.bias"] = np.zeros(width, dtype=np.float32)
    found["classifier.weight"] = (weights.head / np.float32(SMALL)).reshape(1, -1)
    found["classifier.bias"] = np.array([weights.bias], dtype=np.float32)
    return found


def write_golden_bundle(
    folder: Path, bundle: Bundle, weights: Weights, requests: Sequence[Request] = ()
) -> Bundle:
    """Write the bundle with the golden head alone, in the storage of `bundle`, and read it back.

    Its golden logits are those of the original. A precision in which one head alone does not rank
    as in float32 is noted and so refused by our server, by the bounds of every export.
    """
    column = _golden_column(bundle)
    golden = [
        GoldenPair(pair.query, pair.passage, (logit,), float(head_scores(logit)))
        for pair in bundle.golden
        for logit in (pair.logits[column],)
    ]
    with tempfile.TemporaryDirectory() as work:
        graph = Path(work) / "model.onnx"
        small = shrink(golden_graph(weights), bundle.manifest.precision.storage)
        graph.write_bytes(small.SerializeToString(deterministic=True))
        manifest = bundle.manifest.model_copy(
            update={
                "name": f"{bundle.manifest.name}-golden",
                "created": datetime.now(UTC).isoformat(timespec="seconds"),
                "files": {},
                "heads": (HeadInfo(name="golden", kind="golden"),),
                "architecture": bundle.manifest.architecture.model_copy(update={"trimmed": True}),
                # They are of all heads together.
                "calibration": None,
                "answerability": None,
                "quality": {},
                "parity": None,
                "lower_parity": _lower_parity(graph, bundle, requests) if requests else {},
                "agreement": None,
            }
        )
        return write_bundle(
            folder, manifest=manifest, graph=graph, tokenizer=bundle.tokenizer_path, golden=golden
        )


def golden_graph(weights: Weights, *, trim: bool = True) -> onnx.ModelProto:
    """The graph of encoder and golden head with float32 weights; `trim` as in `build_graph`."""
    state: dict[str, FloatArray] = {
        **weights.encoder,
        "head_bank.0.linear.weight": weights.head.reshape(1, -1),
        "head_bank.0.linear.bias": np.array([weights.bias], dtype=np.float32),
        "gain": np.ones(1, dtype=np.float32),
        "shift": np.zeros(1, dtype=np.float32),
    }
    return build_graph(BertConfig(**weights.config), (Head("golden"),), state, trim=trim)


def with_own_segments(model: onnx.ModelProto, tokenizer: Tokenizer) -> onnx.ModelProto:
    """A copy without the input of token types: 1 after the first [SEP], 0 on padding.

    infinity-emb's ONNX engine encodes a pair without token types, and its runtime fills in zeros,
    so a BERT takes the passage for more of the query and ranks wrongly. A graph that works out the
    types by itself gets the right ranks out of that engine. Raises `ValueError` without a [SEP].
    """
    sep = tokenizer.token_to_id("[SEP]")
    if sep is None:
        raise ValueError("the tokenizer has no [SEP], which separates the segments")
    mended = onnx.ModelProto()
    mended.CopyFrom(model)
    graph = mended.graph
    inputs = [value for value in graph.input if value.name != TYPES]
    nodes = [
        helper.make_node("Equal", ["input_ids", "segments.sep"], ["segments.is_sep"]),
        helper.make_node("Cast", ["segments.is_sep"], ["segments.one"], to=TensorProto.INT32),
        helper.make_node(
            "CumSum", ["segments.one", "segments.axis"], ["segments.before"], exclusive=1
        ),
        helper.make_node("Greater", ["segments.before", "segments.zero"], ["segments.second"]),
        helper.make_node("Cast", ["segments.second"], ["segments.types"], to=TensorProto.INT64),
        helper.make_node("Mul", ["segments.types", "attention_mask"], [TYPES]),
        *graph.node,
    ]
    del graph.input[:], graph.node[:]
    graph.input.extend(inputs)
    graph.node.extend(nodes)
    for name, constant in (("sep", np.int64(sep)), ("axis", np.int32(1)), ("zero", np.int32(0))):
        tensor = numpy_helper.from_array(np.asarray(constant), f"segments.{name}")
        graph.initializer.append(tensor)
    onnx.checker.check_model(mended)
    return mended


def restored(stored: Mapping[str, NDArray[np.generic]]) -> dict[str, FloatArray]:
    """All float weights as float32, whatever they are stored as.

    >>> restored({"a.int8": np.int8([2]), "a.scale": np.float32([0.5]), "b": np.float32([3])})
    {'a': array([1.], dtype=float32), 'b': array([3.], dtype=float32)}
    """
    found: dict[str, FloatArray] = {}
    for name, values in stored.items():
        if name.endswith(INT8):
            base = name.removesuffix(INT8)
            scale = stored[base + SCALE].astype(np.float32)
            found[base] = values.astype(np.float32) * scale
        elif name.endswith(FP16):
            found[name.removesuffix(FP16)] = values.astype(np.float32)
        elif values.dtype == np.float32 and name.removesuffix(SCALE) + INT8 not in stored:
            found[name] = values.astype(np.float32)
    return found


def golden_head(arrays: Mapping[str, FloatArray], column: int) -> tuple[FloatArray, float]:
    """Weight (width,) and bias of the golden head, `column` of all heads.

    The weight of a head that is not linear is zero. Graphs from before 0.3 keep each head apart.
    """
    if "head_bank.bias" in arrays:
        bias = float(arrays["head_bank.bias"][column])
        if "head_bank.weight" not in arrays:
            return np.zeros(1, dtype=np.float32), bias
        return np.ascontiguousarray(arrays["head_bank.weight"][:, column]), bias
    prefix = f"head_bank.{column}.linear"
    if f"{prefix}.weight" not in arrays:
        return np.zeros(1, dtype=np.float32), 0.0
    bias = float(arrays[f"{prefix}.bias"].reshape(-1)[0])
    return arrays[f"{prefix}.weight"].reshape(-1), bias


def norm_epsilon(graph: onnx.GraphProto, stored: Mapping[str, NDArray[np.generic]]) -> float:
    """What layer normalisation adds under its square root. Raises `ValueError` if there is none."""
    sources = {node.output[0]: node for node in graph.node}
    for node in graph.node:
        if node.op_type == "Sqrt" and (under := sources.get(node.input[0])) is not None:
            for name in under.input if under.op_type == "Add" else ():
                if name in stored and stored[name].ndim == 0:
                    return float(stored[name])
    raise ValueError("the graph has no layer normalisation as this project writes it")


def _golden_column(bundle: Bundle) -> int:
    return [head.kind for head in bundle.manifest.heads].index("golden")


def _lower_parity(graph: Path, bundle: Bundle, requests: Sequence[Request]) -> dict[str, Parity]:
    """How the graph ranks in fewer bits, compared with itself in float32."""
    pairs = [
        Pair(request.query, passage, float(number == 0))
        for request in requests
        for number, passage in enumerate(request.passages)
    ]
    encoder, manifest = bundle.encoder(), bundle.manifest
    encoded = [p for request in requests for p in encoder.encode(request.query, request.passages)]
    reference = infer_pairs(OnnxRuntimeBackend(graph), encoder, encoded)
    storage, width = manifest.precision.storage, manifest.architecture.width
    return measure_precisions(graph, storage, width, encoder, pairs, reference, DEFAULT_BOUNDS)
