"""Model versions, the evidence about them, who answers, and every decision that changed it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from holdfast.registry.errors import RegistryError, UnknownVersionError
from holdfast.registry.registry import Registry
from holdfast.registry.values import Decision, Evidence, ModelVersion, RouteTable

if TYPE_CHECKING:
    from holdfast.registry.registration import register_model


def __getattr__(name: str) -> Any:
    if name != "register_model":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from holdfast.registry.registration import register_model

    return register_model


__all__ = [
    "Decision",
    "Evidence",
    "ModelVersion",
    "Registry",
    "RegistryError",
    "RouteTable",
    "UnknownVersionError",
    "register_model",
]
