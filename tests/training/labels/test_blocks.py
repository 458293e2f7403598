"""Blocks and shards: processes divide the pairs, and their merge is what one would write."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from retort.parallel.shards import Shard, shard_of
from retort.training.data.pairs import Pair
from retort.training.data.table import PairTable, write_table
from retort.training.labels.blocks import cut
from retort.training.labels.label import label, label_recipe, merge_recipe, score_missing
from retort.training.labels.store import HiddenStates, ScoreStore, StoreError, pair_keys
from retort.training.recipes.distill import DistillRecipe
from retort.training.recipes.load import parse_recipe
from retort.training.teachers.scoring.checkpoint import CrossEncoder
from retort.training.teachers.scoring.scorer import Scorer, Scores
from tests.training.backbones import save_backbone
from tests.training.saved_teachers import save_checkpoint

PAIRS = [Pair(f"q{n}", f"p{n} w{n % 7}") for n in range(23)]


@dataclass(frozen=True)
class CountingTeacher(Scorer):
    """Scores a pair by its number, and notes what it was asked."""

    block_pairs: ClassVar[int] = 4

    name: str = "number"
    identity: str = "abc"
    asked: list[str] = field(default_factory=list)

    def score(self, pairs: Sequence[Pair], progress: bool = False) -> Scores:
        self.asked.extend(pair.query for pair in pairs)
        return np.array([float(pair.query[1:]) for pair in pairs], dtype=np.float32)


def quiet(text: str) -> None:
    return None


def content(folder: Path) -> dict[str, bytes]:
    """Every file below `folder`, by its name."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_blocks_are_the_same_whatever_was_there_and_share_no_pair() -> None:
    blocks = cut([*PAIRS, *PAIRS], PAIRS[5:12], 4)
    assert [len(block) for block in blocks] == [4, 3, 4, 4, 4, 4]
    assert [block.hidden for block in blocks] == [True, True, False, False, False, False]
    keys = np.concatenate([block.keys for block in blocks])
    assert sorted(keys) == sorted(pair_keys(PAIRS))
    assert [block.pairs for block in blocks] == [b.pairs for b in cut(PAIRS, PAIRS[5:12], 4)]


@pytest.mark.parametrize("of", [1, 2, 3, 9])
def test_every_block_is_of_one_shard(of: int) -> None:
    shards = [Shard(number, of) for number in range(1, of + 1)]
    blocks = cut(PAIRS, (), 4)
    own = [shard.own(blocks) for shard in shards]
    assert [id(block) for part in own for block in part] == [id(block) for block in blocks]
    assert max(map(len, own)) - min(map(len, own)) <= 1


@pytest.mark.parametrize("text", ["", "1", "0/3", "4/3", "1/0", "-1/3", "1/3/5", "a/b"])
def test_what_is_no_shard_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="--shard"):
        shard_of(text)


def test_a_killed_shard_repeats_only_its_block(tmp_path: Path) -> None:
    shard = Shard(1, 2)
    whole = CountingTeacher()
    score_missing(whole, PAIRS, ScoreStore(tmp_path / "whole"), quiet, shard=shard)
    parts = sorted((tmp_path / "whole" / "abc").glob("part-*"))
    assert len(parts) == 3
    parts[1].unlink()
    again = CountingTeacher()
    score_missing(again, PAIRS, ScoreStore(tmp_path / "whole"), quiet, shard=shard)
    assert len(again.asked) in (3, 4)
    assert set(again.asked) < set(whole.asked)
    assert sorted((tmp_path / "whole" / "abc").glob("part-*")) == parts


def test_what_is_scored_twice_is_kept_once(tmp_path: Path) -> None:
    here = ScoreStore(tmp_path / "here").teacher("number", "abc")
    there = ScoreStore(tmp_path / "there").teacher("number", "abc")
    keys = pair_keys(PAIRS)
    here.add(keys[:6], np.arange(6), "one")
    there.add(keys[4:10], np.arange(4, 10) + 100, "two")
    there.add(keys[10:], np.arange(10, 23), "two")
    assert here.take_over(there.folder) == 17
    for found in (here, ScoreStore(tmp_path / "here").teacher("number", "abc")):
        assert found.lookup(keys).tolist() == [*range(6), *range(106, 110), *range(10, 23)]
        assert found.engines == {"one", "two"}
    assert here.take_over(there.folder) == 0


def make_recipe(
    folder: Path, backbone: Path, teachers: Sequence[object], more: Sequence[dict[str, object]] = ()
) -> DistillRecipe:
    """A recipe of `PAIRS`, 10 of source a and 13 of b, in one stage; `more` stages differ in that.

    Scores are kept in `single`.
    """
    table = PairTable(tuple(PAIRS), ["a"] * 10 + ["b"] * 13, {})
    write_table(folder / "table.parquet", table)
    stage = {"table": str(folder / "table.parquet"), "alpha": 1.0}
    found = parse_recipe(
        {
            "kind": "distill",
            "name": "s",
            "method": "tmkd",
            "student": {"init": str(backbone), "layers": [0]},
            "teachers": list(teachers),
            "stages": [stage, *({**stage, **one} for one in more)],
            "store": str(folder / "single"),
            "out": str(folder / "run"),
        }
    )
    assert isinstance(found, DistillRecipe)
    return found


@pytest.fixture
def recipe(tmp_path: Path) -> DistillRecipe:
    """Two teachers of ours, one with hidden states for the second stage; blocks of 8 pairs."""
    backbone = save_backbone(tmp_path / "backbone")
    checkpoint = save_checkpoint(tmp_path / "ce", backbone)
    teachers = [
        {"name": "ce", "path": str(checkpoint), "hidden": True},
        {"name": "bi", "path": str(backbone), "kind": "bi-encoder", "sources": ["b"]},
    ]
    return make_recipe(tmp_path, backbone, teachers, [{"sources": ["b"], "hidden": 1.0}])


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Scorer, "block_pairs", 4)
    monkeypatch.setattr(
        "retort.training.teachers.scoring.bi_encoder.BiEncoderScorer.block_pairs", 4
    )


def stored_at(recipe: DistillRecipe, store: Path) -> DistillRecipe:
    return recipe.model_copy(update={"store": store})


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("shared", [True, False])
def test_merged_shards_are_byte_for_byte_what_one_process_writes(
    tmp_path: Path, recipe: DistillRecipe, shared: bool
) -> None:
    counts = label_recipe(recipe, (), quiet)
    assert counts == {"ce": 23, "bi": 13}
    target = stored_at(recipe, tmp_path / "merged")
    stores = [tmp_path / ("merged" if shared else f"shard-{n}") for n in (1, 2, 3)]
    for number, store in enumerate(stores, start=1):
        label_recipe(stored_at(recipe, store), (), quiet, shard=Shard(number, 3))
        assert not list(store.rglob("teacher.json"))
    found = merge_recipe(target, (), 3, [] if shared else stores, quiet)
    assert found == counts
    assert content(tmp_path / "merged") == content(tmp_path / "single")
    # Every file is there: of 23 pairs in blocks of 4 (13 and 10), and of 13; and two scales.
    names = content(tmp_path / "merged")
    assert sum(name.endswith(".parquet") for name in names) == 4 + 3 + 4
    assert sum(name.endswith(".keys.npy") for name in names) == 4
    assert sum(name.endswith("teacher.json") for name in names) == 2


@pytest.mark.usefixtures("small_blocks")
def test_a_merge_says_which_shards_are_missing_and_goes_on_when_they_come(
    tmp_path: Path, recipe: DistillRecipe
) -> None:
    label_recipe(recipe, (), quiet)
    target = stored_at(recipe, tmp_path / "merged")
    for number in (1, 3):
        label_recipe(target, (), quiet, shard=Shard(number, 4))
    # A shard that was killed before its last block.
    late = stored_at(recipe, tmp_path / "late")
    label_recipe(late, ["ce"], quiet, shard=Shard(2, 4))
    killed = sorted(late.store.rglob("part-*.parquet"))[-1]
    killed.unlink()
    with pytest.raises(StoreError) as told:
        merge_recipe(target, (), 4, [late.store], quiet)
    assert "2 of 4 shards" in str(told.value)
    assert "shard 2/4: ce lacks" in str(told.value)
    assert "in 1 of its 2 blocks, bi lacks 4 pairs in 1 of its 1 block" in str(told.value)
    assert "shard 4/4: ce lacks 6 pairs in 2 of its 2 blocks, bi lacks 1 pair" in str(told.value)
    assert "1/4" not in str(told.value)
    assert "3/4" not in str(told.value)
    assert not list(target.store.rglob("teacher.json"))
    for number in (2, 4):
        label_recipe(stored_at(recipe, late.store), (), quiet, shard=Shard(number, 4))
    merge_recipe(target, (), 4, [late.store], quiet)
    assert content(target.store) == content(recipe.store)


def test_vectors_are_merged_too(tmp_path: Path) -> None:
    keys = pair_keys(PAIRS)
    vectors = np.random.default_rng(0).standard_normal((23, 4)).astype(np.float32)
    here, there = HiddenStates(tmp_path / "here", "ce"), HiddenStates(tmp_path / "there", "ce")
    here.add(keys[:10], vectors[:10])
    there.add(keys[5:], vectors[5:])
    here.take_over(there.folder)
    found = HiddenStates(tmp_path / "here", "ce").lookup(keys).numpy()
    np.testing.assert_array_equal(found, vectors.astype(np.float16))


def test_hidden_states_are_of_cross_encoders_alone(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="number is no cross-encoder"):
        label(CountingTeacher(), PAIRS, ScoreStore(tmp_path), quiet, matched=PAIRS)


@pytest.mark.slow
def test_processes_label_at_the_same_time_into_one_store(
    tmp_path: Path, recipe: DistillRecipe
) -> None:
    path = tmp_path / "recipe.yaml"
    target = stored_at(recipe, tmp_path / "merged")
    path.write_text(target.model_dump_json())
    call = [sys.executable, "-m", "retort", "label", str(path)]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    running = [subprocess.Popen([*call, "--shard", f"{n}/2"], env=env) for n in (1, 2)]
    assert [process.wait(300) for process in running] == [0, 0]
    merged = subprocess.run(
        [*call, "--merge", "2", "--json"], env=env, capture_output=True, text=True, check=False
    )
    assert merged.returncode == 0, merged.stderr
    assert json.loads(merged.stdout) == {"ce": 23, "bi": 13}
    label_recipe(recipe, (), quiet)
    assert content(target.store) == content(recipe.store)
    assert CrossEncoder.block_pairs > len(PAIRS)  # one block each, so one shard had none
