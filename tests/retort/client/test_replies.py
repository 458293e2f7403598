"""Bodies that no Retort wrote: proxies have error pages of their own."""

from __future__ import annotations

import httpx
import pytest

from retort.client import ConnectionFailed, NotReady, RetortError, ServerError
from tests.retort.client.wire import KINDS, Kind, Time, Wire, client

PAGE = "<html><body><h1>Bad  Gateway</h1>\n" + "x" * 10_000 + "</body></html>"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("status", "expected", "pauses"),
    [(502, ConnectionFailed, 1), (503, NotReady, 1), (404, RetortError, 0), (301, ServerError, 0)],
)
def test_a_page_of_a_proxy_is_an_error_with_its_beginning(
    kind: Kind, status: int, expected: type[RetortError], pauses: int
) -> None:
    time = Time()
    wire = Wire([httpx.Response(status, text=PAGE)] * 2)
    with pytest.raises(expected) as caught:
        client(kind, wire, time, attempts=2).rank("q", ["0.5"])
    assert len(time.pauses) == pauses
    assert caught.value.status == status
    assert caught.value.type == ""
    assert "http://retort/score" in str(caught.value)
    assert "<h1>Bad Gateway</h1>" in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff\xfe",
        b"null",
        b"[1]",
        b'"text"',
        b'{"error": "text"}',
        b'{"error": {"message": 3, "type": [], "param": {}, "request_id": 1}}',
    ],
)
def test_no_body_of_an_error_breaks_the_client(body: bytes) -> None:
    with pytest.raises(ServerError) as caught:
        client("threads", Wire([httpx.Response(500, content=body)])).rank("q", ["0.5"])
    error = caught.value
    assert (error.status, error.type, error.param, error.request_id) == (500, "", None, None)


@pytest.mark.parametrize(
    "body", [b"", PAGE.encode(), b"{}", b"[]", b'{"results": [{"index": "0"}]}', b"\xff"]
)
def test_an_answer_that_no_server_gives_is_an_error(body: bytes) -> None:
    reply = httpx.Response(200, content=body, headers={"X-Request-Id": "r9"})
    with pytest.raises(ServerError, match="did not answer as Retort does") as caught:
        client("threads", Wire([reply])).rank("q", ["0.5"])
    assert (caught.value.status, caught.value.request_id) == (200, "r9")
