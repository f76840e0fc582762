"""The reference's windows in parts, which tell whether rows follow on each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from holdfast.monitor.clusters import Clusters
from holdfast.monitor.features import Feature
from holdfast.monitor.rows import Rows
from holdfast.monitor.windows import Stretch
from holdfast.stats import Sums

PARTS: Final = 8
"""Of each window, where it has rows enough."""
LEAST_PART_ROWS: Final = 5
MOST_PARTED_WINDOWS: Final = 64
"""More windows show by themselves how much they vary."""
MOST_PARTED_ROWS: Final = 1 << 18
"""Rows of a reference that are counted a second time, in parts."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What the reference's rows show by following on each other: its windows in P parts, and clusters."""

    sums: Mapping[str, Sums] = field(repr=False)
    """What the parts contribute to the tests of each column, in order of time; empty where there is no need
    of parts, or too few rows."""
    window: NDArray[np.intp] = field(repr=False)
    """`[P]`, the number of the window."""
    place: NDArray[np.float64] = field(repr=False)
    """`[P]`, the middle within its window, from 0 to 1."""
    clusters: Mapping[str, Clusters] = field(default_factory=dict, repr=False)
    """Of columns whose extreme rows come one after the other."""

    @classmethod
    def of(cls, features: Mapping[str, Feature], rows: Rows, stretches: Sequence[Stretch]) -> Parts | None:
        """The parts of windows that follow on each other; None where there are too many rows.

        Args:
            features: fitted on the reference.
            rows: of the reference, in order of time.
            stretches: its windows.
        """
        sizes = [part.stop - part.start for _, _, part in stretches]
        if len(rows) > MOST_PARTED_ROWS or not sizes:
            return None
        few = len(sizes) <= MOST_PARTED_WINDOWS
        each = max(min(PARTS, min(sizes) // LEAST_PART_ROWS), 1) if few else 1
        number = np.concatenate(
            [first * each + np.arange(size) * each // size for first, size in enumerate(sizes)]
        )
        taken = slice(stretches[0][2].start, stretches[-1][2].stop)
        held = len(sizes) * each
        clusters: dict[str, Clusters] = {}
        sums: dict[str, Sums] = {}
        for name, whole in features.items():
            feature = whole.of_reference
            index = feature.index(rows.columns[name][taken])
            together = Clusters.of(feature, index)
            if together is not None:
                clusters[name] = together
            if each > 1:
                cells = feature.bins.cells
                counts = np.bincount(number * cells + index, minlength=held * cells)
                sums[name] = feature.sums(counts.reshape(held, cells))
        return cls(
            sums,
            np.repeat(np.arange(len(sizes)), each),
            np.tile((np.arange(each) + 0.5) / each, len(sizes)),
            clusters,
        )
