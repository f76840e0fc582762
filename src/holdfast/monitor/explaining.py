"""What rows add to a verdict: why the loss changed, where, what it costs. From bounded samples."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from holdfast.monitor.chosen_labels import chosen_labels
from holdfast.monitor.costing import ErrorCosts, cost_of
from holdfast.monitor.course import Course, stretches_of
from holdfast.monitor.design import Design
from holdfast.monitor.diagnosis import Diagnosis
from holdfast.monitor.estimation import Estimator, beyond_range, estimate_windows, estimated_quality
from holdfast.monitor.explained import ChangedRegion, LossChange, Multivariate, Option
from holdfast.monitor.explained_words import explained_words, share_words
from holdfast.monitor.findings import has_broken_labels
from holdfast.monitor.options import option_words, tried_options
from holdfast.monitor.profiling import WindowProfile
from holdfast.monitor.reconciling import is_of_inputs, of_inputs
from holdfast.monitor.reference import ReferenceModel
from holdfast.monitor.row_loss import OF_CHANCES, RowLoss
from holdfast.monitor.rows import Rows, labelled_only, picked, thinned
from holdfast.monitor.shares import class_shares
from holdfast.monitor.sides import FOLDS, Sides, sample_of, sure
from holdfast.monitor.words import untried
from holdfast.stats import (
    DomainShift,
    Estimate,
    StatisticsError,
    tell_apart,
)

Numbers = NDArray[np.float64]
LARGEST_SAMPLE: Final = 20_000
"""Rows of each side that are looked at: the parts of a changed loss are then known to about 0.01."""
LEAST_SAMPLE: Final = 200
"""Labelled rows of each side."""
_NAMED_COLUMNS: Final = 8
_NO_ROWS: Final = np.empty(0, dtype=np.intp)


@dataclass(frozen=True, slots=True)
class Explainer:
    """What is known of the reference beyond its profile."""

    reference: ReferenceModel
    estimator: Estimator | None
    sample: Rows = field(repr=False)
    """Of the reference, at most `LARGEST_SAMPLE` rows."""
    costs: ErrorCosts = field(default_factory=ErrorCosts)

    @classmethod
    def fit(cls, reference: ReferenceModel, rows: Rows, column: str | None, costs: ErrorCosts) -> Explainer:
        """From the reference's rows.

        Args:
            reference: fitted on them.
            rows: of the reference.
            column: of the score, the chosen class or the predicted number; None where a model stands in.
            costs: of an error.
        """
        estimator = (
            None
            if column is None
            else Estimator.fit(reference, rows, column, answered_from=costs.answered_from)
        )
        return cls(reference, estimator, thinned(rows, LARGEST_SAMPLE), costs)

    def with_estimates(
        self, diagnosis: Diagnosis, windows: Sequence[WindowProfile], rows_of: Callable[[int], Rows | None]
    ) -> Diagnosis:
        """The diagnosis with the quality that is to be expected without labels; cheap."""
        if self.estimator is None or not windows:
            return diagnosis
        estimates = estimate_windows(self.estimator, windows, rows_of)
        evidence = tuple(
            msgspec.structs.replace(one, estimated_quality=rounded(estimate))
            for one, estimate in zip(diagnosis.windows, estimates, strict=True)
        )
        onset, stood = onset_of(diagnosis), list(chain(*_stood(diagnosis)))
        before = range(len(windows) if onset is None else onset)
        found = estimated_quality(self.estimator, self.reference, windows, estimates, (before, stood))
        told = tuple(_rounded_struct(one) for one in found)
        words = (
            explained_words(estimated=told) if diagnosis.coverage.labelled < diagnosis.coverage.rows else ""
        )
        notes = diagnosis.notes
        if diagnosis.coverage.labelled < diagnosis.coverage.rows:
            notes += tuple(beyond_range(self.reference, [windows[one] for one in stood] or windows))
        return msgspec.structs.replace(
            diagnosis,
            windows=evidence,
            estimated=told,
            summary=_joined(diagnosis.summary, words),
            notes=notes,
        )

    def with_reasons(
        self,
        diagnosis: Diagnosis,
        rows_between: Callable[[int, int], Rows],
        windows: Sequence[WindowProfile],
        *,
        timed: bool,
        always: bool = False,
        options: bool = False,
        versions: Callable[[Rows], Mapping[str, Numbers]] | None = None,
    ) -> Diagnosis:
        """The diagnosis with its reasons: parts of the changed loss, regions, cost, telling columns.

        Some seconds for full samples. Nothing without an alarm, nor without labels, unless `always`: then at
        least a classifier tries to tell the rows apart.

        Args:
            diagnosis: of the windows.
            rows_between: rows of the windows from one number up to another, not all of them if they are many.
            windows: in order of time.
            timed: whether their bounds are times.
            always: as said.
            options: whether to try what could be done, on labelled rows since the onset; some more seconds.
            versions: gives the scores of older versions for rows.
        """
        # On one core: threads of small models that wait for busy cores cost many times more.
        from threadpoolctl import threadpool_limits

        with threadpool_limits(1, "openmp"):
            return self._reasons(
                diagnosis,
                rows_between,
                windows,
                timed=timed,
                always=always,
                options=options,
                versions=versions,
            )

    def _reasons(
        self,
        diagnosis: Diagnosis,
        rows_between: Callable[[int, int], Rows],
        windows: Sequence[WindowProfile],
        *,
        timed: bool,
        always: bool,
        options: bool,
        versions: Callable[[Rows], Mapping[str, Numbers]] | None,
    ) -> Diagnosis:
        onset = onset_of(diagnosis)
        if not windows or (onset is None and not always):
            return diagnosis
        stretches = _stood(diagnosis) or [range(len(windows))]
        stood = list(chain(*stretches))
        start, end = stood[0], stood[-1] + 1
        mature = [number for number in stood if diagnosis.windows[number].log_e_concept is not None]
        if has_broken_labels(diagnosis):
            mature = []
        if not mature:
            shares = onset is not None and self.reference.task == "binary" and self.estimator is not None
            if not shares and not always:
                return diagnosis
            rows = thinned(rows_between(start, end), LARGEST_SAMPLE)
            diagnosis = self._with_shares(diagnosis, rows) if shares else diagnosis
            return self._told_apart(diagnosis, rows) if always else diagnosis
        held = rows_between(start, mature[-1] + 1)
        whole = labelled_only(held)
        since = whole if len(stretches) == 1 else labelled_only(_rows_of(held, windows, stretches))
        reference = labelled_only(self.sample)
        if min(len(since), len(reference)) < LEAST_SAMPLE:
            return diagnosis
        since, whole = thinned(since, LARGEST_SAMPLE), thinned(whole, LARGEST_SAMPLE)
        loss = RowLoss.of(self.reference.task, self.costs.answered_from, reference)
        cost = None
        if onset is not None and not any(chosen_labels(self.reference, [windows[one] for one in mature])):
            cost = cost_of(
                loss,
                self.costs,
                reference,
                since,
                rows=sum(windows[number].rows for number in stood),
                span_us=sum(windows[one[-1]].end - windows[one[0]].start for one in stretches)
                if timed
                else None,
            )
        sides = Sides.of(self.reference.task, Design.fit(self.sample.columns), reference, since)
        try:
            change, shift = sides.loss_change(loss, attribute=always)
        except StatisticsError:
            return msgspec.structs.replace(diagnosis, cost=cost)
        diagnosis = self._of_inputs(diagnosis, change, loss, sides)
        regions: tuple[ChangedRegion, ...] = ()
        if any("concept drift" in one.kinds for one in diagnosis.features):
            regions = sides.regions(set() if self.estimator is None else {self.estimator.column})
        apart = multivariate(sides.design.names, shift) if always else None
        tried: tuple[Option, ...] = ()
        if options and onset is not None:
            earlier = labelled_only(rows_between(0, onset)) if onset else picked(since, _NO_ROWS)
            # What is done now will meet the pauses of a change that comes and goes, too.
            tried = tried_options(
                loss,
                self.costs,
                reference=sample_of(sides.design, reference),
                before=sample_of(sides.design, thinned(earlier, LARGEST_SAMPLE)),
                since=sample_of(sides.design, whole),
                span_us=windows[end - 1].end - windows[start].start if timed else None,
                lasting=diagnosis.shape not in ("temporary", "recurring"),
                versions=None if versions is None else versions(whole),
            )
        further: Sequence[str] = diagnosis.advice
        if tried:
            further = untried(further, Course.of(diagnosis), diagnosis.since)
        words = explained_words(change=change, cost=cost, regions=regions, task=self.reference.task)
        return msgspec.structs.replace(
            diagnosis,
            loss_change=change,
            cost=cost,
            regions=regions,
            multivariate=apart,
            options=tried,
            notes=diagnosis.notes if loss.chances is None else (*diagnosis.notes, OF_CHANCES),
            advice=(*option_words(tried), *further),
            summary=_joined(diagnosis.summary, words),
        )

    def _of_inputs(self, diagnosis: Diagnosis, change: LossChange, loss: RowLoss, sides: Sides) -> Diagnosis:
        """Without concept drift where inputs explain the loss: that of answers, and of their chances too.

        Answers count errors, and a mapping that turned makes as many as it saves where few are of one class.
        """
        if (
            loss.task == "binary"
            and loss.chances is None
            and "concept drift" in diagnosis.kinds
            and is_of_inputs(change)
        ):
            finer = RowLoss.of_chances(loss.task, loss.answered_from, sides.reference)
            if not is_of_inputs(sides.loss_change(finer, attribute=False)[0]):
                return diagnosis
        names = [one.name for one in diagnosis.features if "data drift" in one.kinds]
        return of_inputs(diagnosis, change, unseen=sides.beyond_what_was_seen(names))

    def _with_shares(self, diagnosis: Diagnosis, rows: Rows) -> Diagnosis:
        shares = class_shares(self.sample, rows)
        if shares is None:
            return diagnosis
        return msgspec.structs.replace(
            diagnosis, class_shares=shares, summary=_joined(diagnosis.summary, share_words(shares))
        )

    def _told_apart(self, diagnosis: Diagnosis, rows: Rows) -> Diagnosis:
        design = Design.fit(self.sample.columns)
        try:
            found = tell_apart(design.encode(self.sample.columns), design.encode(rows.columns), folds=FOLDS)
        except StatisticsError:
            return diagnosis
        return msgspec.structs.replace(diagnosis, multivariate=multivariate(design.names, found))


def multivariate(names: Sequence[str], shift: DomainShift) -> Multivariate:
    """How well rows are told apart, and by which columns."""
    ranked = sorted(zip(names, shift.attributions, strict=True), key=lambda pair: -pair[1])
    return Multivariate(
        area=sure(shift.area),
        columns=tuple((name, round(lost, 4)) for name, lost in ranked[:_NAMED_COLUMNS]),
    )


def onset_of(diagnosis: Diagnosis) -> int | None:
    """Number of the window in which the change began."""
    if diagnosis.since is None:
        return None
    starts = [window.start for window in diagnosis.windows]
    return starts.index(diagnosis.since.estimate) if diagnosis.since.estimate in starts else None


def _stood(diagnosis: Diagnosis) -> list[range]:
    """Numbers of the windows in which the change stood; none without one."""
    onset = onset_of(diagnosis)
    if onset is None:
        return []
    starts = [window.start for window in diagnosis.windows]
    return stretches_of(diagnosis.periods, starts) or [range(onset, len(starts))]


def _rows_of(rows: Rows, windows: Sequence[WindowProfile], stretches: Sequence[range]) -> Rows:
    """Those in a stretch, of rows from the first on; of rows without times all must be there, in order."""
    place = rows.time_us
    if place is None:
        place = windows[stretches[0][0]].start + np.arange(len(rows))
    inside = np.zeros(len(rows), dtype=bool)
    for one in stretches:
        inside |= (place >= windows[one[0]].start) & (place < windows[one[-1]].end)
    return picked(rows, np.flatnonzero(inside))


def rounded(estimate: Estimate | None) -> Estimate | None:
    """To six digits behind the point, or None."""
    return None if estimate is None else sure(estimate)


def _rounded_struct(one: Any) -> Any:
    return msgspec.structs.replace(
        one, reference=rounded(one.reference), before=rounded(one.before), after=rounded(one.after)
    )


def _joined(first: str, second: str) -> str:
    return f"{first} {second}" if second else first
