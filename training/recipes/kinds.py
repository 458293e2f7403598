"""Kinds of teachers: what there is, which one a place holds, and what a wrong one is told."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, get_args

from retort.models.bundle import list_bundles
from retort.models.manifest import MANIFEST_FILE

Kind = Literal["cross-encoder", "bi-encoder", "hub-cross-encoder", "bundle", "http", "given"]

KINDS: tuple[Kind, ...] = get_args(Kind)

CHECKPOINT_FILE = "student.json"  # a student, or a teacher of a student's shape
CONFIG_FILE = "config.json"  # a model of Hugging Face
MODULES_FILE = "modules.json"  # one of sentence-transformers
SENTENCE_FILE = "config_sentence_transformers.json"
URLS = ("http://", "https://")
PACKAGE = "package:"

_WHAT: Mapping[Kind, str] = {
    "cross-encoder": "a teacher that `retort teach` made",
    "bi-encoder": "a bi-encoder",
    "hub-cross-encoder": "a model of Hugging Face",
    "bundle": "a bundle",
    "http": "a server's URL",
    "given": "a file of scores",
}
CLASSIFIERS = ("ForSequenceClassification",)
LANGUAGE_MODELS = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")


def find_kind(place: str) -> Kind | None:
    """The kind of teacher that a URL, a folder or an installed package holds; None where unclear.

    A name on the hub, or one of a bundle, says nothing by itself.
    """
    if place.startswith(URLS):
        return "http"
    folder = _folder(place)
    if folder is None or not folder.is_dir():
        return None
    if is_checkpoint(folder):
        return "bi-encoder" if _taught_shape(folder) == "bi-encoder" else "cross-encoder"
    if (folder / MANIFEST_FILE).is_file():
        return "bundle"
    if (folder / MODULES_FILE).is_file():
        return _sentence_kind(folder)
    if not (folder / CONFIG_FILE).is_file():
        return None
    named = [str(name) for name in _read(folder / CONFIG_FILE).get("architectures") or ()]
    if any(name.endswith((*CLASSIFIERS, *LANGUAGE_MODELS)) for name in named):
        return "hub-cross-encoder"  # a language model is refused when it is loaded
    return "bi-encoder" if named else None


def kind_fault(kind: str, place: str) -> str:
    """Why what is at `place` is no teacher of this kind, and which it is; "" if it may be one.

    Any encoder may serve as a bi-encoder, and what lacks a head is refused when it is loaded.
    """
    found, folder = find_kind(place), _folder(place)
    if found is None and kind == "cross-encoder" and folder and (folder / CONFIG_FILE).is_file():
        found = "hub-cross-encoder"
    if found is None:
        return "no URL (http:// or https://)" if kind == "http" else ""
    if kind == found or kind not in KINDS:
        return ""
    sentence = folder is not None and (folder / MODULES_FILE).is_file()
    if kind == "bi-encoder" and found in ("cross-encoder", "bundle", "hub-cross-encoder"):
        encodes = not (sentence and found == "hub-cross-encoder")
        return "" if encodes else f"a CrossEncoder: write kind: {found}"
    plain = kind == "hub-cross-encoder" and found == "bi-encoder" and not sentence
    if plain and folder is not None and not is_checkpoint(folder):
        return ""
    return f"{_WHAT[found]}: write kind: {found}"


def option_fault(kind: str, options: Mapping[str, Any]) -> str:
    """Why a teacher of this kind cannot have these options; "" where it can.

    A cosine head is trained on a product of two texts' vectors, which a teacher that reads both at
    once does not have; scores in a file may be anything.
    """
    what = next((what for known, what in _WHAT.items() if known == kind), "")
    if what and options.get("head") == "cosine" and kind not in ("bi-encoder", "given"):
        return f"head: cosine imitates a bi-encoder, and this is {what}: leave it out"
    if what and options.get("output") is not None and kind != "hub-cross-encoder":
        return f"output: names one of a hub-cross-encoder's, and this is {what}: leave it out"
    return ""


def is_checkpoint(place: str | Path) -> bool:
    """Whether the folder holds a student, or a teacher of a student's shape."""
    return (Path(place) / CHECKPOINT_FILE).is_file()


def depth_of(place: str) -> int | None:
    """How many layers the encoder at a place has; None where nothing here tells."""
    folder = _folder(place)
    if folder is None or not folder.is_dir():
        folder = list_bundles().get(place)
        if folder is None:
            return None
    manifest, checkpoint = _read(folder / MANIFEST_FILE), _read(folder / CHECKPOINT_FILE)
    depth = (
        _inner(manifest, "architecture").get("layers")
        or _inner(checkpoint, "config").get("num_hidden_layers")
        or _read(folder / CONFIG_FILE).get("num_hidden_layers")
    )
    return depth if isinstance(depth, int) else None


def is_classifier(architectures: Iterable[str] | None) -> bool:
    """Whether a model of Hugging Face has a classifier's head, by its `architectures`."""
    return any(name.endswith(CLASSIFIERS) for name in architectures or ())


def package_of(place: str) -> str:
    """The Python package that holds a model; "" where none does."""
    name = place.removeprefix(PACKAGE)
    return name if name != place and name.isidentifier() else ""


def package_folder(name: str) -> Path | None:
    """The folder inside an installed package that holds a model, None where there is none."""
    spec = find_spec(name)
    if spec is None or spec.origin is None:
        return None
    root = Path(spec.origin).parent
    found = sorted(root.rglob(CONFIG_FILE), key=lambda path: len(path.parts))
    return found[0].parent if found else None


def _folder(place: str) -> Path | None:
    package = package_of(place)
    return package_folder(package) if package else Path(place)


def _taught_shape(folder: Path) -> str:
    meta = _inner(_read(folder / CHECKPOINT_FILE), "meta")
    return str(_inner(meta, "recipe").get("shape", ""))


def _sentence_kind(folder: Path) -> Kind | None:
    """By what sentence-transformers wrote, or before its version 5 by its modules."""
    if (folder / SENTENCE_FILE).is_file():
        named = _read(folder / SENTENCE_FILE).get("model_type")
        if named is not None:
            kinds: dict[str, Kind] = {
                "CrossEncoder": "hub-cross-encoder", "SentenceTransformer": "bi-encoder",
            }  # fmt: skip
            return kinds.get(str(named))
    return "bi-encoder"


def _inner(values: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A JSON object inside another; empty where there is none."""
    found = values.get(name)
    return found if isinstance(found, dict) else {}


def _read(path: Path) -> dict[str, Any]:
    """A file's JSON object; empty where it is none, which loading will tell."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}
