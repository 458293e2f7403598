"""`retort serve --model`: a cross-encoder that becomes a bundle, and what it then scores."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest

from retort.models.errors import StartError
from retort.service.bundled import bundle_of
from tests.service.running import ended_at_start, server
from tests.tiny_texts import PASSAGES, QUERIES


class Exports:
    """Stands for `retort export`: notes what it is asked for and writes a manifest or fails."""

    def __init__(self, status: int = 0) -> None:
        self.commands: list[list[str]] = []
        self.status = status

    def __call__(self, command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        self.commands.append(command[3:])
        if self.status == 0:
            folder = Path(command[5])
            folder.mkdir(parents=True)
            (folder / "manifest.json").write_text("{}")
        return subprocess.CompletedProcess(command, self.status)


@pytest.fixture
def exports(monkeypatch: pytest.MonkeyPatch) -> Exports:
    made = Exports()
    monkeypatch.setattr(subprocess, "run", made)
    return made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "my ranker"
    place.mkdir()
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        (place / name).write_text(name)
    return place


def test_a_bundle_is_made_once_for_the_same_files(
    exports: Exports, folder: Path, tmp_path: Path
) -> None:
    first = bundle_of(str(folder), tmp_path / "cache")
    assert exports.commands == [
        ["export", str(folder), str(first), "--name", "my-ranker", "--exact"]
    ]
    assert first.parent == tmp_path / "cache" / "models"
    (folder / "README.md").write_text("nothing that decides a score")
    assert bundle_of(str(folder), tmp_path / "cache") == first
    folder.rename(tmp_path / "my ranker moved")
    assert len(exports.commands) == 1


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_other_files_are_another_bundle(
    name: str, exports: Exports, folder: Path, tmp_path: Path
) -> None:
    first = bundle_of(str(folder), tmp_path / "cache")
    (folder / name).write_text("changed")
    assert bundle_of(str(folder), tmp_path / "cache") != first
    assert len(exports.commands) == 2


def test_an_export_that_fails_ends_the_start(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subprocess, "run", Exports(status=1))
    with pytest.raises(StartError, match="could not become one"):
        bundle_of(str(folder), tmp_path / "cache")


def test_a_name_that_no_hub_gives_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(StartError, match="nobody/nothing: no folder here, and no model"):
        bundle_of("nobody/nothing", tmp_path)


@pytest.mark.parametrize("model", ["./nowhere", "/nowhere/model", "models/nowhere/checkpoint"])
def test_a_folder_that_is_not_there_is_no_name_of_the_hub(model: str, tmp_path: Path) -> None:
    with pytest.raises(StartError, match=f"{model}: no such folder"):
        bundle_of(model, tmp_path)


@pytest.mark.slow
def test_bundle_and_model_are_one_too_many() -> None:
    ended = ended_at_start("--bundle", "retort-small", "--model", "m")
    assert ended.returncode == 1
    assert ended.stderr == "error: --bundle and --model m: give one of the two\n"


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["bert", "roberta"])
def test_a_server_gives_the_scores_of_the_cross_encoder(architecture: str, tmp_path: Path) -> None:
    from sentence_transformers import CrossEncoder

    from tests.architectures import save_cross_encoder

    folder = save_cross_encoder(tmp_path / architecture, architecture)
    asked: dict[str, Any] = {"query": QUERIES[0], "passages": PASSAGES}
    with server("--model", str(folder), "--cache-dir", str(tmp_path / "cache")) as running:
        found = httpx.post(f"{running.url}/score", json=asked, timeout=60).json()
        info = httpx.get(f"{running.url}/info").json()
    model = CrossEncoder(str(folder), device="cpu")
    expected = model.predict([(asked["query"], p) for p in PASSAGES], show_progress_bar=False)
    scores = {row["index"]: row["score"] for row in found["results"]}
    assert [scores[row] for row in range(len(PASSAGES))] == pytest.approx(expected, abs=1e-3)
    assert found["model"] == architecture
    assert info["model"]["name"] == architecture
