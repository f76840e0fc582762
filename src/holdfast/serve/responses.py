"""Bodies read and responses made by the ASGI app's handlers."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from holdfast.errors import HoldfastError
from holdfast.serve.errors import BodyTooLargeError, ContentTypeError
from holdfast.serve.hot import check_json
from holdfast.serve.status import error_body, error_headers, status_of

JSON: Final = "application/json"


def json_response(value: Any, status: int = 200) -> Response:
    """A value as JSON."""
    return Response(msgspec.json.encode(value), status_code=status, media_type=JSON)


def error_response(error: HoldfastError) -> Response:
    """An error with its status, parts and headers."""
    return Response(
        error_body(error), status_code=status_of(error), media_type=JSON, headers=error_headers(error)
    )


async def read_json_body(request: Request, limit_bytes: int) -> bytes:
    """The body of a request that is not declared to be something else than JSON.

    Raises:
        ContentTypeError: it is, or it is compressed.
        BodyTooLargeError: it is longer than the limit.
    """
    check_json(request.headers.get("content-type", "").encode("latin-1"))
    return await read_body(request, limit_bytes)


async def read_body(request: Request, limit_bytes: int) -> bytes:
    """The body of a request.

    Raises:
        ContentTypeError: it is compressed.
        BodyTooLargeError: it is longer than the limit; no more than that is held.
    """
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise ContentTypeError("compressed bodies are not read", where="Content-Encoding")
    declared = request.headers.get("content-length")
    if declared is not None and int(declared) > limit_bytes:
        raise too_large(limit_bytes)
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > limit_bytes:
            raise too_large(limit_bytes)
        parts.append(part)
    return b"".join(parts)


def too_large(limit_bytes: int) -> BodyTooLargeError:
    """The error for a body over the limit."""
    return BodyTooLargeError(
        "the body is too large",
        expected=f"at most {limit_bytes} bytes",
        next_step="Send fewer rows per request, or raise [predictions] max_body_bytes.",
    )
