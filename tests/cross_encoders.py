"""Cross-encoders of tests and the bundles made of them, each once in a run."""

from __future__ import annotations

from pathlib import Path

from retort.models.bundle import Bundle
from retort.training.export.bundling import BundleSpec, build_bundle, exactly
from retort.training.export.originals import load_original
from retort.training.export.samples import sample_pairs


def make_bundle(model: Path, folder: Path) -> Bundle:
    """The bundle of the cross-encoder at `model`, as `retort export --exact` makes it."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    original = load_original([str(model)], folder.parent)
    spec = BundleSpec(model.name, "1.0.0", activation=original.activation)
    return build_bundle(
        folder,
        original.model,
        original.tokenizer_path,
        original.truncation,
        sample_pairs(),
        exactly(spec, original.model),
    )
