"""The part of the OpenAPI document about what goes wrong: every status that an operation can answer with."""

from __future__ import annotations

from typing import Any, Final

ALWAYS: Final = (400, 408, 431, 500, 501)
"""Of any operation: of the transport, of headers that say nothing sensible, and of a fault of ours."""
OF_KEYS: Final = (401, 403, 429)
OF_BODIES: Final = (413, 415)
_MEANINGS: Final = {
    400: "The request is not readable.",
    401: "No accepted API key.",
    403: "The key has not the scope that `expected` names.",
    404: "No such model or loaded version.",
    408: "The request came too slowly.",
    409: "The version cannot be loaded or unloaded.",
    410: "The prediction was erased on request.",
    413: "Too many rows or bytes.",
    415: "Declared to be something that this path does not read, or in a content coding that is not read.",
    422: "A value does not fit; `where` is its path.",
    429: "The key asks faster than its rate; see Retry-After.",
    431: "The headers are too long.",
    500: "The model failed on these rows, or the service did.",
    501: "The body comes in a transfer coding other than `chunked`.",
    503: "Too busy or not ready; see Retry-After.",
}
_AFTER: Final = {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer", "minimum": 1}}}
_ASKS: Final = {"WWW-Authenticate": {"description": "Bearer.", "schema": {"type": "string"}}}
_READS: Final = {
    "Accept-Encoding": {
        "description": "The content codings that are read, where the body came in another.",
        "schema": {"type": "string"},
    }
}
_HEADERS: Final = {401: _ASKS, 415: _READS, 429: _AFTER, 503: _AFTER}
_READINESS: Final = {
    "type": "object",
    "required": ["ready"],
    "properties": {"name": {"type": "string"}, "ready": {"type": "boolean"}},
}


def errors(*statuses: int) -> dict[str, Any]:
    """These statuses as the responses of an operation."""
    return {str(status): _error(status) for status in statuses}


def _error(status: int) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/Error"}
    response: dict[str, Any] = {
        "description": _MEANINGS[status],
        "content": {"application/json": {"schema": schema}},
    }
    if status in _HEADERS:
        response["headers"] = _HEADERS[status]
    return response


def readiness(summary: str, *statuses: int) -> dict[str, Any]:
    """A path that says whether something is ready: with 200, or with 503 and the same body."""
    content = {"application/json": {"schema": _READINESS}}
    responses = {
        "200": {"description": summary, "content": content},
        "503": {"description": "Not now.", "content": content},
    }
    return {"get": {"summary": summary, "responses": responses | errors(*statuses)}}


def add_common_errors(paths: dict[str, Any], *, with_keys: bool, open_paths: frozenset[str]) -> None:
    """Give every operation the errors that any can answer with.

    Args:
        paths: of the document; changed.
        with_keys: whether callers need a key.
        open_paths: for which they need none.
    """
    for path, operations in paths.items():
        common = ALWAYS + (OF_KEYS if with_keys and path not in open_paths else ())
        for operation in operations.values():
            responses = errors(*common) | operation["responses"]
            operation["responses"] = {status: responses[status] for status in sorted(responses)}
