"""Model versions, the evidence about them, who answers, and every decision that changed it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from holdfast.registry.api_keys import SCOPES, ApiKey, NewKey, Scope, key_hash, new_secret
from holdfast.registry.audit import AuditEntry, AuditReport
from holdfast.registry.errors import RegistryError, UnknownKeyError, UnknownVersionError
from holdfast.registry.registry import Registry
from holdfast.registry.values import (
    ChallengerRoute,
    Decision,
    Evidence,
    ModelVersion,
    Phase,
    Rollout,
    RolloutKind,
    RolloutStep,
    RouteTable,
)

if TYPE_CHECKING:
    from holdfast.registry.registration import Judgement, register_model


def __getattr__(name: str) -> Any:
    if name not in {"Judgement", "register_model"}:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from holdfast.registry import registration

    return getattr(registration, name)


__all__ = [
    "SCOPES",
    "ApiKey",
    "AuditEntry",
    "AuditReport",
    "ChallengerRoute",
    "Decision",
    "Evidence",
    "Judgement",
    "ModelVersion",
    "NewKey",
    "Phase",
    "Registry",
    "RegistryError",
    "Rollout",
    "RolloutKind",
    "RolloutStep",
    "RouteTable",
    "Scope",
    "UnknownKeyError",
    "UnknownVersionError",
    "key_hash",
    "new_secret",
    "register_model",
]
