"""A checkpoint: the folder that holds a student, or a teacher of the student's shape."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from transformers import BertConfig

from retort.models.encoding import PairEncoder, Truncation
from retort.training.nn.student import Head, Student


class CheckpointError(ValueError):
    """A checkpoint folder is missing or incomplete."""


@dataclass(frozen=True, slots=True)
class LoadedStudent:
    """A student in evaluation mode and what belongs to it."""

    student: Student
    tokenizer_path: Path
    truncation: Truncation
    meta: dict[str, Any]

    def encoder(self) -> PairEncoder:
        """The pair encoder that the student was trained with."""
        return PairEncoder.from_file(self.tokenizer_path, self.truncation)


def save_student(
    folder: Path,
    student: Student,
    tokenizer_path: Path,
    truncation: Truncation,
    meta: Mapping[str, Any],
) -> None:
    """Write the checkpoint into a temporary folder, then rename it over an older one."""
    temporary = folder.with_name(folder.name + ".tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    state = {
        name: value.detach().contiguous().clone() for name, value in student.state_dict().items()
    }
    save_file(state, temporary / "model.safetensors")
    shutil.copyfile(tokenizer_path, temporary / "tokenizer.json")
    description = {
        "config": student.config.to_dict(),
        "heads": [asdict(head) for head in student.heads],
        "truncation": asdict(truncation),
        "meta": dict(meta),
    }
    (temporary / "student.json").write_text(json.dumps(description, indent=1) + "\n")
    shutil.rmtree(folder, ignore_errors=True)
    temporary.rename(folder)


def load_student(folder: Path) -> LoadedStudent:
    """Raises `CheckpointError` naming what is missing."""
    for name in ("student.json", "model.safetensors", "tokenizer.json"):
        if not (folder / name).is_file():
            raise CheckpointError(f"{folder / name}: missing; is this a checkpoint folder?")
    description = json.loads((folder / "student.json").read_text())
    config = BertConfig.from_dict(description["config"])
    config._attn_implementation = "eager"
    student = Student(config, [Head(**head) for head in description["heads"]])
    student.load_state_dict(load_file(folder / "model.safetensors"))
    return LoadedStudent(
        student.eval(),
        folder / "tokenizer.json",
        Truncation(**description["truncation"]),
        description["meta"],
    )
