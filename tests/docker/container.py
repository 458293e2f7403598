"""A container without Docker: namespaces of mounts and processes, by util-linux.

As `docker run --read-only --user … --cap-drop ALL` with a volume at the cache: the root file
system cannot be written, the command is process 1, it has no capability and may gain none.
"""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx

from tests.docker.dockerfile import only
from tests.docker.image import FINAL, PATIENCE_SECONDS, Image

WHY_NOT = "needs root, unshare and setpriv (util-linux), and the right to use namespaces"
USER, GROUP = only(FINAL, "USER").text.split(":")
UNSHARE = ["unshare", "--mount", "--pid", "--fork", "--mount-proc"]
AS_USER = ["setpriv", f"--reuid={USER}", f"--regid={GROUP}", "--clear-groups",
           "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"]  # fmt: skip
# $1 is the volume, $2 the folder of the interpreter, $3 a folder above it that only root may enter
# or "": there the user gets a folder with nothing but the interpreter. The rest is what to run.
READ_ONLY = """
mount --make-rprivate / && mount --bind "$1" "$1"
if [ -n "$3" ]; then
    mkdir -p /mnt/interpreter && mount --bind "$2" /mnt/interpreter
    mount -t tmpfs -o mode=755 none "$3" && mkdir -p "$2" && mount --bind /mnt/interpreter "$2"
    mount -o remount,ro "$3"
fi
mount -o remount,bind,ro / && shift 3 && exec "$@"
"""


def interpreter() -> tuple[str, str]:
    """The interpreter's folder, and one above it that only root may enter, or ""."""
    folder = Path(sys.base_prefix).resolve()
    above = reversed(folder.parents)
    closed = next((str(path) for path in above if not path.stat().st_mode & 0o001), "")
    return str(folder), closed


@functools.cache
def possible() -> bool:
    """Whether this machine lets us; the interpreter must be readable by all, too."""
    if os.geteuid() != 0:
        return False
    asked = [
        *UNSHARE,
        "sh",
        "-euc",
        READ_ONLY,
        "sh",
        "/var/tmp",
        *interpreter(),
        *AS_USER,
        sys.executable,
        "-c",
        "import subprocess, sys; subprocess.run([sys.executable, '-c', ''], check=True)",
    ]
    try:
        return subprocess.run(asked, capture_output=True, timeout=60).returncode == 0
    except OSError:
        return False


class Container:
    """The image's command, running; a plain process where namespaces are not available."""

    def __init__(self, image: Image, **settings: str) -> None:
        self.environment = image.environment() | settings
        self.image = image
        command = image.command
        if possible():
            os.chown(image.cache, int(USER), int(GROUP))
            command = [*UNSHARE, "sh", "-euc", READ_ONLY, "sh", str(image.cache),
                       *interpreter(), *AS_USER, *command]  # fmt: skip
        self.log = (image.folder / "log").open("w+", encoding="utf-8")
        # The path is the container's, by which `retort` is found; it has unshare in it as well.
        self.process = subprocess.Popen(
            command,
            cwd="/tmp",
            env=self.environment | {"PATH": f"{self.environment['PATH']}:/usr/sbin:/sbin"},
            stdout=self.log,
            stderr=subprocess.STDOUT,
        )

    @property
    def pid(self) -> int:
        """The process that is 1 inside, by its number outside."""
        if not possible():
            return self.process.pid
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return int(children.read_text().split()[0])

    def output(self) -> str:
        """All that it has written."""
        self.log.seek(0)
        return self.log.read()

    def check_health(self) -> bool:
        """Run the image's health check in the container's environment."""
        return (
            subprocess.run(
                self.image.health_check,
                env=self.environment,
                executable=str(self.image.prefix / "bin" / self.image.health_check[0]),
                capture_output=True,
                timeout=PATIENCE_SECONDS,
            ).returncode
            == 0
        )

    def wait_until_healthy(self) -> None:
        """Wait until the health check says yes. Raises `AssertionError` if it never does."""
        end = time.monotonic() + PATIENCE_SECONDS
        # Asked from here: a busy machine would do nothing but start health checks.
        while not self._ready():
            assert self.process.poll() is None, self.output()
            assert time.monotonic() < end, self.output()
            time.sleep(0.1)
        assert self.check_health(), self.output()

    def _ready(self) -> bool:
        url = f"http://127.0.0.1:{self.environment['RETORT_PORT']}/readyz"
        try:
            return httpx.get(url, timeout=30).status_code == 200
        except httpx.TransportError:
            return False

    def stop(self) -> int:
        """As `docker stop`: SIGTERM to process 1. Returns the exit status."""
        os.kill(self.pid, signal.SIGTERM)
        return self.process.wait(PATIENCE_SECONDS)

    def close(self) -> None:
        """End it if it still runs."""
        if self.process.poll() is None:
            # The inner one first: after a change of user, unshare no longer ends it.
            with contextlib.suppress(ProcessLookupError, IndexError):
                os.kill(self.pid, signal.SIGKILL)
            self.process.kill()
        self.process.wait()
        self.log.close()
