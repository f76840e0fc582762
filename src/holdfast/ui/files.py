"""The style sheet, the script and the icon, from the package, with a strong validator."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Final

from starlette.responses import Response

if TYPE_CHECKING:
    from starlette.requests import Request

_TYPES: Final = {
    "app.css": "text/css; charset=utf-8",
    "app.js": "text/javascript; charset=utf-8",
    "review.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}


@cache
def static_text(name: str) -> str:
    """One of the files."""
    return files("holdfast.ui").joinpath("static", name).read_text(encoding="utf-8")


@cache
def tag(name: str) -> str:
    """Changes with the file's content."""
    return hashlib.sha256(static_text(name).encode()).hexdigest()[:16]


def file_response(request: Request) -> Response:
    """A file by name; 304 where the browser has it."""
    name = request.path_params["name"]
    if name not in _TYPES:
        return Response("no such file", 404, media_type="text/plain")
    headers = {
        "etag": f'"{tag(name)}"',
        "cache-control": "public, max-age=31536000, immutable" if request.url.query else "no-cache",
        "x-content-type-options": "nosniff",
        "content-security-policy": "default-src 'none'",
        "cross-origin-resource-policy": "same-origin",
    }
    if request.headers.get("if-none-match") == headers["etag"]:
        return Response(status_code=304, headers=headers)
    return Response(static_text(name), headers={**headers, "content-type": _TYPES[name]})
