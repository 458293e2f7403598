"""The training commands: data, teach, label, distill, validate.

Heavy imports stay inside the commands, so that `retort --help` is quick and a serve-only
installation can show it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from retort.training.commands.told import log, reported

RecipeArgument = Annotated[Path, typer.Argument(help="The recipe, a YAML file.")]
Overrides = Annotated[
    list[str] | None, typer.Argument(help="key=value, as in seed=7 or optimiser.lr=2e-5.")
]
DataOption = Annotated[
    Path | None,
    typer.Option("--data", help="Folder of data sets; RETORT_DATA where it is not given."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
SkipOption = Annotated[
    bool, typer.Option("--skip-bad", help="Leave malformed rows out and count them.")
]


def register(app: typer.Typer) -> None:
    """Add the training commands to `app`."""
    data = typer.Typer(no_args_is_help=True, help="List, read and build training data.")
    data.command("list")(list_command)
    data.command("show")(show_command)
    data.command("build")(build_command)
    data.command("sets")(sets_command)
    data.command("tasks")(tasks_command)
    data.command("divide")(divide_command)
    app.add_typer(data, name="data")
    app.command("teach")(teach_command)
    app.command("label")(label_command)
    app.command("distill")(distill_command)
    app.command("methods")(methods_command)
    app.command("validate")(validate_command)


def list_command(as_json: JsonOption = False) -> None:
    """List the data sets and lists of questions that Retort reads, with their licences.

    Example: retort data list
    """
    from retort.training.data.catalog import CATALOG, QUESTION_LISTS

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
        typer.echo(json.dumps({"datasets": rows, "questions": lists}, indent=1))
        return
    for dataset in CATALOG.values():
        splits = ", ".join(s.name + (" (held out)" if s.held_out else "") for s in dataset.splits)
        ship = "" if dataset.shippable else "; not for shipped models"
        typer.echo(
            f"{dataset.name:14} {dataset.summary}\n{'':14} {splits}; {dataset.licence}{ship}"
        )
    typer.echo(f"{'questions':14} {', '.join([*QUESTION_LISTS, 'web-queries'])}")


def show_command(
    source: Annotated[str, typer.Argument(help="name/split, or the path of a .tsv or .jsonl.")],
    rows: Annotated[int, typer.Option(help="How many pairs to print.")] = 3,
    data: DataOption = None,
    skip_bad: SkipOption = False,
    as_json: JsonOption = False,
) -> None:
    """Read a data set whole, count it, and print its first pairs.

    Example: retort data show wikiqa/dev --rows 5
    """
    from retort.training.data.readers.own_pairs import read_any
    from retort.training.data.readers.rows import BadRows

    with reported():
        bad = BadRows(skip_bad)
        pairs = read_any(source, data, bad)
    facts = {
        "source": source,
        "pairs": len(pairs),
        "queries": len({pair.query_key for pair in pairs}),
        "positive": sum((pair.label or 0.0) > 0.5 for pair in pairs),
        "skipped": len(bad.places),
    }
    if as_json:
        typer.echo(json.dumps(facts))
        return
    typer.echo(", ".join(f"{key} {value}" for key, value in facts.items()))
    for pair in pairs[:rows]:
        typer.echo(f"  {pair.label}  {pair.query}  |  {pair.passage[:100]}")


def build_command(
    recipe: RecipeArgument,
    overrides: Overrides = None,
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
    from retort.training.recipes.recipe import CorpusRecipe

    with reported():
        plan = _load(recipe, overrides, CorpusRecipe)
        bad = BadRows(skip_bad)
        table = build_corpus(plan, data, bad, log)
        write_table(plan.out, table)
    if bad.places:
        log(f"{len(bad.places)} malformed rows left out, the first at {bad.places[0]}")
    facts = {"out": str(plan.out), "pairs": len(table), "skipped": len(bad.places)}
    typer.echo(json.dumps(facts) if as_json else f"{plan.out}: {len(table)} pairs")


def sets_command(
    out: Annotated[Path, typer.Argument(help="Folder to write to.")] = Path("runs/sets"),
    queries: Annotated[int, typer.Option(help="Queries of each re-ranking set.")] = 150,
    depth: Annotated[int, typer.Option(min=2, help="Passages that BM25 gives each query.")] = 100,
    choose: Annotated[
        list[str] | None, typer.Option(help="Of the validation sets only this; repeatable.")
    ] = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Build the evaluation sets: OUT/measure from test splits, OUT/choose from validation splits.

    OUT/parity holds the pairs by which an exported graph is judged.

    Example: retort data sets runs/sets --queries 150
    """
    from retort.training.data.catalog import data_root
    from retort.training.data.evaluation_set import write_sets
    from retort.training.data.sets import choose_sets, measure_sets, named, parity_pairs, ranking

    with reported():
        root = data_root(data)
        made = {"measure": measure_sets(root, queries, depth), "choose": choose_sets(root, depth)}
        if choose:
            made["choose"] = named(made["choose"], choose)
        made["parity"] = [ranking("parity", parity_pairs(made["measure"]), "nDCG@10")]
        for name, sets in made.items():
            write_sets(out / name, sets)
    facts = {f"{name}/{s.name}": len(s.pairs) for name, sets in made.items() for s in sets}
    if as_json:
        typer.echo(json.dumps(facts))
    else:
        typer.echo("\n".join(f"{out}/{name}: {count} pairs" for name, count in facts.items()))


def tasks_command(
    out: Annotated[Path, typer.Argument(help="Folder to write to.")] = Path("runs/sets/tasks"),
    cap: Annotated[int, typer.Option(help="Pairs of a set, at most.")] = 3000,
    task: Annotated[list[str] | None, typer.Option(help="Only this task; may be repeated.")] = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Build the sentence tasks' evaluation sets: OUT/TASK/measure and OUT/TASK/choose.

    Example: retort data tasks runs/study/sets --task rte
    """
    from retort.training.data.catalog import data_root
    from retort.training.data.evaluation_set import write_sets
    from retort.training.data.task_sets import TASKS, task_sets

    facts = {}
    with reported():
        unknown = set(task or ()) - {item.name for item in TASKS}
        if unknown:
            known = ", ".join(item.name for item in TASKS)
            raise ValueError(f"no task {', '.join(sorted(unknown))}: there are {known}")
        root = data_root(data)
        for item in TASKS:
            if not task or item.name in task:
                for part, made in zip(
                    ("measure", "choose"), task_sets(root, item, cap), strict=True
                ):
                    write_sets(out / item.name / part, [made])
                    facts[f"{item.name}/{part}/{made.name}"] = len(made.pairs)
    if as_json:
        typer.echo(json.dumps(facts))
    else:
        typer.echo("\n".join(f"{out}/{name}: {count} pairs" for name, count in facts.items()))


def divide_command(
    source: Annotated[str, typer.Argument(help="Labelled pairs: a .tsv or .jsonl, or name/split.")],
    out: Annotated[Path, typer.Argument(help="Folder to write to.")],
    choose: Annotated[float, typer.Option(min=0.0, max=1.0, help="Share that chooses.")] = 0.1,
    measure: Annotated[float, typer.Option(min=0.0, max=1.0, help="Share that measures.")] = 0.2,
    data: DataOption = None,
    skip_bad: SkipOption = False,
    as_json: JsonOption = False,
) -> None:
    """Divide your own labelled pairs by query: OUT/train.jsonl, OUT/choose and OUT/measure.

    Learn from the first, calibrate and choose by the second, report the third.

    Example: retort data divide clicks.tsv runs/mine
    """
    from retort.training.data.own_sets import divide, write_parts
    from retort.training.data.readers.own_pairs import read_any
    from retort.training.data.readers.rows import BadRows

    with reported():
        bad = BadRows(skip_bad)
        name = Path(source).name.partition(".")[0] if "." in source else source.replace("/", "-")
        parts = divide(read_any(source, data, bad), name, choose, measure)
        write_parts(out, parts)
    facts = {
        "train": len(parts.train), "choose": len(parts.choose.pairs),
        "measure": len(parts.measure.pairs), "kind": parts.measure.kind, "skipped": len(bad.places),
    }  # fmt: skip
    if as_json:
        typer.echo(json.dumps(facts))
    else:
        typer.echo(", ".join(f"{key} {value}" for key, value in facts.items()) + f" in {out}")


def teach_command(
    recipe: RecipeArgument, overrides: Overrides = None, as_json: JsonOption = False
) -> None:
    """Train a teacher. A killed run goes on where it was.

    Example: retort teach recipes/ce-pointwise.yaml optimiser.epochs=2
    """
    from retort.training.recipes.recipe import TeacherRecipe

    with reported():
        plan = _load(recipe, overrides, TeacherRecipe)
        from retort.training.teachers.teach import teach

        folder = teach(plan)
    typer.echo(json.dumps({"teacher": str(folder)}) if as_json else f"teacher in {folder}")


def label_command(
    recipe: RecipeArgument,
    overrides: Overrides = None,
    teacher: Annotated[
        list[str] | None, typer.Option(help="Only this teacher; may be repeated.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Let a distill recipe's teachers score all its pairs into the score store.

    Scores that are there are kept; a killed run goes on where it was.

    Example: retort label recipes/retort-small.yaml --teacher ce-pointwise
    """
    from retort.training.recipes.recipe import DistillRecipe

    with reported():
        plan = _load(recipe, overrides, DistillRecipe)
        unknown = set(teacher or ()) - {item.name for item in plan.teachers}
        if unknown:
            raise ValueError(
                f"no teacher {', '.join(sorted(unknown))} in {recipe}: there are "
                f"{', '.join(item.name for item in plan.teachers)}"
            )
        from retort.training.labels.label_recipe import label_recipe

        counts = label_recipe(plan, teacher or (), log)
    if as_json:
        typer.echo(json.dumps(counts))
    else:
        typer.echo("\n".join(f"{name}: {count} scores" for name, count in counts.items()))


def distill_command(
    recipe: RecipeArgument, overrides: Overrides = None, as_json: JsonOption = False
) -> None:
    """Distil a student from the teachers' scores. A killed run goes on where it was.

    Example: retort distill recipes/retort-small.yaml seed=2 out=runs/seed-2
    """
    from retort.training.recipes.recipe import DistillRecipe

    with reported():
        plan = _load(recipe, overrides, DistillRecipe)
        from retort.training.methods.distill import distill

        folder = distill(plan, log)
    typer.echo(json.dumps({"student": str(folder)}) if as_json else f"student in {folder}")


def methods_command(as_json: JsonOption = False) -> None:
    """List the methods of distillation by name, with paper and one line each.

    Example: retort methods
    """
    from retort.training.methods.registry import METHODS

    if as_json:
        rows = [{"name": e.name, "paper": e.paper, "line": e.line} for e in METHODS.values()]
        typer.echo(json.dumps(rows, ensure_ascii=False))
        return
    for entry in METHODS.values():
        typer.echo(f"{entry.name:12} {entry.line}\n{'':12} {entry.paper}")


def validate_command(
    recipe: RecipeArgument, overrides: Overrides = None, as_json: JsonOption = False
) -> None:
    """Check a recipe and report every mistake at once; nothing is run.

    Example: retort validate recipes/retort-small.yaml
    """
    from retort.training.recipes.recipe import load_recipe

    with reported():
        plan = load_recipe(recipe, overrides or [])
    typer.echo(
        plan.model_dump_json(indent=1) if as_json else f"{recipe}: a sound {plan.kind} recipe"
    )


def _load(recipe: Path, overrides: list[str] | None, kind: type[Any]) -> Any:
    from retort.training.recipes.recipe import RecipeError, load_recipe

    plan = load_recipe(recipe, overrides or [])
    if not isinstance(plan, kind):
        wanted = kind.model_fields["kind"].annotation.__args__[0]
        raise RecipeError(f"{recipe}: a {plan.kind} recipe; this command takes a {wanted} recipe")
    return plan
