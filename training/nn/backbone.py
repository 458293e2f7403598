"""Backbones: encoder and tokenizer, from a checkpoint, a bundle, a package, a folder or the hub."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from transformers import AutoConfig, BertModel, PretrainedConfig
from transformers.utils import logging

from retort.failures import reading
from retort.models.bundle import TOKENIZER_FILE, find_bundle, list_bundles, read_bundle
from retort.models.encoding import Truncation
from retort.models.manifest import MANIFEST_FILE
from retort.training.nn.from_bundle import encoder_of
from retort.training.nn.student import load_student
from retort.training.recipes.kinds import CONFIG_FILE, is_checkpoint, package_folder, package_of


class BackboneError(ValueError):
    """A backbone cannot be found or is not of a supported shape."""


@dataclass(frozen=True, slots=True)
class Backbone:
    """An encoder with the path of its `tokenizer.json`; a checkpoint's knows its truncation too."""

    encoder: BertModel
    tokenizer_path: Path
    truncation: Truncation | None = None


def is_bundle(name: str) -> bool:
    """Whether `name` is a bundle's folder, or the name of one that ships or was made here."""
    return (Path(name) / MANIFEST_FILE).is_file() or name in list_bundles()


def locate_backbone(name: str) -> Path | str:
    """`package:NAME` to the folder inside that Python package that holds `config.json`.

    A folder stays a folder; anything else is taken for a name on the hub.
    Raises `BackboneError` when a package is not installed or carries no model.
    """
    package = package_of(name)
    if not package:
        return Path(name) if Path(name).is_dir() else name
    if importlib.util.find_spec(package) is None:
        raise BackboneError(
            f"{name}: the package {package} is not installed; install Retort's `train` extra"
        )
    folder = package_folder(package)
    if folder is None:
        raise BackboneError(f"{name}: the package {package} carries no {CONFIG_FILE}")
    return folder


def load_backbone(name: str, attention: str = "eager") -> Backbone:
    """Load the encoder of a checkpoint, of a bundle by name or path, or any BERT-shaped one.

    `attention` is eager or sdpa. Eager attention, which checkpoints and bundles always have, is
    what ONNX Runtime's optimizer can fuse, and was the faster one on CPU. Raises `BackboneError`,
    `BundleError`, `BundleWeightsError` or `CheckpointError`.
    """
    if is_checkpoint(name):
        loaded = load_student(Path(name))
        return Backbone(loaded.student.encoder, loaded.tokenizer_path, loaded.truncation)
    if is_bundle(name):
        bundle = read_bundle(find_bundle(name))
        return Backbone(encoder_of(bundle), bundle.tokenizer_path, bundle.manifest.truncation)
    place, config = read_config(name)
    if config.model_type != "bert":
        raise BackboneError(f"{name}: a {config.model_type} encoder; a student is cut from BERT")
    with quiet(), reading(name, "a BERT encoder"):
        encoder = BertModel.from_pretrained(
            place, add_pooling_layer=False, attn_implementation=attention
        )
    return Backbone(encoder, tokenizer_file(place))


def read_config(name: str) -> tuple[Path | str, PretrainedConfig]:
    """A model's place and its configuration. Raises `BackboneError` where there is none."""
    place = locate_backbone(name)
    try:
        return place, AutoConfig.from_pretrained(place)
    except (OSError, ValueError) as error:
        raise BackboneError(
            f"{name}: neither a folder with a model nor reachable: {error}"
        ) from error


@contextmanager
def quiet() -> Iterator[None]:
    """No report on the pooler, which is left out on purpose, and no bar for half a second."""
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(before)
        logging.enable_progress_bar()


def tokenizer_file(place: Path | str) -> Path:
    """The `tokenizer.json` of a folder or hub name. Raises `BackboneError` where there is none."""
    if isinstance(place, Path):
        path = place / TOKENIZER_FILE
        if not path.is_file():
            raise BackboneError(f"{place}: no {TOKENIZER_FILE}; save the fast tokenizer there")
        return path
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(place, TOKENIZER_FILE))
    except (OSError, ValueError) as error:
        raise BackboneError(
            f"{place}: neither a folder with a tokenizer nor reachable: {error}"
        ) from error
