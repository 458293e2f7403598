"""The bundle: a folder that is complete, so that whoever has it needs nothing else to serve it.

    manifest.json    what it is, and the sha256 of every other file
    model.onnx       input_ids, attention_mask and, unless the manifest's layout leaves them out,
                     token_type_ids (batch, sequence) int64, to logits (batch, heads) float32
    tokenizer.json   the fast tokenizer
    golden.jsonl     real pairs with the scores of the PyTorch original
    README.md        the model card, generated
    manifest.sig     a signature of the manifest, if it is signed (see `signature.py`)

It holds nothing else, and what is parsed or run are bytes whose hash has just been checked: a file
that is replaced after the bundle was read is noticed.

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

from tokenizers import Tokenizer

from retort.models.card import CARD_FILE, render_card
from retort.models.encoding import PairEncoder
from retort.models.errors import (
    BundleError,
    BundleNotFound,
    DamagedFile,
)
from retort.models.files import (
    CARD_BYTES,
    GOLDEN_BYTES,
    GRAPH_BYTES,
    MANIFEST_BYTES,
    SIGNATURE_BYTES,
    TOKENIZER_BYTES,
    check_file,
    hash_file,
    read_file,
)
from retort.models.golden import GOLDEN_FILE, GoldenPair, check_golden, parse_golden, write_golden
from retort.models.manifest import MANIFEST_FILE, Manifest, parse_manifest
from retort.models.signature import SIGNATURE_FILE, check_signature, sign

GRAPH_FILE = "model.onnx"
TOKENIZER_FILE = "tokenizer.json"
HASHED_FILES = (GRAPH_FILE, TOKENIZER_FILE, GOLDEN_FILE, CARD_FILE)
LARGEST = {
    MANIFEST_FILE: MANIFEST_BYTES,
    SIGNATURE_FILE: SIGNATURE_BYTES,
    GRAPH_FILE: GRAPH_BYTES,
    TOKENIZER_FILE: TOKENIZER_BYTES,
    GOLDEN_FILE: GOLDEN_BYTES,
    CARD_FILE: CARD_BYTES,
}
# Words by which a graph names what is outside of it: "location" in which file, or where in memory,
# a tensor is; an "EPContext" is a program for one device, in the graph or in a file.
OUTSIDE = (b"location", b"EPContext")

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
    key: Path | None = None  # the public key that it is signed with, if that was checked

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
        """The golden pairs, read when first asked for. Raises `InvalidGolden` and as `read`."""
        path = self.folder / GOLDEN_FILE
        return parse_golden(path, self.read(GOLDEN_FILE), len(self.manifest.heads))

    def encoder(self) -> PairEncoder:
        """The tokenizer with the bundle's truncation rule. Raises as `read`."""
        content = self.read(TOKENIZER_FILE)
        try:
            encoder = PairEncoder(
                Tokenizer.from_buffer(content), self.manifest.truncation, self.manifest.layout
            )
        except Exception as error:
            # The library raises plain exceptions.
            raise DamagedFile(self.tokenizer_path, f"is no tokenizer ({error})") from None
        last, rows = encoder.last_id, self.manifest.architecture.vocabulary
        if last >= rows:
            raise DamagedFile(
                self.tokenizer_path,
                f"has a token with id {last}, and the graph knows {rows} tokens",
            )
        return encoder

    def graph(self) -> bytes:
        """The ONNX graph, to be run from these bytes. Raises as `read`.

        A runtime that is given bytes looks for what lies outside of them in the working directory,
        so a graph that names anything there is refused.
        """
        content = self.read(GRAPH_FILE)
        _check_inside(self.graph_path, content)
        return content

    def read(self, name: str) -> bytes:
        """The content of one of its files. Raises `MissingFile`, or `DamagedFile` if changed."""
        content = read_file(self.folder / name, LARGEST[name])
        expected = self.digest if name == MANIFEST_FILE else self.manifest.files[name]
        _compare(self.folder / name, hashlib.sha256(content).hexdigest(), expected)
        return content


def read_bundle(
    folder: Path, needed: Sequence[str] = HASHED_FILES, key: Path | None = None
) -> Bundle:
    """Read the bundle at `folder` and check the hashes of the files that are `needed`: all of them.

    With `key`, the path of a public key, it has to be signed with that. Raises `BundleNotFound`,
    `MissingFile`, `DamagedFile`, `UnknownSchema`, `InvalidManifest` or `UntrustedBundle`, and
    `StartError` if there is no such key.
    """
    if not folder.is_dir():
        raise BundleNotFound(folder, "no such folder")
    _check_folder(folder)
    path = folder / MANIFEST_FILE
    content = read_file(path, MANIFEST_BYTES)
    if key is not None:
        check_signature(folder, content, key)
    manifest = parse_manifest(path, content)
    for name in HASHED_FILES:
        if name not in manifest.files:
            raise DamagedFile(path, f"holds no sha256 for {name}")
    for name in manifest.files:
        if name not in HASHED_FILES:
            raise DamagedFile(path, f"names {name!r}, which is no part of a bundle")
    for name in needed:
        _compare(folder / name, hash_file(folder / name, LARGEST[name]), manifest.files[name])
    return Bundle(folder, manifest, hashlib.sha256(content).hexdigest(), key)


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
    if a file is too large, or if there are too few golden pairs.
    """
    if folder.exists() and not (folder / MANIFEST_FILE).is_file() and any(folder.iterdir()):
        raise BundleError(folder, "holds files but no bundle: give a new folder, or empty this one")
    model = graph.read_bytes()
    _check_inside(graph, model)
    pairs = tuple(golden)
    check_golden(folder / GOLDEN_FILE, pairs, len(manifest.heads))

    folder.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        fresh = work / "new"
        fresh.mkdir()
        (fresh / GRAPH_FILE).write_bytes(model)
        shutil.copyfile(tokenizer, fresh / TOKENIZER_FILE)
        write_golden(fresh / GOLDEN_FILE, pairs)
        (fresh / CARD_FILE).write_text(render_card(manifest), encoding="utf-8")
        hashes = {name: hash_file(fresh / name, LARGEST[name]) for name in HASHED_FILES}
        complete = manifest.model_copy(update={"files": hashes})
        (fresh / MANIFEST_FILE).write_text(complete.to_json(), encoding="utf-8")
        read_bundle(fresh)
        if folder.exists():
            os.rename(folder, work / "old")
        os.rename(fresh, folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return read_bundle(folder)


def sign_bundle(folder: Path, key: Path) -> Bundle:
    """Sign the bundle at `folder` with the private key at `key`, once its files are checked.

    Raises as `read_bundle`, and `StartError` if there is no such key.
    """
    bundle = read_bundle(folder)
    signature = sign(bundle.read(MANIFEST_FILE), key)
    (folder / SIGNATURE_FILE).write_bytes(signature)
    return bundle


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


def _check_folder(folder: Path) -> None:
    """Raise `DamagedFile` for a size that no bundle has, and for what is no part of one.

    A graph could load its weights from there, and nobody would have checked them.
    """
    with os.scandir(folder) as entries:
        for entry in entries:
            path = folder / entry.name
            if entry.name not in LARGEST:
                raise DamagedFile(path, "is no part of a bundle: move it out of the folder")
            check_file(path, entry.stat(follow_symlinks=False), LARGEST[entry.name])


def _check_inside(path: Path, graph: bytes) -> None:
    """Raise `DamagedFile` if the graph has one of the words of `OUTSIDE` as a whole text.

    In protobuf a text comes after its length: one byte, or several of which the last is 0.
    """
    for word in OUTSIDE:
        at = graph.find(word)
        while at >= 0:
            if at and graph[at - 1] in (0, len(word)):
                problem = "keeps weights in a second file, or holds a compiled part"
                raise DamagedFile(path, f"{problem}: export it whole")
            at = graph.find(word, at + 1)


def _compare(path: Path, found: str, expected: str) -> None:
    if found != expected:
        raise DamagedFile(
            path,
            f"sha256 is {found[:12]}…, the manifest says {expected[:12]}…: get it again",
        )
