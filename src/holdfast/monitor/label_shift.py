"""Label shift told from concept drift: the classes are as they were, and their shares are not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from holdfast.monitor.family import Tests
from holdfast.monitor.profiling import WindowProfile
from holdfast.monitor.reference import ReferenceModel
from holdfast.stats import chi_square, label_shift_gain

_CELLS: Final = 8
_GAIN_CELLS: Final = 16
_CHANCE: Final = 0.01
"""Label shift explains what is seen if P(score | y) is as it was, by a chi-square test at this level."""


def is_label_shift(
    reference: ReferenceModel, labelled: Sequence[WindowProfile], concept: Sequence[Tests]
) -> bool:
    """Whether other shares of two classes, each as it was, explain what the labels show.

    Args:
        reference: fitted.
        labelled: windows whose labels count, in order of time.
        concept: what was found on them; some test is in alarm.
    """
    if reference.task != "binary":
        return False
    first = min(int(np.argmax(tests.alarm)) for tests in concept if tests.alarm.any())
    if _both_ways(concept, first):
        return False
    after = np.sum([window.quality for window in labelled[first:]], axis=0)
    before = reference.whole.quality
    for side in (0, 1):
        old, new = before[side], after[side]
        if min(old.sum(), new.sum()) < 100:
            return False
        group = np.minimum((np.cumsum(old) / old.sum() * _CELLS).astype(int), _CELLS - 1)
        statistic, freedom = chi_square(np.bincount(group, weights=old), np.bincount(group, weights=new))
        from scipy.special import chdtrc

        if freedom < 1 or chdtrc(freedom, statistic) < _CHANCE:
            return False
    # The chi-square has little power on few rows; a raised level of P(y | score) must explain them less well.
    # Cells of as many rows of each class together, so that rare positives are not all in one.
    mass = (before / before.sum(axis=1, keepdims=True)).sum(axis=0) / 2
    cells = np.minimum((np.cumsum(mass) * _GAIN_CELLS).astype(int), _GAIN_CELLS - 1)
    old, new = (
        np.stack([np.bincount(cells, weights=side, minlength=_GAIN_CELLS) for side in table])
        for table in (before, after)
    )
    return label_shift_gain(old, new) > 0


def _both_ways(concept: Sequence[Tests], first: int) -> bool:
    """Whether positives became more frequent at some inputs and rarer at others: other shares do not do both.

    A column that the score leaves out changes no class's scores, so those alone cannot tell.
    """
    from scipy.special import ndtri

    for tests in concept:
        if tests.family == "residuals":
            pooled = tests.single[first:].sum(axis=0) / np.sqrt(len(tests.single) - first)
            least = float(ndtri(1 - _CHANCE / 2 / len(pooled)))
            if pooled.max() >= least and pooled.min() <= -least:
                return True
    return False
