"""How far a converted model's answers lie from the original's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from holdfast.runtime.errors import ParityError


class Parity(msgspec.Struct, frozen=True, kw_only=True):
    """The comparison of two models over the same rows."""

    rows: int
    largest_difference: float
    """Of probabilities, absolute; of numbers, relative to the largest answer. Infinite if one is not finite
    where the other is."""
    equal_predictions: float
    """Share of rows with the same class (classification) or a difference within the tolerance
    (regression)."""
    worst_row: int
    """Position in the reference of the largest difference."""
    tolerance: float

    @property
    def within(self) -> bool:
        """Whether the converted model may stand for the original."""
        return self.largest_difference <= self.tolerance


def check_parity(
    *,
    original_prediction: NDArray[Any],
    original_probabilities: NDArray[Any] | None,
    prediction: NDArray[Any],
    probabilities: NDArray[Any] | None,
    tolerance: float,
) -> Parity:
    """Compare the answers of an original and its conversion, row by row.

    Without probabilities on either side, a different class counts as a difference of 1.
    """
    rows = len(original_prediction)
    numbers = (
        original_probabilities is None
        and original_prediction.dtype.kind in "fiu"
        and prediction.dtype.kind == "f"
    )
    if original_probabilities is not None and probabilities is not None:
        gaps = _gaps(original_probabilities, probabilities).max(axis=1)
        equal = _same(original_prediction, prediction)
        # A tie within the tolerance may fall to either side; anything else is a fault.
        top = np.sort(np.asarray(original_probabilities, dtype=np.float64), axis=1)
        tied = top[:, -1] - top[:, -2] <= 2 * tolerance
        gaps = np.where(equal | tied, gaps, np.maximum(gaps, 1.0))
    elif numbers:
        finite = np.abs(original_prediction[np.isfinite(original_prediction)])
        scale = max(float(finite.max()) if len(finite) else 1.0, np.finfo(np.float64).tiny)
        gaps = _gaps(original_prediction, prediction) / scale
        equal = gaps <= tolerance
    else:
        equal = _same(original_prediction, prediction)
        gaps = np.where(equal, 0.0, 1.0)
    worst = int(np.argmax(gaps)) if rows else 0
    return Parity(
        rows=rows,
        largest_difference=float(gaps[worst]) if rows else 0.0,
        equal_predictions=float(np.mean(equal)) if rows else 1.0,
        worst_row=worst,
        tolerance=tolerance,
    )


def _gaps(left: NDArray[Any], right: NDArray[Any]) -> NDArray[np.float64]:
    first, second = np.asarray(left, dtype=np.float64), np.asarray(right, dtype=np.float64)
    if first.shape != second.shape:
        return np.full((len(first), *first.shape[1:]), np.inf)
    with np.errstate(invalid="ignore"):
        gaps = np.abs(first - second)
    same = (first == second) | (np.isnan(first) & np.isnan(second))
    return np.where(same, 0.0, np.where(np.isfinite(gaps), gaps, np.inf))


def _same(left: NDArray[Any], right: NDArray[Any]) -> NDArray[np.bool_]:
    if left.dtype.kind in "biuf" and right.dtype.kind in "biuf":
        return np.asarray(left.astype(np.float64) == right.astype(np.float64))
    return np.asarray(
        [str(one) == str(other) for one, other in zip(left, right, strict=True)], dtype=np.bool_
    )


def refuse_difference(found: Sequence[tuple[str, Parity | str]], *, where: str) -> ParityError:
    """The error for a model none of whose conversions came near enough.

    Names the row by its position and never by its values.
    """
    lines = []
    for how, parity in found:
        if isinstance(parity, str):
            lines.append(f"{how}: {parity}")
        else:
            lines.append(
                f"{how}: {parity.largest_difference:.3g} at row {parity.worst_row}, "
                f"{parity.equal_predictions:.2%} of {parity.rows} predictions equal"
            )
    tolerance = next((one.tolerance for _, one in found if not isinstance(one, str)), None)
    allowed = None if tolerance is None else f"a difference up to {tolerance:g} ([model] parity_tolerance)"
    return ParityError(
        "the converted model does not answer as the original does",
        where=where,
        expected=allowed,
        received="; ".join(lines),
        next_step=(
            "Raise the tolerance if that difference does not matter to you, or register the model as a "
            "Python callable (--trust-python)"
        ),
    )
