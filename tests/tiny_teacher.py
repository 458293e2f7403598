"""A teacher for the tiny bundle that thinks the opposite: every logit has the other sign.

It is made in milliseconds from the tiny bundle, so none has to be kept, and what student and
teacher must then say of each other is known: no first passage agreed on, and a tau of -1.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from retort.models.bundle import Bundle, write_bundle
from retort.models.golden import GoldenPair


def make_contrary(tiny: Bundle, folder: Path) -> Bundle:
    """Write the contrary bundle of `tiny` to `folder`."""
    work = folder.parent / f"{folder.name}-source"
    work.mkdir(parents=True)
    graph = work / "model.onnx"
    model = onnx.load(tiny.graph_path)
    for weights in model.graph.initializer:
        if weights.name.startswith("head_bank."):
            negated = np.negative(numpy_helper.to_array(weights))
            weights.CopyFrom(numpy_helper.from_array(negated, weights.name))
    onnx.save(model, graph)
    return write_bundle(
        folder,
        manifest=tiny.manifest.model_copy(
            update={"name": "contrary", "version": "0.0.9", "files": {}}
        ),
        graph=graph,
        tokenizer=tiny.tokenizer_path,
        golden=[
            GoldenPair(
                pair.query, pair.passage, tuple(-logit for logit in pair.logits), 1 - pair.score
            )
            for pair in tiny.golden
        ],
    )
