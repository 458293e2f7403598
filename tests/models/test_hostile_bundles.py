"""Bundles made to do harm: each attack is tried, and ends in one `BundleError`."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest

from retort.models.bundle import HASHED_FILES, LARGEST, Bundle, read_bundle, write_bundle
from retort.models.encoding import TokenizerPanic
from retort.models.errors import (
    BundleError,
    DamagedFile,
    InvalidGolden,
    InvalidManifest,
    MissingFile,
)
from retort.models.files import GIB, hash_file
from retort.models.runtime.base import BackendInfo, same_batch
from retort.models.runtime.choose import choose_backend, load_backend
from retort.models.runtime.golden import compare_golden
from retort.models.runtime.onnxruntime import OnnxRuntimeBackend
from retort.models.runtime.openvino import OpenVinoBackend
from retort.models.runtime.options import RuntimeOptions
from tests.fake_bundle import FakeBackend, overlap

ONE_THREAD = RuntimeOptions(threads=1, streams=1)
RUNTIMES = [BackendInfo("onnxruntime", "cpu", "fp32"), BackendInfo("openvino", "cpu", "fp32")]


@pytest.fixture
def folder(tiny_bundle: Bundle, tmp_path: Path) -> Path:
    """A sound bundle, to be spoiled."""
    return shutil.copytree(tiny_bundle.folder, tmp_path / "bundle")


def seal(folder: Path, edit: Callable[[dict[str, Any]], object] = lambda raw: None) -> None:
    """Give the manifest the hashes that the files have, as whoever made the bundle would."""
    path = folder / "manifest.json"
    raw = json.loads(path.read_text())
    raw["files"] = {name: hash_file(folder / name, GIB) for name in HASHED_FILES}
    edit(raw)
    path.write_text(json.dumps(raw))


def spoil(folder: Path, name: str, content: bytes) -> Bundle:
    """The bundle with another file, its hash right."""
    (folder / name).write_bytes(content)
    seal(folder)
    return read_bundle(folder)


def spoil_tokenizer(folder: Path, edit: Callable[[dict[str, Any]], object]) -> Bundle:
    raw = json.loads((folder / "tokenizer.json").read_text())
    edit(raw)
    return spoil(folder, "tokenizer.json", json.dumps(raw).encode())


@pytest.mark.parametrize("name", [*HASHED_FILES, "manifest.json"])
def test_a_link_in_place_of_a_file(folder: Path, tmp_path: Path, name: str) -> None:
    moved = (folder / name).rename(tmp_path / name)
    (folder / name).symlink_to(moved)
    with pytest.raises(DamagedFile, match="is a link"):
        read_bundle(folder)
    (folder / name).unlink()
    # Nor one to a file of the bundle itself.
    shutil.move(moved, folder / name)
    os.link(folder / name, folder / "other")
    with pytest.raises(DamagedFile, match="other: is no part"):
        read_bundle(folder)


@pytest.mark.parametrize(
    "name", ["weights.bin", ".weights", "...", "model.onnx.data", "model.onnx ", "Model.onnx"]
)
def test_what_nobody_vouches_for_is_not_let_lie(folder: Path, name: str) -> None:
    (folder / name).write_bytes(b"unchecked")
    with pytest.raises(DamagedFile, match="is no part of a bundle"):
        read_bundle(folder)
    # Though the manifest has its hash.
    seal(folder, lambda raw: raw["files"].update({name: hash_file(folder / name, GIB)}))
    with pytest.raises(DamagedFile, match="is no part of a bundle"):
        read_bundle(folder)


@pytest.mark.parametrize("name", ["weights", ".git"])
def test_a_folder_or_a_link_to_one(folder: Path, tmp_path: Path, name: str) -> None:
    (folder / name).mkdir()
    with pytest.raises(DamagedFile, match="is no part of a bundle"):
        read_bundle(folder)
    (folder / name).rmdir()
    (folder / name).symlink_to(tmp_path)
    with pytest.raises(DamagedFile, match="is no part of a bundle"):
        read_bundle(folder)


def test_a_folder_or_a_pipe_in_place_of_a_file(folder: Path) -> None:
    (folder / "README.md").unlink()
    (folder / "README.md").mkdir()
    with pytest.raises(DamagedFile, match="no plain file"):
        read_bundle(folder)
    (folder / "README.md").rmdir()
    os.mkfifo(folder / "README.md")
    with pytest.raises(DamagedFile, match="no plain file"):
        read_bundle(folder)


@pytest.mark.parametrize(
    "name", ["../secret", "/etc/passwd", "sub/file", "..", "", ".hidden", "weights.bin"]
)
def test_a_manifest_names_nothing_else(folder: Path, name: str) -> None:
    seal(folder, lambda raw: raw["files"].update({name: "00"}))
    with pytest.raises(DamagedFile, match="no part of a bundle"):
        read_bundle(folder)


@pytest.mark.parametrize("name", [*LARGEST])
def test_a_size_is_looked_at_before_anything_is_read(folder: Path, name: str) -> None:
    with (folder / name).open("ab") as file:
        # A hole: it weighs nothing here, and would take minutes to read.
        file.truncate(64 * GIB)
    start = time.perf_counter()
    with pytest.raises(DamagedFile, match=r"has 68,719,476,736 bytes, more than the"):
        read_bundle(folder)
    assert time.perf_counter() - start < 1


@pytest.mark.parametrize(
    "content",
    [
        b"[" * 100_000,
        b'{"a":' * 40_000 + b"1" + b"}" * 40_000,
        b"\xff\xfe{}",
        b"",
        b"null",
        b"3",
        b"[]",
        b'{"files": 3}',
        b'{"schema_version": 1}',
        b'{"schema_version": ' + b"9" * 5_000 + b"}",
        b'{"heads": [' + b"1," * 120_000 + b"1]}",
        b"{" + b",".join(b'"%d":0' % n for n in range(25_000)) + b"}",
    ],
    ids=range(12),
)
def test_a_manifest_that_is_none(folder: Path, content: bytes) -> None:
    (folder / "manifest.json").write_bytes(content)
    start = time.process_time()
    with pytest.raises(InvalidManifest):
        read_bundle(folder)
    assert time.process_time() - start < 5


@pytest.mark.parametrize(
    "edit",
    [
        lambda raw: raw["quality"].update(a={"value": float("nan")}),
        lambda raw: raw["quality"].update(a={"value": float("inf")}),
        lambda raw: raw.update(calibration={"gain": float("nan"), "shift": 0.0}),
        lambda raw: raw["architecture"].update(layers="2"),
        lambda raw: raw["architecture"].update(layers=True),
        lambda raw: raw["architecture"].update(layers=10**400),
        lambda raw: raw["truncation"].update(max_length=10**12),
        lambda raw: raw["truncation"].update(max_length="64"),
        lambda raw: raw.update(name=["tiny"]),
        lambda raw: raw.update(heads={}),
        lambda raw: raw.update(files=[]),
    ],
    ids=range(11),
)
def test_a_manifest_with_a_value_that_is_none(
    folder: Path, edit: Callable[[dict[str, Any]], object]
) -> None:
    seal(folder, edit)
    with pytest.raises(InvalidManifest, match="field"):
        read_bundle(folder)


def test_a_manifest_that_two_readers_read_differently(folder: Path) -> None:
    path = folder / "manifest.json"
    text = path.read_text()
    path.write_text(text.rstrip().removesuffix("}") + ', "version": "9"}')
    with pytest.raises(InvalidManifest, match="'version' stands there twice"):
        read_bundle(folder)
    path.write_text(text.replace('"layers"', '"layers": 1, "layers"', 1))
    with pytest.raises(InvalidManifest, match="'layers' stands there twice"):
        read_bundle(folder)


@pytest.mark.parametrize(
    "content",
    [
        b'{"a":1}',
        b"",
        b"\xff",
        b"[" * 100_000,
        b'{"normalizer":'
        + b'{"type":"Sequence","normalizers":[' * 100_000
        + b"]}" * 100_000
        + b"}",
    ],
    ids=range(5),
)
def test_a_tokenizer_that_is_none(folder: Path, content: bytes) -> None:
    bundle = spoil(folder, "tokenizer.json", content)
    with pytest.raises(DamagedFile, match=r"tokenizer\.json: is no tokenizer"):
        bundle.encoder()


def split_at(pattern: str) -> dict[str, Any]:
    """A step that splits texts where a pattern matches."""
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated"}
    return {**split, "invert": False}


def test_a_tokenizer_whose_pattern_cannot_be_read(folder: Path) -> None:
    bundle = spoil_tokenizer(folder, lambda raw: raw.update(pre_tokenizer=split_at("(")))
    with pytest.raises(DamagedFile, match="is no tokenizer"):
        bundle.encoder()


def test_a_tokenizer_whose_pattern_blows_up_on_a_golden_pair(folder: Path) -> None:
    bundle = spoil_tokenizer(
        folder, lambda raw: raw.update(pre_tokenizer=split_at(r"([a-z ]+)+\.$"))
    )
    encoder = bundle.encoder()
    with pytest.raises(TokenizerPanic):
        encoder.encode_passages(["a" * 60 + "!"])
    with pytest.raises(DamagedFile, match=r"tokenizer\.json: cannot encode golden pairs"):
        compare_golden(FakeBackend(overlap), encoder, bundle)
    # A runtime is no more asked, and the error is the bundle's.
    with pytest.raises(DamagedFile):
        choose_backend(bundle, encoder, ONE_THREAD, folder.parent / "cache")


def test_a_tokenizer_with_a_token_that_the_graph_has_no_row_for(folder: Path) -> None:
    # An array as long as the largest id would have 34 GB.
    bundle = spoil_tokenizer(folder, lambda raw: raw["model"]["vocab"].update(zebra=2**32 - 1))
    with pytest.raises(DamagedFile, match="id 4294967295, and the graph knows 166"):
        bundle.encoder()


def test_golden_pairs_by_the_hundred_thousand(folder: Path) -> None:
    line = (folder / "golden.jsonl").read_bytes().splitlines(keepends=True)[-1]
    bundle = spoil(folder, "golden.jsonl", line * 40_000)
    start = time.perf_counter()
    with pytest.raises(InvalidGolden, match="40000 golden pairs"):
        _ = bundle.golden
    assert time.perf_counter() - start < 1


def outside(folder: Path, location: str) -> None:
    """Let the graph keep its weights in a file named `location`, in the same folder."""
    graph = folder / "model.onnx"
    # Small tensors hold shapes, which have to be inside.
    onnx.save_model(
        onnx.load(graph),
        graph,
        save_as_external_data=True,
        location=location,
        size_threshold=1024,
    )


def from_file(graph: Path, info: BackendInfo) -> OnnxRuntimeBackend | OpenVinoBackend:
    """A backend that reads a graph by its path, as a careless server would."""
    kind = OnnxRuntimeBackend if info.backend == "onnxruntime" else OpenVinoBackend
    return kind(graph, threads=1)


@pytest.mark.parametrize("info", RUNTIMES, ids=str)
@pytest.mark.parametrize("location", ["weights.bin", ".weights", "manifest.sig", "README.md"])
def test_weights_outside_of_the_graph_are_not_loaded(
    folder: Path,
    tmp_path: Path,
    info: BackendInfo,
    location: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (folder / "README.md").unlink()
    monkeypatch.chdir(folder)
    outside(folder, location)
    (folder / "README.md").touch()
    # The attack works: both runtimes load them.
    assert from_file(folder / "model.onnx", info).infer(same_batch(1, 4, 5)).shape == (1, 3)
    seal(folder)
    if location == "README.md":
        # A file that has a hash; but no other file is a graph's business.
        bundle = read_bundle(folder)
    else:
        with pytest.raises(DamagedFile):
            read_bundle(folder)
        # It could be put there later, or lie in the working directory.
        (folder / location).rename(tmp_path / location)
        bundle = read_bundle(folder)
    monkeypatch.chdir(folder if location == "README.md" else tmp_path)
    with pytest.raises(DamagedFile, match="keeps weights in a second file"):
        load_backend(info, bundle, ONE_THREAD, tmp_path / "cache")
    with pytest.raises(DamagedFile, match="keeps weights in a second file"):
        choose_backend(bundle, bundle.encoder(), ONE_THREAD, tmp_path / "cache")
    with pytest.raises(DamagedFile, match="keeps weights in a second file"):
        write_bundle(
            tmp_path / "new",
            manifest=bundle.manifest,
            graph=bundle.graph_path,
            tokenizer=bundle.tokenizer_path,
            golden=bundle.golden,
        )


@pytest.mark.parametrize("info", RUNTIMES, ids=str)
def test_a_length_that_is_written_longer_hides_nothing(
    folder: Path, tmp_path: Path, info: BackendInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "README.md").unlink()
    monkeypatch.chdir(folder)
    outside(folder, "weights.bin")
    (folder / "README.md").touch()
    # A reader of protobuf takes 88 00 for 8; with a name that is one shorter all else can stay.
    short, long = b"\x0a\x08location\x12\x0bweights.bin", b"\x0a\x88\x00location\x12\x0aweight.bin"
    content = (folder / "model.onnx").read_bytes()
    assert short in content
    (folder / "weights.bin").rename(folder / "weight.bin")
    (folder / "model.onnx").write_bytes(content.replace(short, long))
    assert from_file(folder / "model.onnx", info).infer(same_batch(1, 4, 5)).shape == (1, 3)
    (folder / "weight.bin").unlink()
    seal(folder)
    with pytest.raises(DamagedFile, match="keeps weights in a second file"):
        load_backend(info, read_bundle(folder), ONE_THREAD, tmp_path / "cache")


def test_a_compiled_engine_is_not_loaded(folder: Path, tmp_path: Path) -> None:
    model = onnx.load(folder / "model.onnx")
    node = onnx.helper.make_node(
        "EPContext", [], ["x"], domain="com.microsoft", ep_cache_context="engine", embed_mode=0
    )
    model.graph.node.append(node)
    bundle = spoil(folder, "model.onnx", model.SerializeToString())
    with pytest.raises(DamagedFile, match="a compiled part"):
        load_backend(RUNTIMES[0], bundle, ONE_THREAD, tmp_path / "cache")


@pytest.mark.parametrize("info", RUNTIMES, ids=str)
def test_a_graph_that_is_replaced_after_its_hash_was_checked(
    folder: Path, tmp_path: Path, info: BackendInfo
) -> None:
    bundle = read_bundle(folder)
    other = onnx.load(folder / "model.onnx")
    other.graph.doc_string = "another graph, which would load as well"
    onnx.save_model(other, folder / "model.onnx")
    with pytest.raises(DamagedFile, match=r"model\.onnx: sha256 is"):
        load_backend(info, bundle, ONE_THREAD, tmp_path / "cache")


@pytest.mark.parametrize(
    ("name", "use"),
    [
        ("tokenizer.json", lambda bundle: bundle.encoder()),
        ("golden.jsonl", lambda bundle: bundle.golden),
        ("manifest.json", lambda bundle: bundle.read("manifest.json")),
    ],
)
def test_a_file_that_is_replaced_after_its_hash_was_checked(
    folder: Path, name: str, use: Callable[[Bundle], object]
) -> None:
    bundle = read_bundle(folder)
    with (folder / name).open("ab") as file:
        file.write(b"\n")
    with pytest.raises(DamagedFile, match="sha256 is"):
        use(bundle)
    (folder / name).rename(folder / "moved")
    (folder / name).symlink_to(folder / "moved")
    with pytest.raises(DamagedFile, match="is a link"):
        use(bundle)
    (folder / name).unlink()
    with pytest.raises(MissingFile):
        use(bundle)


def test_every_error_is_of_one_kind() -> None:
    for kind in (DamagedFile, InvalidGolden, InvalidManifest, MissingFile):
        assert issubclass(kind, BundleError)
