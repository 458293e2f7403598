"""Offers to upgrade: some clients, Java's among them, offer HTTP/2 with their first request.

A server may ignore that and answer in HTTP/1.1. The parser, though, ends such a request with its
headers, body or not.
"""

from __future__ import annotations

from collections.abc import Iterable

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

Headers = Iterable[tuple[bytes, bytes]]


class AfterOffer:
    """A `parser` that goes on for `target` with the body that the headers announce."""

    def __init__(self, target: HttpToolsProtocol, headers: Headers) -> None:
        self._target = target
        self._again = True
        self.on_body, self.on_message_complete = target.on_body, target.on_message_complete
        self.parser = httptools.HttpRequestParser(self)
        # The same request once more, without the offer.
        self.parser.feed_data(b"POST / HTTP/1.1\r\n" + framing(headers) + b"\r\n")

    def on_message_begin(self) -> None:
        """The same request, or the next."""
        if not self._again:
            self._target.on_message_begin()

    def on_url(self, url: bytes) -> None:
        """A part of its URL."""
        if not self._again:
            self._target.on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """One of its headers."""
        if not self._again:
            self._target.on_header(name, value)

    def on_headers_complete(self) -> None:
        """Its headers are there."""
        if self._again:
            self._again = False
        else:
            self._target.on_headers_complete()


def framing(headers: Headers) -> bytes:
    """The headers that say where the body ends; empty if there is none."""
    lines = b""
    for name, value in headers:
        if name == b"transfer-encoding" or (name == b"content-length" and value.strip(b"0")):
            lines += name + b": " + value + b"\r\n"
    return lines
