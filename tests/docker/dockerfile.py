"""A Dockerfile as its instructions, as far as the project's own use the language."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
DOCKERFILES = sorted(DOCKER.glob("Dockerfile.*"))


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction; `text` is what follows its name, lines joined."""

    name: str
    text: str

    @property
    def words(self) -> list[str]:
        """The text as words: of the JSON form its items, without flags such as `--from=…`."""
        if self.text.startswith("["):
            items: list[str] = json.loads(self.text)
            return items
        return [word for word in shlex.split(self.text) if not word.startswith("--")]

    @property
    def flags(self) -> dict[str, str]:
        """The flags before anything else: `--from=build` is `{"from": "build"}`."""
        return dict(re.findall(r"--([a-z-]+)=(\S+)", self.text.partition("[")[0]))


def instructions(text: str) -> list[Instruction]:
    """Every instruction of a Dockerfile in its order.

    Example: `"RUN a \\\\\\n  && b"` is one instruction, `RUN` with `a   && b`.
    """
    lines = [line for line in text.splitlines() if not re.match(r"\s*(#|$)", line)]
    found = re.sub(r"\\\n\s*", " ", "\n".join(lines)).splitlines()
    return [Instruction(*line.split(maxsplit=1)) for line in found]


def stages(path: Path) -> list[list[Instruction]]:
    """The instructions of each stage, its FROM first, without what stands before the first."""
    found: list[list[Instruction]] = []
    for instruction in instructions(path.read_text(encoding="utf-8")):
        if instruction.name == "FROM":
            found.append([])
        if found:
            found[-1].append(instruction)
    return found


def environment(stage: list[Instruction]) -> dict[str, str]:
    """What a stage's ENV lines set; `${…}` stands as written."""
    words = [word for i in stage if i.name == "ENV" for word in i.words]
    return {name: value for name, _, value in (word.partition("=") for word in words)}


def only(stage: list[Instruction], name: str) -> Instruction:
    """The one instruction of that name. Raises `ValueError` if there is not just one."""
    (found,) = [i for i in stage if i.name == name]
    return found
