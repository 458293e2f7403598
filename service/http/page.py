"""The pages: `/` ranks passages and shows how, `/docs` the API.

They are static files in `service/http/static/`, without a build step and without any
other host; they know the service only by its HTTP API. Nobody needs a key to get them: `/` asks for
one when the API does.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.responses import Response

FOLDER = Path(__file__).parent / "static"

_HTML, _CSS = "text/html; charset=utf-8", "text/css; charset=utf-8"
_SCRIPT, _SVG = "text/javascript; charset=utf-8", "image/svg+xml"

# The path of each file, its name and its type. The pages' own links are relative, so that they also
# work behind a proxy that serves them under a prefix.
PAGE_FILES = {
    "/": ("index.html", _HTML),
    "/page/page.js": ("page.js", _SCRIPT),
    "/page/api.js": ("api.js", _SCRIPT),
    "/page/live.js": ("live.js", _SCRIPT),
    "/page/numbers.js": ("numbers.js", _SCRIPT),
    "/page/passage.js": ("passage.js", _SCRIPT),
    "/page/ranking.js": ("ranking.js", _SCRIPT),
    "/page/share.js": ("share.js", _SCRIPT),
    "/page/page.css": ("page.css", _CSS),
    "/page/icon.svg": ("icon.svg", _SVG),
}
DOCS_FILES = {
    "/docs": ("docs.html", _HTML),
    "/page/docs.js": ("docs.js", _SCRIPT),
    "/page/docs.css": ("docs.css", _CSS),
    # Both pages have these.
    "/page/page.css": ("page.css", _CSS),
    "/page/icon.svg": ("icon.svg", _SVG),
}
FILES = PAGE_FILES | DOCS_FILES

# Passages are untrusted text. The last directive makes a browser refuse to read any of them as
# markup, should a script ever try.
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
    )
)


def add_pages(app: FastAPI) -> None:
    """Add the routes of the pages and of their files to `app`."""
    for path, (name, media_type) in FILES.items():
        _add_file(app, path, (FOLDER / name).read_bytes(), media_type)


def _add_file(app: FastAPI, path: str, content: bytes, media_type: str) -> None:
    tag = f'"{hashlib.sha256(content).hexdigest()[:20]}"'
    headers = {
        # Kept, but revalidated each time: after an upgrade no old script meets a new API.
        "Cache-Control": "no-cache",
        "ETag": tag,
        "Content-Security-Policy": POLICY,
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
    }

    @app.api_route(path, methods=["GET", "HEAD"], include_in_schema=False)
    async def file(request: Request) -> Response:
        if tag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return Response(content, headers=headers, media_type=media_type)
