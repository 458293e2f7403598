"""The catalogue: the servers that are compared, how each is installed, started and asked.

    retort             `retort serve`, the backend and precision of its own choice
    retort-fp32        the same in fp32, as the others are
    infinity           infinity-emb, PyTorch fp32
    infinity-bf16      the same with `--dtype bfloat16`
    infinity-onnx      infinity-emb, its optimum engine on ONNX Runtime
    infinity-segments  the same with a graph that works out the token types (see `convert.py`)
    fastapi            sentence-transformers' CrossEncoder behind a minimal FastAPI
    litserve           the same behind LitServe, with its batching
    triton             the same in Triton, through nvidia-pytriton, with its dynamic batcher

All have the weights of one encoder and one head. Each has a virtual environment, made once, because
their pins conflict with each other's and with this project's; `NAME.txt` lists what is in it. This
module imports neither torch nor onnx.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from retort.loadtest.targets import PATIENT, RETORT, Api, Target, by_index, serve
from retort.loadtest.traffic import Request

HERE = Path(__file__).parent
SERVERS = HERE / "servers"
STAMP = ".installed"
INSTALL_TIMEOUT_S = 1800.0
OURS = "retort"

# No hub is asked for a model that lies in a folder, and no server reports its use to its makers.
QUIET = {"HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1", "INFINITY_ANONYMOUS_USAGE_STATS": "0"}


@dataclass(frozen=True, slots=True)
class Forms:
    """Where the student lies, in the forms in which servers load it (see `convert.py`).

    `settings` are those of `retort serve`, as `retort tune` writes them; the others get none.
    """

    student: Path
    segments: Path
    golden: Path
    settings: Path | None = None

    @classmethod
    def inside(cls, folder: Path, settings: Path | None = None) -> Forms:
        """The forms that lie, or are to lie, in one folder."""
        return cls(folder / "student", folder / "segments", folder / "golden", settings)


@dataclass(frozen=True, slots=True)
class Peer:
    """A server. `environment` names its virtual environment; "" is this project's own.

    `start` makes its target from the forms and the environment's Python.
    """

    name: str
    start: Callable[[Forms, Path], Target]
    environment: str = ""

    def target(self, forms: Forms, python: Path) -> Target:
        """What to start and to measure."""
        found = self.start(forms, python)
        return replace(found, environment={**QUIET, **found.environment})


def documents(request: Request) -> dict[str, Any]:
    """The body that Jina's and Cohere's API take, and infinity's."""
    return {"model": "student", "query": request.query, "documents": list(request.passages)}


def tensors(request: Request) -> dict[str, Any]:
    """The request as two columns of bytes, one row per pair."""
    pairs = len(request.passages)
    columns = {"query": [request.query] * pairs, "passage": list(request.passages)}
    return {
        "inputs": [
            {"name": name, "shape": [pairs, 1], "datatype": "BYTES", "data": data}
            for name, data in columns.items()
        ]
    }


DOCUMENTS = Api(
    route="/rerank",
    results_at=("results",),
    body=documents,
    scores=lambda answer: by_index(answer["results"], "relevance_score"),
)
TENSORS = Api(
    route="/v2/models/student/infer",
    results_at=("outputs", 0, "data"),
    body=tensors,
    scores=lambda answer: [float(score) for score in answer["outputs"][0]["data"]],
)


def ours(name: str, label: str, *options: str) -> Peer:
    """`retort serve` with these options, which win over the settings."""
    # The others cut a long passage, and all are to read the same pairs.
    options = (*PATIENT, "--window-score", "first", *options)

    def start(forms: Forms, python: Path) -> Target:
        return serve(forms.golden, *options, name=name, label=label, settings=forms.settings)

    return Peer(name, start)


def infinity(name: str, label: str, *options: str, segments: bool = False) -> Peer:
    """`infinity_emb v2` with these options."""

    def start(forms: Forms, python: Path) -> Target:
        folder = forms.segments if segments else forms.student
        # From within the folder: its ONNX engine cannot find a graph by a longer path. The engine
        # keeps the optimised graph in its cache, where that of another student must not be found.
        command = (
            "env", "-C", str(folder), f"HF_HUB_CACHE={folder}-cache",
            str(python.with_name("infinity_emb")), "v2", "--model-id", ".",
            "--served-model-name", "student", "--device", "cpu", "--log-level", "warning", *options,
        )  # fmt: skip
        return Target(name, label, command, DOCUMENTS, "/health")

    return Peer(name, start, "infinity")


def script(
    name: str, label: str, environment: str, api: Api = RETORT, ready_path: str = "/health",
    **variables: str,
) -> Peer:  # fmt: skip
    """One of the scripts in `servers/`, with these environment variables."""

    def start(forms: Forms, python: Path) -> Target:
        command = (str(python), str(SERVERS / f"{name}_server.py"), str(forms.student))
        return Target(name, label, command, api, ready_path, variables)

    return Peer(name, start, environment)


PEERS = (
    ours(OURS, "retort"),
    ours("retort-fp32", "retort, fp32", "--precision", "fp32"),
    infinity("infinity", "infinity-emb, PyTorch fp32", "--engine", "torch"),
    infinity(
        "infinity-bf16", "infinity-emb, PyTorch bf16", "--engine", "torch", "--dtype", "bfloat16"
    ),
    infinity("infinity-onnx", "infinity-emb, ONNX Runtime", "--engine", "optimum"),
    infinity(
        "infinity-segments", "infinity-emb, ONNX Runtime, mended graph", "--engine", "optimum",
        segments=True,
    ),
    script(
        "fastapi", "CrossEncoder behind FastAPI", "sentence-transformers", ready_path="/readyz"
    ),
    script("litserve", "CrossEncoder in LitServe", "litserve"),
    script(
        "triton", "CrossEncoder in Triton (pytriton)", "pytriton", TENSORS,
        "/v2/models/student/ready",
        # Triton's Python process takes the first libpython that it finds, and another version's
        # cannot run this one's standard library.
        LD_LIBRARY_PATH=str(sysconfig.get_config_var("LIBDIR")),
    ),
)  # fmt: skip


def find_peers(names: Sequence[str]) -> tuple[Peer, ...]:
    """The peers of these names in their order; all where none is named. Raises `ValueError`.

    `retort` is always among them, since the others are compared with it.
    """
    known = {peer.name: peer for peer in PEERS}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(f"no peer is called {', '.join(unknown)}: there are {', '.join(known)}")
    return tuple(peer for peer in PEERS if not names or peer.name in (OURS, *names))


def requirements_of(name: str) -> Path:
    """The pinned requirements of the environment `name`."""
    return HERE / f"{name}.txt"


def make_environment(
    folder: Path, requirements: Path, log: Callable[[str], None] = lambda line: None
) -> Path:
    """The Python of the environment at `folder`, made unless it is there with these requirements.

    Raises `RuntimeError` with pip's message if something cannot be installed.
    """
    # Not resolved: it is a link, and where it lies is how Python knows its environment.
    python = folder.absolute() / "bin" / "python"
    digest = hashlib.sha256(requirements.read_bytes()).hexdigest()
    stamp = folder / STAMP
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == digest and python.exists():
        return python
    log(f"installing {requirements.stem} into {folder} (once; takes minutes)")
    shutil.rmtree(folder, ignore_errors=True)
    # Our own pip installs into it: a pip of its own would cost seconds and is not used again.
    pip = [sys.executable, "-m", "pip", "--python", str(python)]
    for command in (
        [sys.executable, "-m", "venv", "--without-pip", str(folder)],
        [*pip, "install", "--quiet", "-r", str(requirements)],
    ):
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S, check=False
        )
        if done.returncode != 0:
            raise RuntimeError(
                f"{' '.join(command)} ended with status {done.returncode}:\n{done.stderr[-2000:]}"
            )
    stamp.write_text(digest, encoding="utf-8")
    return python
