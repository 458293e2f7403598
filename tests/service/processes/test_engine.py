from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from retort.models.bundle import TOKENIZER_FILE, Bundle, read_bundle
from retort.models.errors import DamagedFile
from retort.service.processes.engine import copy_for_front_ends


def test_front_ends_get_what_the_engine_read_and_nothing_else(
    tiny_bundle: Bundle, tmp_path: Path
) -> None:
    copy_for_front_ends(tiny_bundle, tmp_path / "copy")
    copied = read_bundle(tmp_path / "copy", [TOKENIZER_FILE])
    assert copied.digest == tiny_bundle.digest
    assert copied.encoder().truncation == tiny_bundle.encoder().truncation
    assert {path.name for path in copied.folder.iterdir()} == {"manifest.json", "tokenizer.json"}


@pytest.mark.parametrize("name", ["manifest.json", "tokenizer.json"])
def test_what_was_replaced_while_the_engine_loaded_is_not_copied(
    tiny_bundle: Bundle, tmp_path: Path, name: str
) -> None:
    bundle = read_bundle(shutil.copytree(tiny_bundle.folder, tmp_path / "bundle"))
    (bundle.folder / name).unlink()
    (tmp_path / "secret").write_text("readable by the server, and by nobody else")
    (bundle.folder / name).symlink_to(tmp_path / "secret")
    with pytest.raises(DamagedFile, match="is a link"):
        copy_for_front_ends(bundle, tmp_path / "copy")
    assert not (tmp_path / "copy" / name).exists()
