"""The peer: one server with the student in it, how it is started and how it is asked.

    retort             `retort serve`, the backend and precision of its own choice
    retort-fp32        the same in fp32, as the peers are
    infinity           infinity-emb, PyTorch fp32
    infinity-bf16      the same with `--dtype bfloat16`
    infinity-onnx      infinity-emb, its optimum engine on ONNX Runtime
    infinity-segments  the same with a graph that works out the token types (see `segments.py`)
    fastapi            sentence-transformers' CrossEncoder behind a minimal FastAPI
    litserve           the same behind LitServe, with its batching
    triton             the same in Triton, through nvidia-pytriton, with its dynamic batcher

All have the weights of one encoder and one head (see `folder.py` and `golden_alone.py`).
"""

from __future__ import annotations

import os
import sysconfig
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from retort.loadtest.lineup import SERVE
from retort.loadtest.peers.api import DOCUMENTS, RETORT, TENSORS, Api
from retort.loadtest.server import serve_command

SERVERS = Path(__file__).parent / "servers"
OURS = "retort"

# No hub is asked for a model that lies in a folder, and no peer reports its use to its makers.
QUIET = {"HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1", "INFINITY_ANONYMOUS_USAGE_STATS": "0"}


@dataclass(frozen=True, slots=True)
class Places:
    """Where the student lies, in the forms in which servers load it."""

    student: Path  # as Hugging Face libraries load it
    segments: Path  # the same, its graph without token types
    bundle: Path  # our own, its golden head alone
    settings: Path | None = None  # of `retort serve`, as `retort tune` writes them


# From places and the Python of the peer's environment to what starts it.
Command = Callable[[Places, Path], list[str]]


@dataclass(frozen=True, slots=True)
class Peer:
    """A server. `environment` names its virtual environment; "" is this project's own."""

    name: str
    label: str
    api: Api
    command: Command
    environment: str = ""
    ready_path: str = "/readyz"
    variables: Mapping[str, str] = field(default_factory=dict)

    def environ(self) -> dict[str, str]:
        """The environment variables of its process."""
        return {**os.environ, **QUIET, **self.variables}


def serving(*options: str) -> Command:
    """`retort serve` with these options, which win over the settings."""

    def command(places: Places, python: Path) -> list[str]:
        file = ("--settings", str(places.settings)) if places.settings else ()
        return serve_command(str(places.bundle), *SERVE, *file, *options)

    return command


def script(name: str) -> Command:
    """One of the scripts in `servers/`."""
    return lambda places, python: [str(python), str(SERVERS / name), str(places.student)]


def infinity(*options: str, segments: bool = False) -> Command:
    """`infinity_emb v2` with these options."""

    def command(places: Places, python: Path) -> list[str]:
        folder = places.segments if segments else places.student
        # From within the folder: its ONNX engine cannot find a graph by a longer path. Beside it
        # the engine keeps the graph as optimised, which must not be that of another student.
        return [
            "env", "-C", str(folder), f"HF_HUB_CACHE={folder}-cache",
            str(python.with_name("infinity_emb")), "v2", "--model-id", ".",
            "--served-model-name", "student", "--device", "cpu", "--log-level", "warning", *options,
        ]  # fmt: skip

    return command


PEERS = (
    Peer(OURS, "retort", RETORT, serving()),
    Peer("retort-fp32", "retort, fp32", RETORT, serving("--precision", "fp32")),
    Peer(
        "infinity", "infinity-emb, PyTorch fp32", DOCUMENTS,
        infinity("--engine", "torch"), "infinity", "/health",
    ),
    Peer(
        "infinity-bf16", "infinity-emb, PyTorch bf16", DOCUMENTS,
        infinity("--engine", "torch", "--dtype", "bfloat16"), "infinity", "/health",
    ),
    Peer(
        "infinity-onnx", "infinity-emb, ONNX Runtime", DOCUMENTS,
        infinity("--engine", "optimum"), "infinity", "/health",
    ),
    Peer(
        "infinity-segments", "infinity-emb, ONNX Runtime, mended graph", DOCUMENTS,
        infinity("--engine", "optimum", segments=True), "infinity", "/health",
    ),
    Peer(
        "fastapi", "CrossEncoder behind FastAPI", RETORT,
        script("fastapi_server.py"), "sentence-transformers",
    ),
    Peer(
        "litserve", "CrossEncoder in LitServe", RETORT,
        script("litserve_server.py"), "litserve", "/health",
    ),
    Peer(
        "triton", "CrossEncoder in Triton (pytriton)", TENSORS,
        script("triton_server.py"), "pytriton", "/v2/models/student/ready",
        # Triton's Python process takes the first libpython that it finds, and another version's
        # cannot run this one's standard library.
        {"LD_LIBRARY_PATH": str(sysconfig.get_config_var("LIBDIR"))},
    ),
)  # fmt: skip


def find_peers(names: tuple[str, ...]) -> tuple[Peer, ...]:
    """The peers of these names in their order; all where none is named. Raises `ValueError`.

    `retort` is always among them, since the others are compared with it.
    """
    known = {peer.name: peer for peer in PEERS}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(f"no peer is called {', '.join(unknown)}: there are {', '.join(known)}")
    return tuple(peer for peer in PEERS if not names or peer.name in (OURS, *names))
