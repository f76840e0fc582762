"""Columns that a change of the mapping depends on, told from those that show only that there is one.

Where a model is wrong more often, it is so in the cells of every column. A column has to do with the change
if its cells differ in how much the truth moved.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from holdfast.monitor.concept import ConceptModel
from holdfast.monitor.family import Tests
from holdfast.monitor.onset import strongest_tests
from holdfast.monitor.profiling import WindowProfile
from holdfast.stats import estimate_onset

_LEAST_WINDOWS: Final = 3
"""Since the onset, which tell how much residuals vary now: after a change the reference does not."""
_CHANCE: Final = 0.05
"""Level for all columns in alarm together."""
_LEAST_ROWS: Final = 5
"""Of a cell in the reference: fewer than raise an alarm, as the error of its mean is counted with it."""
_NO_COLUMN: Final = {"", "score"}


def without_echoes_of_all(
    model: ConceptModel, labelled: Sequence[WindowProfile], concept: Sequence[Tests]
) -> Sequence[Tests]:
    """The tests without alarms of columns whose cells moved alike; all of them where nothing else is left.

    Args:
        model: of the reference.
        labelled: windows that the tests were made on.
        concept: tests of P(y|x) that stand.
    """
    named = list(
        dict.fromkeys(
            tests.names[test][0]
            for tests in concept
            for test in tests.in_alarm
            if tests.names[test][0] not in _NO_COLUMN
        )
    )
    if not named:
        return concept
    since = labelled[estimate_onset(strongest_tests(concept)).estimate :]
    if len(since) < _LEAST_WINDOWS:
        return concept
    # Rows and residuals alone: over a year of hours all sums of many columns are large.
    view = len(model.views) - 1
    kept_sums = [0, 1 + 3 * view]
    profiles = np.stack([window.concept[kept_sums] for window in since if window.concept is not None])
    apart = {name for name in named if _chance(model, profiles, name, view) < _CHANCE / len(named)}
    kept = [tests.only_alarms_of(_of(tests, {*apart, *_NO_COLUMN})) for tests in concept]
    return kept if any(tests.in_alarm.size for tests in kept) else concept


def _of(tests: Tests, columns: set[str]) -> NDArray[np.bool_]:
    return np.array([name in columns for name, _ in tests.names])


def _chance(model: ConceptModel, profiles: NDArray[np.float64], name: str, view: int) -> float:
    """Of cells so far apart if the truth moved alike in all of them: as a whole, or along the column."""
    from scipy.special import fdtrc, stdtr

    mine = np.array([feature == name for feature, _ in model.tests]) & (model.rows >= _LEAST_ROWS)
    rows = profiles[:, 0, mine]
    held = rows.sum(axis=0) > 0
    rows, cells = rows[:, held], np.flatnonzero(mine)[held]
    if len(cells) < 2:
        return 1.0
    moved = profiles[:, 1, cells] - rows * model.views[view].mean[cells]
    # Beyond what moved in all cells of a window alike.
    beyond = moved - rows * (moved.sum(axis=1) / np.maximum(rows.sum(axis=1), 1))[:, None]
    total = rows.sum(axis=0)
    rate = beyond.sum(axis=0) / total
    freedom = (len(rows) - 1) * (len(cells) - 1)
    variance = float(((beyond - rows * rate) ** 2 / np.maximum(rows, 1)).sum()) / freedom
    error = variance / total + model.reference_error(view)[cells]
    middle = (rate / error).sum() / (1 / error).sum()
    square = float(((rate - middle) ** 2 / error).sum()) / (len(cells) - 1)
    chance = float(fdtrc(len(cells) - 1, freedom, square))
    for number, (column, _) in enumerate(model.slopes):
        if column == name:
            along = model.directions[cells, number]
            along = along - (along * total).sum() / total.sum()
            slope = float((along * total * rate).sum() / np.sqrt((along**2 * total**2 * error).sum()))
            chance = 2 * min(chance, 2 * float(stdtr(freedom, -abs(slope))))
    return chance
