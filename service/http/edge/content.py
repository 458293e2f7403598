"""Content: whether a body may be sent like this, and how it is packed.

A page of any site can have its visitor's browser post to a server on the visitor's own machine or
network. The browser asks that server first (CORS preflight), and is told no, unless the request is
as simple as a form of HTML could send it: with one of three types, or with none at all. So a
request of those is refused if its browser says that it comes from another site; `curl -d`, which
sends a form's type too, and every other client that is no browser say nothing of the kind.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

from retort.service.errors import InvalidRequest, TooLarge, UnsupportedBody

Headers = Iterable[tuple[bytes, bytes]]

# What `told` looks for.
_TYPE, _ENCODING, _LENGTH = b"content-type", b"content-encoding", b"content-length"
_ORIGIN, _SITE, _HOST = b"origin", b"sec-fetch-site", b"host"
_TELLING = frozenset({_TYPE, _ENCODING, _LENGTH, _ORIGIN, _SITE, _HOST})
# Types that a browser sends to other sites without asking first.
_SIMPLE = frozenset({b"text/plain", b"application/x-www-form-urlencoded", b"multipart/form-data"})
# By encoding, what zlib calls its format; None: with zlib's frame or, as some clients do, without.
_FORMATS = {b"gzip": 31, b"x-gzip": 31, b"deflate": None}
_PLAIN = frozenset({b"", b"identity"})
# A zlib frame begins with its method, 8, in the lower half of its first byte.
_ZLIB_METHOD = 8


def told(headers: Headers) -> dict[bytes, bytes]:
    """What headers say of the body and of who sends it."""
    return {name: value for name, value in headers if name in _TELLING}


def announced(found: Mapping[bytes, bytes]) -> int | None:
    """The length that headers announce; None if they do not."""
    length = found.get(_LENGTH, b"")
    return int(length) if length.isdigit() else None


def check_site(found: Mapping[bytes, bytes]) -> None:
    """Raise `UnsupportedBody` for what a browser sends for a page of another site, unasked."""
    if (_ORIGIN in found or _SITE in found) and _from_elsewhere(found):
        kind = found.get(_TYPE, b"").partition(b";")[0].strip().lower()
        if not kind or kind in _SIMPLE:
            raise UnsupportedBody(
                f"a browser sends {kind.decode('latin-1') or 'no Content-Type'} for a page of "
                "another site: send Content-Type: application/json, and have the server's "
                "setting cors_origins name the site"
            )


def packing(found: Mapping[bytes, bytes]) -> bytes | None:
    """How the body is packed; None: not at all. Raises `UnsupportedBody`."""
    if _ENCODING not in found:
        return None
    encoding = found[_ENCODING].strip().lower()
    if encoding in _PLAIN:
        return None
    if encoding not in _FORMATS:
        raise UnsupportedBody(
            f"Content-Encoding {encoding.decode('latin-1')[:100]} is not read: send gzip, deflate, "
            "or the body as it is",
            headers={"Accept-Encoding": "gzip, deflate"},
        )
    return encoding


def unpack(body: bytes, encoding: bytes, limit_bytes: int) -> bytes:
    """The body as it was before it was packed.

    Stops, with `TooLarge`, once that is more than `limit_bytes`. Raises `InvalidRequest` for what
    is damaged, cut short, or followed by something else.
    """
    name = encoding.decode()
    bits = _FORMATS[encoding]
    if bits is None:
        bits = zlib.MAX_WBITS if body[:1] and body[0] & 15 == _ZLIB_METHOD else -zlib.MAX_WBITS
    unpacker = zlib.decompressobj(bits)
    try:
        unpacked = unpacker.decompress(body, limit_bytes + 1)
    except zlib.error as error:
        raise InvalidRequest(f"the body is not {name}: {error}") from None
    if len(unpacked) > limit_bytes:
        raise TooLarge(
            f"the body is larger than {limit_bytes} bytes, once unpacked: send fewer or shorter "
            "passages"
        )
    if not unpacker.eof or unpacker.unused_data:
        rest = "ends too early" if not unpacker.eof else "has something after its end"
        raise InvalidRequest(f"the body in {name} {rest}")
    return unpacked


def _from_elsewhere(found: Mapping[bytes, bytes]) -> bool:
    """Whether a browser says that another site's page asks."""
    site = found.get(_SITE)
    if site is not None:
        # `none`: the user, not a page.
        return site not in (b"same-origin", b"none")
    # Over plain HTTP, but to this machine, browsers say no more than the origin.
    origin = found[_ORIGIN].decode("latin-1")
    return urlsplit(origin).netloc.lower() != found.get(_HOST, b"").decode("latin-1").lower()
