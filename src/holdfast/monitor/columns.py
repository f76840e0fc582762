"""Columns of a table as the tests take them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from holdfast.monitor.rows import ColumnValues

if TYPE_CHECKING:
    import pyarrow as pa


def column_values(table: pa.Table, name: str) -> ColumnValues:
    """A column as numbers with NaN, or as text with None; an absent column is missing in every row."""
    import pyarrow as pa

    if name not in table.column_names:
        return np.full(table.num_rows, np.nan)
    held = table.column(name)
    if pa.types.is_dictionary(held.type):
        held = held.cast(held.type.value_type)
    if pa.types.is_boolean(held.type):
        held = held.cast(pa.int8())
    if pa.types.is_integer(held.type) or pa.types.is_floating(held.type) or pa.types.is_decimal(held.type):
        values: NDArray[np.float64] = held.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
        return values
    text: list[str | None] = held.cast(pa.string()).to_pylist()
    return text
