"""The finding: what one part of the stress run found, ready to be kept and to be shown."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

Table = tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Row:
    """One figure beside what was wanted. `reached` is None where nothing was."""

    what: str
    found: str
    wanted: str = ""
    reached: bool | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """The rows of a part, what must be known to read them, and what is drawn or listed below.

    `table` has its head first; `points` (x, y) are those of a plot. Both may be empty.
    """

    part: str
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    table: Table = ()
    points: tuple[tuple[float, float], ...] = ()


class Part(Protocol):
    """What a part measured; its figures are computed from that alone."""

    def finding(self) -> Finding:
        """What it comes to."""
        ...


@dataclass(frozen=True, slots=True)
class Kept:
    """A finding with where it comes from: the day, the command, the machine, what was served."""

    created: str
    command: str
    machine: str
    served: str
    finding: Finding

    def write(self, folder: Path) -> Path:
        """Keep it as `folder/<part>.json`."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.finding.part}.json"
        path.write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")
        return path


def read_kept(folder: Path, part: str) -> Kept | None:
    """What `folder` keeps of a part; None if it keeps nothing.

    Raises `ValueError` with the path if the file there is not one that `Kept.write` wrote.
    """
    path = folder / f"{part}.json"
    if not path.exists():
        return None
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        found = raw.pop("finding")
        finding = Finding(
            part=found["part"],
            rows=tuple(Row(**row) for row in found["rows"]),
            notes=tuple(found["notes"]),
            table=tuple(tuple(line) for line in found["table"]),
            points=tuple((float(x), float(y)) for x, y in found["points"]),
        )
        return Kept(finding=finding, **raw)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(
            f"{path} is not what a stress run keeps ({error!r}): remove it, and measure again"
        ) from error
