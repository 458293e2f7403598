"""One line about the machine."""

from __future__ import annotations

from pathlib import Path

from retort.loadtest.machine import available_bytes, describe_machine


def test_processor_and_telling_instructions_are_named(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("model name\t: Some CPU\nflags\t\t: fpu avx2 amx_bf16 sse\n")
    line = describe_machine(cpuinfo)
    assert line.startswith("Some CPU, ")
    assert "(amx_bf16, avx2), Python 3." in line


def test_without_cpuinfo_it_still_says_something(tmp_path: Path) -> None:
    assert "core" in describe_machine(tmp_path / "missing")


def test_available_memory_is_read_where_the_system_says_it(tmp_path: Path) -> None:
    file = tmp_path / "meminfo"
    file.write_text("MemTotal:  9 kB\nMemAvailable:    2048 kB\n")
    assert available_bytes(file) == 2048 * 1024
    assert available_bytes(tmp_path / "none") is None
