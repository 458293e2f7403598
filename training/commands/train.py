"""The commands that train: teach, label, distill; those on recipes; and the teachers' server.

Heavy imports stay inside the commands, so that `retort --help` is quick and a serve-only
installation can show it. `methods`, `recipes` and `validate` need nothing of the extra `train`.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from retort.parallel.options import (
    AddressOption,
    CpusOption,
    GpusOption,
    RayOption,
    check_merge,
    cluster_of,
    given_of,
)
from retort.training.commands.common import (
    JsonOption,
    Overrides,
    RecipeArgument,
    answer,
    check_places,
    load_plan,
    log,
)

FreshOption = Annotated[
    bool,
    typer.Option("--fresh", help="Start anew, whatever the folder holds of an earlier run."),
]


def register(app: typer.Typer) -> None:
    """Add the commands to `app`; the last two are what the load tests start."""
    app.command("teach")(teach_command)
    app.command("label")(label_command)
    app.command("distill")(distill_command)
    app.command("methods")(methods_command)
    app.command("recipes")(recipes_command)
    app.command("validate")(validate_command)
    app.command("teacher-server", hidden=True)(teacher_server_command)
    app.command("shape-bundle", hidden=True)(shape_bundle_command)


def teach_command(
    recipe: RecipeArgument,
    overrides: Overrides = None,
    fresh: FreshOption = False,
    as_json: JsonOption = False,
) -> None:
    """Train a teacher. A run that was killed continues where it stopped.

    What was made from another recipe or table is refused, with what differs.

    Example: retort teach recipes/ce-pointwise.yaml optimiser.epochs=2
    """
    from retort.training.recipes.teacher import TeacherRecipe

    plan = load_plan(recipe, overrides, TeacherRecipe)
    check_places(plan, recipe)
    from retort.training.nn.processes import processes
    from retort.training.recipes.kinds import is_checkpoint
    from retort.training.teachers.teach import teach

    folder = teach(plan, log, fresh=fresh)
    if not processes().is_main_process:
        return
    kind = plan.shape
    if kind != "bi-encoder":
        kind = "cross-encoder" if is_checkpoint(folder) else "hub-cross-encoder"
    line = f"{{name: {plan.name}, path: {folder}, kind: {kind}}}"
    facts = {"teacher": str(folder), "kind": kind}
    answer(facts, f"teacher in {folder}; in a recipe's `teachers`: {line}", as_json)


def label_command(
    recipe: RecipeArgument,
    overrides: Overrides = None,
    teacher: Annotated[
        list[str] | None, typer.Option(help="Only this teacher; may be repeated.")
    ] = None,
    shard: Annotated[
        str | None,
        typer.Option(help="Only this shard of the blocks, as in 2/8: one of several processes."),
    ] = None,
    merge: Annotated[
        int | None,
        typer.Option(min=1, help="Put together what so many --shard processes have scored."),
    ] = None,
    stores: Annotated[
        list[Path] | None,
        typer.Option(
            "--from",
            help="With --merge, a store that a shard was scored into, if not the recipe's; may be "
            "repeated.",
        ),
    ] = None,
    on_ray: RayOption = False,
    address: AddressOption = None,
    cpus: CpusOption = 1,
    gpus: GpusOption = 0.0,
    as_json: JsonOption = False,
) -> None:
    """Let a distill recipe's teachers score all its pairs into the score store.

    Existing scores are kept; a run that was killed continues where it stopped. Several processes
    divide the work with --shard 1/8 to 8/8, and --merge 8 puts it together; --ray lets the nodes of
    a Ray cluster score.

    Example: retort label recipes/retort-small.yaml --teacher ce-pointwise
    """
    from retort.training.recipes.distill import DistillRecipe

    if shard is not None and merge is not None:
        raise ValueError("--shard and --merge: give one of them")
    if stores and merge is None:
        raise ValueError("--from names what --merge puts together: give both")
    if merge is not None:
        check_merge(merge, given_of(on_ray, address, cpus, gpus))
    plan = load_plan(recipe, overrides, DistillRecipe)
    unknown = set(teacher or ()) - {item.name for item in plan.teachers}
    if unknown:
        raise ValueError(
            f"no teacher {', '.join(sorted(unknown))} in {recipe}: there are "
            f"{', '.join(item.name for item in plan.teachers)}"
        )
    check_places(plan, recipe, teacher or None)
    from retort.parallel.shards import shard_of
    from retort.training.labels.label import label_recipe, merge_recipe

    only = teacher or ()
    if merge is not None:
        if lost := [str(store) for store in stores or () if not store.is_dir()]:
            raise ValueError(f"--from {', '.join(lost)}: no such folder")
        counts = merge_recipe(plan, only, merge, stores or (), log)
    else:
        own = None if shard is None else shard_of(shard)
        cluster = cluster_of(on_ray, address, cpus, gpus)
        counts = label_recipe(plan, only, log, shard=own, cluster=cluster)
    lines = [f"{name}: {count} scores" for name, count in counts.items()]
    answer(counts, "\n".join(lines), as_json)


def distill_command(
    recipe: RecipeArgument,
    overrides: Overrides = None,
    fresh: FreshOption = False,
    as_json: JsonOption = False,
) -> None:
    """Distil a student from the teachers' scores. A run that was killed continues.

    What was made from another recipe, table or teacher is refused, with what differs.

    Example: retort distill recipes/retort-small.yaml seed=2 out=runs/seed-2
    """
    from retort.training.recipes.distill import DistillRecipe

    plan = load_plan(recipe, overrides, DistillRecipe)
    check_places(plan, recipe, [item.name for item in plan.read_teachers])
    from retort.training.methods.distill import distill
    from retort.training.nn.processes import processes

    folder = distill(plan, log, fresh=fresh)
    if processes().is_main_process:
        answer({"student": str(folder)}, f"student in {folder}", as_json)


def methods_command(as_json: JsonOption = False) -> None:
    """List the methods of distillation by name, with paper and one line each.

    Example: retort methods
    """
    from retort.training.recipes.methods import METHODS

    rows = [{"name": m.name, "paper": m.paper, "line": m.line} for m in METHODS.values()]
    lines = [f"{m.name:12} {m.line}\n{'':12} {m.paper}" for m in METHODS.values()]
    answer(rows, "\n".join(lines), as_json)


def recipes_command(
    kind: Annotated[
        str | None, typer.Argument(help="Only this kind: corpus, teacher, distill or study.")
    ] = None,
    page: Annotated[
        Path | None, typer.Option(help="Write the reference of all kinds into this page.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List every field of a recipe: its type, its default and what it does.

    Example: retort recipes distill
    """
    from retort.training.recipes.reference import kinds, options, to_text, write_page

    if page is not None:
        write_page(page)
        log(f"{page} is written")
        return
    found = kinds(kind)
    if kind in (None, "distill"):
        found["options"] = options()
    facts = {name: [asdict(part) for part in parts] for name, parts in found.items()}
    answer(facts, to_text(part for parts in found.values() for part in parts), as_json)


def validate_command(
    recipe: RecipeArgument, overrides: Overrides = None, as_json: JsonOption = False
) -> None:
    """Check a recipe and report every mistake at once; nothing is run.

    Files that only you can provide are mistakes where they are missing; what a command makes is
    listed with that command, and so is a model that is not a folder here and may be on the Hugging
    Face hub.

    Example: retort validate recipes/retort-small.yaml
    """
    from retort.training.data.catalog import source_mistake
    from retort.training.recipes.files import absent, obstacles, places
    from retort.training.recipes.load import (
        RecipeError,
        find_mistakes,
        in_words,
        parse_recipe,
        read_values,
    )

    values = read_values(recipe, overrides or [])
    lacking = absent(values, recipe.parent)
    mistakes = [
        *find_mistakes(values),
        *(m for place in places(values) if (m := source_mistake(place))),
        *(str(item) for item in lacking if not item.maker),
        *obstacles(values),
    ]
    if mistakes:
        raise RecipeError(in_words(mistakes, str(recipe)))
    plan = parse_recipe(values, str(recipe))
    typer.echo(
        plan.model_dump_json(indent=1) if as_json else f"{recipe}: {plan.kind} recipe: valid"
    )
    to_make = [str(item) for item in lacking]
    if to_make:
        typer.echo("\n  ".join(["to be made before it can run:", *to_make]), err=as_json)
    named = [place for place in places(values) if place.hub_name and not place.exists()]
    if named:
        from retort.models.bundle import list_bundles

        bundles = list_bundles()
        named = [p for p in named if p.what != "backbone" or p.path not in bundles]
    on_hub = [f"{place.field}: {place.path}" for place in named]
    if on_hub:
        heading = "no such folder here, so taken for names on the Hugging Face hub:"
        typer.echo("\n  ".join([heading, *on_hub]), err=as_json)


def teacher_server_command(
    teachers: Annotated[list[str], typer.Argument(help="cross-encoder:PLACE or bi-encoder:PLACE.")],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8090,
    max_length: Annotated[int, typer.Option(help="Longest pair, in tokens.")] = 128,
) -> None:
    """Serve teachers with FastAPI and PyTorch fp32, to compare the student with.

    Example: retort teacher-server cross-encoder:runs/teachers/ce-pointwise --port 8090
    """
    from retort.training.teachers.server import serve

    serve(teachers, host, port, max_length)


def shape_bundle_command(
    shape: Annotated[str, typer.Argument(help="minilm-l6 or bert-large.")],
    folder: Annotated[Path, typer.Argument(help="Folder of the bundle.")],
    like: Annotated[str, typer.Option(help="The bundle whose tokenizer and storage it takes.")],
) -> None:
    """Make a bundle of random weights in the shape of a well-known teacher, to be timed.

    Example: retort shape-bundle bert-large runs/loadtest/bert-large --like retort-small
    """
    from retort.models.bundle import find_bundle, read_bundle
    from retort.training.export.shape_bundle import SHAPES, shape_bundle

    if shape not in SHAPES:
        raise ValueError(f"no shape {shape!r}: there are {', '.join(SHAPES)}")
    made = shape_bundle(SHAPES[shape], read_bundle(find_bundle(like)), folder, log)
    typer.echo(str(made.folder))
