"""Which kinds of drift the alarms speak of: a broken pipe, other inputs, another mapping, other classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from holdfast.monitor.diagnosis import DriftKind
from holdfast.monitor.family import Tests
from holdfast.monitor.faults import NEVER_MET, SWAPPED, find_fault, find_swaps
from holdfast.monitor.label_faults import RowsOfWindows
from holdfast.monitor.label_shift import is_label_shift
from holdfast.monitor.onset import onset_of_column, strongest_tests
from holdfast.monitor.profiling import WindowProfile
from holdfast.monitor.reference import ReferenceModel
from holdfast.monitor.tied_swaps import find_tied_swaps
from holdfast.monitor.turned_clocks import find_turned_clocks
from holdfast.stats import estimate_onset, total_variation

_CLEAREST: Final = 8
"""Windows in which a fault is looked for: their quartiles together tell a factor of 2.54 from one of 2."""
_MOSTLY: Final = 0.5


@dataclass(frozen=True, slots=True)
class Causes:
    """What the alarms are put down to."""

    kinds: tuple[DriftKind, ...]
    faults: dict[str, str]
    """By column, in words."""
    hidden: bool
    """Whether faults hide what the mapping from x to y does."""


def find_causes(
    reference: ReferenceModel,
    windows: Sequence[WindowProfile],
    with_labels: Sequence[int],
    *,
    data: Sequence[Tests],
    concept: Sequence[Tests],
    rows: RowsOfWindows | None = None,
) -> Causes:
    """The kinds that explain all alarms.

    Args:
        reference: fitted.
        windows: in order of time.
        with_labels: numbers of those whose labels count.
        data: tests of P(x) that stand.
        concept: tests of P(y|x) that stand.
        rows: to look for columns in that changed places; None: profiles alone tell it.
    """
    moved, shown = _moved(windows, data)
    faults = {
        **find_turned_clocks(reference, shown),
        **find_swaps(reference, shown, _while_moved(windows, data)),
    }
    if rows is not None:
        faults |= _tied_swaps(reference, data, rows, [name for name in shown if name not in faults])
    for name in shown.keys() - faults.keys():
        fault = find_fault(reference, name, shown[name])
        if fault is not None:
            faults[name] = fault
    broken = [name for name in faults if name not in reference.outputs]
    began = min((onset_of_column(name, data, (), with_labels).estimate for name in broken), default=None)
    echoes = {
        name
        for name in reference.outputs.intersection(moved)
        if began is not None and onset_of_column(name, data, (), with_labels).estimate >= began - 1
    }
    kinds: list[DriftKind] = []
    if faults:
        kinds.append("data fault")
    if any(name not in faults and name not in echoes for name in moved):
        kinds.append("data drift")
    if not any(tests.alarm.any() for tests in concept):
        return Causes(tuple(kinds), faults, hidden=False)
    # What stands in for a model is shown the broken columns, and has no name under which its answers move.
    misled = (
        not reference.outputs and began is not None and _mostly_broken(reference, broken, windows[began:])
    )
    if began is not None:
        first = with_labels[estimate_onset(strongest_tests(concept)).estimate]
        # Answers that hardly moved may still be wrong by as much as labels show.
        at_once = bool(reference.outputs) and abs(first - _broke(broken, faults, data, with_labels)) <= 1
        if at_once or ((echoes or misled) and first >= began - 1):
            return Causes(tuple(kinds), faults, hidden=True)
    if is_label_shift(reference, [windows[number] for number in with_labels], concept):
        # Other shares of the classes explain moved columns, and no broken pipe.
        return Causes(("data fault", "label shift") if faults else ("label shift",), faults, hidden=False)
    return Causes((*kinds, "concept drift"), faults, hidden=False)


def _tied_swaps(
    reference: ReferenceModel, data: Sequence[Tests], rows: RowsOfWindows, names: Sequence[str]
) -> dict[str, str]:
    """By what the rows say of the windows in which such columns show a change most."""
    names = [name for name in names if reference.features[name].numeric and name not in reference.outputs]
    clear: set[int] = set()
    for tests in data:
        if tests.family != "pairs":
            shown = [test for test in tests.in_alarm if tests.names[test][0] in names]
            clear.update(*(_clearest(tests, int(test)) for test in shown))
    found = find_tied_swaps(rows.reference, lambda: rows.windows(sorted(clear)[-_CLEAREST:]), names)
    return {name: SWAPPED.format(other) for name, other in found.items()}


def _broke(
    broken: Sequence[str], faults: Mapping[str, str], data: Sequence[Tests], with_labels: Sequence[int]
) -> float:
    """Window in which values first went wrong; never for categories that are new, which may be right."""
    return min(
        (
            onset_of_column(name, data, (), with_labels).estimate
            for name in broken
            if NEVER_MET not in faults[name]
        ),
        default=np.inf,
    )


def _moved(
    windows: Sequence[WindowProfile], data: Sequence[Tests]
) -> tuple[list[str], dict[str, list[WindowProfile]]]:
    """Columns, and pairs of them, in alarm; and the windows that show best what became of a column."""
    moved: list[str] = []
    strongest: dict[str, tuple[float, list[int]]] = {}
    for tests in data:
        for test in tests.in_alarm:
            name, strength = tests.names[test][0], float(tests.strength[:, test].max())
            if name not in moved:
                moved.append(name)
            if tests.family != "pairs" and strength > strongest.get(name, (0.0,))[0]:
                strongest[name] = strength, _clearest(tests, int(test))
    return moved, {name: [windows[number] for number in some] for name, (_, some) in strongest.items()}


def _while_moved(
    windows: Sequence[WindowProfile], data: Sequence[Tests]
) -> dict[str, Sequence[WindowProfile]]:
    """From the first to the last window in which a column is in alarm: with all hours, clear or not."""
    raised: dict[str, list[int]] = {}
    for tests in data:
        for test in tests.in_alarm:
            some = np.flatnonzero(tests.strength[:, test] >= 1).tolist()
            raised.setdefault(tests.names[test][0], []).extend(some)
    return {name: windows[min(some) : max(some) + 1] for name, some in raised.items()}


def _clearest(tests: Tests, test: int) -> list[int]:
    """Windows in which the change shows most, and half as much or more, in order of time."""
    alone = np.where(tests.strength[:, test] >= 1, np.abs(tests.single[:, test]), -1.0)
    least = max(float(alone.max()) / 2, 0.0)
    found = [int(number) for number in np.argsort(-alone, kind="stable")[:_CLEAREST]]
    return sorted(number for number in found if alone[number] >= least)


def _mostly_broken(
    reference: ReferenceModel, broken: Sequence[str], windows: Sequence[WindowProfile]
) -> bool:
    """Whether a broken column holds other values than it did in half of the rows or more."""
    for name in broken:
        feature = reference.features[name]
        now = np.sum([window.counts[name] for window in windows], axis=0)
        before, after = (np.bincount(feature.coarse, counts) for counts in (feature.counts, now))
        if total_variation(before, after) >= _MOSTLY:
            return True
    return False
