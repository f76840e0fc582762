"""Rows as the monitor sees them: plain columns, and what is known of answers, truth and time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from holdfast.stats import Coded, Numbers

Task = Literal["binary", "multiclass", "regression", "none"]
ColumnValues = NDArray[np.float64] | Coded | Sequence[str | None]
"""Numbers with NaN for missing, or text with None for missing."""


@dataclass(frozen=True, slots=True)
class Rows:
    """N rows. Columns are inputs and outputs alike; all arrays have N values."""

    columns: Mapping[str, ColumnValues]
    time_us: NDArray[np.int64] | None = None
    score: NDArray[np.float64] | None = None
    """Binary: probability of the positive class. Regression: the number. Multiclass: the chosen class's."""
    truth: NDArray[np.float64] | None = None
    """Binary: 1 for positives. Multiclass: 1 where the answer was right. Regression: y. NaN: no label."""
    true_class: NDArray[np.float64] | None = None
    """Multiclass: number of the class that was right, -1 for one the model does not know. NaN: no label."""
    answered_class: NDArray[np.float64] | None = None
    """Multiclass: the number of the class that was answered; NaN: none."""

    lying: Mapping[str, Numbers] = field(default_factory=dict)
    """Further columns, that are only counted: as they lie in memory."""

    def __len__(self) -> int:
        return len(next(iter((self.columns or self.lying).values())))

    def counted(self, name: str) -> ColumnValues | Numbers:
        """A column, as it is counted."""
        return self.lying[name] if name in self.lying else self.columns[name]

    def take(self, chosen: slice | NDArray[np.bool_]) -> Rows:
        """A stretch of the rows."""

        def cut(values: Any) -> Any:
            return None if values is None else values[chosen]

        columns = {name: cut(values) for name, values in self.columns.items()}
        lying = {}
        if isinstance(chosen, slice):
            lying = {name: values[chosen] for name, values in self.lying.items()}
        else:
            columns |= {name: values.doubles()[chosen] for name, values in self.lying.items()}
        return Rows(
            columns,
            cut(self.time_us),
            cut(self.score),
            cut(self.truth),
            cut(self.true_class),
            cut(self.answered_class),
            lying,
        )

    @property
    def truth_and_score(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """`[N]` each; empty where rows have none."""
        nothing = np.empty(0)
        return (
            nothing if self.truth is None else self.truth,
            nothing if self.score is None else self.score,
        )


def labelled_only(rows: Rows) -> Rows:
    """Rows with a label and a score."""
    if rows.truth is None or rows.score is None:
        return picked(rows, np.empty(0, dtype=np.intp))
    return picked(rows, np.flatnonzero(np.isfinite(rows.truth) & np.isfinite(rows.score)))


def rows_within(rows: Rows, start_us: int, end_us: int) -> Rows:
    """Rows with times from one up to another; none where they have no times."""
    if rows.time_us is None:
        return picked(rows, np.empty(0, dtype=np.intp))
    return picked(rows, np.flatnonzero((rows.time_us >= start_us) & (rows.time_us < end_us)))


def thinned(rows: Rows, most: int) -> Rows:
    """At most so many rows, evenly spread over time."""
    if len(rows) <= most:
        return rows
    return picked(rows, (np.arange(most) * (len(rows) / most)).astype(np.intp))


def picked(rows: Rows, at: NDArray[np.intp]) -> Rows:
    """The rows at these numbers."""

    def take(values: Any) -> Any:
        if values is None or isinstance(values, np.ndarray):
            return None if values is None else values[at]
        return [values[int(row)] for row in at] if isinstance(values, (list, tuple)) else values[at]

    return Rows(
        {name: take(values) for name, values in rows.columns.items()},
        take(rows.time_us),
        take(rows.score),
        take(rows.truth),
        take(rows.true_class),
        take(rows.answered_class),
    )
