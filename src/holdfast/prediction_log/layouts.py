"""Layouts of the spool's blocks, each encoded once."""

from __future__ import annotations

from typing import Final

import msgspec

from holdfast.prediction_log.blocks import ColumnLayout, encode_layout

_MOST_LAYOUTS: Final = 1000
"""Kept encoded; callers that send ever new context fields must not fill the memory."""

_Names = tuple[str, ...]
LayoutKey = tuple[_Names, _Names, _Names, _Names, tuple[str, ...], tuple[tuple[int, ...], ...]]
"""Names of inputs, context, outputs and the rest, codes of all in that order, and for each shaped column its
place and the shape of one value."""


class Layouts:
    """Of one writer; not for two threads at once."""

    def __init__(self) -> None:
        self._layouts: dict[LayoutKey, msgspec.Raw] = {}

    def layout(self, key: LayoutKey) -> msgspec.Raw:
        """Encoded, of columns that are given one by one."""
        layout = self._layouts.get(key)
        if layout is None:
            if len(self._layouts) >= _MOST_LAYOUTS:
                self._layouts.clear()
            layout = self._layouts[key] = _encoded(key)
        return layout


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
