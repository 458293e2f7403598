"""The bundle: a folder that is complete, so that whoever has it needs nothing else to serve it.

    manifest.json    what it is, and the sha256 of every other file
    model.onnx       input_ids, attention_mask, token_type_ids (batch, sequence) int64
                     to logits (batch, heads) float32
    tokenizer.json   the fast tokenizer
    golden.jsonl     real pairs with the scores of the PyTorch original
    README.md        the model card, generated

It is written to a temporary folder and renamed, so a half-written bundle is never seen. A bundle is
found by its path, or by its name in one of the folders where bundles are kept.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from retort.models.card import CARD_FILE, render_card
from retort.models.encoding import PairEncoder
from retort.models.errors import (
    BundleError,
    BundleNotFound,
    DamagedFile,
    MissingFile,
)
from retort.models.golden import GOLDEN_FILE, GoldenPair, check_golden, read_golden, write_golden
from retort.models.manifest import MANIFEST_FILE, Manifest, read_manifest

GRAPH_FILE = "model.onnx"
TOKENIZER_FILE = "tokenizer.json"
HASHED_FILES = (GRAPH_FILE, TOKENIZER_FILE, GOLDEN_FILE, CARD_FILE)

SHIPPED = Path(__file__).resolve().parent
# In a checkout: bundles made here and not committed, such as a teacher's.
MADE = SHIPPED.parent / "runs" / "bundles"
ENVIRONMENT_VARIABLE = "RETORT_MODELS"


@dataclass(frozen=True)
class Bundle:
    """A bundle whose files are all there and are what the manifest says they are."""

    folder: Path
    manifest: Manifest
    digest: str  # sha256 of manifest.json, which holds the hashes of all the rest

    @property
    def graph_path(self) -> Path:
        """The ONNX graph."""
        return self.folder / GRAPH_FILE

    @property
    def tokenizer_path(self) -> Path:
        """The fast tokenizer."""
        return self.folder / TOKENIZER_FILE

    @cached_property
    def golden(self) -> tuple[GoldenPair, ...]:
        """The golden pairs, read when first asked for. Raises `InvalidGolden`."""
        return read_golden(self.folder / GOLDEN_FILE, len(self.manifest.heads))

    def encoder(self) -> PairEncoder:
        """The tokenizer with the bundle's truncation rule. Raises `DamagedFile`."""
        try:
            return PairEncoder.from_file(self.tokenizer_path, self.manifest.truncation)
        except Exception as error:
            # The library raises plain exceptions.
            raise DamagedFile(self.tokenizer_path, f"is no tokenizer ({error})") from None


def sha256_of(path: Path) -> str:
    """The sha256 of a file's content, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_bundle(folder: Path, needed: Sequence[str] | None = None) -> Bundle:
    """Read the bundle at `folder` and check the hashes of the files that are `needed`: all of them.

    Raises `BundleNotFound`, `MissingFile`, `DamagedFile`, `UnknownSchema` or `InvalidManifest`.
    """
    if not folder.is_dir():
        raise BundleNotFound(folder, "no such folder")
    manifest = read_manifest(folder)
    for name in HASHED_FILES:
        if name not in manifest.files:
            raise DamagedFile(folder / MANIFEST_FILE, f"holds no sha256 for {name}")
    if needed is None:
        _check_names(folder, manifest)
    for name, expected in manifest.files.items():
        if needed is None or name in needed:
            _check_hash(folder, name, expected)
    return Bundle(folder, manifest, sha256_of(folder / MANIFEST_FILE))


def write_bundle(
    folder: Path,
    *,
    manifest: Manifest,
    graph: Path,
    tokenizer: Path,
    golden: Sequence[GoldenPair],
) -> Bundle:
    """Write a bundle to `folder`, replacing a bundle that is there, and read it back.

    `manifest` comes without hashes; the card is rendered from it. Raises `BundleError` if
    `folder` holds something that is no bundle, if `graph` keeps its weights in a second file,
    or if there are too few golden pairs.
    """
    if folder.exists() and not (folder / MANIFEST_FILE).is_file() and any(folder.iterdir()):
        raise BundleError(folder, "holds files but no bundle: give a new folder, or empty this one")
    if graph.with_name(graph.name + ".data").exists():
        raise BundleError(graph, "keeps its weights in a second file: export them inside the graph")
    pairs = tuple(golden)
    check_golden(folder / GOLDEN_FILE, pairs, len(manifest.heads))

    folder.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        fresh = work / "new"
        fresh.mkdir()
        shutil.copyfile(graph, fresh / GRAPH_FILE)
        shutil.copyfile(tokenizer, fresh / TOKENIZER_FILE)
        write_golden(fresh / GOLDEN_FILE, pairs)
        (fresh / CARD_FILE).write_text(render_card(manifest), encoding="utf-8")
        hashes = {name: sha256_of(fresh / name) for name in HASHED_FILES}
        complete = manifest.model_copy(update={"files": hashes})
        (fresh / MANIFEST_FILE).write_text(complete.to_json(), encoding="utf-8")
        read_bundle(fresh)
        if folder.exists():
            os.rename(folder, work / "old")
        os.rename(fresh, folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return read_bundle(folder)


def bundle_folders() -> list[Path]:
    """Where bundles are looked for by name: `RETORT_MODELS`, those that ship, those made here."""
    extra = os.environ.get(ENVIRONMENT_VARIABLE, "")
    return [*(Path(part) for part in extra.split(os.pathsep) if part), SHIPPED, MADE]


def list_bundles() -> dict[str, Path]:
    """Every bundle that can be found by name; the first folder that has a name wins."""
    found: dict[str, Path] = {}
    for folder in bundle_folders():
        for manifest in sorted(folder.glob(f"*/{MANIFEST_FILE}")):
            found.setdefault(manifest.parent.name, manifest.parent)
    return found


def find_bundle(name_or_path: str | Path) -> Path:
    """Find a bundle by name or path; the folder may still fail to verify.

    Raises `BundleNotFound` with the names that there are.
    """
    path = Path(name_or_path)
    if (path / MANIFEST_FILE).is_file():
        return path
    bundles = list_bundles()
    if str(name_or_path) in bundles:
        return bundles[str(name_or_path)]
    if path.is_dir():
        # A folder that was meant, but is no bundle: reading it says what it lacks.
        return path
    names = ", ".join(bundles) or "none"
    raise BundleNotFound(
        path,
        f"no bundle of that name or path; by name there are: {names} "
        f"({ENVIRONMENT_VARIABLE} adds a folder of bundles)",
    )


def _check_names(folder: Path, manifest: Manifest) -> None:
    """Raise `DamagedFile` for what is no part of the bundle.

    A graph could load its weights from there, and nobody would have checked them.
    """
    for path in sorted(folder.iterdir()):
        if path.is_symlink():
            raise DamagedFile(path, "is a link: put the file itself there")
        if path.name not in manifest.files and path.name != MANIFEST_FILE and path.name[0] != ".":
            raise DamagedFile(path, "is not in the manifest: move it out of the bundle")


def _check_hash(folder: Path, name: str, expected: str) -> None:
    path = folder / name
    if Path(name).name != name:
        raise DamagedFile(folder / MANIFEST_FILE, f"names {name!r}, which is outside the bundle")
    if not path.is_file():
        raise MissingFile(path, "the manifest names it and it is not there")
    found = sha256_of(path)
    if found != expected:
        raise DamagedFile(
            path,
            f"sha256 is {found[:12]}…, the manifest says {expected[:12]}…: get it again",
        )
