"""A score made honest by one or two numbers: scaling of log odds, and of the temperature of several classes.

See docs/methods/scaling.md.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from holdfast.stats.errors import StatisticsError

Numbers = NDArray[np.float64]
_STEPS: Final = 100
_CLOSE: Final = 1e-10
_LARGEST_LOG_ODDS: Final = 35.0
"""Of a chance that a float64 can tell from 1."""


class Scaling(msgspec.Struct, frozen=True):
    """`slope * x + level`, on the scale on which it was fitted."""

    slope: float
    level: float


def log_odds(chance: NDArray[Any]) -> Numbers:
    """`log(p / (1 - p))`, at most 35 in size.

    Example:
        >>> import numpy as np
        >>> log_odds(np.array([0.5, 1.0])).tolist()
        [0.0, 35.0]
    """
    p = np.asarray(chance, dtype=np.float64)
    with np.errstate(divide="ignore"):
        odds: Numbers = np.clip(np.log(p) - np.log1p(-p), -_LARGEST_LOG_ODDS, _LARGEST_LOG_ODDS)
    return odds


def scale_log_odds(odds: NDArray[Any], truth: NDArray[Any], weights: NDArray[Any] | None = None) -> Scaling:
    """The slope and level under which log odds make the truth likeliest (Platt 1999), by Newton's method.

    Truth is moved towards the middle as Platt does, positives to (n + 1) / (n + 2) and negatives to 1 / (m +
    2), so that classes which the score separates without error still have an answer.

    Args:
        odds: `[N]` log odds.
        truth: `[N]`, 1 for positives.
        weights: `[N]`; None: 1 each.

    Raises:
        StatisticsError: one class is absent.

    Example:
        Scores that exaggerate twofold.

        >>> import numpy as np
        >>> random = np.random.default_rng(0)
        >>> odds = random.normal(size=50_000)
        >>> truth = (random.random(50_000) < 1 / (1 + np.exp(-odds))).astype(float)
        >>> found = scale_log_odds(2 * odds, truth)
        >>> round(found.slope, 1), abs(found.level) < 0.05
        (0.5, True)
    """
    x, y = np.asarray(odds, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    w = np.ones_like(x) if weights is None else np.asarray(weights, dtype=np.float64)
    positives, negatives = float(w @ y), float(w @ (1 - y))
    if positives <= 0 or negatives <= 0:
        raise StatisticsError("scaling needs both classes among the labels")
    target = np.where(y > 0.5, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    # From a slope of nought the loss is steep and Newton is safe; from a sure score it would be flat.
    at = np.array([0.0, np.log(positives / negatives)])
    design = np.stack([x, np.ones_like(x)], axis=1)
    loss = _loss(design, target, w, at)
    for _ in range(_STEPS):
        chance = _chance(design @ at)
        slope = design.T @ (w * (chance - target))
        curve = (design * (w * chance * (1 - chance))[:, None]).T @ design + 1e-12 * np.eye(2)
        step, part = np.linalg.solve(curve, slope), 1.0
        while part > 1e-6 and (after := _loss(design, target, w, at - part * step)) > loss + 1e-12 * abs(
            loss
        ):
            part /= 2
        at = at - part * step
        if abs(loss - after) <= _CLOSE * max(1.0, abs(loss)):
            break
        loss = after
    return Scaling(float(at[0]), float(at[1]))


def _chance(odds: Numbers) -> Numbers:
    chance: Numbers = 1 / (1 + np.exp(-np.clip(odds, -_LARGEST_LOG_ODDS, _LARGEST_LOG_ODDS)))
    return chance


def _loss(design: Numbers, target: Numbers, weights: Numbers, at: Numbers) -> float:
    odds = design @ at
    return float(weights @ (np.logaddexp(0, odds) - target * odds))


def scale_temperature(raw: NDArray[Any], truth: NDArray[Any], weights: NDArray[Any] | None = None) -> Scaling:
    """The factor on raw scores of K classes under which the truth is likeliest (Guo et al. 2017).

    Args:
        raw: `[N, K]` before the softmax.
        truth: `[N]` codes, 0 to K - 1.
        weights: `[N]`; None: 1 each.

    Returns:
        The slope between exp(-4) and exp(4), and no level.

    Raises:
        StatisticsError: no row.

    Example:
        Scores that exaggerate twofold.

        >>> import numpy as np
        >>> random = np.random.default_rng(0)
        >>> raw = random.normal(size=(20_000, 3))
        >>> truth = (raw + random.gumbel(size=raw.shape)).argmax(axis=1)
        >>> round(scale_temperature(2 * raw, truth).slope, 1)
        0.5
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import logsumexp

    x, code = np.asarray(raw, dtype=np.float64), np.asarray(truth, dtype=np.intp)
    if not code.size:
        raise StatisticsError("no labelled row")
    w = np.ones(len(x)) if weights is None else np.asarray(weights, dtype=np.float64)
    own = x[np.arange(len(x)), code]

    def loss(log_factor: float) -> float:
        factor = float(np.exp(log_factor))
        return float(w @ (logsumexp(factor * x, axis=1) - factor * own)) / float(w.sum())

    found = minimize_scalar(loss, bounds=(-4.0, 4.0), method="bounded", options={"xatol": 1e-6})
    return Scaling(float(np.exp(found.x)), 0.0)


def scale_number(answer: NDArray[Any], truth: NDArray[Any], weights: NDArray[Any] | None = None) -> Scaling:
    """The line through answers that is nearest to the truth in (weighted) least squares.

    Example:
        >>> import numpy as np
        >>> scale_number(np.array([1.0, 2.0, 3.0]), np.array([3.0, 5.0, 7.0]))
        Scaling(slope=2.0, level=1.0)
    """
    x, y = np.asarray(answer, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    if not x.size:
        raise StatisticsError("no labelled row")
    w = np.ones_like(x) if weights is None else np.asarray(weights, dtype=np.float64)
    middle, height = float(np.average(x, weights=w)), float(np.average(y, weights=w))
    square = float(w @ (x - middle) ** 2)
    slope = float(w @ ((x - middle) * (y - height))) / square if square > 0 else 1.0
    return Scaling(slope, height - slope * middle)
