"""Logits of bundles on evaluation sets, each computed once and kept.

A file `<name>-<digest>.npz` holds one array (pairs, heads) per set. The digest is the
bundle's, so another bundle of the same name is never mistaken for it; each array's name has the
hash of its pairs, so neither is another set.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from retort.failures import reading
from retort.models.bundle import Bundle
from retort.training.data.evaluation_set import EvaluationSet
from retort.training.nn.inference import Logits, graph_model, run


def logits_of(
    bundle: Bundle, sets: Sequence[EvaluationSet], keep: Path | None = None, progress: bool = False
) -> dict[str, Logits]:
    """The bundle's logits (pairs, heads) by set, from `keep` as far as it has them."""
    path = keep / f"{bundle.manifest.name}-{bundle.digest[:12]}.npz" if keep else None
    known: dict[str, Logits] = {}
    if path is not None and path.is_file():
        with reading(path, "logits"), np.load(path) as arrays:
            known = {name: arrays[name] for name in arrays.files}
    found: dict[str, Logits] = {}
    model = None
    for items in sets:
        key = f"{items.name} {_digest(items)}"
        if key not in known:
            model = model or graph_model(bundle.graph_path, bundle.manifest.inputs)
            label = f"{bundle.manifest.name} on {items.name}" if progress else ""
            known[key] = run(model, bundle.encoder(), items.pairs, progress=label)
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
                np.savez_compressed(path, **known)  # type: ignore[arg-type]  # no such set name
        found[items.name] = known[key]
    return found


def _digest(items: EvaluationSet) -> str:
    digest = hashlib.blake2b(digest_size=8)
    for pair in items.pairs:
        digest.update(pair.key.to_bytes(8, "little"))
    return digest.hexdigest()
