"""The command `retort cascade`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from retort.training.commands.told import reported

HELP = """Measure the cascade: quality against the share of passages sent to the teacher.

Example:

    retort cascade retort-small teacher runs/sets/measure --keep runs/eval/cascade
    --out docs/cascade.json --report docs/cascade.md --plot docs/cascade.svg

Student and teacher are bundles, by name or path; the rankings among the sets are measured. With
--keep no pair is scored twice by the same bundle.

`retort cascade --from docs/cascade.json --report docs/cascade.md` writes the page again.
"""


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command("cascade", help=HELP)(cascade_command)


def cascade_command(
    student: Annotated[str | None, typer.Argument(help="The student's bundle.")] = None,
    teacher: Annotated[str | None, typer.Argument(help="The teacher's bundle.")] = None,
    sets: Annotated[
        Path | None, typer.Argument(help="Folder of evaluation sets (sets.json and *.jsonl).")
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option("--set", help="Measure this set alone; repeatable.")
    ] = None,
    share: Annotated[
        float, typer.Option(min=0.01, max=1.0, help="The server's cascade_share, to speak of.")
    ] = 0.25,
    top_n: Annotated[
        int | None, typer.Option(min=1, help="How many passages a client looks at.")
    ] = None,
    resamples: Annotated[int, typer.Option(min=100, help="Bootstrap resamples.")] = 2000,
    seed: Annotated[int, typer.Option(help="Seed of the bootstrap and of the draws.")] = 0,
    keep: Annotated[
        Path | None, typer.Option(help="Keep the bundles' logits in this folder.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write the figures here, as JSON.")] = None,
    report: Annotated[Path | None, typer.Option(help="Write the page here, as Markdown.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Write the curves here, as SVG.")] = None,
    source: Annotated[
        Path | None, typer.Option("--from", help="Measure nothing: read the figures from here.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Measure, or read what was measured; then write and print."""
    from retort.training.commands.evaluate import write

    with reported():
        from retort.training.evaluate.cascade import CascadeReport, measure_cascade, opinions
        from retort.training.evaluate.cascade_report import plot_cascade, render_cascade

        if source is not None:
            result = CascadeReport.model_validate_json(source.read_text(encoding="utf-8"))
        elif student and teacher and sets is not None:
            from retort.models.bundle import read_bundle
            from retort.models.find import find_bundle
            from retort.models.scores import combine
            from retort.training.data.evaluation_set import read_sets
            from retort.training.evaluate.logits import logits_of

            first, second = (read_bundle(find_bundle(name)) for name in (student, teacher))
            chosen = [s for s in read_sets(sets, only or ()) if s.kind == "ranking"]
            ours, theirs = (
                logits_of(bundle, chosen, keep, progress=True) for bundle in (first, second)
            )
            result = measure_cascade(
                [opinions(s, combine(ours[s.name]), combine(theirs[s.name])) for s in chosen],
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
        picture = plot or (report.with_suffix(".svg") if report else None)
        page = render_cascade(
            result, str(out or source or ""), picture.name if picture and report else ""
        )
        if out is not None:
            write(out, text)
        if report is not None:
            write(report, page)
        if picture is not None:
            write(picture, plot_cascade(result))
    typer.echo(text if as_json else page, nl=False)
