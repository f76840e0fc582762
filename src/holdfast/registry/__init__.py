"""Model versions, the evidence about them, who answers, and every decision that changed it."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from holdfast.registry.errors import RegistryError, UnknownKeyError, UnknownVersionError
from holdfast.registry.going_back import WentBack, roll_back
from holdfast.registry.key_text import SCOPES, ApiKey, NewKey, Scope, key_hash, new_secret
from holdfast.registry.revoking import revoke_key
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
    from holdfast.registry.audit import AuditEntry, AuditReport
    from holdfast.registry.candidate import Candidate
    from holdfast.registry.deciding import DecidingLoss, deciding_loss, deciding_loss_of
    from holdfast.registry.log_reading import log, without_values
    from holdfast.registry.outbox import Alarm, Change, Delivery, DeliveryState
    from holdfast.registry.references import (
        REFERENCE_FILE,
        ReferenceChange,
        file_sha256,
        note_certificate,
        note_dropped,
        note_erasure,
        reference_changes,
        reference_fault,
        rows_left,
    )
    from holdfast.registry.registration import Judgement, register_model
    from holdfast.registry.registry import Registry
    from holdfast.registry.variants import prepare_variant, register_variant, stored_reference
    from holdfast.registry.watch import RegistryWatch

_LAZY = {
    "Alarm": "outbox",
    "AuditEntry": "audit",
    "AuditReport": "audit",
    "Candidate": "candidate",
    "Change": "outbox",
    "Delivery": "outbox",
    "DeliveryState": "outbox",
    "Judgement": "registration",
    "REFERENCE_FILE": "references",
    "ReferenceChange": "references",
    "Registry": "registry",
    "RegistryWatch": "watch",
    "DecidingLoss": "deciding",
    "deciding_loss": "deciding",
    "deciding_loss_of": "deciding",
    "file_sha256": "references",
    "note_certificate": "references",
    "note_dropped": "references",
    "note_erasure": "references",
    "reference_changes": "references",
    "reference_fault": "references",
    "rows_left": "references",
    "log": "log_reading",
    "prepare_variant": "variants",
    "register_model": "registration",
    "register_variant": "variants",
    "stored_reference": "variants",
    "without_values": "log_reading",
}
"""Loaded when first asked for: what goes through SQLAlchemy, and what registers."""


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)


__all__ = [
    "REFERENCE_FILE",
    "SCOPES",
    "Alarm",
    "ApiKey",
    "AuditEntry",
    "AuditReport",
    "Candidate",
    "ChallengerRoute",
    "Change",
    "DecidingLoss",
    "Decision",
    "Delivery",
    "DeliveryState",
    "Evidence",
    "Judgement",
    "ModelVersion",
    "NewKey",
    "Phase",
    "ReferenceChange",
    "Registry",
    "RegistryError",
    "RegistryWatch",
    "Rollout",
    "RolloutKind",
    "RolloutStep",
    "RouteTable",
    "Scope",
    "UnknownKeyError",
    "UnknownVersionError",
    "WentBack",
    "deciding_loss",
    "deciding_loss_of",
    "file_sha256",
    "key_hash",
    "log",
    "new_secret",
    "note_certificate",
    "note_dropped",
    "note_erasure",
    "prepare_variant",
    "reference_changes",
    "reference_fault",
    "register_model",
    "register_variant",
    "revoke_key",
    "roll_back",
    "rows_left",
    "stored_reference",
    "without_values",
]
