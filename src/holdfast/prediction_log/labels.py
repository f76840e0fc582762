"""Labels: the true y of a prediction, often late."""

from __future__ import annotations

import math
from typing import Any

import msgspec

from holdfast.privacy import canonical_text


class Label(msgspec.Struct, frozen=True, gc=False):
    """One label as it arrives. Sending it twice changes nothing; a later `observed_at_us` corrects it.

    The repr shows no value.
    """

    prediction_id: str
    y: str | float | int | bool | None
    """None takes an earlier label back."""
    observed_at_us: int
    """When the truth became known, microseconds since the epoch."""

    def __repr__(self) -> str:
        return f"Label(prediction_id={self.prediction_id!r}, observed_at_us={self.observed_at_us})"


def is_number(y: Any) -> bool:
    """Whether a label of a model that answers with numbers can be compared with an answer.

    Example:
        >>> [is_number(y) for y in (512.5, "512.5", "1e5", "512.345,50", "nan", True)]
        [True, True, True, False, False, False]
    """
    if isinstance(y, bool) or (isinstance(y, str) and "_" in y):
        return False  # the log's queries read neither
    try:
        return math.isfinite(float(y))
    except (TypeError, ValueError, OverflowError):
        return False


def label_text(y: str | float | bool | None) -> str | None:
    """The text under which equal labels are equal: `1` for 1, 1.0 and "1"; `true` for True; NaN is None."""
    if y is None or y != y:  # noqa: PLR0124 - the NaN test
        return None
    return canonical_text(y)
