"""Forward passes on a GPU, without a server: does a variant score right, and how fast is it.

Encoders in PyTorch are compared with them. Those have random weights: a matrix product takes as
long, whatever is in it.
"""

from __future__ import annotations

import re
from dataclasses import asdict
from time import perf_counter

from retort.loadtest.bare import Forward, bare_rate, forward_times
from retort.loadtest.experiments.gpu.options import Options
from retort.loadtest.experiments.gpu.parts import Found, read_parts, write_part
from retort.loadtest.experiments.gpu.variants import VARIANTS
from retort.loadtest.experiments.reference import random_bert
from retort.loadtest.rounds import in_turn, percentile
from retort.models.bundle import Bundle
from retort.models.encoding import Batch
from retort.models.runtime.base import same_batch

SLOTS = 2  # as the server has on a GPU
HEAD_WIDTH = 64


def probe(options: Options, bundle: Bundle) -> Found:
    """Load a variant and score the golden pairs. Raises whatever keeps it from running."""
    start = perf_counter()
    variant = VARIANTS[options.device][options.variant]
    name, _, golden, recorded = variant.load(bundle, options.cache)
    return {
        "name": name,
        "seconds": perf_counter() - start,
        "cuda_graphs": recorded,
        "passed": golden.passed,
        "golden": asdict(golden),
    }


def bare(options: Options, bundle: Bundle) -> Found:
    """Time, in turn, every variant whose probe passed, and PyTorch; in pairs, by size of the batch.

    Raises `ValueError` if there is nothing to time.
    """
    forwards = _forwards(options, bundle)
    sizes = sorted({*options.passages, *(n // options.tokens for n in options.batch_tokens)})
    batches = {str(pairs): same_batch(pairs, options.tokens, 0) for pairs in sizes}
    for forward in forwards.values():
        for batch in batches.values():
            forward(batch)
    rounds: list[Found] = [{} for _ in range(options.rounds)]
    for number, name in in_turn(list(forwards), options.rounds):
        found = rounds[number]
        found[name] = {n: timed(forwards[name], b, options.seconds) for n, b in batches.items()}
        if len(found) == len(forwards):
            write_part(options.out, options.name, {"rounds": rounds[: number + 1]})
    return {"rounds": rounds}


def _forwards(options: Options, bundle: Bundle) -> dict[str, Forward]:
    parts = read_parts(options.out)
    forwards: dict[str, Forward] = {}
    for name, variant in VARIANTS[options.device].items():
        if parts.get(f"probe-{name}", {}).get("passed"):
            label, forward, *_ = variant.load(bundle, options.cache)
            forwards[label] = forward
    if options.torch:
        size = bundle.manifest.architecture
        encoders = [("student", f"{size.layers}x{size.width}")]
        encoders += [("teacher", text) for text in options.teachers]
        for encoder, text in encoders:
            label, forward = torch_encoder(encoder, text, options.device, size.vocabulary)
            forwards[label] = forward
    if not forwards:
        raise ValueError("nothing to time: no probe passed, and PyTorch is left out")
    return forwards


def torch_encoder(name: str, size: str, device: str, vocabulary: int) -> tuple[str, Forward]:
    """A BERT of `size`, LAYERSxWIDTH, with a linear head in PyTorch: fp16 on a GPU, fp32 on a CPU.

    Attention heads are 64 wide, as BERT's are. Raises `ValueError` for another form of size.
    """
    import torch

    found = re.fullmatch(r"(\d+)x(\d+)", size)
    if found is None or not int(found[1]) or not int(found[2]):
        raise ValueError(f"{size!r} is not the size of an encoder: write it as 12x768")
    layers, width = int(found[1]), int(found[2])
    kind, precision = (torch.float16, "fp16") if device == "cuda" else (torch.float32, "fp32")
    bert = random_bert(vocabulary, layers, width, max(1, width // HEAD_WIDTH))
    model = bert.eval().to(device, kind)

    def forward(batch: Batch) -> object:
        ids, mask, types = (torch.from_numpy(array).to(device) for array in batch.arrays)
        with torch.inference_mode():
            logits = model(input_ids=ids, attention_mask=mask, token_type_ids=types).logits
        # Waits for the device.
        return logits.float().cpu()

    return f"PyTorch {precision} {name}, {size}", forward


def timed(forward: Forward, batch: Batch, seconds: float) -> dict[str, float]:
    """Pairs per second with as many callers as the server has slots, and p50 with one, in ms."""
    alone = forward_times(forward, [batch], seconds / 2)
    rate = bare_rate(forward, [batch], seconds / 2, SLOTS)
    return {"pairs_per_second": rate, "p50_ms": percentile(alone, 50) * 1e3}
