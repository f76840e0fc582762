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
SURE: Final = 0.95
"""Probability from which a shape is said; below it is too early to tell."""
_FAINT: Final = 2.25
"""Standard errors of a window: noise climbs so high by itself, and "gradual" must then be twice as sure (of
steps of two standard errors that were called anything, one in twelve was called so)."""
_LEADS: Final[tuple[tuple[float, ...], ...]] = ((), (0.5,), (1 / 3, 2 / 3))
"""Sudden changes: between two windows, in the middle of one, within two."""
_SHORTEST_RAMP: Final = 4.0
_LONG_RAMP: Final = 8.0
"""Windows: who is told "sudden" must not have seen a ramp of so many; a shorter one is nearly sudden."""
_LENGTHS: Final = 64
"""Lengths of ramps compared, evenly in their logarithm."""
_UNFINISHED: Final = 4
"""The longest ramp, in lengths of the record: one that has only begun looks straight."""
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


@dataclass(frozen=True, slots=True)
class ShapeOdds:
    """Probabilities of how a change came, which add up to 1."""

    sudden: float
    """Complete within two windows."""
    short: float
    """A ramp of four to eight windows."""
    gradual: float
    """A longer one, finished or not."""


def shape_odds(level: NDArray[np.float64]) -> ShapeOdds:
    """How likely a step, a short ramp and a long one are, after what was seen.

    A step and a ramp are equally likely beforehand, as is every onset, and lengths are so in their logarithm.
    Height and noise are unknown: with residual sum of squares R, form f and n windows a form weighs
    R^(-(n-1)/2) / |f|, and all forms of a kind are added up. Levels that swing slowly by themselves, as
    seasons make them, hold less information than there are windows: n counts as many as are worth
    independent ones (by the residuals' lag-one correlation).

    Args:
        level: `[W]` estimated size of the change in each window, of equal precision, in order of time.

    Example:
        >>> import numpy as np
        >>> noise = np.random.default_rng(3).normal(0, 0.1, 60)
        >>> round(shape_odds(np.r_[np.zeros(30), np.ones(30)] + noise).sudden, 2)
        1.0
        >>> round(shape_odds(np.r_[np.zeros(20), np.linspace(0, 1, 30), np.ones(10)] + noise).gradual, 2)
        1.0
    """
    windows = len(level)
    if windows < LEAST_WINDOWS_AFTER:
        return ShapeOdds(0.5, 0.25, 0.25)
    square = float(level @ level)
    kinds: list[str] = []
    fits: list[tuple[NDArray[np.float64], NDArray[np.float64]]] = []
    best, best_form = np.inf, np.zeros(windows)
    forms = [(lead, 0) for lead in _LEADS]
    lengths = np.unique(np.round(np.geomspace(_SHORTEST_RAMP, _UNFINISHED * windows, _LENGTHS)).astype(int))
    forms += [((), int(length)) for length in lengths]
    for lead, length in forms:
        starts, along, size = _ramps(level, length) if length else _steps(level, lead)
        rest = square - np.divide(along**2, size, out=np.zeros_like(size), where=size > 0)
        kinds.append("sudden" if not length else "gradual" if length >= _LONG_RAMP else "short")
        fits.append((rest, size))
        at = int(np.argmin(rest))
        if rest[at] < best and size[at] > 0:
            best = float(rest[at])
            best_form = _form(windows, int(starts[at]), lead, length) * (along[at] / size[at])
    worth = _worth(level - best_form)
    floor = 1e-12 * max(square, 1e-300)
    weight = {"sudden": -np.inf, "short": -np.inf, "gradual": -np.inf}
    for kind, (rest, size) in zip(kinds, fits, strict=True):
        fit = -(worth - 1) / 2 * np.log(np.maximum(rest, floor)) - np.log(np.maximum(size, 1e-9)) / 2
        beforehand = np.log(len(fit)) + np.log(len(_LEADS) if kind == "sudden" else len(lengths))
        weight[kind] = float(np.logaddexp(weight[kind], np.logaddexp.reduce(fit) - beforehand))
    total = np.logaddexp.reduce(list(weight.values()))
    return ShapeOdds(**{kind: float(np.exp(one - total)) for kind, one in weight.items()})


def change_shape(level: NDArray[np.float64]) -> Shape:
    """A step or a ramp, where one of them is probable enough to be said.

    "Sudden" is said where the probability of a ramp of eight windows or more is below a twentieth, "gradual"
    where that of a step is, or a fortieth where the change is faint; see `shape_odds`. A jump that is done
    within two windows of its start, from nothing, is a step whatever follows.

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
    if windows < 2:
        return "too early to tell"
    _, along, size = _steps(level, ())
    onset = int(np.argmax(along[1:] ** 2 / size[1:])) + 1
    if windows - onset < LEAST_WINDOWS_AFTER:
        return "too early to tell"
    odds = shape_odds(level)
    noise = (float(level @ level) - float(along[onset] ** 2 / size[onset])) / max(windows - 3, 1)
    faint = float(along[onset] / size[onset]) ** 2 < _FAINT**2 * noise
    if odds.sudden <= (1 - SURE) / (2 if faint else 1):
        # From the best step on, in the middle of a ramp, the median is the height that was climbed.
        plateau = float(np.median(np.abs(level[onset:])))
        return "sudden" if _jumps(level, plateau, noise) else "gradual"
    return "sudden" if odds.gradual <= 1 - SURE else "too early to tell"


def _steps(
    level: NDArray[np.float64], lead: tuple[float, ...]
) -> tuple[NDArray[np.intp], NDArray[np.float64], NDArray[np.float64]]:
    """For steps that begin in each window: products with the level, and squares of the form."""
    windows, partial = len(level), len(lead)
    starts = np.arange(windows - partial)
    after = np.concatenate([np.cumsum(level[::-1])[::-1], [0.0]])
    along, size = after[starts + partial], (windows - starts - partial).astype(np.float64)
    for place, height in enumerate(lead):
        along = along + height * level[starts + place]
        size = size + height**2
    return starts, along, size


def _ramps(
    level: NDArray[np.float64], length: int
) -> tuple[NDArray[np.intp], NDArray[np.float64], NDArray[np.float64]]:
    """The same for ramps of one length; one may have been half climbed when the record begins."""
    windows = len(level)
    starts = np.arange(-(length // 2), windows - 1)
    low, high = np.clip(starts, 0, windows), np.clip(starts + length, 0, windows)
    time = np.arange(windows, dtype=np.float64)
    plain, timed, once, twice = (
        np.concatenate([[0.0], np.cumsum(one)]) for one in (level, level * time, time, time**2)
    )
    climb = (timed[high] - timed[low] - starts * (plain[high] - plain[low])) / length
    along = climb + plain[-1] - plain[high]
    square = twice[high] - twice[low] - 2 * starts * (once[high] - once[low]) + starts**2 * (high - low)
    return starts, along, square / length**2 + (windows - high)


def _form(windows: int, start: int, lead: tuple[float, ...], length: int) -> NDArray[np.float64]:
    if length:
        ramp: NDArray[np.float64] = np.clip((np.arange(windows) - start) / length, 0.0, 1.0)
        return ramp
    step = np.zeros(windows)
    step[start : start + len(lead)] = lead
    step[start + len(lead) :] = 1.0
    return step


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
