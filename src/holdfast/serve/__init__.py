"""Real-time serving over HTTP: supervisor, workers, transports."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from holdfast.serve.admission import Admission, active_keys
    from holdfast.serve.children import ChildSpec
    from holdfast.serve.errors import (
        AgreementError,
        ExposureError,
        ListenError,
        ServeError,
        UnauthorisedError,
    )
    from holdfast.serve.followed import Served
    from holdfast.serve.gathering import Gathering
    from holdfast.serve.supervisor import serve_several
    from holdfast.serve.tokens import Token, TokenVerifier

_HOMES = {
    "Admission": "admission",
    "AgreementError": "errors",
    "ChildSpec": "children",
    "ExposureError": "errors",
    "Gathering": "gathering",
    "active_keys": "admission",
    "ListenError": "errors",
    "ServeError": "errors",
    "Served": "followed",
    "Token": "tokens",
    "TokenVerifier": "tokens",
    "UnauthorisedError": "errors",
    "serve_several": "supervisor",
}

__all__ = [
    "Admission",
    "AgreementError",
    "ChildSpec",
    "ExposureError",
    "Gathering",
    "ListenError",
    "ServeError",
    "Served",
    "Token",
    "TokenVerifier",
    "UnauthorisedError",
    "active_keys",
    "serve_several",
]


def __getattr__(name: str) -> Any:
    # A worker is a module of this room and must not load the supervisor's imports.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
