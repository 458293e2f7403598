from __future__ import annotations

import os
from pathlib import Path

import pytest

from retort.models.errors import DamagedFile, MissingFile
from retort.models.files import GIB, hash_file, read_file


def test_a_file_is_read_and_hashed_up_to_its_bound(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    assert read_file(path, 3) == b"abc"
    assert hash_file(path, 3).startswith("ba7816bf8f01cfea")
    for read in (read_file, hash_file):
        with pytest.raises(DamagedFile, match="has 3 bytes, more than the 2"):
            read(path, 2)


def test_a_file_of_terabytes_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with path.open("wb") as file:
        file.truncate(4096 * GIB)
    with pytest.raises(DamagedFile, match="more than"):
        read_file(path, GIB)


@pytest.mark.parametrize("read", [read_file, hash_file])
def test_only_plain_files_are_read(tmp_path: Path, read: object) -> None:
    assert callable(read)
    path = tmp_path / "name"
    with pytest.raises(MissingFile):
        read(path, 10)
    (tmp_path / "real").write_bytes(b"secret")
    path.symlink_to(tmp_path / "real")
    with pytest.raises(DamagedFile, match="is a link"):
        read(path, 10)
    path.unlink()
    path.symlink_to("/dev/zero")
    with pytest.raises(DamagedFile, match="is a link"):
        read(path, 10)
    path.unlink()
    # Nobody writes to it, so opening it as other files are opened would never return.
    os.mkfifo(path)
    with pytest.raises(DamagedFile, match="no plain file"):
        read(path, 10)
    path.unlink()
    path.mkdir()
    with pytest.raises(DamagedFile, match="no plain file"):
        read(path, 10)


def test_a_file_that_never_ends_is_not_read() -> None:
    with pytest.raises(DamagedFile, match="no plain file"):
        read_file(Path("/dev/zero"), GIB)


def test_a_file_that_says_it_is_empty_is_not_believed() -> None:
    # As one that grows while it is read.
    with pytest.raises(DamagedFile, match="changed while it was read"):
        read_file(Path("/proc/self/status"), GIB)
