"""Broken labels, told from a changed mapping: another unit, classes swapped, one value in every row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from holdfast.monitor.made_labels import OWN_ANSWERS, are_own_answers, filled_doubt, within
from holdfast.monitor.plain import plain
from holdfast.monitor.rows import Rows, Task, labelled_only
from holdfast.monitor.tied_swaps import distance
from holdfast.monitor.units import DEGREES, UNITS
from holdfast.stats.quality import Z95

Numbers = NDArray[np.float64]
LABELS: Final = "labels"
"""What a finding is called that is of no column but of the labels."""
LOOKED_AT: Final = 16
"""Windows since the change that are looked at."""
_FURTHER: Final[tuple[tuple[float, str], ...]] = (
    (3.2808, "a factor of 3.28 (feet, metres)"),
    (2.2046, "a factor of 2.2 (pounds, kilograms)"),
)
"""Units too near a growth to be told by a column alone; an answer for each row tells them apart."""
_LEAST_ROWS: Final = 30
"""Labelled rows of a window from which it must agree."""
_LEAST_OTHERS: Final = 10.0
"""Labels of other values to be expected, of which none came."""
_OFF: Final = 0.05
"""Kolmogorov's distance by which residuals may differ after the conversion, besides chance."""
_SUPREMUM: Final = 1.63
"""Kolmogorov's distance, times the root of the rows, that chance passes once in a hundred."""
_NEAR: Final = np.geomspace(0.75, 1 / 0.75, 15)
_BESIDE: Final = (1 / 1.2, 1.2)
_WORSE: Final = 0.1
"""By how much factors a fifth smaller and larger must fit worse, so that the rows tell which it was."""
_AGREE: Final = 0.8
"""Share of the windows after the first that must agree: what grows fits no factor for long."""
_UNEVEN: Final = 0.1
"""How far the share of positives must be from a half: where both classes are as frequent, a mapping that is
turned round looks like swapped labels."""

_TURNED: Final = (
    "Each class has the scores of the other. If 0 and 1 were swapped in the labels it would look the same: "
    "look there before you retrain."
)
_EXCHANGED: Final = (
    "Some classes have the answers that others had, one for one. If they were exchanged in the labels it "
    "would look the same: look there before you retrain."
)


@dataclass(frozen=True, slots=True)
class LabelFault:
    """What seems to be broken about the labels."""

    words: str
    doubt: str = ""
    """Says that a change of the mapping looks the same, which is then believed; empty where none does."""

    @property
    def sure(self) -> bool:
        """Whether no change of the mapping would look the same."""
        return not self.doubt


@dataclass(frozen=True, slots=True)
class RowsOfWindows:
    """Rows behind the profiles, for what counts do not show."""

    reference: Rows = field(repr=False)
    """Of the reference, not all if they are many."""
    windows: Callable[[Sequence[int]], Sequence[Rows]]
    """Of each of the windows of these numbers, which rise; not all if they are many."""


def find_label_fault(task: Task, reference: Rows, windows: Sequence[Rows]) -> LabelFault | None:
    """What is broken about the labels of some windows; None if the mapping may have changed.

    Args:
        task: of the model.
        reference: rows of it.
        windows: rows of each, from the one on in which the change began; of that one only a part may have.
    """
    held = labelled_only(reference)
    parts = [part for part in map(labelled_only, windows) if len(part) >= _LEAST_ROWS]
    # The first window holds rows from before.
    parts = parts[1:] or parts
    if not parts or len(held) < _LEAST_ROWS:
        return None
    known = [within(held, part) for part in parts]
    stuck = _stuck(task, held, known)
    if stuck is not None:
        return LabelFault(stuck)
    if are_own_answers(task, held, known):
        return LabelFault(OWN_ANSWERS)
    if task == "binary":
        doubt = filled_doubt(held, parts)
        return _swapped(held, parts) or (LabelFault("filled with one class", doubt) if doubt else None)
    if task == "multiclass":
        return _exchanged(held, parts)
    unit = _unit(held, parts) if task == "regression" else None
    return None if unit is None else LabelFault(unit)


def _labels(task: Task, rows: Rows) -> Numbers:
    labels = rows.true_class if task == "multiclass" else rows.truth
    return np.empty(0) if labels is None else labels


def _stuck(task: Task, reference: Rows, parts: list[Rows]) -> str | None:
    """One value in every row of all windows, which is none that the reference holds nearly always."""
    now = np.concatenate([_labels(task, part) for part in parts])
    if not len(now) or (now != now[0]).any():
        return None
    before = _labels(task, reference)
    if float((before != now[0]).mean()) * len(now) < _LEAST_OTHERS:
        return None
    if task == "regression":
        return f"stuck at {plain(float(now[0]))} in every row"
    which = {"binary": "the positive class" if now[0] > 0 else "the negative class"}.get(task, "one class")
    return f"of {which} in every row: stuck, or are those of the others still to come?"


def _swapped(reference: Rows, parts: list[Rows]) -> LabelFault | None:
    """Each class has the scores of the other, and is as frequent as it was."""
    truth, score = (
        np.concatenate(each) for each in zip(*(part.truth_and_score for part in parts), strict=True)
    )
    held, of_reference = reference.truth_and_score
    before, now = float(held.mean()), float(truth.mean())
    error = float(np.sqrt(before * (1 - before) * (1 / len(held) + 1 / len(truth))))
    if abs(now - (1 - before)) > _OFF / 2 + Z95 * error:
        return None
    for side in (0.0, 1.0):
        old, same = of_reference[held != side], of_reference[held == side]
        new = score[truth == side]
        if min(len(old), len(same), len(new)) < _LEAST_ROWS:
            return None
        if not _alike(old, new) or distance(same, new) < distance(old, new) + _WORSE:
            return None
    doubt = "" if abs(before - 0.5) >= _UNEVEN else _TURNED
    return LabelFault("swapped: what was 0 is 1, and what was 1 is 0?", doubt)


def _exchanged(reference: Rows, parts: list[Rows]) -> LabelFault | None:
    """Some classes have the answers, and the share, that others had, one for one."""
    from scipy.optimize import linear_sum_assignment

    if any(rows.true_class is None or rows.answered_class is None for rows in (reference, *parts)):
        return None
    before, now = _answers_by_label([reference, *parts])
    rows_before, rows_now = before.sum(axis=0), now.sum(axis=0)
    share_before, share_now = before / before.sum(), now / now.sum()
    apart = np.abs(share_before[:, :, None] - share_now[:, None, :]).sum(axis=0)
    stands_for = linear_sum_assignment(apart)[1]
    moved = [
        label
        for label, other in enumerate(stands_for.tolist())
        if other != label and max(rows_before[label], rows_now[other]) >= _LEAST_ROWS
    ]
    told = False
    for label in moved:
        other = int(stands_for[label])
        if min(rows_before[label], rows_now[other]) < _LEAST_ROWS:
            return None
        old, new = before[:, label] / rows_before[label], now[:, other] / rows_now[other]
        same = before[:, other] / max(rows_before[other], 1.0)
        chance = np.sqrt(old * (1 - old) * (1 / rows_before[label] + 1 / rows_now[other])).sum() / 2
        found = np.abs(old - new).sum() / 2
        by_answers = np.abs(same - new).sum() / 2 >= found + _WORSE
        share, shown = rows_before[label] / before.sum(), rows_now[other] / now.sum()
        by_share = abs(share - rows_before[other] / before.sum()) >= _WORSE
        if found > _OFF + chance or not (by_answers or by_share):
            return None
        told |= by_answers
        error = np.sqrt(share * (1 - share) * (1 / before.sum() + 1 / now.sum()))
        if abs(shown - share) > _OFF / 2 + Z95 * error:
            return None
    if not told:
        return None
    turned = np.abs(share_before.sum(axis=0) - share_now.sum(axis=0)).sum() / 2
    # An effect that turns exchanges two classes at a time.
    in_circle = any(stands_for[stands_for[label]] != label for label in moved)
    doubt = "" if in_circle or turned >= 2 * _UNEVEN else _EXCHANGED
    return LabelFault("exchanged between classes, as by another list of their codes?", doubt)


def _answers_by_label(each: Sequence[Rows]) -> tuple[Numbers, Numbers]:
    """`[K + 1, K + 1]` rows of the first and of all others, by answered and true class; unknown ones last."""
    pairs = [
        (rows.answered_class, rows.true_class)
        for rows in each
        if rows.answered_class is not None and rows.true_class is not None
    ]
    known = 1 + int(max(max(np.max(one), np.max(other)) for one, other in pairs))
    tables = []
    for answered, label in pairs:
        code = [np.where(some >= 0, some, known).astype(np.intp) for some in (answered, label)]
        size = (known + 1) ** 2
        tables.append(np.bincount(code[0] * (known + 1) + code[1], minlength=size).astype(np.float64))
    first, *others = [one.reshape(known + 1, known + 1) for one in tables]
    return first, np.sum(others, axis=0)


def _unit(reference: Rows, parts: list[Rows]) -> str | None:
    """After one conversion what the answers leave of the labels is what it was, in all windows alike."""
    truth, score = reference.truth_and_score
    usual = truth - score
    several = [part.truth_and_score for part in parts]
    now, answered = (np.concatenate(each) for each in zip(*several, strict=True))

    def off(factor: float, offset: float = 0.0) -> float:
        return distance(usual, (now - offset) / factor - answered)

    fitting: list[tuple[float, str, float, float]] = []
    candidates = [
        (wanted, 0.0, f"{'larger' if wanted > 1 else 'smaller'} by {words}")
        for factor, words in (*UNITS, *_FURTHER)
        for wanted in (factor, 1 / factor)
    ]
    candidates += [(*degrees[:2], f"in {degrees[2]} where they were in {degrees[3]}") for degrees in DEGREES]
    allowed, unchanged = _allowed(len(usual), len(now)), off(1.0)
    for factor, offset, words in candidates:
        found = off(factor, offset)
        if found > allowed or found > unchanged / 2:
            continue
        if any(off(factor * beside, offset) < found + _WORSE for beside in _BESIDE):
            continue
        if min(off(factor * near, offset) for near in _NEAR) >= found - _OFF / 2:
            fitting.append((found, words, factor, offset))
    for _, words, factor, offset in sorted(fitting):
        agree = [
            distance(usual, (y - offset) / factor - p) <= _OFF + _allowed(len(usual), len(y))
            for y, p in several
        ]
        if np.mean(agree) >= _AGREE:
            return f"{words}: another unit?"
    return None


def _alike(first: Numbers, second: Numbers) -> bool:
    return distance(first, second) <= _allowed(len(first), len(second))


def _allowed(first: int, second: int) -> float:
    return _OFF + _SUPREMUM * float(np.sqrt(1 / first + 1 / second))
