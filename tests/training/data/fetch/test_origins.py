"""Every set of the catalog has an origin, and only what a licence allows is downloaded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from retort.cli import app
from retort.training.data.catalog import CATALOG
from retort.training.data.fetch.origins import LISTS, ORIGINS, wanted
from retort.training.data.readers.hub import HUB_SETS
from retort.training.data.readers.rows import DataError

RUNNER = CliRunner()


def test_every_set_says_how_it_is_got() -> None:
    assert set(ORIGINS) == {*CATALOG, LISTS}
    for name, origin in ORIGINS.items():
        assert origin.files or origin.by_hand, name
        assert origin.hub in ("", *HUB_SETS)
        assert len({file.name for file in origin.files}) == len(origin.files)
        for file in origin.files:
            assert file.url.startswith("https://")
            assert len(file.sha256) in (0, 64)
            assert file.sha256 or "githubusercontent" not in file.url


def test_only_sets_whose_licence_allows_it_are_downloaded() -> None:
    free = ("MIT", "Apache-2.0", "CC BY-SA 4.0", "CC BY-SA 3.0", "CC BY 4.0")
    downloaded = {item.name: item.licence for item in wanted([]) if item.origin.files}
    assert {"squad", "squad-nqg", "qed", "selqa", "neuronblocks", "qnli"} == set(downloaded)
    assert set(downloaded.values()) <= set(free)


def test_an_unknown_name_is_told() -> None:
    with pytest.raises(DataError, match="no data set squadd: there are amazon, boolq"):
        wanted(["squadd"])


def test_the_command_says_where_each_set_comes_from_and_goes(tmp_path: Path) -> None:
    root = tmp_path / "not-there-yet"
    words = ["data", "fetch", "wikiqa", "qed", "--dry-run", "--data", str(root)]
    result = RUNNER.invoke(app, words)
    assert result.exit_code == 0, result.output
    assert f"{root / 'qed_nq'}: 0 of 7 files are there" in result.stdout
    assert "Accept the licence" in result.stdout
    assert "hub:wikiqa/SPLIT" in result.stdout
    told = json.loads(RUNNER.invoke(app, [*words, "--json"]).stdout)
    assert [(item["name"], item["licence"]) for item in told] == [
        ("wikiqa", "Microsoft Research Data License"), ("qed", "CC BY-SA 3.0"),
    ]  # fmt: skip
    assert not root.exists()


def test_a_set_that_cannot_be_had_ends_with_status_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    result = RUNNER.invoke(app, ["data", "fetch", "squad", "wikiqa", "--data", str(tmp_path)])
    assert result.exit_code == 1
    assert "Accept the licence" in result.stdout
    assert "squad: https://rajpurkar.github.io" in result.stderr
