"""Which HTTP status each error is; nothing below this room knows of HTTP."""

from __future__ import annotations

import math
from typing import Final

import msgspec

from holdfast.errors import HoldfastError
from holdfast.infer import (
    InferError,
    InputError,
    MalformedBodyError,
    ModelFailedError,
    NotReadyError,
    OverloadedError,
    TooManyRowsError,
    UnknownModelError,
)
from holdfast.serve import errors
from holdfast.serve.content_coding import READ

STATUS: Final[dict[type[HoldfastError], int]] = {
    HoldfastError: 500,
    InferError: 500,
    InputError: 422,
    MalformedBodyError: 400,
    ModelFailedError: 500,
    NotReadyError: 503,
    OverloadedError: 503,
    TooManyRowsError: 413,
    UnknownModelError: 404,
    errors.ServeError: 500,
    errors.ExposureError: 500,
    errors.ListenError: 500,
    errors.AgreementError: 500,
    errors.DashboardUnavailableError: 503,
    errors.RequestError: 400,
    errors.UnauthorisedError: 401,
    errors.ForbiddenError: 403,
    errors.RateLimitedError: 429,
    errors.TooManyStreamsError: 429,
    errors.BodyTooLargeError: 413,
    errors.ContentTypeError: 415,
    errors.ContentCodingError: 415,
    errors.RouteNotFoundError: 404,
    errors.MethodNotAllowedError: 405,
    errors.HeadersTooLargeError: 431,
    errors.InvalidHttpError: 400,
    errors.TransferCodingError: 501,
    errors.RequestTimeoutError: 408,
    errors.RepositoryError: 409,
    errors.OriginError: 403,
}
"""By exact class; a subclass that is not listed has the status of its nearest listed ancestor."""

_BY_NAME: Final = {"LogFullError": 503, "ErasedPredictionError": 410}
"""Errors of rooms whose modules the worker need not import to name them."""


def status_of_class(kind: type[HoldfastError]) -> int:
    """The status of an error class."""
    for ancestor in kind.__mro__:
        if ancestor.__name__ in _BY_NAME:
            return _BY_NAME[ancestor.__name__]
        if ancestor in STATUS:
            return STATUS[ancestor]
    return 500


def status_of(error: HoldfastError) -> int:
    """The status of an error."""
    return status_of_class(type(error))


def refusal_reason(error: HoldfastError) -> str | None:
    """Under which reason a refusal for want of time or room is counted; callers' keys are counted apart."""
    if isinstance(error, OverloadedError):
        return error.reason
    if isinstance(error, errors.BodyTooLargeError | TooManyRowsError | errors.TooManyStreamsError):
        return reason_name(error)
    return None


def reason_name(error: HoldfastError) -> str:
    """The error's class as a word."""
    return type(error).__name__.removesuffix("Error").lower()


def error_body(error: HoldfastError) -> bytes:
    """The JSON body of an error: its parts, with the whole text under `error` as protocol v2 wants it."""
    return msgspec.json.encode(error.as_dict())


def error_headers(error: HoldfastError) -> dict[str, str]:
    """Headers that belong to an error."""
    if isinstance(error, OverloadedError | errors.RateLimitedError):
        return {"retry-after": str(max(1, math.ceil(error.retry_after_s)))}
    if isinstance(error, errors.ContentCodingError):
        return {"accept-encoding": READ}
    status = status_of(error)
    if status == 503:
        return {"retry-after": "1"}
    if status == 401:
        return {"www-authenticate": 'Bearer realm="holdfast"'}
    return {}
