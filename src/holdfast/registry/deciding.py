"""The one loss by which a challenger is judged, at training and in its rollout alike.

It lies between 0 and 1 for each row, so that its mean has bounds that hold at all times.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec
import numpy as np

from holdfast.registry.errors import RegistryError
from holdfast.spec import Deployment
from holdfast.spec.checklist import Checklist

if TYPE_CHECKING:
    from pathlib import Path

    from holdfast.artifact import Signature

LossName = Literal["cost", "error_rate", "brier_score", "absolute_error"]

_PARTS: Final = (0.01, 0.99)
"""Quantiles of the reference's labels between which their spread is taken: a few odd ones do not set it."""
_LABEL: Final = "label"
_WITH_DECIMALS: Final = 1000.0
_WORDS: Final[dict[str, str]] = {
    "cost": "cost of wrong answers",
    "error_rate": "share of wrong answers",
    "brier_score": "Brier score",
    "absolute_error": "absolute error",
}


class DecidingLoss(msgspec.Struct, frozen=True, kw_only=True):
    """What decides, and why it is this."""

    name: LossName
    reason: str
    false_positive: float = 1.0
    """Of two classes, in units of the dearer error."""
    false_negative: float = 1.0
    scale: float = 1.0
    """Of numbers: the absolute error that is a whole loss; of costs: the dearer one, in currency."""

    @property
    def words(self) -> str:
        """For people: what it is, in which unit."""
        found = _WORDS[self.name]
        if self.name == "absolute_error":
            large = self.scale >= _WITH_DECIMALS
            unit = f"{self.scale:,.0f}" if large else f"{self.scale:.4g}"
            return f"{found}, in units of {unit} and at most 1"
        if self.name == "cost":
            return f"{found}, in units of the dearer one ({self.scale:g})"
        return found


def deciding_loss(checklist: Checklist, signature: Signature, labels: Any = None) -> DecidingLoss:
    """The loss of a deployment whose model has this signature.

    Args:
        checklist: `[rollout] loss` and `loss_scale`, and the costs of `[monitoring]`.
        signature: of the model; only its task matters.
        labels: true numbers whose spread is the scale where none is stated. Unused for classes.

    Raises:
        RegistryError: the stated loss is not one of this task, or numbers have no scale.
    """
    stated = checklist.rollout.loss
    if signature.task == "regression":
        allowed: tuple[LossName, ...] = ("absolute_error",)
    elif signature.task == "binary":
        allowed = ("cost", "error_rate", "brier_score")
    else:
        allowed = ("error_rate",)
    if stated is not None and stated not in allowed:
        raise RegistryError(
            "the stated loss is not one of this model's task",
            where="rollout.loss",
            expected=" or ".join(allowed) + f" for a model of task {signature.task}",
            received=stated,
        )
    if signature.task == "regression":
        return _of_numbers(checklist, labels)
    by_checklist = "[rollout] loss says so"
    monitoring = checklist.monitoring
    dearest = max(monitoring.cost_false_positive, monitoring.cost_false_negative)
    if stated == "cost" or (stated is None and signature.task == "binary" and dearest):
        return DecidingLoss(
            name="cost",
            reason=by_checklist if stated else "[monitoring] states what errors cost",
            false_positive=monitoring.cost_false_positive / dearest,
            false_negative=monitoring.cost_false_negative / dearest,
            scale=dearest,
        )
    if stated == "brier_score":
        return DecidingLoss(name="brier_score", reason=by_checklist)
    why = "it is what callers meet, and no cost of an error is stated in [monitoring]"
    return DecidingLoss(name="error_rate", reason=by_checklist if stated else why)


def deciding_loss_of(
    deployment: Deployment, signature: Signature, *versions: str, labels: Any = None
) -> DecidingLoss:
    """The same; numbers without a stated scale have the spread of the labels of a stored reference.

    Args:
        deployment: of the versions.
        signature: of the model.
        versions: the champion, then the challenger; the first one whose reference has labels is taken.
        labels: for where none of them has any.

    Raises:
        RegistryError: as `deciding_loss`.
    """
    if signature.task == "regression" and deployment.checklist.rollout.loss_scale is None:
        for version in versions:
            found = _reference_labels(deployment.references_folder / version / "reference.parquet")
            if found is not None:
                return deciding_loss(deployment.checklist, signature, found)
    return deciding_loss(deployment.checklist, signature, labels)


def _of_numbers(checklist: Checklist, labels: Any) -> DecidingLoss:
    stated = checklist.rollout.loss_scale
    if stated is not None:
        return DecidingLoss(
            name="absolute_error", reason="answers are numbers; [rollout] loss_scale is stated", scale=stated
        )
    known = np.empty(0) if labels is None else np.asarray(labels, dtype=np.float64)
    known = known[np.isfinite(known)]
    spread = float(np.subtract(*np.quantile(known, _PARTS[::-1]))) if len(known) else 0.0
    if not spread > 0:
        raise RegistryError(
            "an error of which size is a whole loss is not known",
            where="rollout.loss_scale",
            expected="a number in the unit of the target, or a reference whose labels differ",
            received="no labels" if not len(known) else "labels that are all but equal",
            next_step="State it in the checklist, or register the model with --labels",
        )
    return DecidingLoss(
        name="absolute_error",
        reason="answers are numbers; its unit is the 1st to the 99th percentile of the reference's labels",
        scale=spread,
    )


def _reference_labels(path: Path) -> Any:
    from pyarrow import parquet

    if not path.exists() or _LABEL not in parquet.read_schema(path).names:
        return None
    return parquet.read_table(path, columns=[_LABEL]).column(_LABEL).to_numpy()
