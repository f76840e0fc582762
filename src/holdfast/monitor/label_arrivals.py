"""From which age on a window's labels stand for those that are still to come, as the log shows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from holdfast.monitor.coming_labels import still_coming
from holdfast.monitor.concept import ConceptModel
from holdfast.monitor.plain import plain
from holdfast.monitor.profiling import WindowProfile

Numbers = NDArray[np.float64]
NEVER: Final = float("inf")
_STEPS: Final = 48
_STEP: Final = 2.0**0.25
"""Ages that are asked about: the greatest is the longest delay, each a fifth larger than the next."""
_MOST: Final = 0.75
"""Share of the time that the log spans for which it is looked how many labels came late in it."""
_MORE: Final = 10.0
"""Times as many as came in the last third of that time may still come: two of thousands are no trend."""
_LEAST_WINDOWS: Final = 2
"""Where one window alone has early labels and late ones, a change may have come between its rows."""
_LEAST_ROWS: Final = 100
"""Rows that must be old enough for a share of labels that have come by an age."""
_ERRORS: Final = 4.0
"""Standard errors by which early labels must differ from late ones: some forty ages are asked about."""
_MANY: Final = 0.1
"""Share of the labels still to come from which it must be known that they are like the others."""
_HALF: Final = 0.5
"""Tolerances by which labels still to come may shift a window's mean."""
_KNOWN: Final = 2.0
"""Tolerances within which that shift must be known where many are still to come."""
_ALL_HELD: Final = 0.8
"""Share of a window's rows that the log must still hold, of the drawn ones by chance."""
_SOME: Final = 0.05
"""Share of a window's rows whose labels came since that are worth reading it again."""
_RARE: Final = 5.0
_LEAST_OTHERS: Final = 3.0
"""Labels of the other class to be expected among those that came, from which their absence says something."""
_ONE_CLASS: Final = (
    "All labels that have come are of one class, and most rows have none: the others are still to come, or "
    "never come. They show no change of the mapping from x to y, so no window counts as labelled."
)
_COVERED: Final = 0.9
"""Share of the rows whose labels are nearly all that will ever come."""
_NEARLY_ALL: Final = 0.95


@dataclass(frozen=True, slots=True)
class Arrivals:
    """When labels came, of N rows drawn from windows of the log. Times are counted from a window's end."""

    window: NDArray[np.intp] = field(repr=False)
    """Number of each row's window."""
    age_us: Numbers = field(repr=False)
    delay_us: Numbers = field(repr=False)
    """0 for a label that came before the window had ended; NaN: none has come."""
    score: Numbers = field(repr=False)
    truth: Numbers = field(repr=False)
    """As in `Rows`; NaN: no label."""
    share: float = 1.0
    """Of the windows' rows that were drawn."""


@dataclass(frozen=True, slots=True)
class LabelSpeed:
    """How fast labels come, and which can be trusted to stand for all."""

    fair_from_us: float = 0.0
    """Age of a window from which on the labels that have come are like all; `NEVER`: no window's are."""
    one_class: bool = False
    """Whether all labels so far are of one class, and many rows have none."""
    came: float = 1.0
    """Share, 0 to 1, of the labels that come at all, that are there at the age that was declared."""
    nearly_all_us: float | None = None
    """Age by which 95 % have come; None where the log does not reach so far."""


def label_speed(concept: ConceptModel, rows: Arrivals, tolerance_sd: float, declared_us: float) -> LabelSpeed:
    """How fast labels come, and from which age on those that have come are a fair sample.

    For each of some ages, the labels of a window that had come by that age are compared with those of the
    same window that came later, within cells of the score: the mean of what the score does not explain. Rows
    of one window at one score went through the same change, if there was one, so a change of the mapping is
    no difference between them. See docs/methods/residuals.md.

    Args:
        concept: what the reference says of truth at a score.
        rows: drawn from the log.
        tolerance_sd: of a row, below which a change is immaterial.
        declared_us: age at which labels are said to have come.
    """
    known = np.isfinite(rows.delay_us) & np.isfinite(rows.truth) & np.isfinite(rows.score)
    if not known.any():
        return LabelSpeed()
    score, truth, delay, age = (each[known] for each in (rows.score, rows.truth, rows.delay_us, rows.age_us))
    if _one_class(concept, score, truth, known[rows.age_us >= declared_us]):
        return LabelSpeed(NEVER, one_class=True)
    longest = float(delay.max())
    if longest <= 0:
        return LabelSpeed()
    residual, material = _unexplained(concept, score, truth)
    material *= tolerance_sd
    ages: Numbers = longest / _STEP ** np.arange(_STEPS - 1.0, -1.0, -1.0)
    came = _came_by(rows.age_us, np.where(known, rows.delay_us, NEVER), ages)
    cells = len(concept.score_edges) + 1
    place = rows.window[known] * cells + np.searchsorted(concept.score_edges, score, side="right")
    found_places, group = np.unique(place, return_inverse=True)
    of_window = found_places // cells
    fair = 0.0
    for at in range(len(ages) - 2, -1, -1):
        found = _early_against_late(group, of_window, residual, delay <= ages[at], old=age > ages[at])
        if found is None:
            continue  # No windows had some of their labels and not the others.
        (apart, error), still = found, 1 - float(came[at])
        shown = abs(apart) >= _ERRORS * error and still * abs(apart) >= _HALF * material
        unknown = (
            ages[at] >= declared_us
            and still > _MANY
            and still * (abs(apart) + 2 * error) >= _KNOWN * material
        )
        if shown or unknown:
            later = delay[(delay > ages[at]) & (delay <= ages[at + 1])]
            # What the log does not hold yet may be like none of them, unless it was declared that it comes.
            left = 1 - float(came[-1])
            unseen = ages[at] >= declared_us and (left > _MANY or left * abs(apart) >= _HALF * material)
            fair = NEVER if unseen else float(later.max(initial=ages[at]))
            break
    enough = np.flatnonzero(came >= _NEARLY_ALL)
    at_declared = int(np.searchsorted(ages, declared_us, side="right")) - 1
    return LabelSpeed(
        fair,
        came=float(came[max(at_declared, 0)]),
        nearly_all_us=float(ages[enough[0]]) if len(enough) else None,
    )


def _unexplained(concept: ConceptModel, score: Numbers, truth: Numbers) -> tuple[Numbers, float]:
    """`[N]`, what the score leaves of the truth, and the change of its mean that counts as one deviation.

    A quarter of the variance is material for classes at five hundredths of a standard deviation.
    """
    expected, view = concept.calibrated(score), concept.views[0]
    variance = float(view.variance[0])
    if concept.binary:
        return truth - expected, min(variance**0.5, _RARE * variance)
    return np.clip(truth - score - expected, *view.limits), variance**0.5


def _one_class(concept: ConceptModel, score: Numbers, truth: Numbers, covered: NDArray[np.bool_]) -> bool:
    """Whether labels of the other class must be still to come: none is there, though some would be expected.

    Args:
        concept: of the reference.
        score: of rows with a label.
        truth: of the same.
        covered: of each row that is old enough, whether it has a label.
    """
    if not concept.binary or truth.min() < truth.max() or (len(covered) and covered.mean() >= _COVERED):
        return False
    expected = concept.calibrated(score)
    return bool(np.abs(truth - expected).sum() >= _LEAST_OTHERS)


def _came_by(age: Numbers, delay: Numbers, ages: Numbers) -> Numbers:
    """`[A]`, share of the labels that come at all that have come by each age, from rows old enough to tell.

    Those still to come after the time that the log spans are guessed by how many fewer came in its last third
    than in the one before, as if they went on so.
    """
    passed, before = np.zeros(len(ages)), -1.0
    for number, at in enumerate(ages.tolist()):
        old = age >= at
        if (rows := int(old.sum())) >= _LEAST_ROWS:
            passed[number] = float(((delay > before) & (delay <= at))[old].sum()) / rows
            before = at
    passed = np.cumsum(passed)
    all_so_far = float(passed[-1])
    if all_so_far <= 0:
        return np.ones(len(ages))
    span = _MOST * float(age.max())
    oldest = delay[age >= span]
    second, third = (
        float(((oldest > span * low / 3) & (oldest <= span * (low + 1) / 3)).mean()) for low in (1, 2)
    )
    more = third * third / (second - third) if second > third else NEVER
    return np.asarray(passed / (all_so_far + min(more, _MORE * third, all_so_far)))


def _early_against_late(
    group: NDArray[np.intp],
    of_window: NDArray[np.intp],
    residual: Numbers,
    early: NDArray[np.bool_],
    *,
    old: NDArray[np.bool_],
) -> tuple[float, float] | None:
    """Mean difference within groups and its standard error (Mantel's); None where too few groups have both.

    Args:
        group: `[N]`, of each row with a label.
        of_window: `[G]`, each group's window.
        residual: `[N]`.
        early: `[N]`, whether the label came by the age asked about.
        old: `[N]`, whether the row's window is older than that.
    """
    groups = int(group.max()) + 1
    place, value, first = group[old], residual[old], early[old]
    rows, soon = np.bincount(place, minlength=groups), np.bincount(place, first, groups)
    both = (soon > 0) & (soon < rows)
    if len(np.unique(of_window[both])) < _LEAST_WINDOWS:
        return None
    total, squares = np.bincount(place, value, groups), np.bincount(place, value**2, groups)
    of_early = np.bincount(place, value * first, groups)
    with np.errstate(divide="ignore", invalid="ignore"):
        weight = np.where(both, soon * (rows - soon) / rows, 0.0)
        apart = np.where(both, of_early - soon * total / rows, 0.0).sum()
        spread = np.where(both, (squares - total**2 / rows) / (rows - 1), 0.0)
    error = float(np.sqrt((weight * np.maximum(spread, 0.0)).sum()))
    return float(apart) / float(weight.sum()), error / float(weight.sum())


def still_right(
    stored: Sequence[WindowProfile], rows: Arrivals, settled: Callable[[WindowProfile], bool]
) -> int:
    """How many stored profiles, from the first on, need not be made again.

    Those are that were stored before their labels had settled, or of which the log has clearly more labels by
    now; not those of which the log does not hold all rows any more.

    Args:
        stored: in order of time, the first of the windows that the rows are of.
        rows: drawn from the log.
        settled: whether a window is old enough.
    """
    held = np.bincount(rows.window, minlength=len(stored))[: len(stored)]
    labelled = np.bincount(rows.window, np.isfinite(rows.delay_us), len(stored))[: len(stored)]
    first, gone = len(stored), 0
    for number, window in enumerate(stored):
        if held[number] < _ALL_HELD * rows.share * window.rows:
            gone = number + 1
            continue
        usual = window.labelled / window.rows
        chance = _ERRORS * (held[number] * max(usual * (1 - usual), _SOME)) ** 0.5
        more = labelled[number] > (usual + _SOME) * held[number] + chance
        if more or not settled(window):
            first = min(first, number)
    return max(first, gone)


def label_notes(
    windows: Sequence[WindowProfile],
    mature: Callable[[WindowProfile], bool],
    speed: LabelSpeed,
    declared_us: int,
    now_us: int,
) -> Iterator[str]:
    """What holds windows back that are old enough by what was declared, and labels that stopped coming.

    Args:
        windows: in order of time.
        mature: whether a window's labels count.
        speed: as the log shows it.
        declared_us: age at which labels are said to have come.
        now_us: the time from which ages are counted.
    """
    waiting = [one for one in windows if one.labelled and one.end <= now_us - declared_us and not mature(one)]
    if waiting and speed.one_class:
        yield _ONE_CLASS
    elif waiting and speed.fair_from_us == NEVER:
        yield (
            "Labels come later than label_delay says: they still do for windows "
            f"{_days(now_us - windows[0].end)} old, and those that come first are not like the others, or "
            "not yet known to be. No window counts as labelled until the log shows how late they come. "
            "Set [monitoring] label_delay to that."
        )
    elif waiting:
        share = f"{speed.came:.0%} of those that come are there after {_days(declared_us)}"
        if speed.nearly_all_us is not None:
            share += f", 95% after {_days(speed.nearly_all_us)}"
        wanted = max(speed.fair_from_us, speed.nearly_all_us or 0.0)
        yield (
            f"Labels come later than label_delay says: {share}. Those that come first are not like the "
            f"others, or not yet known to be, so windows younger than {_days(speed.fair_from_us)} count as "
            f"unlabelled. Set [monitoring] label_delay to {_days(wanted)} or more."
        )
    complete_us = max(
        declared_us, speed.fair_from_us, NEVER if speed.nearly_all_us is None else speed.nearly_all_us
    )
    old = [one for one in windows if one.end <= now_us - complete_us]
    fewer = still_coming(old)
    if fewer:
        newest, others = (
            sum(one.labelled for one in some) / max(sum(one.rows for one in some), 1)
            for some in (old[len(old) - fewer :], old[: len(old) - fewer])
        )
        yield (
            f"Fewer labels come than did: in the newest {fewer} windows that are old enough {newest:.0%} of "
            f"the rows have one, {others:.0%} in those before. Find out what became of them."
        )


def _days(microseconds: float) -> str:
    """As the checklist writes it, rounded up to two digits."""
    for unit, length in (("d", 86_400e6), ("h", 3_600e6), ("min", 60e6), ("s", 1e6)):
        if microseconds >= length:
            number = microseconds / length
            digits = 10.0 ** (int(np.floor(np.log10(number))) - 1)
            return f"{plain(float(np.ceil(number / digits - 1e-9) * digits))}{unit}"
    return "0s"
