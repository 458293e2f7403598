"""The body of a request, read no further than its limit."""

from __future__ import annotations

from starlette.requests import ClientDisconnect, Request

from retort.service.errors import ClientGone, TooLarge


async def read_body(request: Request, limit_bytes: int) -> bytes:
    """Read the body; what counts is the bytes that come, not what Content-Length promises.

    Raises `TooLarge` at the first chunk past the limit, `ClientGone` if the client leaves.
    """
    chunks: list[bytes] = []
    size = 0
    try:
        async for chunk in request.stream():
            size += len(chunk)
            if size > limit_bytes:
                raise TooLarge(
                    f"the body is larger than {limit_bytes} bytes: send fewer or shorter passages"
                )
            chunks.append(chunk)
    except ClientDisconnect:
        raise ClientGone("the client left before its body was read") from None
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)
