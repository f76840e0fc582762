"""What Python programs hold as tables, as Arrow takes it: frames of pandas, arrays of NumPy, records."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np


def as_columns(source: Any) -> Any:
    """Records, arrays and a pandas series as columns; anything else as it is.

    Columns of an array without names are called by their number.
    """
    if isinstance(source, list | tuple) and source and all(isinstance(row, Mapping) for row in source):
        names = dict.fromkeys(name for row in source for name in row)
        return plain_objects(_frame({name: [row.get(name) for row in source] for name in names}))
    if isinstance(source, np.ndarray) and source.dtype.names:
        return {name: source[name] for name in source.dtype.names}
    if isinstance(source, np.ndarray) and source.ndim in {1, 2} and source.dtype.kind in "fiub":
        columns = source.reshape(len(source), -1).T
        return {str(number): column for number, column in enumerate(columns)}
    if _is_pandas(source) and getattr(source, "ndim", 2) == 1 and hasattr(source, "to_frame"):
        return source.to_frame()
    return plain_objects(source)


def _is_pandas(source: Any) -> bool:
    return type(source).__module__.partition(".")[0] == "pandas"


def _frame(columns: Mapping[str, Any]) -> Any:
    import pandas as pd

    return pd.DataFrame(columns)


def plain_objects(frame: Any) -> Any:
    """A pandas frame whose columns Arrow can take; anything else as it is.

    Columns of Python objects may mix numbers with text, as a file with `n/a` among its numbers gives them:
    they become text, which is read as numbers again where it is some. Periods become the moments they begin
    with, sparse columns dense ones, and names text.
    """
    if not _is_pandas(frame) or not hasattr(frame, "columns"):
        return frame
    names = [*map(str, frame.columns)]
    if len(set(names)) < len(names):
        return frame
    import pandas as pd

    if names != [*frame.columns]:
        frame = frame.set_axis(names, axis=1)
    changed = {}
    for name in frame.columns:
        column = frame[name]
        if isinstance(column.dtype, pd.PeriodDtype):
            changed[name] = column.dt.to_timestamp()
        elif isinstance(column.dtype, pd.SparseDtype):
            changed[name] = column.sparse.to_dense()
        elif column.dtype == object and pd.api.types.infer_dtype(column, skipna=True).startswith("mixed"):
            held = {type(value) for value in column if not _is_missing(value)}
            if held <= {str, int, float, bool, np.float64, np.float32, np.int64, np.int32, np.bool_}:
                changed[name] = column.map(_as_text)
    return frame.assign(**changed) if changed else frame


def _is_missing(value: Any) -> bool:
    import pandas as pd

    return (
        value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and np.isnan(value))
    )


def _as_text(value: Any) -> str | None:
    if _is_missing(value):
        return None
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)
