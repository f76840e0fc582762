"""What a diagnosis says should be done, as settings of a training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from holdfast.clock import parse_time_us
from holdfast.registry import Registry
from holdfast.spec.checklist import Training
from holdfast.train.errors import TrainError

DIAGNOSIS = "diagnosis"


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a challenger is to be made."""

    action: str
    """`retrain` or `recalibrate`."""
    settings: Training
    since_us: int | None
    words: str


def recipe_of(registry: Registry, diagnosis: int | None, settings: Training) -> Recipe:
    """The best option of a diagnosis that makes a challenger; without a diagnosis, plain retraining.

    Args:
        registry: that holds the diagnosis.
        diagnosis: number of the evidence; None: there is none.
        settings: `[training]`.

    Raises:
        TrainError: there is no such diagnosis, or it asks for something that no training does.
    """
    if diagnosis is None:
        return Recipe("retrain", settings, None, "retrain on all labelled rows")
    found = [one for one in registry.evidence(kind=DIAGNOSIS) if one.id == diagnosis]
    if not found:
        known = [str(one.id) for one in registry.evidence(kind=DIAGNOSIS, limit=20)]
        raise TrainError(
            "there is no such diagnosis",
            where=str(diagnosis),
            expected=", ".join(known) or "none, since no diagnosis is stored",
            next_step="holdfast train diagnoses lists them",
        )
    payload = found[0].payload
    for option in payload.get("options") or ():
        made = _of_option(option, payload, settings)
        if made is not None:
            return made
    since_us = onset_of(payload)
    if since_us is None:
        return Recipe(
            "retrain", settings, None, "retrain on all labelled rows: the diagnosis names no beginning"
        )
    return _newer_more(settings)


def _of_option(option: dict[str, Any], payload: dict[str, Any], settings: Training) -> Recipe | None:
    action, detail = option.get("action"), str(option.get("detail") or "")
    if action == "wait":
        raise TrainError(
            f"the diagnosis says to wait {detail}",
            next_step="Wait, or train by hand without --from-diagnosis",
        )
    if action == "roll back":
        raise TrainError(
            f"the diagnosis says to roll back {detail}", next_step="holdfast rollout rollback, or promote"
        )
    if action == "recalibrate":
        since_us = onset_of(payload)
        return Recipe("recalibrate", settings, since_us, "recalibrate the champion on rows since the change")
    if action == "retrain" and "since the change" in detail:
        since_us = onset_of(payload)
        if since_us is not None:
            return Recipe("retrain", settings, since_us, f"retrain {detail}")
    if action == "retrain" and "newer" in detail:
        return _newer_more(settings)
    if action == "retrain":
        return Recipe("retrain", settings, None, f"retrain {detail}".strip())
    return None  # leave, or move the threshold: the next best


def _newer_more(settings: Training) -> Recipe:
    weighed = msgspec.structs.replace(settings, weights="age")
    return Recipe("retrain", weighed, None, f"retrain on all rows, half weight at {settings.half_life}")


def onset_of(payload: dict[str, Any]) -> int | None:
    """When the change of a stored diagnosis began, as estimated; None where it names no beginning."""
    since = payload.get("since") or {}
    try:
        return parse_time_us(str(since["estimate"]))
    except (KeyError, ValueError):
        return None
