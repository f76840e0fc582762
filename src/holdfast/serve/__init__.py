"""Real-time serving over HTTP: supervisor, workers, transports."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from holdfast.serve.admission import Admission, KeyEntry
    from holdfast.serve.children import ChildSpec
    from holdfast.serve.errors import ExposureError, ListenError, ServeError
    from holdfast.serve.supervisor import serve

_HOMES = {
    "Admission": "admission",
    "ChildSpec": "children",
    "ExposureError": "errors",
    "KeyEntry": "admission",
    "ListenError": "errors",
    "ServeError": "errors",
    "serve": "supervisor",
}

__all__ = ["Admission", "ChildSpec", "ExposureError", "KeyEntry", "ListenError", "ServeError", "serve"]


def __getattr__(name: str) -> Any:
    # A worker is a module of this room and must not load the supervisor's imports.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
