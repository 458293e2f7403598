"""Serving needs neither torch nor transformers, and phones nobody."""

from __future__ import annotations

import subprocess
import sys

from retort.models.bundle import Bundle
from tests.service.running import ROOT

PROGRAM = """
import sys
from pathlib import Path
from retort.models.bundle import read_bundle
from retort.service.http.app import create_app
from retort.models.runtime.choose import CANDIDATES, load_backend
from retort.models.runtime.options import RuntimeOptions
from retort.models.runtime.base import BackendUnavailable
from retort.service.server import serve
from retort.service.alone import LocalEngines, Metrics, Service
from retort.service.settings import Settings
bundle = read_bundle(Path(sys.argv[1]))
create_app(Service(Settings(), LocalEngines(Settings(), Metrics(), [bundle])))
for info in CANDIDATES:
    try:
        load_backend(info, bundle, RuntimeOptions(threads=1), Path(sys.argv[1]))
    except BackendUnavailable:
        pass
heavy = {"torch", "transformers", "datasets", "sklearn", "scipy", "pandas", "onnx"}
heavy |= {"retort.training", "retort.loadtest"}
loaded = {name for name, module in sys.modules.items() if module is not None}
print(sorted(loaded & (heavy | {"openvino_telemetry"})), "openvino" in loaded)
"""


def printed(program: str, *arguments: str) -> str:
    """What a program prints in a process of its own."""
    ended = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_what_serving_imports(tiny_bundle: Bundle) -> None:
    assert printed(PROGRAM, str(tiny_bundle.folder)) == "[] True\n"


def test_neither_engines_nor_their_supervisor_import_http() -> None:
    program = (
        "import retort.service.processes.engine, retort.service.processes.supervisor, sys; "
        "print([m for m in ('fastapi', 'starlette', 'uvicorn', 'retort.service.http') "
        "if m in sys.modules])"
    )
    assert printed(program) == "[]\n"


def test_the_command_line_imports_no_engine() -> None:
    program = (
        "import retort.service.cli, sys; "
        "print([m for m in ('onnxruntime', 'openvino', 'torch', 'fastapi', 'numpy') "
        "if m in sys.modules])"
    )
    assert printed(program) == "[]\n"


def test_only_a_teacher_at_a_url_needs_the_client_and_says_so_without_it() -> None:
    program = (
        "import sys; sys.modules['httpx'] = None; "
        "from retort.models.errors import StartError; "
        "from retort.service.server import serve; "
        "from retort.service.settings import Settings; "
        "\ntry:"
        "\n    serve(Settings(bundle=sys.argv[1], teacher='http://r.example/rerank', shadow=0.1))"
        "\nexcept StartError as error:"
        "\n    print(error)"
    )
    told = printed(program, str(ROOT / "tests" / "tiny-bundle"))
    assert "needs httpx" in told
    assert "extra `client`" in told
