"""Layouts of the spool's blocks, each encoded once; and the usual record, packed in a few steps."""

from __future__ import annotations

from typing import Final

import msgspec
import numpy as np

from holdfast.artifact.packing import Table
from holdfast.prediction_log.blocks import (
    TABLE_CODE,
    ColumnEncoder,
    ColumnLayout,
    encode_layout,
    pack_array,
)
from holdfast.privacy import RedactedRecord

_MOST_LAYOUTS: Final = 1000
"""Kept encoded; callers that send ever new context fields must not fill the memory."""

_Names = tuple[str, ...]
LayoutKey = tuple[_Names, _Names, _Names, _Names, tuple[str, ...], tuple[tuple[int, ...], ...]]
"""Names of inputs, context, outputs and the rest, codes of all in that order, and for each shaped column its
place and the shape of one value."""
_TableKey = tuple[_Names, _Names, tuple[str, ...], tuple[tuple[int, ...], ...]]
"""Where the inputs are a table and all else is an array: names of inputs and of the rest, codes of the rest,
and shapes as above."""


class Layouts:
    """Of one writer; not for two threads at once."""

    def __init__(self) -> None:
        self._layouts: dict[LayoutKey, msgspec.Raw] = {}
        self._encode_columns = ColumnEncoder().encode
        self._table_layouts: dict[_TableKey, msgspec.Raw] = {}

    def layout(self, key: LayoutKey) -> msgspec.Raw:
        """Encoded, of columns that are given one by one."""
        layout = self._layouts.get(key)
        if layout is None:
            if len(self._layouts) >= _MOST_LAYOUTS:
                self._layouts.clear()
            layout = self._layouts[key] = _encoded(key)
        return layout

    def pack_table(self, record: RedactedRecord, n: int) -> tuple[msgspec.Raw, msgspec.Raw] | None:
        """Layout and columns of the usual record, in a few steps however many columns it has.

        The bytes are those that the columns one by one would give. None: not all values are plain numbers.
        """
        table, raw = record.inputs, record.raw
        if type(table) is not Table or record.context or raw.outputs or record.features:
            return None
        if table.matrix.shape != (len(table.names), n):
            raise ValueError(f"{n} values per column are needed, not {table.matrix.shape}")
        names: list[str] = []
        codes: list[str] = []
        others: list[bytes] = []
        shapes: list[tuple[int, ...]] = []
        given = (("prediction", raw.prediction), ("score", raw.score), ("probabilities", raw.probabilities))
        for name, values in given:
            if values is None or (name == "prediction" and not len(values)):
                continue
            if len(values) != n:
                raise ValueError(f"{name}: {n} values are needed, not {len(values)}")
            if not isinstance(values, np.ndarray):
                return None
            code, column = pack_array(values)
            if not isinstance(column, bytes):
                return None
            if values.ndim > 1:
                shapes.append((len(table.names) + len(codes), *values.shape[1:]))
            names.append(name)
            codes.append(code)
            others.append(column)
        key = (table.names, tuple(names), tuple(codes), tuple(shapes))
        layout = self._table_layouts.get(key)
        if layout is None:
            if len(self._table_layouts) >= _MOST_LAYOUTS:
                self._table_layouts.clear()
            all_codes = (TABLE_CODE,) * len(table.names) + key[2]
            layout = self.layout((key[0], (), (), key[1], all_codes, key[3]))
            self._table_layouts[key] = layout
        return layout, self._encode_columns(table, others)


def _encoded(key: LayoutKey) -> msgspec.Raw:
    inputs, context, outputs, extra, codes, shapes = key
    names = [f"input_{name}" for name in inputs]
    names += [f"context_{name}" for name in context]
    names += [f"output_{name}" for name in outputs]
    names += extra
    shape_at = {place: shape for place, *shape in shapes}
    return encode_layout(
        [
            ColumnLayout(name, code, tuple(shape_at.get(place, ())))
            for place, (name, code) in enumerate(zip(names, codes, strict=True))
        ]
    )
