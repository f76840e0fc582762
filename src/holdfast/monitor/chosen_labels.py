"""Labels that come for some answers far more often than for others, as when only high scores are seen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from holdfast.monitor.profiling import WindowProfile
from holdfast.monitor.reference import ReferenceModel

_LEAST_SHARE: Final = 0.02
"""Of all rows that a cell must hold to be spoken of."""
_TIMES: Final = 2.0
"""The highest coverage of a cell against the lowest from which labels are chosen, and not drawn."""
_ERRORS: Final = 4.0


def chosen_labels(reference: ReferenceModel, windows: Sequence[WindowProfile]) -> Iterator[str]:
    """What the figures of labelled rows then do not say, in words; nothing where labels are a fair draw.

    Args:
        reference: fitted.
        windows: whose labels count.
    """
    concept = reference.concept
    if concept is None or not windows:
        return
    held = np.sum([window.concept[0] for window in windows if window.concept is not None], axis=0)
    for name in sorted(reference.outputs & set(concept.offsets)):
        feature = reference.features[name]
        rows = np.bincount(feature.coarse, np.sum([window.counts[name] for window in windows], axis=0))
        names = [test[5:] for test in feature.tests if test.startswith("cell:")]
        first = concept.offsets[name]
        labelled = held[first : first + len(rows)]
        some = np.flatnonzero(rows >= _LEAST_SHARE * rows.sum())
        if len(some) < 2:
            continue
        covered = labelled[some] / rows[some]
        low, high = int(np.argmin(covered)), int(np.argmax(covered))
        usual = float(labelled.sum() / rows.sum())
        error = _ERRORS * (usual * (1 - usual) * (1 / rows[some[low]] + 1 / rows[some[high]])) ** 0.5
        if covered[high] < _TIMES * covered[low] or covered[high] - covered[low] < error:
            continue
        yield (
            f"Labels are not drawn evenly: {covered[high]:.0%} of the rows where {name} is "
            f"{names[some[high]]} have one, {covered[low]:.0%} where it is {names[some[low]]}. Alarms "
            "compare rows of like answers, so they hold; quality, loss and options speak of the labelled "
            "rows alone, beside the reference's they are not like for like, and no cost is told "
            "of the others."
        )
