"""The verdict in plain words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from holdfast.monitor.concept import SLOPE
from holdfast.monitor.course import Course
from holdfast.monitor.diagnosis import Coverage, DriftKind, FeatureFinding, Onset, QualityChange
from holdfast.monitor.family import Tests
from holdfast.monitor.features import BESIDE_THE_BINS, Feature
from holdfast.monitor.plain import level, listed, plain
from holdfast.monitor.reference import ReferenceModel
from holdfast.stats import CategoryBins, Estimate

_TWO_VALUES: Final = 2
"""Of a column with no more the median says nothing that their shares do not."""
_PARTS_TOLD: Final = 3
"""Of the many parts of a column that changed together, those that changed most."""
_MAY_HAVE_ARRIVED: Final = 0.1
"""Probability that a ramp is over from which on it is not said to go on."""
_PERIODS_TOLD: Final = 3
"""The last of them; the diagnosis holds all."""


def shown(time: str) -> str:
    """A time for people: the day alone at midnight, no empty fraction of a second; or the number of a row.

    Example:
        >>> shown("2026-05-18T00:00:00.000000Z"), shown("2026-05-18T06:30:00.000000Z"), shown("8000")
        ('2026-05-18', '2026-05-18T06:30:00Z', 'row 8000')
    """
    if time.isdigit():
        return f"row {time}"
    return time.replace("T00:00:00.000000Z", "").replace("T00:00:00Z", "").replace(".000000Z", "Z")


def describe_data(feature: Feature, counts: NDArray[np.int64], shift: float | None, fault: str | None) -> str:
    """What happened to a column's distribution since the alarm."""
    if fault is not None:
        return f"{feature.name} is {fault}" if fault[0].islower() else f"{feature.name}: {fault}"
    before = np.bincount(feature.coarse, feature.counts) / max(feature.rows, 1)
    after = np.bincount(feature.coarse, counts) / max(int(counts.sum()), 1)
    cells = [test[5:] for test in feature.tests if test.startswith("cell:")]
    moved = int(np.argmax(np.abs(after - before)))
    place = cells[moved] if cells[moved] in BESIDE_THE_BINS else f"of {cells[moved]}"
    share = f"share {place}: {before[moved]:.1%} → {after[moved]:.1%}"
    if shift is None or abs(shift) < 0.1:
        return f"{feature.name}: {share}"
    size, medians = f"{abs(shift):.2f} sd", (_median(feature, feature.counts), _median(feature, counts))
    if medians[1].startswith(("below", "above")):
        # Rows beyond the reference's range count as the farthest in it, however far they are.
        size = f"at least {size}"
    if medians[0] != medians[1] and len(feature.positions) > _TWO_VALUES + 2:
        size += f" (median {' → '.join(medians)})"
    return f"{feature.name} {'higher' if shift > 0 else 'lower'} by {size}; {share}"


def describe_together(feature: Feature, counts: NDArray[np.int64]) -> str:
    """What happened since the alarm to a column of which no single part shows it."""
    names = feature.parts
    before = feature.counts / max(feature.rows, 1)
    after = counts / max(int(counts.sum()), 1)
    first = 0 if isinstance(feature.bins, CategoryBins) else 1
    change = (after - before)[first : first + len(names)]
    most = np.argsort(-np.abs(change), kind="stable")[:_PARTS_TOLD]
    told = ", ".join(
        f"{names[one]} {before[first + one]:.1%} → {after[first + one]:.1%}" for one in most.tolist()
    )
    what = "of its categories" if first == 0 else "narrow ranges of its values"
    return f"many {what} changed their share, most: {told}"


def _median(feature: Feature, counts: NDArray[np.int64]) -> str:
    """In the column's own unit, as far as bins know it."""
    side, ends = feature.beyond(counts, 0.5), feature.positions[[0, -1]]
    if side is not None:
        return f"{side} {plain(ends[0] if side == 'below' else ends[1])}"
    return plain(feature.quantile(counts, 0.5))


def describe_pair(name: str, tests: Tests, test: int) -> str:
    """How the dependence of two columns changed since the alarm."""
    raised = np.flatnonzero(tests.strength[:, test] >= 1)
    change = float(np.mean(tests.shift[raised, test]))
    direction = "rose" if change > 0 else "fell"
    return (
        f"{name}: the correlation {direction} by {abs(change):.2f}, while each column by itself is as before"
    )


def _change_of(tests: Tests, test: int) -> float:
    """Of the windows in alarm that hold rows of the cell; of the clearest, where they pool older ones."""
    alone = tests.single[:, test]
    raised = np.flatnonzero((tests.strength[:, test] >= 1) & (alone != 0))
    some = raised if raised.size else np.array([int(np.argmax(np.abs(alone)))])
    return float(np.mean(tests.shift[some, test]))


def describe_concept(reference: ReferenceModel, tests: Tests, test: int, cell: str) -> str:
    """What happened to the truth at given inputs since the alarm."""
    change = _change_of(tests, test)
    place = "overall" if cell == "overall" else f"at {cell}"
    direction = "higher" if change > 0 else "lower"
    what = {
        "binary": "positives are {} than expected",
        "multiclass": "right answers are {} than expected",
        "regression": "the truth is {} than expected",
    }[reference.task]
    if cell == SLOPE:
        subject = "right answers" if reference.task == "multiclass" else "the truth"
        column = tests.names[test][0]
        if column == "score" and reference.task == "regression" and "score" not in reference.features:
            column = "the prediction"
        return f"{subject} {'rises' if change > 0 else 'falls'} with {column}, beyond what was expected"
    if reference.task != "regression":
        direction = "more frequent" if change > 0 else "rarer"
    return f"{place}, {what.format(direction)} by {abs(change):.2f} sd of a row"


def summarise(
    kinds: Sequence[DriftKind],
    course: Course,
    since: Onset | None,
    *,
    findings: Sequence[FeatureFinding],
    quality: QualityChange | None,
    coverage: Coverage,
) -> str:
    """One paragraph."""
    base = (
        f"{coverage.rows} row{'s' * (coverage.rows != 1)} in {coverage.windows} "
        f"window{'s' * (coverage.windows != 1)} against {coverage.reference_rows} reference rows"
    )
    base += f", {coverage.label_coverage:.0%} of them labelled." if coverage.labelled else ", none labelled."
    if not kinds:
        return f"Healthy: nothing has drifted beyond tolerance. Judged on {base}"
    named = listed(kinds)
    sentence = named[0].upper() + named[1:]
    if course.shape is not None:
        early = course.shape == "too early to tell"
        sentence += f", {course.shape}" + (" whether sudden or gradual" if early else "")
    if since is not None:
        sentence += f", since {shown(since.estimate)}"
        if since.earliest != since.latest:
            sentence += f" (between {shown(since.earliest)} and {shown(since.latest)})"
    parts = [sentence + ".", *_course_words(course)]
    columns = [found.name for found in findings if found.of_column][:4]
    if columns:
        parts.append(f"Most in: {', '.join(columns)}.")
    said = {found.name: found.description for found in findings if not found.of_column}
    parts += [f"In the {said['rows']}"] if "rows" in said else []
    parts += [f"Left out: {said['time']}"] if "time" in said else []
    parts += [f"{said['labels'][0].upper()}{said['labels'][1:]}"] if "labels" in said else []
    if (
        quality is not None
        and quality.after is not None
        and (quality.before or quality.reference) is not None
    ):
        before = quality.before or quality.reference
        if before is not None:
            parts.append(f"The {quality.metric} went from {_within(before)} to {_within(quality.after)}.")
    parts.append(f"Judged on {base}")
    return " ".join(parts)


def _within(estimate: Estimate) -> str:
    return f"{level(estimate.value)} ({level(estimate.low)} to {level(estimate.high)})"


def _course_words(course: Course) -> Iterator[str]:
    """How long a ramp took, or when a change stood that does not simply last."""
    ramp, periods = course.ramp, course.periods
    if ramp is not None:
        manner = {
            "incremental": ", all rows together (incremental)",
            "mixed": ", by ever more rows of the new kind",
            None: "",
        }[ramp.manner]
        if ramp.end is None:
            goes_on = "goes on" if ramp.arrived < _MAY_HAVE_ARRIVED else "may still go on"
            yield f"It has been coming since {shown(ramp.begin)}{manner}, and {goes_on}."
        else:
            yield (
                f"It took {ramp.windows:.0f} windows ({ramp.windows_low:.0f} to {ramp.windows_high:.0f}), "
                f"from {shown(ramp.begin)} to {shown(ramp.end)}{manner}."
            )
    if periods:
        told = [
            f"since {shown(one.start)}" if one.end is None else f"from {shown(one.start)} to {shown(one.end)}"
            for one in periods[-_PERIODS_TOLD:]
        ]
        before = len(periods) - len(told)
        ahead = f"{before} times before, " if before else ""
        over = "" if periods[-1].end is None else "; for now it is over"
        yield f"It stood {ahead}{', '.join(told)}{over}."


def advice_for(
    kinds: Sequence[DriftKind], course: Course, since: Onset | None, *, blind: bool
) -> Iterator[str]:
    """What to do, first things first."""
    if "data fault" in kinds:
        yield "Fix the pipe that feeds the named columns before anything else; do not retrain on these rows."
    if "concept drift" in kinds:
        yield _training_rows(course, since)
        if course.shape == "too early to tell":
            yield "It may still be coming: wait for a few more windows before trusting a new model."
    if "label shift" in kinds:
        yield "The classes are as before, their shares are not: recalibrate or move the threshold."
    if "data drift" in kinds and "concept drift" not in kinds:
        if blind:
            yield "The inputs changed. Get labels for recent rows to know whether the answers suffer."
        else:
            yield "The inputs changed, the mapping holds: watch the quality; retrain if the new region grows."


def untried(advice: Sequence[str], course: Course, since: Onset | None) -> list[str]:
    """The advice without rows to retrain on, where that was tried: what was found says more, or other."""
    if course.shape in {"temporary", "recurring"}:
        return list(advice)
    return [one for one in advice if one != _training_rows(course, since)]


def _training_rows(course: Course, since: Onset | None) -> str:
    """What to learn from after a change of the mapping."""
    if course.shape == "temporary":
        return "The mapping is as before again: keep the rows between out of training, unless it may return."
    if course.shape == "recurring":
        return "The mapping comes and goes: train on rows of both times, with an input that tells them apart."
    start = f" since {shown(since.estimate)}" if since is not None else ""
    return f"Retrain on labelled rows{start} and test on the newest; older rows teach the old mapping."
