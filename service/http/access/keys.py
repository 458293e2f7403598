"""Keys: who may ask, and how much of it.

A server has one key in `api_key`, one for /admin in `admin_api_key`, and any number in a file that
is read again when it changes:

    - name: search                      # in logs and metrics
      sha256: 3a7bd3e2360a3d…           # of the key; `retort key search` makes both
      requests_per_second: 50           # the rest is optional
      concurrent_requests: 16
      tokens_per_minute: 2_000_000
    - name: operations
      sha256: 9f86d081884c7d…
      admin: true

In TOML each is a table `[[keys]]`.

Keys are looked up by their sha256. How long that takes says nothing about a key: to come close to
the hash of one, you would have to know it.
"""

from __future__ import annotations

import hashlib
import logging
import secrets
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, SecretStr, TypeAdapter, ValidationError
from starlette.types import Scope

from retort.models.errors import StartError
from retort.service.settings import Settings, read_file, sentence

logger = logging.getLogger("retort")

# How often the file is looked at.
LOOK_SECONDS = 1.0
# In the file, and of the keys in the settings.
DEFAULT_NAME, ADMIN_NAME = "default", "admin"

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Key(BaseModel):
    """A key, and its budgets; None: no limit."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Name
    sha256: Digest
    admin: bool = False
    requests_per_second: Annotated[float, Field(gt=0)] | None = None
    concurrent_requests: Annotated[int, Field(ge=1)] | None = None
    tokens_per_minute: Annotated[float, Field(gt=0)] | None = None

    @property
    def limited(self) -> bool:
        """Whether it has a budget."""
        limits = (self.requests_per_second, self.concurrent_requests, self.tokens_per_minute)
        return any(limit is not None for limit in limits)


_FILE = TypeAdapter(list[Key])


@dataclass(frozen=True, slots=True)
class _Seen:
    """What tells one version of a file from another."""

    modified_ns: int
    inode: int
    size: int


class Keyring:
    """All keys of a server; `on_change` hears their names whenever the file was read.

    Raises `StartError` if the file cannot be read.
    """

    def __init__(
        self, settings: Settings, on_change: Callable[[list[str]], None] = lambda _: None
    ) -> None:
        self._file = settings.keys_file
        # Whether nobody needs a key: an admin's alone closes no more than /admin.
        self.empty = self._file is None and settings.api_key is None
        self._on_change = on_change
        fixed = (
            (DEFAULT_NAME, settings.api_key, False),
            (ADMIN_NAME, settings.admin_api_key, True),
        )
        self._fixed = [
            Key(name=name, sha256=digest(_secret(secret)), admin=admin)
            for name, secret, admin in fixed
            if secret is not None
        ]
        self._seen: _Seen | None = None
        self._looked_at = time.monotonic()
        self._by_digest: dict[str, Key] = {}
        if self._file is None:
            self._keep(())
        else:
            self._seen = _look(self._file)
            self._keep(read_keys(self._file))

    @property
    def administered(self) -> bool:
        """Whether there is a key that opens /admin."""
        return any(key.admin for key in self._by_digest.values())

    def find(self, scope: Scope) -> Key | None:
        """The key of a request; None if it has none of ours."""
        self._refresh()
        given = _given(scope)
        if not given:
            return None
        # A header is bytes: some clients encode a key in Latin-1.
        spellings = (given, given.decode("latin-1").encode())
        found = (self._by_digest.get(digest(spelling)) for spelling in spellings)
        return next((key for key in found if key is not None), None)

    def _refresh(self) -> None:
        """Read the file again if it has changed; one that is wrong changes nothing."""
        now = time.monotonic()
        if self._file is None or now - self._looked_at < LOOK_SECONDS:
            return
        self._looked_at = now
        try:
            seen = _look(self._file)
            if seen == self._seen:
                return
            self._seen = seen
            self._keep(read_keys(self._file))
        except StartError as error:
            logger.error("the keys stay as they were: %s", error)
            return
        logger.info("%s: %d keys", self._file, len(self._by_digest) - len(self._fixed))

    def _keep(self, found: Iterable[Key]) -> None:
        self._by_digest = {key.sha256: key for key in (*found, *self._fixed)}
        if self._file is not None:
            self._on_change([key.name for key in self._by_digest.values()])


def read_keys(file: Path) -> list[Key]:
    """The keys in a file. Raises `StartError` with every mistake."""
    try:
        found = read_file(file, "keys file")
        if found is None:
            # Perhaps it is being written just now.
            raise StartError(f"keys file {file}: it is empty: write [] if there are no keys")
        # TOML has no list at its top.
        listed = found.get("keys", found) if isinstance(found, dict) else found
        keys = _FILE.validate_python(listed)
    except ValidationError as error:
        mistakes = "; ".join(map(sentence, error.errors(include_input=False)))
        raise StartError(f"keys file {file}: {mistakes}") from None
    for attribute in ("name", "sha256"):
        values = [getattr(key, attribute) for key in keys]
        if twice := {value for value in values if values.count(value) > 1}:
            raise StartError(f"keys file {file}: two keys have the {attribute} {min(twice)[:64]}")
    if taken := {key.name for key in keys} & {DEFAULT_NAME, ADMIN_NAME}:
        raise StartError(
            f"keys file {file}: the name {min(taken)} is that of a key in the settings"
        )
    return keys


def new_key(name: str, *, admin: bool = False) -> tuple[str, str]:
    """A random key, and its entry in a file of keys. Raises `StartError` for a bad name."""
    secret = f"retort-{secrets.token_urlsafe(32)}"
    try:
        key = Key(name=name, sha256=digest(secret.encode()), admin=admin)
    except ValidationError:
        raise StartError(
            f"{name!r} is no name for a key: use letters, digits, dots, dashes and underscores, at "
            "most 64"
        ) from None
    # In quotes, or YAML would read a hash of digits alone as a number.
    entry = f'- name: {key.name}\n  sha256: "{key.sha256}"'
    return secret, f"{entry}\n  admin: true" if admin else entry


def digest(key: bytes) -> str:
    """What is kept of a key: its sha256 in hex."""
    return hashlib.sha256(key).hexdigest()


def _secret(secret: SecretStr) -> bytes:
    return secret.get_secret_value().encode()


def _look(file: Path) -> _Seen:
    try:
        stat = file.stat()
    except OSError as error:
        raise StartError(f"keys file {file}: {error.strerror}") from None
    return _Seen(stat.st_mtime_ns, stat.st_ino, stat.st_size)


def _given(scope: Scope) -> bytes:
    """The key that a request has; bytes, since a header says nothing about its encoding."""
    found = b""
    for name, value in scope["headers"]:
        if name == b"authorization":
            scheme, _, token = value.partition(b" ")
            if scheme.lower() == b"bearer":
                return bytes(token.strip())
        elif name == b"x-api-key":
            found = value.strip()
    return found
