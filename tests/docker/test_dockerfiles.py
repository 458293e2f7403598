"""The Dockerfiles against hadolint, and against what the server is and knows."""

from __future__ import annotations

import re
import subprocess
import sysconfig
from pathlib import Path

import pytest

from retort.service.settings import OTHER_VARIABLES, PREFIX, Settings
from tests.docker.dockerfile import (
    DOCKERFILES,
    ROOT,
    environment,
    instructions,
    only,
    stages,
)

each = pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
SETTINGS = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields} | OTHER_VARIABLES


def test_both_images_have_one() -> None:
    assert {path.name for path in DOCKERFILES} == {"Dockerfile.cpu", "Dockerfile.gpu"}


@each
def test_hadolint_finds_nothing(path: Path) -> None:
    hadolint = Path(sysconfig.get_path("scripts")) / "hadolint"
    found = subprocess.run(
        [hadolint, "--no-color", str(path)], capture_output=True, text=True, timeout=60
    )
    assert (found.returncode, found.stdout) == (0, "")


@each
def test_bases_are_pinned(path: Path) -> None:
    read = instructions(path.read_text(encoding="utf-8"))
    arguments = dict(i.text.split("=", 1) for i in read if i.name == "ARG")
    names = {words[2] for i in read if i.name == "FROM" and len(words := i.text.split()) == 3}
    for stage in stages(path):
        base = stage[0].words[0]
        image = arguments[found[1]] if (found := re.fullmatch(r"\$\{(\w+)\}", base)) else base
        assert image in names or re.search(r":\d+\.\d+\.\d+-", image), image


@each
def test_the_server_runs_as_nobody_in_particular(path: Path) -> None:
    last = stages(path)[-1]
    user, group = map(int, only(last, "USER").text.split(":"))
    assert min(user, group) >= 10_000
    owner = next(i.words for i in last if i.name == "RUN" and i.words[0] == "install")
    assert owner == ["install", "-d", "-o", str(user), "-g", str(group), "/var/cache/retort"]
    # Nothing is run or copied as that user, who therefore owns nothing but the cache.
    assert last.index(only(last, "USER")) > max(
        n for n, i in enumerate(last) if i.name in ("RUN", "COPY")
    )


@each
def test_variables_are_settings(path: Path) -> None:
    variables = environment(stages(path)[-1])
    ours = {name: value for name, value in variables.items() if name.startswith(PREFIX)}
    assert set(ours) <= SETTINGS
    values = {
        name.removeprefix(PREFIX).lower(): value
        for name, value in ours.items()
        if name not in OTHER_VARIABLES
    }
    settings = Settings(**values)  # type: ignore[arg-type]
    assert settings.host == "0.0.0.0"
    assert only(stages(path)[-1], "EXPOSE").text == str(settings.port)
    assert settings.port == Settings.model_fields["port"].default


@each
def test_commands_have_the_exec_form(path: Path) -> None:
    last = stages(path)[-1]
    assert only(last, "ENTRYPOINT").text.startswith("[")
    assert only(last, "ENTRYPOINT").words + only(last, "CMD").words == ["retort", "serve"]
    health = only(last, "HEALTHCHECK").text.partition("CMD ")[2]
    assert health.startswith('["python')
    assert "/readyz" in health
    assert "curl" not in health


@each
def test_the_same_files_are_copied_as_the_context_lets_in(path: Path) -> None:
    copied = {
        word
        for stage in stages(path)
        for i in stage
        if i.name == "COPY" and not i.flags
        for word in i.words[:-1]
    }
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert copied == {line[1:] for line in lines if line.startswith("!")}
    assert all((ROOT / name).exists() for name in copied)


@each
def test_builds_are_the_same_every_time(path: Path) -> None:
    for stage in stages(path):
        pips = [i.text for i in stage if i.name == "RUN" and "pip" in i.text]
        for text in pips:
            for command in re.findall(r"pip (?:--python \S+ )?install (.+?)(?:&&|$)", text):
                assert "--require-hashes" in command or "--no-deps" in command, command
        if any("pip wheel" in text for text in pips):
            assert environment(stage)["SOURCE_DATE_EPOCH"] == "${SOURCE_DATE_EPOCH}"
            epoch = next(i for i in stage if i.text.startswith("SOURCE_DATE_EPOCH="))
            assert epoch.name == "ARG"


@each
def test_no_index_is_named(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert "index-url" not in text
    assert "://" not in text.replace("http://127.0.0.1", "")


def test_the_images_differ_only_in_their_base_and_engine() -> None:
    cpu, gpu = (environment(stages(path)[-1]) for path in DOCKERFILES)
    assert cpu == gpu
