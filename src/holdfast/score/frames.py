"""Whatever holds columns, as an Arrow table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from holdfast.score.errors import TableError


def as_table(frame: Any) -> pa.Table:
    """A table from a dict of columns or any Arrow-speaking frame: pyarrow, pandas, polars, DuckDB, ...

    Raises:
        TableError: it is none of these.
    """
    if isinstance(frame, pa.Table):
        return frame
    try:
        if isinstance(frame, Mapping):
            return pa.table({str(name): _column(values) for name, values in frame.items()})
        if isinstance(frame, pa.RecordBatch):
            return pa.Table.from_batches([frame])
        if type(frame).__module__.partition(".")[0] == "pandas":
            return pa.Table.from_pandas(frame, preserve_index=False)
        if hasattr(frame, "__arrow_c_stream__") or hasattr(frame, "__arrow_c_array__"):
            return pa.table(frame)
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        raise TableError(f"cannot be read as a table: {error}", received=type(frame).__name__) from error
    raise TableError(
        "neither records nor a table",
        expected="a record, a list of records, a dict of columns, or a frame that speaks Arrow",
        received=type(frame).__name__,
    )


def _column(values: Any) -> Any:
    if isinstance(values, pa.Array | pa.ChunkedArray):
        return values
    if isinstance(values, np.ndarray) and values.ndim > 1:
        return pa.array(values.tolist())
    # NaN stays NaN, None becomes null; either is a missing number.
    return pa.array(values, from_pandas=False)
