"""When a change began, and whether it came at once or little by little."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

Shape = Literal["sudden", "gradual", "too early to tell"]
INTERVAL_DROP: Final = 3.32
"""Half of the 99 % quantile of chi-square(1): the interval holds onsets this near in log likelihood."""
LEAST_WINDOWS_AFTER: Final = 5
"""Fewer windows after the onset cannot tell a step from a ramp."""


ENDING_GAIN: Final = 12.0
"""A change is over if that explains the windows better by so much log likelihood: any end may be chosen."""
LEAST_WINDOWS_BACK: Final = 3
"""Windows that must lie after its end."""


@dataclass(frozen=True, slots=True)
class OnsetEstimate:
    """Window numbers; the change lies between `earliest` and `latest`, most likely at `estimate`."""

    earliest: int
    estimate: int
    latest: int
    end: int | None = None
    """The first window that is as before again; None while the change lasts."""


def estimate_onset(z: NDArray[np.float64]) -> OnsetEstimate:
    """The first changed window by maximum likelihood, for a level of 0, then constant, then 0 again or not.

    For each test the gain of log likelihood of a change from window s to e is (sum of z in between)^2 /
    (2 (e - s)); tests are added. The change lasts to the last window unless an earlier end explains the
    windows far better. The interval holds every s around the best whose gain is within `INTERVAL_DROP` of it.

    Args:
        z: `[W, K]` standard normal values of single windows of the tests in alarm, in order of time.

    Example:
        >>> import numpy as np
        >>> z = np.zeros((10, 1)); z[6:] = 5.0
        >>> estimate_onset(z)
        OnsetEstimate(earliest=6, estimate=6, latest=6, end=None)
        >>> z[8:] = 0.0
        >>> estimate_onset(np.r_[z, np.zeros((5, 1))]).end
        8
    """
    windows = z.shape[0]
    total = np.concatenate([np.zeros((1, z.shape[1])), np.cumsum(z, axis=0)])
    lasting = _gains(total, windows)
    end, gain = None, lasting
    ends = range(1, windows - LEAST_WINDOWS_BACK + 1)
    best = max(((float(_gains(total, stop).max()), stop) for stop in ends), default=(0.0, 0))
    if best[0] > lasting.max() + ENDING_GAIN:
        end = best[1]
        gain = _gains(total, end)
    first = int(np.argmax(gain))
    near = gain >= gain[first] - INTERVAL_DROP
    # Only the stretch around the best: a second, distant candidate is another change.
    low, high = first, first
    while low > 0 and near[low - 1]:
        low -= 1
    while high + 1 < len(near) and near[high + 1]:
        high += 1
    return OnsetEstimate(low, first, high, end)


def _gains(total: NDArray[np.float64], end: int) -> NDArray[np.float64]:
    """Gain of a change from each window before `end` up to it."""
    length = np.arange(end, 0, -1)[:, None]
    gain: NDArray[np.float64] = ((total[end] - total[:end]) ** 2 / (2 * length)).sum(axis=1)
    return gain


def change_shape(level: NDArray[np.float64]) -> Shape:
    """A step or a ramp, by the residual sum of squares with the Bayesian information criterion.

    Args:
        level: `[W]` estimated size of the change in each window, of equal precision, in order of time.

    Example:
        >>> import numpy as np
        >>> change_shape(np.r_[np.zeros(20), np.ones(20)])
        'sudden'
        >>> change_shape(np.r_[np.zeros(20), np.linspace(0, 1, 20), np.ones(10)])
        'gradual'
    """
    windows = len(level)
    time = np.arange(windows)
    best_step, best_ramp, onset = np.inf, np.inf, 0
    for start in range(1, windows):
        after = level[start:]
        residual = float((level[:start] ** 2).sum() + ((after - after.mean()) ** 2).sum())
        if residual < best_step:
            best_step, onset = residual, start
    if windows - onset < LEAST_WINDOWS_AFTER:
        return "too early to tell"
    lengths = np.unique(np.geomspace(3, max(windows, 4), 12).astype(int))
    for start in range(windows - 2):
        for length in lengths:
            form = np.clip((time - start) / length, 0.0, 1.0)
            square = float(form @ form)
            slope = float(form @ level) / square if square > 0 else 0.0
            best_ramp = min(best_ramp, float(((level - slope * form) ** 2).sum()))
    # One more parameter, the length of the ramp.
    floor = 1e-12 * max(float((level**2).sum()), 1e-300)
    step = windows * np.log(max(best_step, floor)) + 2 * np.log(windows)
    ramp = windows * np.log(max(best_ramp, floor)) + 3 * np.log(windows)
    return "gradual" if ramp < step else "sudden"
