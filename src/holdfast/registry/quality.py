"""How good a version was on its reference, where labels are known."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from holdfast.artifact import Answer, Signature


def measure_quality(
    signature: Signature, answer: Answer, labels: NDArray[np.generic] | None
) -> dict[str, float]:
    """Plain metrics over the labelled rows; empty without labels or for a `tensor` task.

    Classification: accuracy, log loss, and with two classes the area under the ROC curve, average precision
    and the share of positives. Regression: mean absolute error, root mean squared error and R squared.
    Rows that are answered with no number are left out, and `unanswered_share` says how many they are.
    """
    if labels is None or signature.task == "tensor":
        return {}
    known = np.array([value is not None and value == value for value in labels.tolist()])  # noqa: PLR0124 - NaN
    answered = known & _is_answered(signature, answer)
    if not known.any():
        return {}
    unanswered = 1 - float(answered.sum() / known.sum())
    found = {"unanswered_share": unanswered} if unanswered else {}
    if not answered.any():
        return found
    prediction = np.asarray(answer.prediction)[answered]
    truth = labels[answered]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if signature.task == "regression":
            return found | _regression(truth.astype(np.float64), prediction.astype(np.float64))
        probabilities = None if answer.probabilities is None else answer.probabilities[answered]
        return found | _classification(signature, truth, prediction, probabilities)


def _is_answered(signature: Signature, answer: Answer) -> NDArray[np.bool_]:
    """Of each row, whether the number, or every probability, is one."""
    if signature.task == "regression":
        return np.isfinite(np.asarray(answer.prediction, dtype=np.float64))
    if answer.probabilities is None:
        return np.ones(len(answer.prediction), dtype=bool)
    return np.asarray(np.isfinite(answer.probabilities).all(axis=1))


def label_notes(
    signature: Signature, labels: NDArray[np.generic] | None, *, show_values: bool
) -> tuple[str, ...]:
    """What about the labels of a reference will surprise later: all alike, missing, unknown to the model."""
    if labels is None or signature.task == "tensor":
        return ()
    known = [value for value in labels.tolist() if value is not None and value == value]  # noqa: PLR0124 - NaN
    if not known:
        return ("no row of the reference has a label: quality cannot be measured",)
    notes = []
    if len(known) < len(labels):
        notes.append(f"{len(labels) - len(known)} of {len(labels)} reference rows have no label")
    found = {_name(value) for value in known}
    if len(found) == 1:
        notes.append("all labels of the reference are alike: neither quality nor concept drift can be judged")
        return tuple(notes)
    strange = sorted(found - {_name(name) for name in signature.classes})
    if signature.classes and strange:
        named = ": " + ", ".join(strange[:10]) if show_values else ""
        notes.append(f"{len(strange)} classes among the labels are none that the model answers{named}")
    return tuple(notes)


def _regression(truth: NDArray[np.float64], prediction: NDArray[np.float64]) -> dict[str, float]:
    from sklearn import metrics

    return _finite(
        {
            "mean_absolute_error": metrics.mean_absolute_error(truth, prediction),
            "root_mean_squared_error": float(np.sqrt(metrics.mean_squared_error(truth, prediction))),
            "r_squared": metrics.r2_score(truth, prediction) if len(truth) > 1 else float("nan"),
        }
    )


def _classification(
    signature: Signature,
    truth: NDArray[np.generic],
    prediction: NDArray[np.generic],
    probabilities: NDArray[np.floating[Any]] | None,
) -> dict[str, float]:
    from sklearn import metrics

    names = [str(name) for name in signature.classes]
    wanted = np.array([_name(value) for value in truth.tolist()], dtype=object)
    given = np.array([_name(value) for value in prediction.tolist()], dtype=object)
    found = {"accuracy": float(np.mean(wanted == given))}
    if probabilities is None or not set(wanted) <= set(names):
        return found
    position = np.array([names.index(name) for name in wanted])
    chance = np.clip(probabilities[np.arange(len(position)), position].astype(np.float64), 1e-15, 1)
    found["log_loss"] = float(-np.mean(np.log(chance)))
    if signature.task == "binary" and signature.positive_class is not None:
        positive = names.index(str(signature.positive_class))
        is_positive = position == positive
        found["positive_share"] = float(is_positive.mean())
        if 0 < is_positive.sum() < len(is_positive):
            score = probabilities[:, positive]
            found["roc_auc"] = float(metrics.roc_auc_score(is_positive, score))
            found["average_precision"] = float(metrics.average_precision_score(is_positive, score))
    return _finite(found)


def _name(value: Any) -> str:
    """A class by its text: 1, 1.0 and True are one class."""
    if isinstance(value, bool | float):
        return str(int(value)) if float(value).is_integer() else str(value)
    return str(value)


def _finite(found: dict[str, float]) -> dict[str, float]:
    return {name: float(value) for name, value in found.items() if np.isfinite(value)}
