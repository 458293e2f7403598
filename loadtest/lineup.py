"""The lineup: the servers that are compared, each started as a process of its own.

    student        retort serve
    shadow         the same with a share of its requests scored by the teacher too
    teacher        one teacher, PyTorch fp32 behind FastAPI
    ensemble       several, their scores averaged
    same-backend   a teacher's bundle, on the backend that the student runs on, in the fastest
                   precision in which it ranks as its original
    bert-large     a BERT-large of random weights, on that backend

All run at once and wait; only the one whose turn it is has work.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from retort.loadtest.comparison import SHADOW, STUDENT, Role, Target
from retort.loadtest.machine import available_bytes
from retort.loadtest.server import HOST, Server, serve_command
from retort.loadtest.untaught import BERT_LARGE, MINILM, Shape, untaught_bundle
from retort.models.bundle import Bundle, read_bundle
from retort.models.find import find_bundle

Progress = Callable[[str], None]

# A minute, because at the highest load a request waits long, and is to be timed and not refused.
# No cache of passages, because a load test asks about the same ones again and again.
SERVE = ("--log-level", "warning", "--timeout-ms", "60000", "--passage-cache", "0")
# Its golden pairs and its warm-up take a BERT-large a minute and more on two cores.
READY_TIMEOUT_S = 600.0
# Measured: writing its graph took 9.8 GB.
LARGE_BYTES = 11 * 10**9


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which servers to compare. What is empty, None or zero is left out."""

    bundle: str
    teacher: str | None = None
    ensemble: tuple[str, ...] = ()
    teacher_bundle: str | None = None  # None: one of random weights, see `untaught.py`
    same_backend: bool = True
    bert_large: bool = True
    shadow: float = 0.01
    work: Path = Path("runs/loadtest")


class Lineup:
    """Starts the servers; inside its `with` block they run.

    with Lineup(Wanted("retort-small"), print) as lineup:
        lineup.targets
    """

    def __init__(self, wanted: Wanted, progress: Progress) -> None:
        self.targets: list[Target] = []
        self.student: Bundle = read_bundle(find_bundle(wanted.bundle))
        self._wanted = wanted
        self._progress = progress
        self._stack = ExitStack()
        self._backend: dict[str, str] = {}
        self._servers: dict[Role, Server] = {}

    def __enter__(self) -> Lineup:
        """Raises `RuntimeError` with its words if one of them does not start."""
        try:
            self._start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def get(self, role: Role, path: str) -> str:
        """What a server answers to a GET. Raises `RuntimeError` unless that is a 200."""
        status, body = self._servers[role].get(path)
        if status != 200:
            raise RuntimeError(f"GET {path} of the {role} was answered with {status}")
        return body.decode()

    def _start(self) -> None:
        wanted, student = self._wanted, self.student
        self._serve(STUDENT, "student", student)
        large = self._untaught(BERT_LARGE) if wanted.bert_large and self._has_room() else None
        if wanted.same_backend or wanted.shadow > 0:
            given = wanted.teacher_bundle
            teacher = read_bundle(find_bundle(given)) if given else self._untaught(MINILM)
            if wanted.shadow > 0:
                label = f"student, shadowing {wanted.shadow:.2%} of requests"
                self._serve(SHADOW, label, student, *self._shadowing(teacher))
            if wanted.same_backend:
                self._serve(
                    "same-backend", "teacher, same backend", teacher, shape_only=given is None
                )
        if wanted.teacher is not None:
            self._teach("teacher", "one teacher, PyTorch fp32", wanted.teacher)
        if wanted.ensemble:
            label = f"ensemble of {len(wanted.ensemble)} teachers, PyTorch fp32"
            self._teach("ensemble", label, *wanted.ensemble)
        if large is not None:
            self._serve("bert-large", "BERT-large, same backend", large, shape_only=True)

    def _has_room(self) -> bool:
        free = available_bytes()
        if free is None or free >= LARGE_BYTES:
            return True
        self._progress(
            f"leaving out BERT-large: {free / 1e9:.1f} GB of memory are free, writing its graph "
            f"takes {LARGE_BYTES / 1e9:.0f}"
        )
        return False

    def _untaught(self, shape: Shape) -> Bundle:
        folder = self._wanted.work / shape.name
        return untaught_bundle(shape, self.student, folder, self._progress)

    def _shadowing(self, teacher: Bundle) -> Iterator[str]:
        yield from ("--teacher", str(teacher.folder), "--shadow", str(self._wanted.shadow))
        for setting, value in self._backend.items():
            if setting != "precision":
                yield from (f"--teacher-{setting}", value)

    def _serve(
        self, role: Role, label: str, bundle: Bundle, *options: str, shape_only: bool = False
    ) -> None:
        self._progress(f"starting {label}")
        # A taught bundle ranks rightly in some precisions only; its server finds out in which.
        same = {k: v for k, v in self._backend.items() if shape_only or k != "precision"}
        if role == SHADOW:
            same = self._backend
        flags = [part for name, value in same.items() for part in (f"--{name}", value)]
        server = self._stack.enter_context(
            Server(serve_command(str(bundle.folder), *SERVE, *flags, *options), READY_TIMEOUT_S)
        )
        backend = server.backend()
        if role == STUDENT:
            # What the student's server has chosen, the others have to run on too.
            self._backend = {key: backend[key] for key in ("backend", "provider", "precision")}
        engine = "/".join(str(backend[key]) for key in ("backend", "provider", "precision"))
        self._add(role, label, server, f"{_describe(bundle)}, {engine}", shape_only)

    def _teach(self, role: Role, label: str, *specs: str) -> None:
        self._progress(f"starting {label}")
        length = str(self.student.manifest.truncation.max_length)
        command = [
            sys.executable,
            "-m",
            "retort.loadtest.teacher_server",
            *specs,
            "--max-length",
            length,
        ]
        server = self._stack.enter_context(Server(command, READY_TIMEOUT_S))
        info = server.get_json("/info")
        engine = f"{info['model']}; {info['engine']}"
        self._add(role, label, server, engine, info["shape_only"])

    def _add(self, role: Role, label: str, server: Server, engine: str, shape_only: bool) -> None:
        self._servers[role] = server
        host = f"http://{HOST}:{server.port}"
        self.targets.append(Target(role, label, host, engine, shape_only))


def _describe(bundle: Bundle) -> str:
    manifest, size = bundle.manifest, bundle.manifest.architecture
    return f"{manifest.name} {manifest.version}, {size.layers} layers of {size.width}"
