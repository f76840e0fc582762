"""When a change began, and when it was over."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

INTERVAL_DROP: Final = 3.32
"""Half of the 99 % quantile of chi-square(1): the interval holds onsets this near in log likelihood."""
ENDING_GAIN: Final = 12.0
"""A change is over if that explains the windows better by so much log likelihood: any end may be chosen."""
_SLIGHT: Final = 0.4
"""An earlier level below this share of the later one is not the change that is reported."""
_MOST_TRIED: Final = 300
"""Ends and second onsets tried at most; longer series are tried at every second window, every third, ..."""
LEAST_WINDOWS_BACK: Final = 3
"""Windows that must lie after its end."""
_SHORTEST_VISIT: Final = 2
"""Windows: one alone is an outlier rather than a visit."""
_EXPECTED: Final = 10
"""Windows that a noise of 1 is worth: few windows hardly tell another one."""
_MOST_PASSES: Final = 20
"""Few are needed; two sets of stretches might take turns."""


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
    Both count in units of the noise along the change: tests that say the same thing are one.

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
        brief = _gains(total, best[1])
        if best[0] > lasting.max() + ENDING_GAIN * _noise(z, slice(int(np.argmax(brief)), best[1])):
            end, gain = best[1], brief
    first = int(np.argmax(gain))
    if end is None:
        later = _main_step(total, first, float(gain[first]), stride)
        if later is not None:
            # The interval is that of the later step, measured from the level before it.
            before = (total[later] - total[first]) / (later - first)
            rest = estimate_onset(np.diff(total, axis=0)[first:] - before)
            return OnsetEstimate(first + rest.earliest, first + rest.estimate, first + rest.latest, None)
    near = gain >= gain[first] - INTERVAL_DROP * _noise(z, slice(first, end))
    # Only the stretch around the best: a second, distant candidate is another change.
    low, high = first, first
    while low > 0 and near[low - 1]:
        low -= 1
    while high + 1 < len(near) and near[high + 1]:
        high += 1
    return OnsetEstimate(low, first, high, end)


@dataclass(frozen=True, slots=True)
class Visit:
    """Windows in which a change stood that comes and goes."""

    start: int
    end: int | None
    """The first window that is as before again; None while it stands."""


@dataclass(frozen=True, slots=True)
class Visits:
    """The stretches of a change, one or more, in order of time."""

    stretches: tuple[Visit, ...]
    probability: float
    """That they are so many: against one that stands, or where there are several against one of them."""


def find_visits(z: NDArray[np.float64], found: OnsetEstimate) -> Visits:
    """The stretches of windows in which the change that was found stands: once, or again and again.

    Each window is as before, or changed by the same mean m as in all visits: being changed gains it z . m -
    |m|^2 / 2 of log likelihood over the noise, at most |m|^2 / 2 either way. The best stretches of two
    windows or more, with three or more between them, are found exactly in one pass; each beginning but the
    first and each end must gain `ENDING_GAIN`. The mean is taken again from what was found until nothing
    changes, at first from all windows of the change, or from those that show it more than their mean does.
    Against fewer beginnings and ends each more is one window of W, so W times less likely beforehand.

    Args:
        z: `[W, K]` as for `estimate_onset`.
        found: what that function found there.

    Example:
        >>> import numpy as np
        >>> z = np.zeros((30, 1)); z[5:10] = 4.0; z[20:26] = 4.0
        >>> find_visits(z, estimate_onset(z)).stretches
        (Visit(start=5, end=10), Visit(start=20, end=26))
    """
    whole = np.zeros(len(z), dtype=bool)
    whole[found.estimate : found.end] = True
    shown = z @ z[whole].mean(axis=0)
    # The mean of equal numbers may be rounded above them.
    clearest = whole & (shown >= min(shown[whole].mean(), shown[whole].max()))
    fits = [_settled_stretches(z, first) for first in (whole, clearest)]
    stretches, gain = max(fits, key=lambda fit: _gain_of(*fit) - ENDING_GAIN * _edges(fit[0]))
    price = float(np.log(len(z)))
    if len(stretches) < 2:
        once = (Visit(found.estimate, found.end),)
        if found.end is None:
            return Visits(once, 1.0)
        total = np.concatenate([np.zeros((1, z.shape[1])), np.cumsum(z, axis=0)])
        over, lasting = _gains(total, found.end)[found.estimate], _gains(total, len(z)).max()
        noise = _noise(z, slice(found.estimate, found.end))
        return Visits(once, _probability(float(over - lasting) / noise - price))
    passed = np.concatenate([[0.0], np.cumsum(gain)])
    # The best single visit is the highest rise of the sum.
    rises = passed[1:] - np.minimum.accumulate(passed[:-1])
    fewer_edges = 1 if rises.argmax() == len(z) - 1 else 2
    more = _gain_of(stretches, gain) - float(rises.max())
    return Visits(tuple(stretches), _probability(more - (_edges(stretches) - fewer_edges) * price))


def _noise(z: NDArray[np.float64], changed: slice | NDArray[np.bool_]) -> float:
    """Variance of a window along the change, at least the 1 of independent tests and an even change.

    It is more where tests say the same thing twice, or where a change is now larger and now smaller.
    """
    mean = z[changed].mean(axis=0)
    size = float(np.linalg.norm(mean))
    if size == 0.0:
        return 1.0
    rest = z @ (mean / size)
    rest[changed] -= size
    return max(1.0, (float(rest @ rest) + _EXPECTED) / (len(z) - 1 + _EXPECTED))


def _probability(log_odds: float) -> float:
    return float(1 / (1 + np.exp(-np.clip(log_odds, -700, 700))))


def _settled_stretches(
    z: NDArray[np.float64], changed: NDArray[np.bool_]
) -> tuple[list[Visit], NDArray[np.float64]]:
    """The stretches whose own mean finds them again, and what each window gains by being in one."""
    stretches: list[Visit] = []
    noise = 1.0
    for _ in range(_MOST_PASSES):
        mean = z[changed].mean(axis=0)
        full = float(mean @ mean) / 2
        # One far window says no more than one that is wholly changed, or wholly as before.
        gain = np.clip(z @ mean - full, -full, full) / noise
        again = _best_stretches(gain)
        if again == stretches:
            break
        stretches, changed = again, np.zeros(len(z), dtype=bool)
        for one in stretches:
            changed[one.start : one.end] = True
        # Of the first stretches, which follow the noise most, so that it is not taken for too large.
        noise = _noise(z, changed)
    return stretches, gain


def _gain_of(stretches: list[Visit], gain: NDArray[np.float64]) -> float:
    return float(sum(gain[one.start : one.end].sum() for one in stretches))


def _edges(stretches: list[Visit]) -> int:
    return sum(1 + (one.end is not None) for one in stretches)


def _best_stretches(gain: NDArray[np.float64]) -> list[Visit]:
    """Of the windows that are changed, by dynamic programming over the last edge."""
    windows = len(gain)
    passed = np.concatenate([[0.0], np.cumsum(gain)])
    # The best of all stretches before an edge, where windows are as before up to it, or changed.
    calm, stands = np.full(windows + 1, -np.inf), np.full(windows + 1, -np.inf)
    calm_from, stands_from = [0] * (windows + 1), [0] * (windows + 1)
    begin, begin_value = 0, -np.inf
    over, over_value = 0, -np.inf
    for edge in range(_SHORTEST_VISIT, windows + 1):
        start, last = edge - _SHORTEST_VISIT, edge - LEAST_WINDOWS_BACK
        # The first visit begins at no cost.
        value = max(0.0, float(calm[start]) - ENDING_GAIN) - float(passed[start])
        if value > begin_value:
            begin, begin_value = start, value
        if last >= 0 and stands[last] > over_value:
            over, over_value = last, float(stands[last])
        stands[edge], stands_from[edge] = begin_value + passed[edge], begin
        calm[edge], calm_from[edge] = over_value - ENDING_GAIN, over
    found: list[Visit] = []
    edge, end = windows, None
    if calm[windows] > stands[windows]:
        edge = end = calm_from[windows]
    while edge:
        start = stands_from[edge]
        found.append(Visit(start, end))
        edge = end = calm_from[start] if calm[start] > ENDING_GAIN else 0
    return found[::-1]


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
