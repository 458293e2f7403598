"""One line about the machine."""

from __future__ import annotations

from pathlib import Path

from loadtest.machine import describe_machine


def test_processor_and_telling_instructions_are_named(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("model name\t: Some CPU\nflags\t\t: fpu avx2 amx_bf16 sse\n")
    line = describe_machine(cpuinfo)
    assert line.startswith("Some CPU, ")
    assert "(amx_bf16, avx2), Python 3." in line


def test_without_cpuinfo_it_still_says_something(tmp_path: Path) -> None:
    assert "core" in describe_machine(tmp_path / "missing")
