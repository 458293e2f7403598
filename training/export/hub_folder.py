"""The hub folder: a student as `sentence_transformers.CrossEncoder` loads it, without code of ours.

One head is a `BertForSequenceClassification`, which transformers and other servers load too.

Of several heads the score is the mean of their sigmoids, calibrated, and no linear map gives that.
But its log-odds are a difference of two log-sums, as `1 - sigmoid(z)` is `sigmoid(-z)`:

    log-odds = lse(log sigmoid(z)) - lse(log sigmoid(-z))        over the heads

With `lse(x, y) = x + softplus(y - x)` these are layers of softplus, so they are written as the
library's own `Dense` modules. They carry a value x through as `softplus(x) - softplus(-x)`.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import CrossEncoder
from sentence_transformers.cross_encoder.modules import Dense, Transformer
from sentence_transformers.sentence_transformer.modules import Pooling
from torch import Tensor, nn
from transformers import BertModel

from retort.cross_encoder import fast_tokenizer
from retort.models.bundle import find_bundle, read_bundle
from retort.models.card import CARD_FILE
from retort.models.encoding import PairEncoder, Truncation
from retort.models.scores import Calibration, combine
from retort.training.data.pairs import Pair
from retort.training.nn.from_bundle import student_of
from retort.training.nn.inference import encode_pairs, run, student_model
from retort.training.nn.student import Student, golden_alone, load_student
from retort.training.recipes.kinds import CONFIG_FILE, is_checkpoint
from retort.training.teachers.baseline import classifier_of, linear_maps

# Scores of both are float32 sums of the same numbers in another order.
TOLERANCE = 1e-3
SCORES = "scores"  # where a CrossEncoder looks for what its modules found


class HubFolderError(ValueError):
    """A student cannot be written as a folder of the hub."""


@dataclass(frozen=True, slots=True)
class HubFolder:
    """What was written, and how far its scores are from the student's on `pairs` pairs."""

    folder: Path
    heads: tuple[str, ...]
    pairs: int
    max_difference: float


def write_hub_folder(
    source: str, folder: Path, held_out: Sequence[Pair], *, golden: bool = False
) -> HubFolder:
    """Write the student at `source`, a checkpoint or bundle, as a folder of the hub.

    With `golden`, its golden head alone. What was written is loaded again and has to give the
    student's scores for those pairs of `held_out` that fit into one pass. Raises `HubFolderError`
    for a head that is not linear, for a folder with something else in it and for other scores, and
    `CheckpointError`, `BundleError` or `BundleWeightsError` for a source that is no student.
    """
    student, tokenizer, truncation, calibration = _read(source)
    if golden and len(student.heads) > 1:
        # The calibration was fitted on the mean of the heads.
        student, calibration = golden_alone(student), None
    if curved := [head.name for head in student.heads if head.kind != "linear"]:
        raise HubFolderError(
            f"{source}: the heads {', '.join(curved)} compare the two texts, and no module of "
            "sentence-transformers does that: write the golden head alone (--heads golden), if "
            "that is a linear one"
        )
    if folder.exists() and not (folder / CONFIG_FILE).is_file() and any(folder.iterdir()):
        raise HubFolderError(f"{folder}: holds files but no model: give a new folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as work:
        fresh = Path(work) / "new"
        _save(student, calibration, tokenizer, truncation, fresh)
        pairs, difference = _compare(
            fresh, student, calibration, PairEncoder.from_file(tokenizer, truncation), held_out
        )
        if not difference <= TOLERANCE:
            raise HubFolderError(
                f"{source}: a CrossEncoder gives scores up to {difference:.4f} from the student's "
                f"on {pairs} pairs, allowed is {TOLERANCE}"
            )
        (fresh / CARD_FILE).write_text(_card(source, student, calibration, pairs, difference))
        shutil.rmtree(folder, ignore_errors=True)
        fresh.rename(folder)
    return HubFolder(folder, tuple(head.name for head in student.heads), pairs, difference)


def _read(source: str) -> tuple[Student, Path, Truncation, Calibration | None]:
    if is_checkpoint(source):
        loaded = load_student(Path(source))
        return loaded.student, loaded.tokenizer_path, loaded.truncation, None
    bundle = read_bundle(find_bundle(source))
    manifest = bundle.manifest
    return student_of(bundle), bundle.tokenizer_path, manifest.truncation, manifest.calibration


def _save(
    student: Student,
    calibration: Calibration | None,
    tokenizer: Path,
    truncation: Truncation,
    folder: Path,
) -> None:
    tokens = fast_tokenizer(tokenizer, truncation.max_length)
    if len(student.heads) == 1:
        known = calibration or Calibration()
        with torch.no_grad():
            student.gain.mul_(known.gain)
            student.shift.mul_(known.gain).add_(known.shift)
        classifier_of(student).save_pretrained(folder)
        tokens.save_pretrained(folder)
        return
    with tempfile.TemporaryDirectory() as work:
        _with_pooler(student.encoder).save_pretrained(work)
        tokens.save_pretrained(work)
        modules: list[nn.Module] = [
            Transformer(work),
            Pooling(student.config.hidden_size, pooling_mode="cls"),
            *mean_modules(*linear_maps(student), calibration or Calibration()),
        ]
        CrossEncoder(modules=modules, device="cpu").save_pretrained(str(folder))


def _with_pooler(encoder: BertModel) -> BertModel:
    """The encoder with a pooler that nothing reads: transformers warns of a folder without one."""
    whole = BertModel(encoder.config)
    whole.load_state_dict(encoder.state_dict(), strict=False)
    return whole


def mean_modules(weight: Tensor, bias: Tensor, calibration: Calibration) -> list[nn.Module]:
    """Modules from the state of `[CLS]` to the log-odds of the heads' calibrated mean.

    The heads are `weight` (heads, width) and `bias` (heads,).
    """
    count = len(weight)
    layers = [_dense(torch.cat([weight, -weight]), torch.cat([bias, -bias]), nn.Softplus())]
    # Values are linear in the features so far, one row each: log sigmoid(z) is -softplus(-z).
    features = torch.eye(2 * count)
    sides = [list(-features[count:]), list(-features[:count])]
    while len(sides[0]) > 1:
        rows: list[Tensor] = []
        places: list[list[tuple[int, ...]]] = []
        for values in sides:
            places.append([])
            for first, *second in (values[at : at + 2] for at in range(0, len(values), 2)):
                new = [first, -first, *(other - first for other in second)]
                places[-1].append(tuple(range(len(rows), len(rows) + len(new))))
                rows += new
        layers.append(_dense(torch.stack(rows), torch.zeros(len(rows)), nn.Softplus()))
        features = torch.eye(len(rows))
        sides = [
            [features[own[0]] - features[own[1]] + features[list(own[2:])].sum(0) for own in side]
            for side in places
        ]
    odds = calibration.gain * (sides[0][0] - sides[1][0])
    shift = torch.tensor([calibration.shift])
    layers.append(_dense(odds[None], shift, nn.Identity(), module_output_name=SCORES))
    return layers


def _dense(weight: Tensor, bias: Tensor, activation: nn.Module, **names: Any) -> nn.Module:
    return Dense(
        weight.shape[1],
        weight.shape[0],
        activation_function=activation,
        init_weight=weight.detach().clone(),
        init_bias=bias.detach().to(weight.dtype).clone(),
        **names,
    )


def _compare(
    folder: Path,
    student: Student,
    calibration: Calibration | None,
    encoder: PairEncoder,
    held_out: Sequence[Pair],
) -> tuple[int, float]:
    """How many pairs fit into one pass, and how far their scores are apart at most."""
    encoded = encode_pairs(encoder, held_out)
    fitting = [pair for pair, own in zip(held_out, encoded, strict=True) if not own.truncated]
    if not fitting:
        raise HubFolderError("no held-out pair fits into one pass: give shorter ones (--held-out)")
    texts = [(pair.query, pair.passage) for pair in fitting]
    model = CrossEncoder(str(folder), device="cpu")
    found: NDArray[np.float32] = model.predict(texts, show_progress_bar=False)
    logits = run(student_model(student), encoder, fitting)
    # The single head has its calibration inside by now.
    own = calibration if len(student.heads) > 1 else None
    return len(fitting), float(np.abs(found - combine(logits, own).score).max())


def _card(
    source: str,
    student: Student,
    calibration: Calibration | None,
    pairs: int,
    difference: float,
) -> str:
    several = len(student.heads) > 1
    names = ", ".join(head.name for head in student.heads)
    meaning = (
        "the mean of the heads' sigmoids" if several else "the sigmoid of the head's logit"
    ) + (", calibrated as the bundle is" if calibration else ", not calibrated")
    loads = (
        "Its modules after the transformer are those of sentence-transformers 6; other servers "
        "load a single head alone (`--heads golden`)."
        if several
        else "It is a `BertForSequenceClassification` with one output, which other servers load."
    )
    return f"""# {Path(source).name} as a CrossEncoder

Written by `retort export --to-hub-folder` with the heads {names}.

```python
from sentence_transformers import CrossEncoder

CrossEncoder("{Path(source).name}").predict([("how tall is the tower", "It is 330 metres tall.")])
```

A score is {meaning}. On {pairs} pairs it is at most {difference:.1g} from what Retort gives.
{loads}

Not in this folder: windows of passages that are longer than one pass (they are cut), the question
kept of a long query, the spread over the heads, and `answerable`.
"""
