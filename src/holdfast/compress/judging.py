"""How much worse a candidate is than the original, on rows that neither it nor its making has seen."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from holdfast.artifact import Answer, Reference, Signature
from holdfast.compress.errors import CompressError
from holdfast.stats import LossBound, loss_bound

_MOST_CATEGORIES: Final = 8
_FEWEST_IN_SLICE: Final = 30
_MOST_SLICES: Final = 60


class SliceLoss(msgspec.Struct, frozen=True, kw_only=True):
    """The loss against the original in one part of the rows."""

    slice: str
    loss: float
    upper: float
    """One-sided bound, corrected for all slices and candidates."""
    rows: int


class Judgement(msgspec.Struct, frozen=True, kw_only=True):
    """What a candidate loses."""

    metric: str
    original: float
    """Mean loss of the original on the same rows."""
    loss: float
    """Mean loss of the candidate minus that of the original."""
    upper: float
    """One-sided 95 % bound of it, corrected for every candidate that was judged."""
    rows: int
    worst_slices: tuple[SliceLoss, ...]


@dataclass(frozen=True, slots=True)
class Judge:
    """The held-out rows, with what the original lost on each.

    Loss of a classifier: 1 for a wrong class, 0 for a right one; without labels, 1 where the class is another
    than the original's. Of a regression: the absolute error in units of the labels' mean absolute deviation
    from their median. Of a `tensor` task: the largest difference from the original relative to its largest
    value.
    """

    signature: Signature
    reference: Reference = field(repr=False)
    answer: Answer = field(repr=False)
    """Of the original."""
    tries: int
    """Candidates that will be judged."""
    seed: int = 0

    def judge(self, answer: Answer) -> Judgement:
        """Compare a candidate's answers with the original's, row by row.

        Rows without a label, or without a number from the original, are left out.

        Raises:
            CompressError: the candidate answers no number where the original does.
        """
        metric, mine = self._losses(answer)
        _, original = self._losses(self.answer)
        known = np.isfinite(original)
        strange = int((known & ~np.isfinite(mine)).sum())
        if strange:
            raise CompressError(
                "it answers with no number where the original does",
                received=f"{strange} of {len(known)} rows",
            )
        differences, original = (mine - original)[known], original[known]
        rng = np.random.default_rng(self.seed)
        bound = loss_bound(differences, tries=self.tries, rng=rng)
        slices = self._slices(known)
        found = []
        for name, rows in slices:
            part: LossBound = loss_bound(differences[rows], tries=self.tries * len(slices), rng=rng)
            found.append(SliceLoss(slice=name, loss=part.value, upper=part.upper, rows=part.rows))
        found.sort(key=lambda one: -one.upper)
        return Judgement(
            metric=metric,
            original=float(original.mean()),
            loss=bound.value,
            upper=bound.upper,
            rows=bound.rows,
            worst_slices=tuple(found[:3]),
        )

    def _losses(self, answer: Answer) -> tuple[str, NDArray[np.float64]]:
        """What is lost on each row; NaN where nobody knows, not finite where the answer is no number."""
        task = self.signature.task
        labels = self.reference.labels()
        if task == "tensor":
            return "largest relative difference", self._differences(answer)
        if task == "regression":
            given = np.asarray(answer.prediction, dtype=np.float64)
            truth = np.asarray(self.answer.prediction if labels is None else labels, dtype=np.float64)
            scale = float(np.nanmean(np.abs(truth - np.nanmedian(truth)))) or 1.0
            errors: NDArray[np.float64] = np.abs(given - truth) / scale
            return "absolute error in mean absolute deviations", errors
        if labels is None:
            return "share of answers that changed", _differ(answer.prediction, self.answer.prediction)
        unknown = np.array([one is None or one != one for one in labels.tolist()])  # noqa: PLR0124 - NaN
        return "share of wrong answers", np.where(unknown, np.nan, _differ(answer.prediction, labels))

    def _differences(self, answer: Answer) -> NDArray[np.float64]:
        worst = np.zeros(len(self.reference))
        for name, wanted in self.answer.outputs.items():
            given = answer.outputs[name]
            if wanted.dtype.kind not in "fiu":
                worst = np.maximum(worst, _differ(given.reshape(-1), wanted.reshape(-1)))
                continue
            flat = np.asarray(wanted, dtype=np.float64).reshape(len(wanted), -1)
            gap = np.abs(np.asarray(given, dtype=np.float64).reshape(len(given), -1) - flat).max(axis=1)
            worst = np.maximum(worst, gap / max(float(np.abs(flat).max()), 1e-12))
        return worst

    def _slices(self, known: NDArray[np.bool_]) -> list[tuple[str, NDArray[np.bool_]]]:
        """Categories of columns with few, quarters of numeric ones; those with too few rows are left out.

        Args:
            known: which rows are compared; the slices are of these.
        """
        found: list[tuple[str, NDArray[np.bool_]]] = []
        for column in self.signature.columns:
            if column.shape or column.kind in {"text", "image", "audio", "embedding"}:
                continue
            values = self.reference.values(column.name)[known]
            if values.dtype.kind in "fiu" and column.kind == "numeric":
                edges = np.nanquantile(values.astype(np.float64), (0.25, 0.5, 0.75))
                quarter = np.searchsorted(edges, values, side="right")
                found += [(f"{column.name}, quarter {n + 1}", quarter == n) for n in range(4)]
            else:
                names, counts = np.unique(values.astype(str), return_counts=True)
                common = names[np.argsort(-counts)][:_MOST_CATEGORIES]
                found += [(f"{column.name} = {name}", values.astype(str) == name) for name in common]
        return [(name, rows) for name, rows in found if rows.sum() >= _FEWEST_IN_SLICE][:_MOST_SLICES]


def _differ(one: Any, other: Any) -> NDArray[np.float64]:
    first, second = np.asarray(one), np.asarray(other)
    if first.dtype.kind in "biuf" and second.dtype.kind in "biuf":
        return np.asarray(first.astype(np.float64) != second.astype(np.float64), dtype=np.float64)
    pairs = zip(first.tolist(), second.tolist(), strict=True)
    return np.array([float(str(a) != str(b)) for a, b in pairs])
