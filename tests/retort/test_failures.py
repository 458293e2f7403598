"""What `retort` says where it cannot go on: one sentence, and the status that goes with it."""

from __future__ import annotations

import csv
import gzip
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tokenizers
import torch
from pydantic import TypeAdapter
from typer.testing import CliRunner

from retort.cli import app
from retort.failures import Unreadable, reading
from retort.models.errors import StartError

ROOT = Path(__file__).parents[2]
RETORT = [sys.executable, "-m", "retort"]


def run(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """`retort`, in a process of its own."""
    return subprocess.run(
        [*RETORT, *words],
        env={**os.environ, **variables},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str]]:
    """Run `retort data show x.tsv`, whose reader does what the test says."""

    def invoke(work: Callable[[], object], *words: str) -> tuple[int, str]:
        monkeypatch.setattr("retort.training.data.catalog.read_any", lambda *_: work())
        result = CliRunner().invoke(app, ["data", "show", "x.tsv", *words])
        return result.exit_code, result.stderr

    return invoke


def raising(error: BaseException) -> Callable[[], object]:
    def work() -> object:
        raise error

    return work


@pytest.mark.parametrize(
    ("work", "kind"),
    [
        (lambda: np.zeros(2) + np.zeros(3), "ValueError"),
        (lambda: {"a": 1}["b"], "KeyError"),
        (lambda: 1 // 0, "ZeroDivisionError"),
        (lambda: torch.zeros(1, dtype=torch.bfloat16).numpy(), "TypeError"),
        (lambda: torch.zeros(2) + torch.zeros(3), "RuntimeError"),
        (lambda: [*csv.reader(['"a'], strict=True)], "_csv.Error"),
        (lambda: tokenizers.Tokenizer.from_str("{}"), "Exception"),
        (lambda: gzip.decompress(gzip.compress(b"a" * 99)[:20]), "EOFError"),
        (lambda: pa.array(["a", 1]), "pyarrow.lib.ArrowTypeError"),
        (lambda: TypeAdapter(int).validate_python("a"), "pydantic_core._pydantic_core.ValidationE"),
        (
            lambda: onnxruntime.InferenceSession(b"no graph"),
            "onnxruntime.capi.onnxruntime_pybind11_state.InvalidProtobuf",
        ),
        (raising(AssertionError()), "AssertionError"),
    ],
)
def test_what_nobody_foresaw_is_a_fault_with_its_type(
    failing: Callable[..., tuple[int, str]], work: Callable[[], Any], kind: str
) -> None:
    code, err = failing(work)
    assert code == 1
    assert len(err.splitlines()) == 1
    assert err.startswith(f"error: this is a fault of Retort: {kind}")
    assert "at training/commands/data.py, line " in err
    assert "--debug" in err


def test_what_the_machine_refuses_is_put_into_words(
    failing: Callable[..., tuple[int, str]], tmp_path: Path
) -> None:
    missing = tmp_path / "x"
    assert failing(missing.read_text) == (1, f"error: {missing}: No such file or directory\n")
    assert failing(tmp_path.read_text) == (1, f"error: {tmp_path}: Is a directory\n")
    assert failing(raising(OSError("no hub. Is there a network?"))) == (
        1, "error: no hub. Is there a network?\n",
    )  # fmt: skip


@pytest.mark.parametrize(
    "work",
    [
        raising(MemoryError()),
        raising(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB.\nGPU 0")),
        lambda: torch.empty(10**15),
        lambda: np.empty(10**15),
    ],
)
def test_memory_says_what_to_make_smaller(
    failing: Callable[..., tuple[int, str]], work: Callable[[], Any]
) -> None:
    code, err = failing(work)
    assert code == 1
    assert len(err.splitlines()) == 1
    assert err.startswith("error: out of memory")
    assert "optimiser.batch_pairs" in err


def test_a_missing_package_names_its_extra(failing: Callable[..., tuple[int, str]]) -> None:
    code, err = failing(raising(ModuleNotFoundError("no", name="pyarrow.parquet")))
    assert code == 1
    assert "needs pyarrow" in err
    assert "`train`" in err
    assert "damaged" in failing(raising(ImportError("libcudart.so.12: cannot open")))[1]


def test_words_of_our_own_are_told_as_they_are(failing: Callable[..., tuple[int, str]]) -> None:
    assert failing(raising(StartError("a\nb"))) == (1, "error: a\nb\n")
    assert run("data", "show", "x.txt").stderr.count("\n") == 1


def test_an_interrupt_ends_with_130(failing: Callable[..., tuple[int, str]]) -> None:
    assert failing(raising(KeyboardInterrupt())) == (130, "interrupted\n")


def heed_interrupts() -> None:
    """In a child process: a shell's background jobs ignore SIGINT, and so would what they start."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_a_real_interrupt_ends_with_130() -> None:
    process = subprocess.Popen(
        [*RETORT, "score", "q", "-"],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heed_interrupts,
    )
    time.sleep(10)  # it waits for passages, on a slow machine too
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (130, "interrupted\n")


def test_debug_shows_the_traceback_before_or_behind_the_command_or_by_a_variable() -> None:
    plain = run("verify", "nothing-here")
    assert plain.returncode == 1
    assert "Traceback" not in plain.stderr
    for done in (
        run("--debug", "verify", "nothing-here"),
        run("verify", "nothing-here", "--debug"),
        run("verify", "nothing-here", RETORT_DEBUG="1"),
    ):
        assert done.returncode == 1
        assert done.stderr.startswith("Traceback")
        assert done.stderr.endswith("\n" + plain.stderr)


def test_wrong_usage_ends_with_2() -> None:
    assert run("methods", "--nonsense").returncode == 2
    # Behind `--` it is a word like any other.
    assert run("methods", "--", "--debug").returncode == 2


def test_a_reader_that_goes_away_is_no_error() -> None:
    read, written = os.pipe()
    os.close(read)
    with os.fdopen(written, "w") as output:
        done = subprocess.run(
            [*RETORT, "methods"], cwd=ROOT, stdout=output, stderr=subprocess.PIPE, check=False
        )
    assert (done.returncode, done.stderr) == (1, b"")


def test_a_full_disk_is_told() -> None:
    with Path("/dev/full").open("w") as output:
        done = subprocess.run(
            [*RETORT, "methods"], cwd=ROOT, stdout=output, stderr=subprocess.PIPE, check=False
        )
    assert (done.returncode, done.stderr) == (1, b"error: No space left on device\n")


def test_a_broken_pipe_of_something_else_is_an_error(
    failing: Callable[..., tuple[int, str]],
) -> None:
    assert failing(raising(BrokenPipeError(32, "Broken pipe"))) == (1, "error: Broken pipe\n")


def test_what_a_library_says_of_a_file_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    path.write_bytes(b"PAR1 is not enough")
    with (
        pytest.raises(Unreadable, match=r"t\.parquet: not readable as a pair table"),
        reading(path, "a pair table"),
    ):
        pq.read_table(path)
    with pytest.raises(FileNotFoundError), reading(path, "text"):
        (tmp_path / "none").read_text()
    with pytest.raises(StartError, match="own words"), reading(path, "text"):
        raise StartError("own words")
    with pytest.raises(MemoryError), reading(path, "text"):
        raise MemoryError


@pytest.mark.parametrize(
    "words",
    [
        ("evaluate", "--from"),
        ("cascade", "--from"),
        ("trust", "--from"),
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, words: tuple[str, ...]) -> None:
    path = tmp_path / "figures.json"
    path.write_text("{")
    result = CliRunner().invoke(app, [*words, str(path)])
    assert result.exit_code == 1
    assert result.stderr.startswith(f"error: {path}: not readable as figures of")
