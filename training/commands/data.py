"""The commands `retort data …`: list, read, build and divide training data.

Heavy imports stay inside the commands, so that `retort --help` is quick and a serve-only
installation can show it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from retort.training.commands.common import (
    DataOption,
    JsonOption,
    Overrides,
    RecipeArgument,
    answer,
    check_places,
    load_plan,
    log,
)
from retort.training.commands.pairs import (
    ColumnsOption,
    ContradictionsOption,
    LargestOption,
    RelevantOption,
    layout_of,
    read_source,
)

if TYPE_CHECKING:
    from retort.training.data.evaluation_set import EvaluationSet
    from retort.training.data.pairs import Pair

SkipOption = Annotated[
    bool, typer.Option("--skip-bad", help="Leave malformed rows out and count them.")
]

TokenizerOption = Annotated[
    str | None,
    typer.Option(
        "--tokenizer",
        help="A model, by folder, package:NAME or hub name: say how much of the text its "
        "vocabulary does not know.",
    ),
]


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    data = typer.Typer(no_args_is_help=True, help="List, read and build training data.")
    data.command("list")(list_command)
    data.command("fetch")(fetch_command)
    data.command("show")(show_command)
    data.command("build")(build_command)
    data.command("sets")(sets_command)
    data.command("tasks")(tasks_command)
    data.command("divide")(divide_command)
    app.add_typer(data, name="data")


def list_command(as_json: JsonOption = False) -> None:
    """List the data sets and lists of questions that Retort reads, with their licences.

    Example: retort data list
    """
    from retort.training.data.catalog import CATALOG, LIST_NAMES, QUESTION_LISTS
    from retort.training.data.readers.hub import HUB_SETS

    if as_json:
        rows: list[dict[str, Any]] = [
            {
                "name": d.name, "licence": d.licence, "shippable": d.shippable,
                "splits": [split.name for split in d.splits],
                "held_out": [split.name for split in d.splits if split.held_out],
            }
            for d in CATALOG.values()
        ]  # fmt: skip
        lists = [
            {"name": q.name, "licence": q.licence, "shippable": q.shippable}
            for q in QUESTION_LISTS.values()
        ]
        hub = [f"hub:{name}" for name in HUB_SETS]
        typer.echo(json.dumps({"datasets": rows, "questions": lists, "hub": hub}, indent=1))
        return
    for dataset in CATALOG.values():
        splits = ", ".join(s.name + (" (held out)" if s.held_out else "") for s in dataset.splits)
        ship = "" if dataset.shippable else "; not for shipped models"
        typer.echo(
            f"{dataset.name:14} {dataset.summary}\n{'':14} {splits}; {dataset.licence}{ship}"
        )
    typer.echo(f"{'questions':14} {', '.join(LIST_NAMES)}")
    typer.echo(f"{'hub':14} {', '.join(f'hub:{name}/SPLIT' for name in HUB_SETS)}")
    typer.echo("`retort data fetch` says where they come from, and gets what it may")


def fetch_command(
    names: Annotated[
        list[str] | None, typer.Argument(help="Names of `retort data list`; none for all.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say where the sets come from; download nothing.")
    ] = False,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Download data sets whose licences allow it, and say how to get the others.

    A file that is there is left as it is, and one that came in part is continued.

    Example: retort data fetch squad-nqg qed selqa
    """
    from retort.training.data.catalog import data_place
    from retort.training.data.fetch.download import DownloadError, fetch, held
    from retort.training.data.fetch.origins import wanted

    root = data_place(data)
    faults, told = [], []
    for item in wanted(names or []):
        try:
            new = [] if dry_run else fetch(item, root, log)
            lacking = [file for file in item.origin.files if held(root / item.folder, file) is None]
        except DownloadError as error:
            faults.append(f"{item.name}: {error}")
            continue
        told.append(
            {
                "name": item.name, "licence": item.licence, "page": item.origin.page,
                "folder": str(root / item.folder), "files": len(item.origin.files),
                "new": len(new), "lacking": len(lacking), "by_hand": item.origin.by_hand,
                "hub": item.origin.hub and f"hub:{item.origin.hub}/SPLIT",
            }
        )  # fmt: skip
    answer(told, "\n".join(_place_lines(told)), as_json)
    if faults:
        raise DownloadError("\n  ".join(["these sets are not whole:", *faults]))


def _place_lines(told: list[dict[str, Any]]) -> list[str]:
    lines = []
    for item in told:
        files, new, lacking = item["files"], item["new"], item["lacking"]
        state = f"{files - lacking} of {files} files are there" + (f", {new} new" if new else "")
        lines += [f"{item['name']:14} {item['licence']}; {item['page'] or 'not published'}"]
        lines += [f"{'':14} {item['folder']}" + (f": {state}" if files else "")]
        lines += [f"{'':14} by hand: {item['by_hand']}"] if item["by_hand"] else []
        lines += [f"{'':14} or as {item['hub']} in a recipe"] if item["hub"] else []
    return lines


def show_command(
    source: Annotated[
        str, typer.Argument(help="name/split, or a file: .tsv, .csv, .jsonl or .parquet.")
    ],
    rows: Annotated[int, typer.Option(help="How many pairs to print.")] = 3,
    columns: ColumnsOption = None,
    largest: LargestOption = None,
    tokenizer: TokenizerOption = None,
    data: DataOption = None,
    skip_bad: SkipOption = False,
    as_json: JsonOption = False,
) -> None:
    """Read a data set whole, count it, and print its first pairs.

    Example: retort data show wikiqa/dev --rows 5
    """
    from retort.training.data.catalog import read_any
    from retort.training.data.contradictions import contradictions
    from retort.training.data.readers.rows import BadRows

    bad = BadRows(skip_bad, offered=True)
    found = read_any(source, data, bad, layout_of(columns, largest))
    pairs = found.pairs
    facts = {
        "source": source,
        "pairs": len(pairs),
        "queries": len({pair.query_key for pair in pairs}),
        "labelled": sum(pair.label is not None for pair in pairs),
        "positive": sum(pair.right for pair in pairs),
        "contradictory": len(contradictions(pairs)),
        "skipped": bad.count,
    }
    if tokenizer is not None:
        facts["unknown"] = _unknown_share(tokenizer, pairs)
    if found.graded:
        log(f"{source}: {found.graded}")
    lines = [", ".join(f"{key} {value}" for key, value in facts.items())]
    lines += [f"  {pair.label}  {pair.query}  |  {pair.passage[:100]}" for pair in pairs[:rows]]
    answer(facts, "\n".join(lines), as_json)


def build_command(
    recipe: RecipeArgument,
    overrides: Overrides = None,
    tokenizer: TokenizerOption = None,
    data: DataOption = None,
    skip_bad: SkipOption = False,
    as_json: JsonOption = False,
) -> None:
    """Build a pair table: labelled pairs, BM25 negatives, stage-1 candidates.

    Example: retort data build recipes/stage1.yaml questions.limit=10000
    """
    from retort.training.data.corpus import build_corpus
    from retort.training.data.readers.rows import BadRows
    from retort.training.data.table import write_table
    from retort.training.recipes.corpus import CorpusRecipe

    plan = load_plan(recipe, overrides, CorpusRecipe)
    check_places(plan, recipe)
    bad = BadRows(skip_bad, offered=True)
    embedder = None
    if plan.dense_teacher is not None:
        from retort.training.teachers.scoring.bi_encoder import load_embedder

        embedder = load_embedder(plan.dense_teacher)
    table = build_corpus(plan, data, bad, log, embedder)
    write_table(plan.out, table)
    if bad.count:
        log(f"{bad.count} malformed rows left out, the first at {bad.places[0]}")
    facts: dict[str, Any] = {
        "out": str(plan.out), "pairs": len(table), "skipped": bad.count,
    }  # fmt: skip
    if tokenizer is not None:
        facts["unknown"] = _unknown_share(tokenizer, table.pairs)
    answer(facts, f"{plan.out}: {len(table)} pairs", as_json)


def _unknown_share(place: str, pairs: Sequence[Pair]) -> float:
    """The share of tokens that the model at `place` does not know; too large a one is said."""
    from retort.training.nn.vocabulary import tokenizer_of, unknown_in_pairs, unknown_warning

    found = unknown_in_pairs(tokenizer_of(place), pairs)
    if warning := unknown_warning(place, found):
        log(warning)
    return round(found.share, 4)


def sets_command(
    out: Annotated[Path, typer.Argument(help="Folder to write to.")] = Path("runs/sets"),
    queries: Annotated[int, typer.Option(help="Queries per re-ranking set.")] = 150,
    depth: Annotated[int, typer.Option(min=2, help="BM25 passages per query.")] = 100,
    choose_queries: Annotated[
        int, typer.Option(min=1, help="Queries of the re-ranking set that chooses.")
    ] = 100,
    choose: Annotated[
        list[str] | None, typer.Option(help="Only this validation set; repeatable.")
    ] = None,
    long_queries: Annotated[int, typer.Option(min=1, help="Questions per long set.")] = 300,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Build the evaluation sets: OUT/measure from test splits, OUT/choose from validation splits.

    OUT/parity holds the pairs by which an exported graph is judged; OUT/long passages of 300 words
    with the answer at several depths.

    Example: retort data sets runs/sets --queries 150
    """
    from retort.training.data.catalog import data_root
    from retort.training.data.long_sets import long_sets
    from retort.training.data.sets import (
        SEED,
        choose_sets,
        measure_sets,
        named,
        parity_pairs,
        ranking,
    )

    root = data_root(data)
    made = {
        "measure": measure_sets(root, queries, depth),
        "choose": choose_sets(root, depth, choose_queries),
    }
    if choose:
        made["choose"] = named(made["choose"], choose)
    made["parity"] = [ranking("parity", parity_pairs(made["measure"]), "nDCG@10")]
    made["long"] = long_sets(root, long_queries, SEED)
    _write_sets(out, made, as_json)


def tasks_command(
    out: Annotated[Path, typer.Argument(help="Folder to write to.")] = Path("runs/sets/tasks"),
    cap: Annotated[int, typer.Option(help="Most pairs per set.")] = 3000,
    task: Annotated[list[str] | None, typer.Option(help="Only this task; repeatable.")] = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Build the sentence tasks' evaluation sets: OUT/TASK/measure and OUT/TASK/choose.

    Example: retort data tasks runs/study/sets --task rte
    """
    from retort.training.data.catalog import data_root
    from retort.training.data.sets import TASKS, task_sets

    unknown = set(task or ()) - {item.name for item in TASKS}
    if unknown:
        known = ", ".join(item.name for item in TASKS)
        raise ValueError(f"no task {', '.join(sorted(unknown))}: there are {known}")
    root = data_root(data)
    made = {}
    for item in TASKS:
        if not task or item.name in task:
            measure, choose = task_sets(root, item, cap)
            made[f"{item.name}/measure"], made[f"{item.name}/choose"] = [measure], [choose]
    _write_sets(out, made, as_json)


def _write_sets(out: Path, made: Mapping[str, list[EvaluationSet]], as_json: bool) -> None:
    from retort.training.data.evaluation_set import write_sets

    for name, sets in made.items():
        write_sets(out / name, sets)
    facts = {f"{name}/{s.name}": len(s.pairs) for name, sets in made.items() for s in sets}
    lines = [f"{out}/{name}: {count} pairs" for name, count in facts.items()]
    answer(facts, "\n".join(lines), as_json)


def divide_command(
    source: Annotated[
        str,
        typer.Argument(
            help="Labelled pairs: a file (.tsv, .csv, .jsonl or .parquet), or name/split."
        ),
    ],
    out: Annotated[Path, typer.Argument(help="Folder to write to.")],
    choose: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Share that chooses and calibrates.")
    ] = 0.1,
    measure: Annotated[float, typer.Option(min=0.0, max=1.0, help="Share that is reported.")] = 0.2,
    columns: ColumnsOption = None,
    largest: LargestOption = None,
    relevant: RelevantOption = None,
    contradictions: ContradictionsOption = "mean",
    data: DataOption = None,
    skip_bad: SkipOption = False,
    as_json: JsonOption = False,
) -> None:
    """Divide your own labelled pairs by query: OUT/train.jsonl, OUT/choose and OUT/measure.

    Learn from the first, calibrate and choose by the second, report the third.

    Example: retort data divide clicks.tsv runs/mine
    """
    from retort.training.data.evaluation_set import name_of
    from retort.training.data.pairs import RIGHT
    from retort.training.data.readers.own import form_of
    from retort.training.data.readers.rows import BadRows
    from retort.training.data.sets import divide, write_parts

    bad = BadRows(skip_bad, offered=True)
    found = read_source(source, data, bad, layout_of(columns, largest), contradictions)
    parts = divide(
        found.pairs,
        name_of(Path(source)) if form_of(source) else source.replace("/", "-"),
        choose,
        measure,
        relevant=RIGHT if relevant is None else relevant / found.largest,
        largest=found.largest,
    )
    write_parts(out, parts)
    facts = {
        "train": len(parts.train), "choose": len(parts.choose.pairs),
        "measure": len(parts.measure.pairs), "kind": parts.measure.kind, "skipped": bad.count,
    }  # fmt: skip
    counts = ", ".join(f"{key} {value}" for key, value in facts.items())
    answer(facts, f"{counts} in {out}", as_json)
