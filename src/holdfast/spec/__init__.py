"""The checklist `holdfast.toml`: parsed into frozen structures, with errors that name the path.

What only `holdfast init` and `holdfast schema` need is imported at its first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from holdfast.spec.checklist import (
    Alerts,
    Checklist,
    Compute,
    FieldAction,
    FieldClass,
    Logging,
    Model,
    Monitoring,
    Predictions,
    Privacy,
    Rollout,
    Section,
    Security,
    Speed,
    Target,
    Training,
)
from holdfast.spec.deployment import Deployment
from holdfast.spec.errors import ChecklistError
from holdfast.spec.parse import build_checklist, load_checklist, parse_checklist
from holdfast.spec.plain import as_answers, as_document, checklist_hash
from holdfast.spec.quantities import Duration, FalseAlarmBudget, WindowSize
from holdfast.spec.rules import is_loopback

if TYPE_CHECKING:
    from holdfast.spec.interview import Question, questions, validate_answer
    from holdfast.spec.render import render_checklist, render_document
    from holdfast.spec.schema import json_schema

_HOMES = {
    "Question": "interview",
    "json_schema": "schema",
    "questions": "interview",
    "render_checklist": "render",
    "render_document": "render",
    "validate_answer": "interview",
}

__all__ = [
    "Alerts",
    "Checklist",
    "ChecklistError",
    "Compute",
    "Deployment",
    "Duration",
    "FalseAlarmBudget",
    "FieldAction",
    "FieldClass",
    "Logging",
    "Model",
    "Monitoring",
    "Predictions",
    "Privacy",
    "Question",
    "Rollout",
    "Section",
    "Security",
    "Speed",
    "Target",
    "Training",
    "WindowSize",
    "as_answers",
    "as_document",
    "build_checklist",
    "checklist_hash",
    "is_loopback",
    "json_schema",
    "load_checklist",
    "parse_checklist",
    "questions",
    "render_checklist",
    "render_document",
    "validate_answer",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'holdfast.spec' has no attribute {name!r}")
    return getattr(import_module(f"holdfast.spec.{_HOMES[name]}"), name)
