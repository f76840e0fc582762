"""Decides from evidence whether a challenger becomes the champion, and writes the route table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from holdfast.rollout.checks import confirm
from holdfast.rollout.errors import ContractError, RolloutError, UncheckedError
from holdfast.rollout.exposure import earliest_decision_us, most_share, rows_missing
from holdfast.rollout.policy import decide, is_approved
from holdfast.rollout.values import (
    Comparison,
    Evidence,
    Health,
    Plan,
    Report,
    Shares,
    Standing,
    Terms,
    terms_of,
)

if TYPE_CHECKING:
    from holdfast.rollout.contract import Contract
    from holdfast.rollout.loop import RolloutLoop
    from holdfast.rollout.replaying import replay_rollout
    from holdfast.rollout.starting import start_rollout

_LAZY = {
    "Contract": "contract",
    "RolloutLoop": "loop",
    "replay_rollout": "replaying",
    "start_rollout": "starting",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"holdfast.rollout.{_LAZY[name]}"), name)


__all__ = [
    "Comparison",
    "Contract",
    "ContractError",
    "Evidence",
    "Health",
    "Plan",
    "Report",
    "RolloutError",
    "RolloutLoop",
    "Shares",
    "Standing",
    "Terms",
    "UncheckedError",
    "confirm",
    "decide",
    "earliest_decision_us",
    "is_approved",
    "most_share",
    "replay_rollout",
    "rows_missing",
    "start_rollout",
    "terms_of",
]
