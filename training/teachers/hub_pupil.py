"""The hub's pupil: a backbone of any architecture that transformers loads, as a cross-encoder.

It gets one output: that of a cross-encoder which is taught further, or a new head. What is left is
a folder that transformers, sentence-transformers' `CrossEncoder` and `hub-cross-encoder:` load.

It is trained by the loop that trains everything here, and not by sentence-transformers'
`CrossEncoderTrainer`. That was tried, with its binary cross-entropy on pairs and its ListNet on
lists: it learns as well, but what meets in a step depends on the number of processes, a list is
scored in pieces whose padding depends on the piece, and a run resumed with another learning rate
goes on without a word. All three hold here for students, and a teacher should be no worse off.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import AutoModelForSequenceClassification, PretrainedConfig, PreTrainedModel

from retort.models.encoding import PairEncoder, Truncation
from retort.training.nn.backbone import BackboneError, quiet, read_config
from retort.training.nn.student import check_places, replacing
from retort.training.recipes.files import is_checkpoint
from retort.training.recipes.recipe import TeacherRecipe
from retort.training.teachers.classifier import (
    Classifier,
    check_layout,
    read_layout,
    takes_types,
)
from retort.training.teachers.pretrained import (
    check_vocabulary,
    first_of,
    load_tokenizer,
    positions,
)
from retort.training.teachers.pupil import Pupil
from retort.training.teachers.scoring.identity import state_identity

TAUGHT_FILE = "taught.json"  # how the teacher in a folder of the hub's shape was made
_HEADED = "ForSequenceClassification"


def is_for_hub(recipe: TeacherRecipe) -> bool:
    """Whether the teacher becomes a folder of the hub's and not a checkpoint.

    Raises `BackboneError` for a checkpoint that is to become one, or a backbone that is not there.
    """
    if is_checkpoint(recipe.backbone):
        if recipe.shape == "hub-cross-encoder":
            raise BackboneError(
                f"{recipe.backbone} is a checkpoint of a student's shape: set shape=cross-encoder"
            )
        return False
    if recipe.shape != "cross-encoder":
        return recipe.shape == "hub-cross-encoder"
    if recipe.layers or recipe.width or recipe.objective == "meta":
        return False
    config = read_config(recipe.backbone)[1]
    return config.model_type != "bert" or _has_head(config)


def load_hub_pupil(recipe: TeacherRecipe) -> Pupil:
    """The backbone with one output. Raises `BackboneError` for what cannot read pairs."""
    name = recipe.backbone
    place, config = read_config(name)
    model, new = _load_model(place, config, name)
    tokenizer = load_tokenizer(place, name)
    layout = read_layout(tokenizer, takes_types(model), name)
    truncation = Truncation(recipe.length.max_length, recipe.length.max_query_tokens)
    check_places(positions(model), truncation)
    model.config.pad_token_id = layout.pad_id
    tokenizer.model_max_length = truncation.max_length
    own = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    check_vocabulary(own, config, name)
    encoder = PairEncoder(own, truncation, layout)
    check_layout(tokenizer, encoder, (), name)
    kept = {key: value for key, value in model.state_dict().items() if key not in new}
    head = "with a new head" if new else "taught further"

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
    try:
        with quiet():
            model, report = AutoModelForSequenceClassification.from_pretrained(
                place, num_labels=1, problem_type=None, dtype=torch.float32,
                ignore_mismatched_sizes=True, output_loading_info=True,
            )  # fmt: skip
    except (OSError, ValueError) as error:
        raise BackboneError(
            f"{name}: a {config.model_type} model that transformers cannot load as a sequence "
            f"classifier ({str(error).splitlines()[0]})"
        ) from error
    new = frozenset(report["missing_keys"]) | {key for key, *_ in report["mismatched_keys"]}
    prefix = f"{model.base_model_prefix}."
    lacking = sorted(key for key in new if key.startswith(prefix) and ".pooler." not in key)
    if lacking:
        raise BackboneError(
            f"{name}: its weights lack {first_of(lacking)} "
            "of the encoder: a backbone is a trained model, saved whole"
        )
    loaded: PreTrainedModel = model
    return loaded, new


def _has_head(config: PretrainedConfig) -> bool:
    return any(name.endswith(_HEADED) for name in config.architectures or ())
