"""Which alarms stand, and which only echo others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from holdfast.monitor.family import Tests
from holdfast.monitor.pair_evidence import PAIR_MARK

_LASTING_WINDOWS: Final = 3
_STRONG: Final = 1.3
"""An alarm of fewer windows counts, once it is over, only if it was so far beyond the threshold."""
_FAR_CLEARER: Final = 1.5
"""All cells of a column together show a change of their own where they show it so many times as clearly."""


def standing(families: Sequence[Tests]) -> Sequence[Tests]:
    """The families, or nothing where all they ever raised was a brief, weak alarm that is over.

    Over hundreds of windows the budget itself allows one; each window's own evidence still shows it.
    """
    if not families:
        return families
    strength = np.max([tests.strongest for tests in families], axis=0)
    if not _stands(strength[:, None])[0]:
        return ()
    stand = [_stands(tests.strength) for tests in families]
    if not any(some.any() for some in stand):
        return families
    # Over a year the budget allows several: beside what stands they name nothing.
    return [tests.only_alarms_of(some) for tests, some in zip(families, stand, strict=True)]


def _stands(strength: NDArray[np.float64]) -> NDArray[np.bool_]:
    """`[K]`, of `[W, K]` strengths."""
    raised = (strength >= 1).sum(axis=0)
    lasting = (raised >= _LASTING_WINDOWS) | (strength[-1] >= 1) | (strength.max(axis=0) >= _STRONG)
    stands: NDArray[np.bool_] = (raised > 0) & lasting
    return stands


def without_echoes(data: Sequence[Tests]) -> Sequence[Tests]:
    """Without pairs of a column that has changed by itself: its dependence is then that of other values.

    And without tests of all cells of a column together where one of its own shows the change as well.
    """
    data = [_without_shown(tests, data) if tests.family == "together" else tests for tests in data]
    margins = {tests.names[test][0] for tests in data if tests.family != "pairs" for test in tests.in_alarm}
    result = []
    for tests in data:
        if tests.family == "pairs" and margins:
            kept = [not margins.intersection(name.split(PAIR_MARK)) for name, _ in tests.names]
            if any(kept):
                result.append(tests.chosen(np.flatnonzero(kept)))
        else:
            result.append(tests)
    return result


def _without_shown(together: Tests, data: Sequence[Tests]) -> Tests:
    shown: dict[str, float] = {}
    for tests in data:
        if tests.family not in {"together", "pairs"}:
            for test in tests.in_alarm:
                name = tests.names[test][0]
                shown[name] = max(shown.get(name, 0.0), float(tests.strength[:, test].max()))
    own = together.strength.max(axis=0, initial=0.0)
    others = np.array([shown.get(name, 0.0) for name, _ in together.names])
    return together.chosen(np.flatnonzero(own > _FAR_CLEARER * others))
