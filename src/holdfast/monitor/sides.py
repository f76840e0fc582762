"""Labelled rows before and since a change side by side: what became of the loss, and where in x."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from holdfast.monitor.design import Design
from holdfast.monitor.explained import ChangedRegion, LossChange
from holdfast.monitor.explained_words import moved_words, region_words
from holdfast.monitor.row_loss import RowLoss
from holdfast.monitor.rows import Rows, Task
from holdfast.stats import (
    DomainShift,
    Estimate,
    Sample,
    StatisticsError,
    decompose,
    expected_truth,
    find_regions,
)

Numbers = NDArray[np.float64]
FOLDS: Final = 3
"""Of the cross-fitting: half the cost of five, and the parts stay within their intervals."""
_RANGE: Final = (0.001, 0.999)
"""Ranks of the reference between which a column has its range: one far value does not widen it."""
_EIGHTHS: Final = 8
_BY_CHANCE: Final = 1e-4
"""Of truths so far apart between the eighths of a column that tells nothing of them."""


@dataclass(frozen=True, slots=True)
class Sides:
    """Rows of the reference, and since the change, with their inputs as numbers."""

    task: Task
    design: Design
    reference: Rows = field(repr=False)
    since: Rows = field(repr=False)
    before: Numbers = field(repr=False)
    """`[N, D]`, inputs of the reference."""
    after: Numbers = field(repr=False)
    """`[M, D]`, inputs since the change."""

    @classmethod
    def of(cls, task: Task, design: Design, reference: Rows, since: Rows) -> Sides:
        """Rows with labels and scores, under one way to write inputs as numbers."""
        encoded = design.encode(reference.columns), design.encode(since.columns)
        return cls(task, design, reference, since, *encoded)

    def beyond_what_was_seen(self, names: Sequence[str]) -> bool:
        """Whether most rows lie beyond the reference's range in a column that the truth depends on.

        There nothing is known of the mapping from x to y.

        Args:
            names: of columns that have changed; those of numbers are looked at.
        """
        for name in names:
            old, new = self.reference.columns.get(name), self.since.columns.get(name)
            if not isinstance(old, np.ndarray) or not isinstance(new, np.ndarray):
                continue
            low, high = np.nanquantile(old, _RANGE)
            beyond = (new < low) | (new > high)
            if beyond.mean() > 1 / 2 and _depends(self.reference.truth, old):
                return True
        return False

    def loss_change(self, loss: RowLoss, *, attribute: bool) -> tuple[LossChange, DomainShift]:
        """The parts of the changed loss, and how well the inputs are told apart.

        Args:
            loss: of a row.
            attribute: whether to ask which columns tell them apart.

        Raises:
            StatisticsError: too few rows, or nothing differs between them.
        """
        of_reference, of_since = (loss.of_rows(rows) for rows in (self.reference, self.since))
        found = decompose(self.before, of_reference, self.after, of_since, attribute=attribute, folds=FOLDS)
        change = LossChange(
            loss=loss.name,
            total=sure(found.total),
            harder_inputs=sure(found.harder_inputs),
            changed_mapping=sure(found.changed_mapping),
            new_inputs=sure(found.new_inputs),
            overlap=round(found.overlap, 4),
        )
        return change, found.shift

    def regions(self, outputs: Collection[str]) -> tuple[ChangedRegion, ...]:
        """Where in x the mapping changed.

        Args:
            outputs: columns of answers. They are made of the inputs: a region is said in their words.
        """
        old_truth, old_score = self.reference.truth_and_score
        new_truth, new_score = self.since.truth_and_score
        if self.task == "regression":
            old_truth, new_truth = old_truth - old_score, new_truth - new_score
        old, new = expected_truth(self.before, old_truth, self.after, folds=FOLDS)
        spread_old, names = self.design.spread(self.reference.columns)
        spread_new, _ = self.design.spread(self.since.columns)
        inputs = [at for at, (name, _) in enumerate(names) if name not in outputs]
        inputs = inputs or list(range(len(names)))
        try:
            found = find_regions(
                spread_old[:, inputs], old_truth - old, spread_new[:, inputs], new_truth - new
            )
        except StatisticsError:
            return ()
        # A number that is 0 or 1 reads as a word does: "is 1".
        yes_no = [bool(np.isin(spread_old[:, at], (0.0, 1.0)).all()) for at in inputs]
        chosen = [
            (name, "1" if both and word is None else word)
            for (name, word), both in zip((names[at] for at in inputs), yes_no, strict=True)
        ]
        return tuple(
            ChangedRegion(
                words=region_words(chosen, region.bounds),
                columns=tuple(dict.fromkeys(chosen[column][0] for column in region.bounds)),
                share=round(region.share, 4),
                change=sure(region.change),
                moved=moved_words(region.change, self.task),
            )
            for region in found
        )


def sample_of(design: Design, rows: Rows) -> Sample:
    """Rows as the options are tried on them."""
    truth, score = rows.truth_and_score
    if rows.true_class is not None and rows.answered_class is not None:
        truth, score = rows.true_class, rows.answered_class
    return Sample(design.encode(rows.columns), score, truth)


def sure(estimate: Estimate) -> Estimate:
    """To six digits behind the point."""
    return Estimate(round(estimate.value, 6), round(estimate.low, 6), round(estimate.high, 6), estimate.rows)


def _depends(truth: Numbers | None, values: Numbers) -> bool:
    """Whether the mean of the truth is another in some eighth of the values, by the variance between them."""
    from scipy.special import fdtrc

    held = np.isfinite(values)
    if truth is None or held.sum() <= 2 * _EIGHTHS:
        return False
    values, truth = values[held], truth[held]
    edges = np.unique(np.quantile(values, np.arange(1, _EIGHTHS) / _EIGHTHS))
    cell = np.searchsorted(edges, values, side="right")
    rows = np.bincount(cell).astype(np.float64)
    mean = np.bincount(cell, truth) / np.maximum(rows, 1.0)
    between, within = float(rows @ (mean - truth.mean()) ** 2), float(((truth - mean[cell]) ** 2).sum())
    groups = int((rows > 0).sum())
    if groups < 2 or within <= 0:
        return groups >= 2
    freedom = len(truth) - groups
    return bool(fdtrc(groups - 1, freedom, between / (groups - 1) / (within / freedom)) < _BY_CHANCE)
