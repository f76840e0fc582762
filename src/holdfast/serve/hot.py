"""The hot routes: which paths are answered straight from the parser, and who reads their bodies."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final
from urllib.parse import quote, unquote

from holdfast.infer import Job
from holdfast.serve.errors import ContentTypeError, RequestError
from holdfast.serve.mlflow import INVOCATIONS, invoke, invoke_csv
from holdfast.serve.service import INFER, PREDICT, Service
from holdfast.serve.sink import Sink
from holdfast.serve.v1 import V1_PREDICT, predict_v1

Take = Callable[[bytes, Sink], Job | None]
"""Reads a body and sees that the sink gets an answer; returns the queued job, None if it is answered."""
Bind = Callable[[bytes, bytes | None], Take]
"""Given the values of Content-Type (b"" where there is none) and Inference-Header-Content-Length, who takes
the body. Raises a `HoldfastError` where these headers do not fit the route."""

_PREDICT: Final = PREDICT.encode()
_MODELS: Final = b"/v2/models/"
_INFER: Final = b"/infer"
_V1_MODELS: Final = b"/v1/models/"
_V1_PREDICT: Final = b":predict"
_INVOCATIONS: Final = INVOCATIONS.encode()
_CSV: Final = frozenset({b"text/csv", b"application/csv"})


def find_hot(service: Service, url: bytes) -> Bind | None:
    """The hot route of a request target, or None. Takes what method asks: all hot routes are POST."""
    path = url.partition(b"?")[0]
    if path == _PREDICT:
        return partial(_bind_json, service.predict)
    if path.startswith(_MODELS) and path.endswith(_INFER):
        return partial(_bind_infer, service, *names_in_path(path[len(_MODELS) : -len(_INFER)]))
    if path.startswith(_V1_MODELS) and path.endswith(_V1_PREDICT):
        return partial(_bind_v1, service, *names_in_path(path[len(_V1_MODELS) : -len(_V1_PREDICT)]))
    if path == _INVOCATIONS:
        return partial(_bind_invocations, service)
    return None


def target_of(path: str) -> bytes:
    """The target of a request for this path with no escape but those it needs, as `find_hot` takes it."""
    return quote(path, safe="/:").encode()


def route_of(path: bytes) -> str:
    """Under which name the requests of a hot path are counted."""
    path = path.partition(b"?")[0]
    if path.startswith(_MODELS):
        return INFER
    return V1_PREDICT if path.startswith(_V1_MODELS) else path.decode("latin-1")


def _bind_json(take: Take, content_type: bytes, json_bytes: bytes | None) -> Take:  # noqa: ARG001 - of this shape
    check_json(content_type)
    return take


def _bind_infer(
    service: Service, model: str, version: str | None, content_type: bytes, json_bytes: bytes | None
) -> Take:
    if json_bytes is None:
        check_json(content_type)
        return lambda body, sink: service.infer(body, sink, model, version)
    if not json_bytes.isdigit() or len(json_bytes) > 18:
        raise RequestError(
            "not a length", where="Inference-Header-Content-Length", expected="the bytes of JSON in the body"
        )
    length = int(json_bytes)
    return lambda body, sink: service.infer(body, sink, model, version, length)


def _bind_v1(
    service: Service,
    model: str,
    version: str | None,
    content_type: bytes,
    json_bytes: bytes | None,  # noqa: ARG001 - of this shape
) -> Take:
    check_json(content_type)
    return lambda body, sink: predict_v1(service, body, sink, model, version)


def _bind_invocations(service: Service, content_type: bytes, json_bytes: bytes | None) -> Take:  # noqa: ARG001 - of this shape
    if content_type.partition(b";")[0].strip().lower() in _CSV:
        return partial(invoke_csv, service)
    check_json(content_type)
    return partial(invoke, service)


def take_nothing(body: bytes, sink: Sink) -> None:
    """Stands for the route of a request that is refused before its body is read."""


def check_json(content_type: bytes) -> None:
    """Refuse a body that is declared to be something else than JSON.

    Raises:
        ContentTypeError: it is.
    """
    if content_type and not readable_as_json(content_type):
        received = repr(content_type[:60])[1:]
        raise ContentTypeError("this route reads JSON", expected="application/json", received=received)


def readable_as_json(content_type: bytes) -> bool:
    """Whether a declared content type may hold JSON: anything but types that clearly are something else.

    curl's default for `-d` is a form's type, and many clients send none; those are read as JSON.
    """
    kind = content_type.partition(b";")[0].strip().lower()
    if kind.endswith((b"json", b"+json")) or kind in {
        b"",
        b"text/plain",
        b"application/x-www-form-urlencoded",
    }:
        return True
    return kind == b"*/*"


def names_in_path(names: bytes) -> tuple[str, str | None]:
    """Model and version of `{m}` or `{m}/versions/{v}`."""
    parts = names.decode("latin-1").split("/")
    if len(parts) == 3 and parts[1] == "versions":
        return unquote(parts[0]), unquote(parts[2])
    return unquote("/".join(parts)), None
