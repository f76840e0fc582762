"""The columns of some rows, counted; and raw values kept where a window's counts look odd."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from holdfast.monitor.odd_values import OddValues
from holdfast.monitor.rows import Rows
from holdfast.stats import ColumnCounter, ColumnPass, Counts, Numbers, Room, WindowRows

if TYPE_CHECKING:
    from holdfast.monitor.profiling import Measures

_MANY_CELLS: Final = 100
_CROWDED: Final = 8
"""A cell of so many that holds an eighth of a window: it is stuck, or in a unit a thousand times as large."""
_BEYOND: Final = 20
"""One row of so many beyond the reference's range may be a mark for what is missing."""
_MOST_COUNTED: Final = 1 << 21
"""Counts made of some rows at a time, 16 MB: of more windows fewer columns."""


@dataclass(frozen=True, slots=True)
class _Alike:
    """Columns with as many cells as each other: what is done with their counts is done with all at once."""

    names: tuple[str, ...]
    counts: Counts = field(repr=False)
    """`[K, W, cells]` of all rows."""
    numeric: NDArray[np.bool_]
    located: NDArray[np.bool_]
    """Whether the values of a column differ, which is when one value in all rows says something."""

    def only(self, k: int) -> _Alike:
        """One of them."""
        one = slice(k, k + 1)
        return _Alike(self.names[one], self.counts[one], self.numeric[one], self.located[one])


class ColumnCounts:
    """Counts of all columns by W windows, and raw values of windows that may be stuck or in another unit.

    Args:
        measures: fitted on the reference.
        windows: W.
        most_rows: that are added at a time.
    """

    def __init__(self, measures: Measures, windows: int, most_rows: int) -> None:
        self._measures = measures
        self._windows = windows
        self._room = Room(most_rows)
        self._paired = {name: number for number, name in enumerate(measures.paired)}
        self._counters: dict[str, ColumnCounter] = {}
        by_cells: dict[int, list[str]] = {}
        for name, feature in measures.features.items():
            scores = feature.functionals[:, 0].astype(np.float32) if name in self._paired else None
            self._counters[name] = ColumnCounter(feature.bins.lookup, feature.bins.cells, scores)
            by_cells.setdefault(feature.bins.cells, []).append(name)
        self._alike = [self._of(cells, tuple(names)) for cells, names in by_cells.items()]
        self._places = {
            name: (group, k) for group, one in enumerate(self._alike) for k, name in enumerate(one.names)
        }
        self._cells = sum(feature.bins.cells for feature in measures.features.values())
        self.odd: dict[str, dict[int, OddValues]] = {}
        """By column and window."""

    def _of(self, cells: int, names: tuple[str, ...]) -> _Alike:
        some = [self._measures.features[name] for name in names]
        return _Alike(
            names,
            np.zeros((len(names), self._windows, cells), dtype=np.int64),
            np.array([one.numeric for one in some]),
            np.array(["location" in one.tests for one in some]),
        )

    def by_name(self) -> Mapping[str, Counts]:
        """`[W, cells]` of each column, in the order of the columns."""
        found = {name: each.counts[k] for each in self._alike for k, name in enumerate(each.names)}
        return {name: found[name] for name in self._measures.features}

    def include(self, other: ColumnCounts) -> None:
        """Add what another one counted, of the same measures and windows."""
        for own, more in zip(self._alike, other._alike, strict=True):
            np.add(own.counts, more.counts, out=own.counts)
        for name, windows in other.odd.items():
            for number, odd in windows.items():
                self.odd.setdefault(name, {}).setdefault(number, OddValues()).include(odd)

    def add(
        self, rows: Rows, held: WindowRows, first: int, paired: NDArray[np.float32], *, wanted: bool
    ) -> dict[str, NDArray[np.intp]]:
        """Count the columns of some rows.

        Args:
            rows: as many as there is room for.
            held: which of the windows from the first on each is of.
            first: the number of that window.
            paired: `[P, N]`, where the normal scores of the columns are put whose dependence is followed.
            wanted: whether the cell of each value is.

        Returns:
            The cells of each column, where they are wanted.
        """
        cells: dict[str, NDArray[np.intp]] = {}
        windows = len(held.held)
        at_once = windows * self._cells <= _MOST_COUNTED
        made = [
            np.zeros((len(one.names), windows, one.counts.shape[2]), np.int64)
            for one in self._alike
            if at_once
        ]
        together = ColumnPass(held)
        # In their order: the number that a row gets depends on it.
        for name, counter in self._counters.items():
            group, k = self._places[name]
            counts = made[group][k] if at_once else np.zeros((windows, counter.cells), np.int64)
            scores = paired[self._paired[name]] if name in self._paired else None
            values = self._measures.features[name].as_counted(rows.counted(name))
            found = together.add(counter, values, counts, scores, room=self._room, wanted=wanted)
            if found is not None:
                cells[name] = found
            if not at_once:
                together.close()
                self._close(self._alike[group].only(k), counts[None], rows, (first, held))
        together.close()
        for group, counts in enumerate(made):
            self._close(self._alike[group], counts, rows, (first, held))
        return cells

    def _close(self, alike: _Alike, counts: Counts, rows: Rows, windows: tuple[int, WindowRows]) -> None:
        """Add the counts `[K, W, cells]` of some columns, and keep raw values where they look odd."""
        first, held = windows
        alike.counts[:, first : first + len(held.held)] += counts
        cells = counts.shape[2]
        edge = max(1, (cells - 4) // 50)
        # The outermost bins are wide: within them counts say too little of quartiles.
        outside = counts[:, :, : edge + 1].sum(axis=2) + counts[:, :, -3 - edge : -2].sum(axis=2)
        beyond = counts[:, :, 0] + counts[:, :, cells - 3]
        odd = (outside * 5 > held.held) | (beyond * _BEYOND >= np.maximum(held.held, 1))
        # Of one value only, or of many cells one with an eighth of the rows.
        most = counts.max(axis=2)
        crowded = most * _CROWDED > held.held if cells > _MANY_CELLS else most == held.held
        odd |= crowded & alike.located[:, None]
        odd &= (held.held > 0) & alike.numeric[:, None]
        if not odd.any():
            return
        for k, number in np.argwhere(odd).tolist():
            values = rows.counted(alike.names[k])
            if isinstance(values, np.ndarray | Numbers):
                by_window = self.odd.setdefault(alike.names[k], {})
                by_window.setdefault(first + number, OddValues()).add(_finite(values, held.of(number)))


def _finite(values: NDArray[np.float64] | Numbers, chosen: slice | NDArray[np.intp]) -> NDArray[Any]:
    """Those of the chosen rows that are."""
    if isinstance(values, Numbers):
        if values.valid is None and values.values.dtype.kind in "iu":
            return values.values[chosen]
        values = values[chosen].doubles() if isinstance(chosen, slice) else values.doubles()[chosen]
    else:
        values = values[chosen]
    return values[np.isfinite(values)]
