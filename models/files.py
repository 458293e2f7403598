"""Reading a bundle's files: plain files of bounded size, never through a link.

Whoever made a bundle chose every byte of it. So a file's size is looked at before anything is read,
a link is refused even to a file within the bundle, and so is what is no file at all: a folder, a
device or a pipe, which could be read for ever.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from io import BufferedReader
from pathlib import Path

from retort.models.errors import DamagedFile, MissingFile

KIB, MIB, GIB = 2**10, 2**20, 2**30

# The largest size of each file, in bytes.
# The shipped one has 5 KiB. Of 256 KiB all mistakes are still found in half a second.
MANIFEST_BYTES = 256 * KIB
# Ed25519 signatures have just this size.
SIGNATURE_BYTES = 64
# It is made from the manifest, and a table of a quarter of a million characters is no card.
CARD_BYTES = MIB
# Those of multilingual models, with a quarter of a million tokens, have 17 to 33 MB.
TOKENIZER_BYTES = 64 * MIB
# 4,096 pairs, the most there may be, with 4 KiB each.
GOLDEN_BYTES = 16 * MIB
# ONNX's format, protobuf, ends here; a graph that is larger has to keep its weights elsewhere.
GRAPH_BYTES = 2 * GIB


def read_file(path: Path, largest: int) -> bytes:
    """The content of a file of at most `largest` bytes. Raises `MissingFile` or `DamagedFile`."""
    with _open(path, largest) as file:
        size = os.fstat(file.fileno()).st_size
        content = file.read(size)
        if len(content) != size or file.read(1):
            raise DamagedFile(path, "changed while it was read: try again")
    return content


def hash_file(path: Path, largest: int) -> str:
    """The sha256 of a file of at most `largest` bytes, in hex, without holding it in memory.

    Raises `MissingFile` or `DamagedFile`.
    """
    with _open(path, largest) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_file(path: Path, found: os.stat_result, largest: int) -> None:
    """Raise `DamagedFile` if `found`, the status of `path` itself, is of nothing to be read."""
    if stat.S_ISLNK(found.st_mode):
        raise DamagedFile(path, "is a link: put the file itself there")
    if not stat.S_ISREG(found.st_mode):
        raise DamagedFile(path, "is no plain file: move it out of the bundle")
    if found.st_size > largest:
        raise DamagedFile(path, f"has {found.st_size:,} bytes, more than the {largest:,} allowed")


def _open(path: Path, largest: int) -> BufferedReader:
    # Not blocking: opening a pipe would wait for somebody to write.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        file = os.fdopen(os.open(path, flags), "rb")
    except FileNotFoundError:
        raise MissingFile(path, "not there, and no bundle is without it") from None
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise DamagedFile(path, "is a link: put the file itself there") from None
        if error.errno == errno.EISDIR:
            raise DamagedFile(path, "is no plain file: move it out of the bundle") from None
        raise DamagedFile(path, f"cannot be read ({error.strerror})") from None
    try:
        check_file(path, os.fstat(file.fileno()), largest)
    except DamagedFile:
        file.close()
        raise
    return file
