"""The checklist: every design question of a deployment, answered in one frozen structure.

The keys stand in `service.py`, `safeguards.py`, `maintenance.py` and `training.py`; rules that need two keys
in `rules.py`.
"""

from __future__ import annotations

from msgspec import field

from holdfast.spec.maintenance import Alerts, Monitoring, Rollout
from holdfast.spec.safeguards import FieldAction, FieldClass, Logging, Privacy, Security
from holdfast.spec.section import Section
from holdfast.spec.service import Compute, Model, Predictions, Speed, Stream, Target
from holdfast.spec.training import Training

__all__ = [
    "Alerts",
    "Checklist",
    "Compute",
    "FieldAction",
    "FieldClass",
    "Logging",
    "Model",
    "Monitoring",
    "Predictions",
    "Privacy",
    "Rollout",
    "Section",
    "Security",
    "Speed",
    "Stream",
    "Target",
    "Training",
]


class Checklist(Section, frozen=True):
    """The whole file. Only `[model] name` has no default."""

    model: Model
    predictions: Predictions = field(default_factory=Predictions)
    stream: Stream = field(default_factory=Stream)
    target: Target = field(default_factory=Target)
    compute: Compute = field(default_factory=Compute)
    speed: Speed = field(default_factory=Speed)
    logging: Logging = field(default_factory=Logging)
    security: Security = field(default_factory=Security)
    privacy: Privacy = field(default_factory=Privacy)
    monitoring: Monitoring = field(default_factory=Monitoring)
    training: Training = field(default_factory=Training)
    rollout: Rollout = field(default_factory=Rollout)
    alerts: Alerts = field(default_factory=Alerts)
