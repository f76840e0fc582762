"""One column of the reference, and the tests that a window's counts on its cells take.

Every test is a linear functional of the counts: a normal score (has it moved?), its square (has it spread?),
its third and fourth Hermite polynomial (has its shape changed?), membership in a coarse cell (is something
missing, unseen, outside, or more frequent than it was?).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from holdfast.monitor.plain import plain
from holdfast.monitor.rows import ColumnValues
from holdfast.stats import (
    RARE,
    CategoryBins,
    Coded,
    Counts,
    Numbers,
    NumericBins,
    Room,
    Sums,
)

COARSE_CELLS: Final = 8
"""Coarse cells of a numeric column: each holds an eighth of the reference."""
FEW_VALUES: Final = 20
"""A numeric column with no more distinct values is tested value by value."""
_FARTHEST: Final = 2.5
"""Standard deviations at which the tests of shape cut a normal score: one far row is no change of shape, and
in windows of 50 rows three cumulants then tell the tail of their sums. Cut at 3 they alarmed five times as
often as their share allows."""


BESIDE_THE_BINS: Final = (
    "below the reference's range",
    "above the reference's range",
    "missing",
    "not finite",
)
"""Coarse cells of a numeric column after those of its bins, in this order."""


@dataclass(frozen=True, slots=True)
class Feature:
    """The reference of one column."""

    name: str
    bins: NumericBins | CategoryBins
    counts: Counts
    """Of the reference."""
    functionals: NDArray[np.float64] = field(repr=False)
    """`[cells, tests]`."""
    tests: tuple[str, ...]
    """What each functional is called: `location`, `scale`, `skew`, `tails`, `cell:...`."""
    coarse: NDArray[np.intp] = field(repr=False)
    """`[cells]`, the coarse cell that each cell belongs to."""

    @classmethod
    def fit(cls, name: str, values: ColumnValues) -> Feature:
        """Bins, counts and functionals from the reference's values."""
        if isinstance(values, np.ndarray):
            if not np.isfinite(values).any():
                bins = NumericBins((0.0,), 0.0)
                return cls._numeric(name, bins, bins.count(values))
            return cls._numeric(name, *NumericBins.fit_counted(values))
        categories = CategoryBins.fit(values)
        return cls._categorical(name, categories, categories.of_reference.count(values))

    @classmethod
    def _numeric(cls, name: str, bins: NumericBins, counts: Counts) -> Feature:
        from scipy.special import ndtri

        cells, inner = bins.cells, len(bins.edges)
        within = counts[: inner + 2].astype(np.float64)
        total = max(within.sum(), 1.0)
        middle = (np.cumsum(within) - within / 2 + 0.25) / (total + 0.5)
        normal = np.zeros(cells)
        normal[: inner + 2] = ndtri(np.clip(middle, 0.25 / (total + 0.5), 1 - 0.25 / (total + 0.5)))
        square = np.zeros(cells)
        square[: inner + 2] = normal[: inner + 2] ** 2
        if inner <= FEW_VALUES:
            group = np.arange(inner)
        else:
            share = np.cumsum(within[1 : inner + 1]) - within[1 : inner + 1] / 2
            group = np.minimum(
                (share / max(within[1 : inner + 1].sum(), 1.0) * COARSE_CELLS).astype(int), COARSE_CELLS - 1
            )
        # A value that holds several eighths of the rows by itself leaves numbers out.
        group = np.unique(group, return_inverse=True)[1]
        groups = int(group.max()) + 1
        coarse = np.concatenate([[groups], group, [groups + 1, groups + 2, groups + 3]]).astype(np.intp)
        names = [f"cell:{_range_name(bins, counts, group, number)}" for number in range(groups)]
        names += [f"cell:{place}" for place in BESIDE_THE_BINS]
        members = np.eye(groups + 4)[coarse]
        moments: dict[str, NDArray[np.float64]] = {"location": normal, "scale": square} if inner > 1 else {}
        if inner > FEW_VALUES:
            near = np.clip(normal, -_FARTHEST, _FARTHEST)
            inside = np.arange(cells) < inner + 2
            moments["skew"] = np.where(inside, near**3 - 3 * near, 0.0)
            moments["tails"] = np.where(inside, near**4 - 6 * near**2 + 3, 0.0)
        functionals = [*(each[:, None] for each in moments.values()), members]
        return cls(
            name,
            bins,
            counts,
            np.concatenate(functionals, axis=1),
            (*moments, *names),
            coarse,
        )

    @classmethod
    def _categorical(cls, name: str, bins: CategoryBins, counts: Counts) -> Feature:
        top = len(bins.top)
        share = counts / max(counts.sum(), 1)
        own = [position for position in range(top) if share[position] >= RARE]
        coarse = np.full(bins.cells, len(own), dtype=np.intp)
        coarse[own] = np.arange(len(own))
        coarse[-2:] = len(own) + 1, len(own) + 2
        names = [f"cell:{bins.top[position]}" for position in own]
        names += ["cell:other", "cell:unseen", "cell:missing"]
        return cls(name, bins, counts, np.eye(len(own) + 3)[coarse], tuple(names), coarse)

    @property
    def of_reference(self) -> Feature:
        """The same for the reference's own rows: what only one of them holds was unseen to the others."""
        if isinstance(self.bins, CategoryBins) and self.bins.of_reference is not self.bins:
            return replace(self, bins=self.bins.of_reference)
        return self

    @property
    def rows(self) -> int:
        """Of the reference."""
        return int(self.counts.sum())

    @property
    def numeric(self) -> bool:
        """Whether the cells are ordered."""
        return isinstance(self.bins, NumericBins)

    @property
    def counting(self) -> NDArray[np.float64]:
        """`[tests]`, 1 for tests that count rows."""
        return np.array([float(test.startswith("cell:")) for test in self.tests])

    def index(self, values: ColumnValues, room: Room | None = None) -> NDArray[np.intp]:
        """The cell of each value; a numeric column that arrives as text is all missing.

        Args:
            values: of N rows.
            room: to work in, for at least as many; the answer may then be part of it, until it is used again.
        """
        counted: Any = self.as_counted(values)
        return self.bins.lookup.index(counted, room)

    def as_counted(self, values: ColumnValues | Numbers) -> ColumnValues | Numbers:
        """As the bins take them, though a column's type may have changed.

        Args:
            values: of N rows.
        """
        if isinstance(self.bins, NumericBins):
            return values if isinstance(values, np.ndarray | Numbers) else np.full(len(values), np.nan)
        if isinstance(values, Numbers):
            values = values.doubles()
        if isinstance(values, np.ndarray):
            distinct, codes = np.unique(values, return_inverse=True)
            missing = np.isnan(distinct)
            words = tuple(_as_text(value) for value in distinct[~missing])
            return Coded(np.where(codes < len(words), codes, -1).astype(np.int32), words)
        return values

    def beyond(self, counts: NDArray[np.int64], share: float) -> Literal["below", "above"] | None:
        """On which side of the reference's range a quantile lies, if it does."""
        if not isinstance(self.bins, NumericBins):
            return None
        inner = len(self.bins.edges)
        wanted = share * int(counts[: inner + 2].sum())
        if counts[0] > wanted:
            return "below"
        return "above" if counts[: inner + 1].sum() < wanted else None

    @property
    def positions(self) -> NDArray[np.float64]:
        """`[B + 2]` where the values of each bin lie, and those beside them: at the ends of the range.

        Raises:
            TypeError: the column has no order.
        """
        if not isinstance(self.bins, NumericBins):
            raise TypeError(f"positions of {self.name}, which has no order")
        edges = np.array([*self.bins.edges, self.bins.maximum])
        values = edges[:-1] if len(self.bins.edges) <= FEW_VALUES else edges[:-1] / 2 + edges[1:] / 2
        return np.concatenate([edges[:1], values, edges[-1:]])

    def quantile(self, counts: NDArray[np.int64], share: float) -> float:
        """A quantile of the rows in the reference's range, by their counts; within one bin of the truth."""
        if not isinstance(self.bins, NumericBins):
            return float("nan")
        inner = len(self.bins.edges)
        passed = np.cumsum(counts[: inner + 2])
        cell = int(np.searchsorted(passed, share * passed[-1], side="left"))
        edges = (*self.bins.edges, self.bins.maximum)
        at = min(max(cell - 1, 0), inner - 1)
        if inner <= FEW_VALUES:
            return float(edges[at])
        before = passed[cell - 1] if cell else 0
        part = (share * passed[-1] - before) / max(int(counts[cell]), 1)
        return float(edges[at] + min(max(part, 0.0), 1.0) * (edges[at + 1] - edges[at]))

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the categories that have cells of their own, or of all bins of numbers, in their order."""
        if isinstance(self.bins, CategoryBins):
            return self.bins.top
        each = np.arange(len(self.bins.edges))
        return tuple(_range_name(self.bins, self.counts, each, number) for number in each.tolist())

    def moments(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """`[tests]` mean, variance and third cumulant of one row under the reference.

        Every coarse cell gets half a row more, so that a cell the reference never filled is not impossible.
        """
        weights = self.counts.astype(np.float64)
        cells = np.bincount(self.coarse)
        weights = weights + 0.5 / cells[self.coarse]
        share = weights / weights.sum()
        mean = share @ self.functionals
        centred = self.functionals - mean
        # A power of three is many times as dear as two products.
        square = centred * centred
        variance, third = share @ square, share @ (square * centred)
        if isinstance(self.bins, CategoryBins) and self.bins.edge[0]:
            others = min(float(mean[self._others]) + self.bins.edge[0] / max(self.rows, 1), 1.0)
            mean[self._others] = others
            variance[self._others] = others * (1 - others)
            third[self._others] = others * (1 - others) * (1 - 2 * others)
        return mean, variance, third

    def error(
        self, moments: tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]
    ) -> NDArray[np.float64]:
        """`[tests]`, variance of the mean that the reference leads to expect, from `moments`."""
        result: NDArray[np.float64] = moments[1] / self.rows
        if isinstance(self.bins, CategoryBins):
            result[self._others] += (self.bins.edge[1] / max(self.rows, 1)) ** 2
        return result

    @property
    def _others(self) -> int:
        """The test of the share of all categories without a cell of their own."""
        return len(self.tests) - 3

    @property
    def broad(self) -> NDArray[np.intp]:
        """`[cells]`, coarse cells whose outer ones are open, as population stability indices take them.

        A single row far outside is then one of an eighth of the rows, not the only one of its cell.
        """
        if not isinstance(self.bins, NumericBins):
            return self.coarse
        inner = len(self.bins.edges)
        result = self.coarse.copy()
        result[0], result[inner + 1] = self.coarse[1], self.coarse[inner]
        return result

    def sums(
        self,
        counts: NDArray[np.int64],
        moments: tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]] | None = None,
    ) -> Sums:
        """What windows contribute, from their counts `[W, cells]`.

        Args:
            counts: of the windows.
            moments: what the method of that name gives, where it is known.
        """
        mean, variance, third = self.moments() if moments is None else moments
        rows = counts.sum(axis=1, keepdims=True).astype(np.float64)
        observed = counts.astype(np.float64) @ self.functionals
        return Sums(
            observed, rows * mean, rows * variance, rows * third, np.broadcast_to(rows, observed.shape).copy()
        )


def _range_name(bins: NumericBins, counts: Counts, group: NDArray[np.intp], number: int) -> str:
    inside = np.flatnonzero(group == number)
    low = bins.edges[int(inside[0])]
    following = int(inside[-1]) + 1
    high = bins.edges[following] if following < len(bins.edges) else bins.maximum
    # A gap holds no value of the reference.
    alone = len(inside) == 1 and len(bins.edges) <= FEW_VALUES and bool(counts[inside[0] + 1])
    return plain(low) if alone else f"{plain(low)} to {plain(high)}"


def _as_text(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else str(value)
