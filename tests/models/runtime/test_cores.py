"""Cores that a process may use: those it may run on, and no more than its CPU time is for."""

from __future__ import annotations

import math
import os
from pathlib import Path

import pytest

from retort.models.runtime import cores
from retort.models.runtime.cores import cpu_limit, usable_cores


def group(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text + "\n")


def owned(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "own"
    path.write_text(text)
    return path


def test_the_least_limit_of_a_group_and_those_above_it_counts(tmp_path: Path) -> None:
    group(tmp_path / "cg", cpu__max="max 100000")
    group(tmp_path / "cg/pod", cpu__max="250000 100000")
    group(tmp_path / "cg/pod/one", cpu__max="400000 100000")
    group(tmp_path / "cg/other", cpu__max="50000 100000")
    assert cpu_limit(tmp_path / "cg", owned(tmp_path, "0::/pod/one\n")) == 2.5
    assert cpu_limit(tmp_path / "cg", owned(tmp_path, "0::/pod\n")) == 2.5
    assert cpu_limit(tmp_path / "cg", owned(tmp_path, "0::/\n")) == math.inf


def test_in_a_container_the_root_is_its_own_group(tmp_path: Path) -> None:
    group(tmp_path / "cg", cpu__max="150000 100000")
    own = owned(tmp_path, "0::/../../system.slice/docker-1.scope\n")
    assert cpu_limit(tmp_path / "cg", own) == 1.5


def test_version_1_has_a_hierarchy_for_cpu_alone(tmp_path: Path) -> None:
    limits = {"cpu__cfs_quota_us": "300000", "cpu__cfs_period_us": "100000"}
    group(tmp_path / "cg/cpu/docker/1", **limits)
    group(tmp_path / "cg/cpu", cpu__cfs_quota_us="-1", cpu__cfs_period_us="100000")
    own = owned(tmp_path, "4:memory:/docker/1\n3:cpu,cpuacct:/docker/1\n")
    assert cpu_limit(tmp_path / "cg", own) == 3.0


def test_without_control_groups_there_is_no_limit(tmp_path: Path) -> None:
    assert cpu_limit(tmp_path, tmp_path / "missing") == math.inf
    assert cpu_limit(tmp_path / "missing", owned(tmp_path, "0::/\n")) == math.inf


@pytest.mark.parametrize(
    ("limit", "expected"), [(0.2, 1), (1.0, 1), (1.5, 2), (math.inf, 8), (64.0, 8)]
)
def test_a_limit_is_rounded_up_to_cores(
    monkeypatch: pytest.MonkeyPatch, limit: float, expected: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    monkeypatch.setattr(cores, "cpu_limit", lambda: limit)
    assert usable_cores() == expected
