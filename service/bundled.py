"""A cross-encoder that is no bundle yet: it becomes one at the first start, and stays one.

`retort export` makes it, in a process of its own, so that neither PyTorch nor its memory is left in
the server. It is kept under the hash of the model's files: another model, or the same one trained
further, is another bundle.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from retort.models.errors import StartError
from retort.models.manifest import MANIFEST_FILE

# What of a model's folder decides its scores. Other files, and folders within, may come and go.
DECIDING = (".json", ".txt", ".model", ".safetensors", ".bin")
DIGITS = 16
_PARTS = "config.json, weights and tokenizer"


def bundle_of(model: str, cache: Path) -> Path:
    """The bundle of the cross-encoder at `model`, a folder or hub name; it is made if need be.

    Raises `StartError` if there is no such model, or if it cannot become a bundle: `retort export`
    has then said why on standard error.
    """
    place = _locate(model)
    name = _plain_name(model)
    folder = cache / "models" / f"{name}-{_digest(place)}"
    if not (folder / MANIFEST_FILE).is_file():
        command = [sys.executable, "-m", "retort", "export", str(place), str(folder)]
        made = subprocess.run([*command, "--name", name, "--exact"], stdout=sys.stderr)
        if made.returncode:
            raise StartError(f"{model} is served only as a bundle, and could not become one")
    return folder


def _locate(model: str) -> Path:
    """Its folder; that of a hub name is the library's cache, which is filled if need be."""
    if Path(model).is_dir():
        return Path(model)
    if Path(model).is_absolute() or model.startswith(".") or model.count("/") > 1:
        raise StartError(f"{model}: no such folder: give one with {_PARTS}, or a hub name")
    # It comes with tokenizers; the server itself has no use for it.
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(model, allow_patterns=[f"*{end}" for end in DECIDING]))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise StartError(
            f"{model}: no folder here, and no model that the hub gives ({reason}): give a folder "
            f"with {_PARTS}"
        ) from None


def _digest(place: Path) -> str:
    """The hash of what decides the scores: the model's files, and the release that exports them."""
    digest = hashlib.sha256(version("retort").encode())
    for path in sorted(place.iterdir()):
        if path.suffix in DECIDING and path.is_file():
            digest.update(path.name.encode())
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:DIGITS]


def _plain_name(model: str) -> str:
    """A bundle's name made of a model's.

    >>> _plain_name("BAAI/bge-reranker-base"), _plain_name("./my model")
    ('bge-reranker-base', 'my-model')
    """
    last = Path(model).resolve().name if Path(model).is_dir() else model.rpartition("/")[2]
    return re.sub(r"[^A-Za-z0-9._-]+", "-", last).lstrip("._-") or "model"
