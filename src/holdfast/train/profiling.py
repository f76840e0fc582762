"""What the features of a data set look like, and which of them look too good."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from holdfast.stats import StatisticsError, area_under_curve
from holdfast.train.manifest import ColumnProfile
from holdfast.train.rows import LABEL, Plan

if TYPE_CHECKING:
    import pyarrow as pa

TOO_GOOD: Final = 0.995
"""Area under the curve of one column alone: no single measurement that is taken beforehand tells so much."""


def profile(
    splits: dict[str, pa.Table], features: tuple[str, ...], *, show_values: bool
) -> dict[str, ColumnProfile]:
    """Counts, and for numbers mean, spread and extremes unless values are not to be shown."""
    import pyarrow as pa
    import pyarrow.compute as pc

    found = {}
    for name in features:
        column = pa.chunked_array([chunk for table in splits.values() for chunk in table.column(name).chunks])
        kind = column.type
        if not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
            nested = pa.types.is_nested(kind)
            found[name] = ColumnProfile(
                type=str(kind),
                missing=column.null_count,
                distinct=None if nested else pc.count_distinct(column).as_py(),
            )
            continue
        values = column.cast(pa.float64()).to_numpy()
        known = values[np.isfinite(values)]
        shown: dict[str, Any] = {}
        if known.size and show_values:
            shown = {
                "mean": float(known.mean()),
                "sd": float(known.std()),
                "minimum": float(known.min()),
                "maximum": float(known.max()),
            }
        found[name] = ColumnProfile(type=str(kind), missing=int(values.size - known.size), **shown)
    return found


def suspicious(train: pa.Table, plan: Plan) -> tuple[str, ...]:
    """Numbers that tell the label by themselves: a leak more often than luck."""
    import pyarrow as pa

    if plan.task != "binary" or not train.num_rows:
        return ()
    labels = np.array([str(one) for one in train.column(LABEL).to_pylist()], dtype=object)
    positive = labels == max(labels)
    found = []
    for name in plan.features:
        kind = train.column(name).type
        if not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
            continue
        values = np.nan_to_num(train.column(name).cast(pa.float64()).to_numpy())
        try:
            area = area_under_curve(positive, values).value
        except StatisticsError:
            return ()
        area = max(area, 1 - area)
        if area >= TOO_GOOD:
            found.append(
                f"the feature {name!r} alone tells the label (area under the curve {area:.3f}): "
                "was it known beforehand?"
            )
    return tuple(found)
