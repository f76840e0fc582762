"""Rows that two splits share: near doubles, and rows of one subject."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from holdfast.train.manifest import Overlap
from holdfast.train.rows import SUBJECT

if TYPE_CHECKING:
    import pyarrow as pa

DIGITS: Final = 3
"""Numbers that agree to so many significant digits are near: rounding and reporting noise is smaller."""


def overlaps(splits: dict[str, pa.Table], features: tuple[str, ...]) -> tuple[Overlap, ...]:
    """For each split against each earlier one, how many of its rows are not new.

    Two rows are near doubles if every number agrees to three significant digits and every text but for case
    and surrounding space. Numbers on two sides of a rounding limit are missed.
    """
    keys = {name: row_keys(table, features) for name, table in splits.items()}
    names = list(splits)
    found = []
    for place, name in enumerate(names):
        for earlier in names[:place]:
            subjects = {one for one in splits[earlier].column(SUBJECT).to_pylist() if one is not None}
            own = splits[name].column(SUBJECT).to_pylist()
            found.append(
                Overlap(
                    split=name,
                    earlier=earlier,
                    near_duplicates=int(np.isin(keys[name], keys[earlier]).sum()),
                    same_subject=sum(one in subjects for one in own),
                    rows=splits[name].num_rows,
                )
            )
    return tuple(found)


def row_keys(table: pa.Table, features: tuple[str, ...]) -> NDArray[np.uint64]:
    """`[N]`, equal for near doubles (and by chance for one pair of rows in 2^64)."""
    from pandas.util import hash_array

    total = np.zeros(table.num_rows, dtype=np.uint64)
    for name in features:
        total = total * np.uint64(0x100000001B3) ^ hash_array(_rounded(table.column(name)))
    return total


def _rounded(column: pa.ChunkedArray) -> NDArray[np.generic]:
    import pyarrow as pa

    kind = column.type
    if pa.types.is_boolean(kind):
        column, kind = column.cast(pa.int8()), pa.int8()
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        values = column.cast(pa.float64()).to_numpy()
        with np.errstate(divide="ignore", invalid="ignore"):
            size = np.where(values == 0, 0, np.floor(np.log10(np.abs(values))))
            unit = 10.0 ** (np.where(np.isfinite(size), size, 0) - (DIGITS - 1))
            rounded: NDArray[np.float64] = np.where(
                np.isfinite(values), np.round(values / unit) * unit, np.nan
            )
        # Cut what the multiplication left behind the digits that count.
        return np.array([f"{one:.{DIGITS}g}" for one in rounded.tolist()], dtype=object)
    texts = np.empty(len(column), dtype=object)
    texts[:] = ["\0" if value is None else str(value).strip().casefold() for value in column.to_pylist()]
    return texts
