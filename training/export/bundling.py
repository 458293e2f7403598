"""Bundling: a student, or its teachers, and held-out pairs become a bundle that can be served.

calibrate (if pairs are given) → export → parity gate → golden pairs → models.bundle.write_bundle

What is calibrated, and when it is refused, is said in calibrating.py.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from retort.models.bundle import GRAPH_FILE, Bundle, write_bundle
from retort.models.encoding import PairEncoder, Truncation
from retort.models.files import GIB, GRAPH_BYTES, MIB
from retort.models.golden import GoldenPair
from retort.models.layout import PairLayout
from retort.models.manifest import (
    Agreement,
    Architecture,
    DataSource,
    Figure,
    HeadInfo,
    Manifest,
    Parity,
    ParityBounds,
    Range,
    ShapeProfile,
    WeightPrecision,
)
from retort.models.runtime.golden import COMPUTE_TOLERANCE, STORAGE_TOLERANCE
from retort.models.scores import Calibration, combine
from retort.training.data.pairs import Pair
from retort.training.evaluate.calibration import CalibrationError, map_heads
from retort.training.export.builder import FloatArray
from retort.training.export.calibrating import Meaning, ScoredSet, find_meaning
from retort.training.export.ensemble import build_ensemble_graph
from retort.training.export.graph import build_graph
from retort.training.export.parity import (
    DEFAULT_BOUNDS,
    check_held_out,
    check_parity,
    measure_parity,
    measure_precisions,
)
from retort.training.export.storage import Storage, StorageError, shrink
from retort.training.export.traced import trace_graph
from retort.training.nn.inference import Logits, graph_model, run, student_model
from retort.training.nn.student import Student, reads_first_alone
from retort.training.teachers.classifier import Classifier
from retort.training.teachers.ensemble import CrossMember, Ensemble

Exportable = Student | Ensemble | Classifier

GOLDEN_PAIRS = 96
# Golden pairs are drawn in turn from this many bands of score, so that none is left out.
BANDS = 16
# Bytes of a graph that are no weights: nodes and names, with much to spare.
ROOM_FOR_NODES = 16 * MIB
# Tokens of a pair of a question and a paragraph.
TYPICAL = 128


class BundlingError(ValueError):
    """A bundle cannot be made of what was given."""


@dataclass(frozen=True, slots=True)
class BundleSpec:
    """What a bundle's manifest says that cannot be read off the student."""

    name: str
    version: str
    methods: tuple[str, ...] = ()
    data: tuple[DataSource, ...] = ()
    quality: dict[str, Figure] = field(default_factory=dict)
    agreement: Agreement | None = None
    activation: str | None = None
    storage: Storage = "int8"
    bounds: ParityBounds = DEFAULT_BOUNDS


def float_bytes(student: Exportable) -> int:
    """How many bytes its weights have in float32."""
    return 4 * sum(parameter.numel() for parameter in student.parameters())


def exactly(spec: BundleSpec, student: Exportable) -> BundleSpec:
    """`spec` for scores as close to those of `student` as a bundle can have them.

    Weights stay float32 where the graph's format holds so many, and become float16 otherwise. The
    bound of a score's difference is that of the storage.
    """
    storage: Storage = "fp32" if float_bytes(student) < GRAPH_BYTES - ROOM_FOR_NODES else "fp16"
    bound = COMPUTE_TOLERANCE["fp32"] if storage == "fp32" else STORAGE_TOLERANCE["fp16"]
    bounds = spec.bounds.model_copy(update={"max_score_difference": bound})
    return replace(spec, storage=storage, bounds=bounds)


def build_bundle(
    folder: Path,
    student: Exportable,
    tokenizer: Path,
    truncation: Truncation,
    held_out: Sequence[Pair],
    spec: BundleSpec,
    *,
    calibration: Sequence[Sequence[Pair]] = (),
    calibrate_heads: bool = False,
    progress: bool = False,
    log: Callable[[str], None] = lambda text: None,
) -> Bundle:
    """Write the bundle of `student`, or of a cross-encoder or teachers in its place, to `folder`.

    `held_out` are labelled pairs, several per query, that the student never trained on: the parity
    gate judges by them and the golden pairs are drawn from them. `calibration`, if given, are
    sets of labelled pairs that make the mean a probability; with `calibrate_heads`, and of several
    teachers always, each head gets a map before, which the student keeps. Raises `ParityError` if
    the graph fails the gate, `CalibrationError` as `find_meaning` does, `HeldOutError` for too few
    pairs, before anything is scored, and `BundlingError` for a bi-encoder without calibration.
    """
    if isinstance(student, Ensemble) and student.uncalibrated and not calibration:
        raise BundlingError(
            f"{', '.join(student.uncalibrated)} gives cosines, which are no logits: give labelled "
            "pairs to calibrate on (--calibrate)"
        )
    if calibrate_heads and not calibration:
        raise BundlingError("no pairs to calibrate the heads on: give some (--calibrate)")
    check_held_out(held_out)
    encoder = PairEncoder.from_file(tokenizer, truncation, layout_of(student))
    model = student_model(student)
    log(f"scoring {len(held_out)} held-out pairs with the PyTorch student")
    reference = run(model, encoder, held_out, progress="PyTorch" if progress else "")
    meaning = Meaning()
    if calibration:
        sets = [
            ScoredSet(
                tuple(pairs), run(model, encoder, pairs, progress="calibrate" if progress else "")
            )
            for pairs in calibration
        ]
        several = isinstance(student, Ensemble) and len(student.heads) > 1
        meaning = find_meaning(
            sets,
            ScoredSet(tuple(held_out), reference),
            per_head=calibrate_heads or several,
            alike=not several,
            log=log,
        )
        if meaning.heads:
            calibrate(student, meaning.heads)
            reference = map_heads(reference, meaning.heads).astype(np.float32)
    golden = golden_pairs(held_out, reference, meaning.mean)
    with tempfile.TemporaryDirectory() as work:
        graph = Path(work) / GRAPH_FILE
        export_graph(student, graph, spec.storage)
        log(f"scoring them with the graph, {graph.stat().st_size / 1e6:.1f} MB as {spec.storage}")
        exported = run(
            graph_model(graph, encoder.layout.inputs),
            encoder,
            held_out,
            progress="ONNX Runtime" if progress else "",
        )
        parity = measure_parity(held_out, reference, exported, spec.bounds, meaning.mean)
        check_parity(parity)
        manifest = describe(student, truncation, spec, parity, meaning)
        width = manifest.architecture.width
        lower = measure_precisions(
            graph,
            spec.storage,
            width,
            encoder,
            held_out,
            reference,
            spec.bounds,
            meaning.mean,
            progress=progress,
        )
        for precision, reached in lower.items():
            verdict = "; ".join(reached.failures()) or "ranks as the original does"
            log(f"multiplied in {precision}: {verdict}")
        return write_bundle(
            folder,
            manifest=manifest.model_copy(update={"lower_parity": lower}),
            graph=graph,
            tokenizer=tokenizer,
            golden=golden,
        )


def export_graph(student: Exportable, path: Path, storage: Storage = "int8") -> onnx.ModelProto:
    """Write `student`, or the teachers that stand in its place, to `path`; return the graph.

    Gain and shift are folded in. Raises `UnsupportedStudentError` or `StorageError`.
    """
    size = float_bytes(student)
    if storage == "fp32" and size >= GRAPH_BYTES - ROOM_FOR_NODES:
        raise StorageError(
            f"{size / GIB:.1f} GiB of weights in fp32, and ONNX's format ends at "
            f"{GRAPH_BYTES / GIB:.0f}: store them as fp16 or int8"
        )
    model = shrink(_full_graph(student), storage)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString(deterministic=True))
    return model


def _full_graph(student: Exportable) -> onnx.ModelProto:
    if isinstance(student, Classifier):
        return trace_graph(student)
    weights: dict[str, FloatArray] = {
        name: value.detach().float().cpu().numpy() for name, value in student.state_dict().items()
    }
    if isinstance(student, Ensemble):
        return build_ensemble_graph(student, weights)
    return build_graph(student.config, student.heads, weights)


def layout_of(student: Exportable) -> PairLayout | None:
    """How its pairs are laid out; None: as BERT's."""
    return student.layout if isinstance(student, Classifier) else None


def is_trimmed(student: Exportable) -> bool:
    """Whether the last layer of every encoder in its graph is computed for `[CLS]` alone."""
    if isinstance(student, Classifier):
        return False
    if isinstance(student, Student):
        return reads_first_alone(student.heads)
    return all(
        reads_first_alone(part.student.heads)
        if isinstance(part, CrossMember)
        else part.kind != "bi-encoder"
        for part in student.parts
    )


def shape_profiles(truncation: Truncation) -> tuple[ShapeProfile, ...]:
    """Shapes that TensorRT builds engines for: by lengths, and for few pairs and many.

    An engine is fastest near its `opt` shape. A single passage and a full batch get one each; and
    a student that reads more than `TYPICAL` tokens has engines for pairs of that length, which most
    still have, and others for windows that fill its room.
    """
    longest = truncation.max_length
    typical = min(TYPICAL, longest)
    lengths = [Range(min=min(8, typical), opt=typical, max=typical)]
    if longest > typical:
        lengths.append(Range(min=typical + 1, opt=longest, max=longest))
    batches = (Range(min=1, opt=10, max=16), Range(min=16, opt=64, max=256))
    return tuple(
        ShapeProfile(batch=batch, sequence=sequence) for sequence in lengths for batch in batches
    )


def calibrate(student: Exportable, maps: Sequence[Calibration]) -> None:
    """Apply one map for each head, fitted on the student's present logits, to gains and shifts.

    Raises `CalibrationError` if there are as many maps as another student has heads.
    """
    if len(maps) != len(student.heads):
        raise CalibrationError(
            f"{len(maps)} maps for {len(student.heads)} heads: fit them on this student's logits"
        )
    gain = torch.tensor([one.gain for one in maps], dtype=student.gain.dtype)
    shift = torch.tensor([one.shift for one in maps], dtype=student.shift.dtype)
    with torch.no_grad():
        student.shift.copy_(student.shift.cpu() * gain + shift)
        student.gain.copy_(student.gain.cpu() * gain)


def describe(
    student: Exportable,
    truncation: Truncation,
    spec: BundleSpec,
    parity: Parity | None,
    meaning: Meaning | None = None,
) -> Manifest:
    """The manifest, without hashes."""
    configs = student.configs if isinstance(student, Ensemble) else (student.config,)
    widest = max(configs, key=lambda config: config.hidden_size)
    return Manifest(
        name=spec.name,
        version=spec.version,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        architecture=Architecture(
            encoders=len(configs),
            layers=sum(config.num_hidden_layers for config in configs),
            width=widest.hidden_size,
            attention_heads=widest.num_attention_heads,
            vocabulary=widest.vocab_size,
            trimmed=is_trimmed(student),
        ),
        truncation=truncation,
        layout=layout_of(student),
        heads=tuple(
            HeadInfo(
                name=head.name,
                kind="golden" if head.teacher is None else "soft",
                teacher=head.teacher,
            )
            for head in student.heads
        ),
        calibration=meaning.mean if meaning else None,
        answerability=meaning.answerability if meaning else None,
        activation=spec.activation,
        precision=WeightPrecision(storage=spec.storage),
        methods=spec.methods,
        data=spec.data,
        quality=spec.quality,
        parity=parity,
        agreement=spec.agreement,
        shape_profiles=shape_profiles(truncation),
    )


def golden_pairs(
    pairs: Sequence[Pair],
    logits: Logits,
    calibration: Calibration | None = None,
    count: int = GOLDEN_PAIRS,
) -> tuple[GoldenPair, ...]:
    """Choose pairs whose scores are spread over the whole range, low to high.

    `logits` (pairs, heads) are the PyTorch student's, `calibration` the map of their mean.
    """
    scores = combine(logits, calibration).score
    distinct = list({pair.key: index for index, pair in enumerate(pairs)}.values())
    chosen = _spread(np.asarray(distinct), scores, min(count, len(distinct)))
    return tuple(
        GoldenPair(
            query=pairs[index].query,
            passage=pairs[index].passage,
            logits=tuple(float(value) for value in logits[index]),
            score=float(scores[index]),
        )
        for index in chosen
    )


def _spread(indices: NDArray[np.int64], scores: NDArray[np.float64], count: int) -> list[int]:
    ordered = indices[np.argsort(scores[indices], kind="stable")]
    low, high = scores[ordered[0]], scores[ordered[-1]]
    width = (high - low) / BANDS or 1.0
    bands: list[list[int]] = [[] for _ in range(BANDS)]
    for index in ordered:
        bands[min(int((scores[index] - low) / width), BANDS - 1)].append(int(index))
    # From a full band take pairs far apart, not the first ones.
    quota = -(-count // BANDS)
    picked: list[int] = []
    for band in bands:
        places = np.unique(np.linspace(0, len(band) - 1, min(quota, len(band))).astype(int))
        picked += [band[place] for place in places]
    rest = [int(index) for index in ordered if int(index) not in set(picked)]
    missing = count - len(picked)
    if missing > 0:
        places = np.unique(np.linspace(0, len(rest) - 1, missing).astype(int))
        picked += [rest[place] for place in places]
    return sorted(picked[:count] if missing < 0 else picked, key=lambda index: scores[index])
