"""Downloading a file: resumed where it stopped, checked, and never seen half."""

from __future__ import annotations

import gzip
import hashlib
import http.client
import shutil
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable
from pathlib import Path

from retort.training.data.fetch.origins import RemoteFile, Wanted
from retort.training.data.readers.rows import DataError

ATTEMPTS = 3
TIMEOUT_S = 60.0
BLOCK = 1 << 20


class DownloadError(DataError):
    """A file could not be downloaded, or is not the one that was expected."""


def fetch(item: Wanted, root: Path, log: Callable[[str], None]) -> list[Path]:
    """Download the files of a set that are not there, into its folder under `root`.

    Returns those that are new. A file that is there, gzipped or not, is left as it is. Raises
    `DownloadError`.
    """
    folder = root / item.folder
    new = []
    for file in item.origin.files:
        if held(folder, file) is None:
            new.append(download(file, folder))
            log(f"{item.name}: {new[-1]}, {new[-1].stat().st_size} bytes, from {file.url}")
    return new


def held(folder: Path, file: RemoteFile) -> Path | None:
    """Where the file is, gzipped or not; None where it is not.

    Raises `DownloadError` where another file is in its place.
    """
    for path in (folder / file.name, folder / f"{file.name}.gz"):
        if path.is_file():
            if file.sha256 and _sha256(path) != file.sha256:
                raise DownloadError(
                    f"{path}: not the published file ({file.url}): its sha256 is {_sha256(path)}, "
                    f"expected {file.sha256}. Move it away to download that one"
                )
            return path
    return None


def download(file: RemoteFile, folder: Path) -> Path:
    """Download to `folder/file.name`. Raises `DownloadError`.

    What an earlier try left, in a file named `.part`, is not downloaded again.
    """
    path = folder / file.name
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    for attempt in range(1, ATTEMPTS + 1):
        try:
            _continue(file.url, part)
            break
        except (OSError, http.client.HTTPException) as error:
            gone = isinstance(error, urllib.error.HTTPError)
            if gone or attempt == ATTEMPTS:
                kept = f"; {part} is kept, and a second try goes on there" if part.exists() else ""
                raise DownloadError(f"{file.url}: cannot be downloaded ({error}){kept}") from error
    if file.member:
        _unpack(part, file.member)
    found = _sha256(part)
    if file.sha256 and found != file.sha256:
        part.unlink()
        raise DownloadError(
            f"{file.url}: its sha256 is {found}, expected {file.sha256}: the file has changed, or "
            "what came is not that file. Nothing was kept"
        )
    part.replace(path)
    return path


def _continue(url: str, part: Path) -> None:
    """Append to `part` what is lacking of it. Raises `OSError` or `HTTPException`."""
    start = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={start}-"} if start else {})
    try:
        answer = urllib.request.urlopen(request, timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        # Nothing lies behind what is there: all of it is there, or it is of another file.
        if error.code == 416 and start and error.headers.get("Content-Range") == f"bytes */{start}":
            return
        if error.code == 416 and start:
            part.unlink()
            return _continue(url, part)
        raise
    with answer:
        resumed = answer.status == 206
        with part.open("ab" if resumed else "wb") as file:
            shutil.copyfileobj(answer, file, BLOCK)
        length = answer.headers.get("Content-Length")
        whole = (start if resumed else 0) + int(length) if length else None
    if whole is not None and part.stat().st_size != whole:
        raise ConnectionError(f"{part.stat().st_size} of {whole} bytes came")


def _unpack(archive: Path, member: str) -> None:
    """Put a member of a zip in the zip's place. Raises `DownloadError`."""
    unpacked = archive.with_name(archive.name + ".member")
    try:
        with (
            zipfile.ZipFile(archive) as zipped,
            zipped.open(member) as inside,
            unpacked.open("wb") as file,
        ):
            shutil.copyfileobj(inside, file, BLOCK)
    except (zipfile.BadZipFile, KeyError) as error:
        archive.unlink()
        raise DownloadError(f"{archive}: no zip that holds {member} ({error})") from error
    unpacked.replace(archive)


def _sha256(path: Path) -> str:
    """Of the file, or of what is in it where it is gzipped."""
    digest = hashlib.sha256()
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()
