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
_SLIGHT: Final = 0.4
"""An earlier level below this share of the later one is not the change that is reported."""
_SHORTEST_RAMP: Final = 4
"""Windows: a shorter rise is not told from a step that falls into the middle of a window."""
_JUMP: Final = 0.6
"""Share of the plateau that only a step climbs in two or three windows; a ramp of ten climbs three tenths."""
_LEAST_FOR_JUMP: Final = 6
"""Windows: two before, two between and two after."""
_MOST_TRIED: Final = 300
"""Ends and second onsets tried at most; longer series are tried at every second window, every third, ..."""
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
    stride = -(-windows // _MOST_TRIED)
    ends = range(1, windows - LEAST_WINDOWS_BACK + 1, stride)
    best = max(((float(_gains(total, stop).max()), stop) for stop in ends), default=(0.0, 0))
    if best[0] > lasting.max() + ENDING_GAIN:
        end = best[1]
        gain = _gains(total, end)
    first = int(np.argmax(gain))
    if end is None:
        later = _main_step(total, first, float(gain[first]), stride)
        if later is not None:
            # The interval is that of the later step, measured from the level before it.
            before = (total[later] - total[first]) / (later - first)
            rest = estimate_onset(np.diff(total, axis=0)[first:] - before)
            return OnsetEstimate(first + rest.earliest, first + rest.estimate, first + rest.latest, None)
    near = gain >= gain[first] - INTERVAL_DROP
    # Only the stretch around the best: a second, distant candidate is another change.
    low, high = first, first
    while low > 0 and near[low - 1]:
        low -= 1
    while high + 1 < len(near) and near[high + 1]:
        high += 1
    return OnsetEstimate(low, first, high, end)


def _main_step(total: NDArray[np.float64], first: int, single: float, stride: int) -> int | None:
    """The later of two steps, where they explain the windows far better and the earlier one is slight."""
    windows = len(total) - 1
    best, found = 0.0, None
    for start in range(0, windows - 1, stride):
        later = np.arange(start + 1, windows)
        left = ((total[later] - total[start]) ** 2 / (2 * (later - start)[:, None])).sum(axis=1)
        right = ((total[windows] - total[later]) ** 2 / (2 * (windows - later)[:, None])).sum(axis=1)
        at = int(np.argmax(left + right))
        if left[at] + right[at] > best:
            best, found = float(left[at] + right[at]), (start, int(later[at]))
    if found is None or best < single + ENDING_GAIN:
        return None
    start, after = found
    slight = np.linalg.norm((total[after] - total[start]) / (after - start))
    full = np.linalg.norm((total[windows] - total[after]) / (windows - after))
    return after if slight < _SLIGHT * full and after > first else None


def _gains(total: NDArray[np.float64], end: int) -> NDArray[np.float64]:
    """Gain of a change from each window before `end` up to it."""
    length = np.arange(end, 0, -1)[:, None]
    gain: NDArray[np.float64] = ((total[end] - total[:end]) ** 2 / (2 * length)).sum(axis=1)
    return gain


def change_shape(level: NDArray[np.float64]) -> Shape:
    """A step or a ramp, by the residual sum of squares with the Bayesian information criterion.

    Levels that swing slowly by themselves, as seasons make them, hold less information than there are
    windows: the criterion counts as many as are worth independent ones (by the residuals' lag-one
    correlation).
    A jump that is complete within two windows of its start, from nothing, is a step whatever follows.

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
    best_step, best_ramp, onset, length_of_best = np.inf, np.inf, 0, 0
    step_rest: NDArray[np.float64] = level
    for start in range(1, windows):
        after = level[start:]
        residual = float((level[:start] ** 2).sum() + ((after - after.mean()) ** 2).sum())
        if residual < best_step:
            best_step, onset = residual, start
            step_rest = np.concatenate([level[:start], after - after.mean()])
    if windows - onset < LEAST_WINDOWS_AFTER:
        return "too early to tell"
    stride = -(-windows // _MOST_TRIED)
    lengths = np.unique(np.geomspace(3, max(windows, 4), 24).astype(int))
    ramp_rest = level
    for length in lengths:
        starts = np.arange(-(int(length) // 2), windows - 2, stride)
        forms = np.clip((time - starts[:, None]) / length, 0.0, 1.0)
        square, along = np.einsum("sw,sw->s", forms, forms), forms @ level
        explained = np.divide(along**2, square, out=np.zeros_like(square), where=square > 0)
        at = int(np.argmax(explained))
        rest = level - (along[at] / square[at] if square[at] > 0 else 0.0) * forms[at]
        if float(rest @ rest) < best_ramp:
            best_ramp, length_of_best, ramp_rest = float(rest @ rest), int(length), rest
    # One more parameter, the length of the ramp.
    floor = 1e-12 * max(float((level**2).sum()), 1e-300)
    worth = min(_worth(step_rest), _worth(ramp_rest))
    step = worth * np.log(max(best_step, floor)) + 2 * np.log(windows)
    ramp = worth * np.log(max(best_ramp, floor)) + 3 * np.log(windows)
    if ramp >= step or length_of_best < _SHORTEST_RAMP:
        return "sudden"
    # From the best step on, which lies in the middle of a ramp, the median is the height that was climbed.
    plateau = float(np.median(np.abs(level[onset:])))
    noise = min(best_step, best_ramp) / max(windows - 3, 1)
    return "sudden" if _jumps(level, plateau, noise) else "gradual"


def _worth(rest: NDArray[np.float64]) -> float:
    """How many independent windows so many autocorrelated ones are worth."""
    square = float(rest @ rest)
    if square <= 0:
        return float(len(rest))
    correlation = float(rest[1:] @ rest[:-1]) / square
    return len(rest) * float(np.clip((1 - correlation) / (1 + correlation), 0.05, 1.0))


def _jumps(level: NDArray[np.float64], plateau: float, noise: float) -> bool:
    """Whether it climbs most of the way between two windows and the next two, or the two after one."""
    if len(level) < _LEAST_FOR_JUMP:
        return False
    pairs = (level[1:] + level[:-1]) / 2
    # A change in the middle of a window leaves that window in between.
    near, far = np.abs(pairs[2:] - pairs[:-2]).max(), np.abs(pairs[3:] - pairs[:-3]).max(initial=0.0)
    step = max(float(near), float(far))
    return bool(step > _JUMP * plateau + 3 * np.sqrt(noise))
