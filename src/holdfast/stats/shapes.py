"""Whether a change came at once or little by little, and how long it took."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from holdfast.stats.errors import StatisticsError

Shape = Literal["sudden", "gradual", "too early to tell"]
LEAST_WINDOWS_AFTER: Final = 5
"""Fewer windows after the onset cannot tell a step from a ramp."""
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
_MIDDLE: Final = (0.025, 0.5, 0.975)
"""Bounds of 95 % around the median, and that."""
_UNFINISHED: Final = 4
"""The longest ramp, in lengths of the record: one that has only begun looks straight."""
_JUMP: Final = 0.6
"""Share of the plateau that only a step climbs in two or three windows; a ramp of ten climbs three tenths."""
_LEAST_FOR_JUMP: Final = 6
"""Windows: two before, two between and two after."""


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
    if len(level) < LEAST_WINDOWS_AFTER:
        return ShapeOdds(0.5, 0.25, 0.25)
    weight = {"sudden": -np.inf, "short": -np.inf, "gradual": -np.inf}
    for form in _weighed(level):
        kind = "sudden" if not form.length else "gradual" if form.length >= _LONG_RAMP else "short"
        weight[kind] = float(np.logaddexp(weight[kind], np.logaddexp.reduce(form.log_weight)))
    total = np.logaddexp.reduce(list(weight.values()))
    return ShapeOdds(**{kind: float(np.exp(one - total)) for kind, one in weight.items()})


@dataclass(frozen=True, slots=True)
class RampExtent:
    """From when to when a gradual change climbed, in windows; fractions lie within one.

    Of each the median of what is probable after what was seen, and of begin and length the 95 % around it.
    """

    begin: float
    """Where the level leaves what it was: 3.0 is the beginning of window 3."""
    begin_low: float
    begin_high: float
    end: float
    """Where it arrives; beyond the record where it has not yet."""
    length: float
    length_low: float
    length_high: float
    """Says little while the ramp goes on: then nothing but the record limits it."""
    over: float
    """Probability that it has arrived within the record."""


def ramp_extent(level: NDArray[np.float64]) -> RampExtent:
    """When a change that came little by little began, how long it took, and whether it is over.

    From the same weights as `shape_odds`, of the ramps alone: beginnings are equally likely beforehand,
    lengths are so in their logarithm, from 4 windows to four times the record.

    Args:
        level: `[W]` estimated size of the change in each window, of equal precision, in order of time.

    Raises:
        StatisticsError: fewer than five windows.

    Example:
        >>> import numpy as np
        >>> rising = np.clip((np.arange(60) + 0.5 - 20) / 24, 0, 1)
        >>> found = ramp_extent(rising + np.random.default_rng(3).normal(0, 0.02, 60))
        >>> round(found.begin), round(found.end), round(found.over, 2)
        (20, 44, 1.0)
        >>> found.length_low <= 24 <= found.length_high, found.begin_low <= 20 <= found.begin_high
        (True, True)
    """
    windows = len(level)
    if windows < LEAST_WINDOWS_AFTER:
        raise StatisticsError(
            "too few windows for a ramp", expected=f"{LEAST_WINDOWS_AFTER} or more", received=str(windows)
        )
    ramps = [form for form in _weighed(level) if form.length]
    starts = np.concatenate([form.starts for form in ramps]).astype(np.float64)
    lengths = np.concatenate([np.full(len(form.starts), float(form.length)) for form in ramps])
    log_weight = np.concatenate([form.log_weight for form in ramps])
    weight = np.exp(log_weight - log_weight.max())
    weight /= weight.sum()
    # A form is at nothing in its first window, whose middle therefore is where the climb begins.
    begins, ends = starts + 0.5, starts + lengths + 0.5
    low, middle, high = _quantiles(lengths, weight, _MIDDLE)
    begin_low, begin, begin_high = _quantiles(begins, weight, _MIDDLE)
    # A length stands for those around it that were not tried, as a begin does for half a window around it.
    tried = np.unique(lengths)
    between = np.sqrt(tried[1:] * tried[:-1])
    bounds = np.concatenate([tried[:1], between, tried[-1:]])
    return RampExtent(
        begin=begin,
        begin_low=begin_low - 0.5,
        begin_high=begin_high + 0.5,
        end=_quantiles(ends, weight, (0.5,))[0],
        length=middle,
        length_low=float(bounds[np.searchsorted(tried, low)]),
        length_high=float(bounds[np.searchsorted(tried, high) + 1]),
        over=float(weight[ends < windows].sum()),
    )


def _quantiles(
    values: NDArray[np.float64], weight: NDArray[np.float64], shares: tuple[float, ...]
) -> list[float]:
    order = np.argsort(values, kind="stable")
    passed = np.cumsum(weight[order])
    places = np.searchsorted(passed, np.array(shares) * passed[-1])
    return [float(one) for one in values[order[np.minimum(places, len(order) - 1)]]]


@dataclass(frozen=True, slots=True)
class _Weighed:
    """A form that a change may have, at each of its starts."""

    length: int
    """Windows of a ramp; 0 of a step."""
    starts: NDArray[np.intp]
    log_weight: NDArray[np.float64]


def _weighed(level: NDArray[np.float64]) -> list[_Weighed]:
    """Log posterior weights, but for a constant; see `shape_odds`."""
    windows = len(level)
    square = float(level @ level)
    fits: list[tuple[NDArray[np.intp], NDArray[np.float64], NDArray[np.float64]]] = []
    best, best_form = np.inf, np.zeros(windows)
    forms = [(lead, 0) for lead in _LEADS]
    lengths = np.unique(np.round(np.geomspace(_SHORTEST_RAMP, _UNFINISHED * windows, _LENGTHS)).astype(int))
    forms += [((), int(length)) for length in lengths]
    for lead, length in forms:
        starts, along, size = _ramps(level, length) if length else _steps(level, lead)
        rest = square - np.divide(along**2, size, out=np.zeros_like(size), where=size > 0)
        fits.append((starts, rest, size))
        at = int(np.argmin(rest))
        if rest[at] < best and size[at] > 0:
            best = float(rest[at])
            best_form = _form(windows, int(starts[at]), lead, length) * (along[at] / size[at])
    worth = _worth(level - best_form)
    floor = 1e-12 * max(square, 1e-300)
    found = []
    for (_, length), (starts, rest, size) in zip(forms, fits, strict=True):
        fit = -(worth - 1) / 2 * np.log(np.maximum(rest, floor)) - np.log(np.maximum(size, 1e-9)) / 2
        beforehand = np.log(len(fit)) + np.log(len(lengths) if length else len(_LEADS))
        found.append(_Weighed(length, starts, fit - beforehand))
    return found


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
