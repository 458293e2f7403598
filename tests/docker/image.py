"""An image without Docker: the steps of `docker/Dockerfile.cpu`, run in a clean folder.

Commands run word for word, with two differences. `/opt/retort` and `/var/cache/retort` lie in the
folder, and what pip would download is linked into the new environment from the current one: only
the packages that the requirements need, so that anything else the server wants is missing here as
it would be there. pip has no index, and checks that all requirements are satisfied.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement

from tests.docker.dockerfile import DOCKER, ROOT, Instruction, environment, only, stages

BUILD, FINAL = stages(DOCKER / "Dockerfile.cpu")
PATIENCE_SECONDS = 180


class Image:
    """What a build leaves, in `folder`; `arguments` are those of `docker build --build-arg`."""

    def __init__(self, folder: Path, **arguments: str) -> None:
        self.folder = folder
        self.arguments = arguments
        self.context = folder / "context"
        self.work = folder / "build"
        self.prefix = folder / "opt" / "retort"
        self.cache = folder / "var" / "cache" / "retort"

    @property
    def command(self) -> list[str]:
        """What a container runs."""
        return only(FINAL, "ENTRYPOINT").words + only(FINAL, "CMD").words

    @property
    def health_check(self) -> list[str]:
        """Its health check."""
        text = only(FINAL, "HEALTHCHECK").text.partition("CMD ")[2]
        return Instruction("CMD", text).words

    def environment(self) -> dict[str, str]:
        """What a container has in its environment, and nothing else."""
        found = {name: self._here(value) for name, value in environment(FINAL).items()}
        return found | {"PATH": found["PATH"].replace("${PATH}", "/usr/local/bin:/usr/bin:/bin")}

    def build(self) -> None:
        """Run every step of the build stage, in its order.

        Raises `CalledProcessError` with the output of a command that fails.
        """
        self._let_in()
        self.work.mkdir()
        self.cache.mkdir(parents=True)
        for step in BUILD:
            if step.name == "COPY":
                self._copy(*step.words)
            elif step.name == "RUN":
                for command in step.text.split(" && "):
                    self._run(command)

    def _here(self, text: str) -> str:
        # Not twice: the folder's own path ends in the same words.
        at_word = r"(?<![\w/])"
        text = re.sub(rf"{at_word}/opt/retort", str(self.prefix), text)
        return re.sub(rf"{at_word}/var/cache/retort", str(self.cache), text)

    def _let_in(self) -> None:
        for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines():
            if line.startswith("!"):
                source, target = ROOT / line[1:], self.context / line[1:]
                target.parent.mkdir(parents=True, exist_ok=True)
                if source.is_dir():
                    # As Docker does: links inside a folder stay links.
                    shutil.copytree(
                        source,
                        target,
                        symlinks=True,
                        ignore=shutil.ignore_patterns("__pycache__"),
                    )
                else:
                    shutil.copy(source, target)

    def _copy(self, *names: str) -> None:
        *sources, target = names
        for name in sources:
            source = self.context / name
            if source.is_dir():
                shutil.copytree(source, self.work / target, symlinks=True)
            elif target == "./":
                shutil.copy(source, self.work)
            else:
                raise ValueError(f"COPY {name} {target}: this reads folders, and files into ./")

    def _run(self, command: str) -> None:
        done = subprocess.run(
            ["sh", "-euc", self._here(command)],
            cwd=self.work,
            env=self._build_environment(),
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
        )
        assert done.returncode == 0, f"RUN {command}:\n{done.stdout}{done.stderr}"
        if "-m venv" in command:
            name = self._build_environment()["REQUIREMENTS"]
            link_packages(locked(self.work / "requirements" / f"{name}.txt"), self.prefix)

    def _build_environment(self) -> dict[str, str]:
        arguments = dict(i.text.split("=", 1) for i in BUILD if i.name == "ARG") | self.arguments
        values = {
            name: re.sub(r"\$\{(\w+)\}", lambda found: arguments[found[1]], value)
            for name, value in environment(BUILD).items()
        }
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        # The one thing that is not the image's: there is no network.
        return {"HOME": str(self.folder), "PATH": path, "PIP_NO_INDEX": "1"} | arguments | values


def locked(file: Path) -> list[str]:
    """The requirement lines of a file that `make constraints` wrote, without their hashes."""
    lines = file.read_text(encoding="utf-8").splitlines()
    return [line.removesuffix(" \\") for line in lines if re.match(r"\w", line)]


def link_packages(requirements: list[str], prefix: Path) -> None:
    """Link what `requirements` need, directly and through others, into a new environment."""
    (target,) = prefix.glob("lib/python*/site-packages")
    for package in map(distribution, closure(requirements)):
        for top in {file.parts[0] for file in package.files or ()} - {"..", "__pycache__"}:
            if not (target / top).is_symlink():
                (target / top).symlink_to(Path(str(package.locate_file(top))))
        for entry in package.entry_points.select(group="console_scripts"):
            script = prefix / "bin" / entry.name
            script.write_text(
                f"#!{prefix}/bin/python\nimport sys\nfrom {entry.module} import {entry.attr}\n"
                f"sys.exit({entry.attr}())\n"
            )
            script.chmod(0o755)


def closure(requirements: list[str]) -> set[str]:
    """Every package that `requirements` need, of those that are installed here."""
    names: set[str] = set()
    waiting = [Requirement(line) for line in requirements]
    while waiting:
        need = waiting.pop()
        if need.marker is not None and not need.marker.evaluate({"extra": ""}):
            continue
        if need.name in names:
            continue
        try:
            lines = distribution(need.name).requires or []
        except PackageNotFoundError:
            continue
        names.add(need.name)
        for line in lines:
            inner = Requirement(line)
            extras = ["", *need.extras]
            if inner.marker is None or any(inner.marker.evaluate({"extra": e}) for e in extras):
                inner.marker = None
                waiting.append(inner)
    return names
