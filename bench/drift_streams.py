"""Streams of inputs, scores and labels whose truth is known.

A reference and production windows of as many rows: 16 numeric columns (normal, exponential, bimodal, one
log-normal, one correlated pair), 4 categorical ones, a calibrated classifier's score, true labels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

WINDOWS, ROWS, REFERENCE_WINDOWS, ONSET = 200, 1000, 20, 100
LEVELS = np.array([0.3, 0.2, 0.15, 0.1, 0.08, 0.06, 0.05, 0.03, 0.02, 0.01])
HOUR_US: Final = 3_600_000_000
SMALLEST, LARGEST = 50, 50_000
"""Rows of the windows of `mixed`, evenly in the logarithm."""

Numbers = NDArray[np.float64]
Codes = NDArray[np.int64]


@dataclass(frozen=True)
class Stream:
    """What is drawn, and what is true of it."""

    kind: str
    size: float = 0.0
    rows: int = ROWS
    """Of a window."""
    windows: int = WINDOWS
    onset: int | None = None
    """First window of the change; None: there is none."""
    named: str = ""
    """What has changed: a column, or two."""
    concept: bool = False
    """Whether the mapping from x to y has changed."""

    @property
    def name(self) -> str:
        """As results are called."""
        size = f" {self.size:g}" if self.size else ""
        return f"{self.kind}{size}" + (f", windows of {self.rows}" if self.rows != ROWS else "")


QUIET: Final = [
    Stream("none"),
    Stream("season"),
    Stream("rare"),
    Stream("heavy tails"),
    Stream("correlated"),
    Stream("outliers", rows=5000, windows=40),
    Stream("none", rows=50),
    Stream("none", rows=200),
    Stream("none", rows=5000, windows=60),
    Stream("none", rows=50_000, windows=20),
    Stream("mixed", windows=60),
]
CHANGED: Final = [
    Stream("shift", 0.1, onset=ONSET, named="x0"),
    Stream("shift", 0.2, onset=ONSET, named="x0"),
    Stream("shift", 0.5, onset=ONSET, named="x0"),
    Stream("season shift", 0.1, onset=ONSET, named="x0"),
    Stream("season shift", 0.2, onset=ONSET, named="x0"),
    Stream("season shift", 0.5, onset=ONSET, named="x0"),
    Stream("ramp", onset=70, named="x0"),
    Stream("variance", 1.2, onset=ONSET, named="x0"),
    Stream("shape", onset=ONSET, named="x0"),
    Stream("category", 0.06, onset=ONSET, named="c0"),
    Stream("pair", onset=ONSET, named="x1 ~ x5"),
    Stream("covariate", onset=ONSET, named="x0"),
    Stream("flip", onset=ONSET, named="x0", concept=True),
    Stream("halved", onset=ONSET, named="x0", concept=True),
    Stream("both", onset=ONSET, named="x0", concept=True),
]


def inputs(rng: np.random.Generator, rows: int) -> tuple[Numbers, Codes]:
    """The usual columns."""
    x = np.empty((rows, 16))
    for column in range(16):
        form = column % 4
        if form in (0, 1):
            x[:, column] = rng.normal(size=rows)
        elif form == 2:
            x[:, column] = rng.exponential(1, rows)
        else:
            left = rng.random(rows) < 0.5
            x[:, column] = np.where(left, rng.normal(-1.5, 0.7, rows), rng.normal(1.5, 0.7, rows))
    x[:, 5] = 0.6 * x[:, 1] + 0.8 * x[:, 5]
    x[:, 9] = np.exp(x[:, 9] * 0.8)
    return x, rng.choice(10, size=(rows, 4), p=LEVELS)


def heavy(rng: np.random.Generator, rows: int) -> tuple[Numbers, Codes]:
    """Numbers without a variance: Student's t with two degrees of freedom."""
    return rng.standard_t(2, size=(rows, 16)), rng.choice(10, size=(rows, 4), p=LEVELS)


def correlated(rng: np.random.Generator, rows: int) -> tuple[Numbers, Codes]:
    """Every two numbers correlated by 0.9, categories cut from the same cause."""
    cause = rng.normal(size=(rows, 1))
    x = np.sqrt(0.9) * cause + np.sqrt(0.1) * rng.normal(size=(rows, 16))
    own = np.sqrt(0.9) * cause + np.sqrt(0.1) * rng.normal(size=(rows, 4))
    return x, np.searchsorted([-1.0, -0.3, 0.3, 1.0], own)


DRAWN: Final[dict[str, Callable[[np.random.Generator, int], tuple[Numbers, Codes]]]] = {
    "heavy tails": heavy,
    "correlated": correlated,
}


def logit(x: Numbers, c: Codes, effect: Numbers | float, base: float) -> Numbers:
    """Of the chance of a positive."""
    x = np.clip(x, -8, 8)
    linear: Numbers = (
        effect * x[:, 0] + 0.8 * x[:, 1] - 0.6 * x[:, 2] + 0.3 * x[:, 3] + 0.6 * (c[:, 0] < 2)
        - 0.4 * x[:, 0] * x[:, 4] + base
    )  # fmt: skip
    return linear


def stream(
    kind: str, seed: int, size: float = 0.0, rows: int = ROWS, windows: int = WINDOWS
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The columns of a reference and of production."""
    rng = np.random.default_rng([seed, sum(map(ord, kind)), int(size * 1000)])
    old_sizes, sizes = np.full(REFERENCE_WINDOWS, rows), np.full(windows, rows)
    if kind == "mixed":
        old_sizes, sizes = (
            np.exp(rng.uniform(np.log(SMALLEST), np.log(LARGEST), number)).astype(int)
            for number in (REFERENCE_WINDOWS, windows)
        )
    drawn = DRAWN.get(kind, inputs)
    old_x, old_c = drawn(rng, int(old_sizes.sum()))
    x, c = drawn(rng, int(sizes.sum()))
    window = np.repeat(np.arange(windows), sizes)
    after = window >= ONSET
    effect: Numbers | float = 1.0
    base = -6.0 if kind == "rare" else -0.3
    if kind in {"season", "season shift"}:
        old_window = np.repeat(np.arange(REFERENCE_WINDOWS), old_sizes)
        old_x[:, 0] += 0.3 * np.sin(2 * np.pi * old_window / 7)
        x[:, 0] += 0.3 * np.sin(2 * np.pi * (window + REFERENCE_WINDOWS) / 7) + size * after
    elif kind == "flip":
        effect = np.where(after, -1.0, 1.0)
    elif kind == "halved":
        effect = np.where(after, 0.5, 1.0)
    elif kind == "both":
        effect = np.where(after, 0.5, 1.0)
        _change("covariate", size, rng, (x, c), window)
    else:
        _change(kind, size, rng, (x, c), window)

    def table(x: Numbers, c: Codes, effect: Numbers | float, sizes: NDArray[np.int64]) -> dict[str, Any]:
        chance = 1 / (1 + np.exp(-logit(x, c, effect, base)))
        score = 1 / (1 + np.exp(-logit(x, c, 1.0, base)))
        columns: dict[str, Any] = {f"x{column}": x[:, column] for column in range(16)}
        columns |= {
            f"c{column}": pa.DictionaryArray.from_arrays(c[:, column].astype(np.int32), list("abcdefghij"))
            for column in range(4)
        }
        if kind == "mixed":
            hours = [number + np.arange(rows) / rows for number, rows in enumerate(sizes.tolist())]
            columns["time"] = (np.concatenate(hours) * HOUR_US).astype("datetime64[us]")
        return columns | {"score": score, "y": (rng.random(len(x)) < chance).astype(np.int64)}

    return table(old_x, old_c, 1.0, old_sizes), table(x, c, effect, sizes)


def _change(
    kind: str, size: float, rng: np.random.Generator, held: tuple[Numbers, Codes], window: NDArray[np.intp]
) -> None:
    """What happens to the inputs, in place."""
    x, c = held
    rows, after = len(x), window >= ONSET
    if kind == "pair":
        x[after, 5] = -0.6 * x[after, 1] + 0.8 * rng.normal(size=int(after.sum()))
    elif kind == "shift":
        x[:, 0] += size * after
    elif kind == "ramp":
        x[:, 0] += 0.5 * np.clip((window - 69) / 60, 0, 1)
    elif kind == "variance":
        x[after, 0] *= size
    elif kind == "shape":
        # As wide as before and in the same place, with two heaps instead of one.
        number = int(after.sum())
        x[after, 0] = np.where(rng.random(number) < 0.5, -0.8, 0.8) + 0.6 * rng.normal(size=number)
    elif kind == "category":
        c[after & (c[:, 0] > 0) & (rng.random(rows) < size / (1 - LEVELS[0])), 0] = 0
    elif kind == "covariate":
        x[after, 0] += 0.5
        x[after, 1] *= 1.3
        c[after & (rng.random(rows) < 0.15), 0] = 0
    elif kind == "outliers":
        # One in each window, anywhere.
        places = np.searchsorted(window, np.arange(window[-1] + 1))
        x[places + rng.integers(0, np.bincount(window)), 3] = 1e6
