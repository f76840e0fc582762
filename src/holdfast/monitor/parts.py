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
    """The reference's windows in P parts each of rows that follow on each other."""

    sums: Mapping[str, Sums] = field(repr=False)
    """What the parts contribute to the tests of each column, in order of time."""
    window: NDArray[np.intp] = field(repr=False)
    """`[P]`, the number of the window."""
    place: NDArray[np.float64] = field(repr=False)
    """`[P]`, the middle within its window, from 0 to 1."""
    clusters: Mapping[str, Clusters] = field(default_factory=dict, repr=False)
    """Of columns whose extreme rows come one after the other."""

    @classmethod
    def of(cls, features: Mapping[str, Feature], rows: Rows, stretches: Sequence[Stretch]) -> Parts | None:
        """The parts of windows that follow on each other; None where there is no need or too few rows.

        Args:
            features: fitted on the reference.
            rows: of the reference, in order of time.
            stretches: its windows.
        """
        sizes = [part.stop - part.start for _, _, part in stretches]
        if len(stretches) > MOST_PARTED_WINDOWS or len(rows) > MOST_PARTED_ROWS or not sizes:
            return None
        each = min(PARTS, min(sizes) // LEAST_PART_ROWS)
        if each < 2:
            return None
        number = np.concatenate(
            [first * each + np.arange(size) * each // size for first, size in enumerate(sizes)]
        )
        taken = slice(stretches[0][2].start, stretches[-1][2].stop)
        held = len(sizes) * each
        clusters: dict[str, Clusters] = {}

        def counted(feature: Feature) -> Sums:
            cells = feature.bins.cells
            index = feature.index(rows.columns[feature.name][taken])
            together = Clusters.of(feature, index)
            if together is not None:
                clusters[feature.name] = together
            at = number * cells + index
            return feature.sums(np.bincount(at, minlength=held * cells).reshape(held, cells))

        return cls(
            {name: counted(feature.of_reference) for name, feature in features.items()},
            np.repeat(np.arange(len(sizes)), each),
            np.tile((np.arange(each) + 0.5) / each, len(sizes)),
            clusters,
        )
