"""Bodies read and responses made by the ASGI app's handlers."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from holdfast.errors import HoldfastError
from holdfast.infer import OverloadedError
from holdfast.serve.content_coding import (
    COMPRESSED_FROM_BYTES,
    coding_for_answer,
    coding_of_body,
    compressing,
    inflating,
)
from holdfast.serve.errors import too_large
from holdfast.serve.hot import check_json
from holdfast.serve.slices import Slices
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


async def read_json_body(request: Request, limit_bytes: int, slices: Slices) -> bytes:
    """The body of a request that is not declared to be something else than JSON.

    Raises:
        ContentTypeError: it is, or it comes in a content coding that is not read.
        BodyTooLargeError: it is longer than the limit.
        MalformedBodyError: it cannot be inflated.
        OverloadedError: too many long compressed bodies are being read.
    """
    check_json(request.headers.get("content-type", "").encode("latin-1"))
    return await read_body(request, limit_bytes, slices)


async def read_body(request: Request, limit_bytes: int, slices: Slices) -> bytes:
    """The body of a request, inflated.

    Args:
        request: whose body nobody has read yet.
        limit_bytes: of the body, and of what it holds if it is compressed.
        slices: in which a compressed one is inflated.

    Raises:
        ContentCodingError: it comes in a content coding that is not read.
        BodyTooLargeError: it is longer than the limit; no more than that is held.
        MalformedBodyError: it cannot be inflated.
        OverloadedError: too many long compressed bodies are being read.
    """
    coding = coding_of_body(_values(request, "content-encoding"))
    declared = request.headers.get("content-length")
    if declared is not None and int(declared) > limit_bytes:
        raise too_large(limit_bytes)
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > limit_bytes:
            raise too_large(limit_bytes)
        parts.append(part)
    body = b"".join(parts)
    return await slices.finish(inflating(body, coding, limit_bytes)) if coding else body


async def in_coding_of_caller(request: Request, response: Response, slices: Slices) -> Response:
    """The response, compressed where it is long and its caller likes that."""
    body = response.body if type(response) is Response else b""
    if len(body) < COMPRESSED_FROM_BYTES:
        return response
    response.headers.add_vary_header("Accept-Encoding")
    coding = coding_for_answer(_values(request, "accept-encoding"))
    if not coding:
        return response
    try:
        packed = await slices.finish(compressing(bytes(body), coding))
    except OverloadedError:
        return response
    if len(packed) < len(body):
        response.body = packed
        response.headers["content-length"] = str(len(packed))
        response.headers["content-encoding"] = coding
    return response


def _values(request: Request, name: str) -> list[bytes]:
    return [value.encode("latin-1") for value in request.headers.getlist(name)]
