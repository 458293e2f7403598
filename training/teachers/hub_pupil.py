"""The hub's pupil: a backbone of any architecture that transformers loads, as a cross-encoder.

It gets one output: that of a cross-encoder which is taught further, or a new head. What is left is
a folder that transformers, sentence-transformers' `CrossEncoder` and `hub-cross-encoder:` load.

It is trained by the loop that trains everything here, and not by sentence-transformers'
`CrossEncoderTrainer`, which was tried with binary cross-entropy on pairs and ListNet on lists. Its
batches are per process, so that two processes take other steps than one; and a run that was resumed
with another learning rate kept the old one and did not say so. Students are promised better, and a
teacher is what they learn from. Losses and lists are then the same for teachers of every kind.
"""

from __future__ import annotations

import json
from pathlib import Path

from tokenizers import Tokenizer
from transformers import PretrainedConfig, PreTrainedModel

from retort.models.encoding import PairEncoder
from retort.training.nn.backbone import BackboneError, is_bundle, quiet, read_config
from retort.training.nn.student import check_positions, replacing
from retort.training.recipes.kinds import is_checkpoint, is_classifier
from retort.training.recipes.teacher import TeacherRecipe
from retort.training.teachers.classifier import (
    Classifier,
    check_layout,
    read_layout,
    takes_types,
)
from retort.training.teachers.pretrained import (
    check_vocabulary,
    first_of,
    load_reporting,
    load_tokenizer,
    positions,
)
from retort.training.teachers.pupil import Pupil
from retort.training.teachers.scoring.identity import state_identity

TAUGHT_FILE = "taught.json"  # how the teacher in a folder of the hub's shape was made


def is_for_hub(recipe: TeacherRecipe) -> bool:
    """Whether the teacher becomes a folder of the hub's and not a checkpoint.

    Raises `BackboneError` for a backbone that is not there or cannot become what is asked for.
    """
    name, wanted = recipe.backbone, recipe.shape == "hub-cross-encoder"
    if is_checkpoint(name) or is_bundle(name):
        if wanted:
            raise BackboneError(f"{name} has a student's shape: set shape=cross-encoder")
        return False
    if wanted:
        return True
    config = read_config(name)[1]
    of_bert = config.model_type == "bert"
    cut = recipe.layers or recipe.width or recipe.objective == "meta"
    if cut or recipe.shape == "bi-encoder":
        if not of_bert:
            raise BackboneError(
                f"{name}: a {config.model_type} model; only BERT can be cut to layers or a width, "
                "become a bi-encoder or learn meta. Any other becomes a cross-encoder, by the "
                "objectives pointwise, margin and listwise"
            )
        return False
    return not of_bert or is_classifier(config.architectures)


def load_hub_pupil(recipe: TeacherRecipe) -> Pupil:
    """The backbone with one output. Raises `BackboneError` for what cannot read pairs."""
    name = recipe.backbone
    place, config = read_config(name)
    model, new = _load_model(place, config, name)
    tokenizer = load_tokenizer(place, name)
    layout = read_layout(tokenizer, takes_types(model), name)
    truncation = recipe.length.truncation
    check_positions(positions(model), truncation)
    model.config.pad_token_id = layout.pad_id
    tokenizer.model_max_length = truncation.max_length
    fast = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    check_vocabulary(fast, config, name)
    encoder = PairEncoder(fast, truncation, layout)
    check_layout(tokenizer, encoder, (), name)
    kept = {key: value for key, value in model.state_dict().items() if key not in new}
    head = "taught further"
    if new:
        replaced = is_classifier(config.architectures)
        own = f" in place of its own, of {config.num_labels} outputs" if replaced else ""
        head = f"with a new head{own}"

    def save(folder: Path, meta: dict[str, object]) -> None:
        with replacing(folder) as whole, quiet():
            model.eval().save_pretrained(whole)
            tokenizer.save_pretrained(whole)
            (whole / TAUGHT_FILE).write_text(json.dumps(meta, indent=1) + "\n")

    return Pupil(
        Classifier(recipe.name, model, layout),
        encoder,
        state_identity(kept, tokenizer.backend_tokenizer.to_str()),
        f"{name}, a {config.model_type} model, {head}",
        save,
    )


def _load_model(
    place: Path | str, config: PretrainedConfig, name: str
) -> tuple[PreTrainedModel, frozenset[str]]:
    """The model with one output, in float32, and which of its weights are new."""
    model, report = load_reporting(
        place, config.model_type, name,
        num_labels=1, problem_type=None, ignore_mismatched_sizes=True,
    )  # fmt: skip
    new = frozenset(report["missing_keys"]) | {key for key, *_ in report["mismatched_keys"]}
    prefix = f"{model.base_model_prefix}."
    lacking = sorted(key for key in new if key.startswith(prefix) and ".pooler." not in key)
    if lacking:
        raise BackboneError(
            f"{name}: its weights lack {first_of(lacking)} "
            "of the encoder: a backbone is a trained model, saved whole"
        )
    return model, new
