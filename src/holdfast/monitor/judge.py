"""From evidence to the verdict: which kinds, since when, of what shape, in which columns."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from holdfast.monitor.course import find_course, stretches_of
from holdfast.monitor.diagnosis import (
    Coverage,
    Diagnosis,
    DriftKind,
    FeatureFinding,
    Onset,
    QualityChange,
    WindowEvidence,
)
from holdfast.monitor.echoes import without_echoes_of_all
from holdfast.monitor.evidence import concept_tests, data_tests
from holdfast.monitor.family import DATA_FAMILIES, SHARES, Budget, Tests
from holdfast.monitor.faults import find_fault, find_swaps
from holdfast.monitor.features import Feature
from holdfast.monitor.label_shift import is_label_shift
from holdfast.monitor.measuring import measure_columns
from holdfast.monitor.onset import known_by_heart, locate, onset_of_column, strongest_tests
from holdfast.monitor.profiling import WindowProfile
from holdfast.monitor.reach import already_moving, too_short
from holdfast.monitor.reference import METRICS, ReferenceModel, quality_of
from holdfast.monitor.repeats import emptied, repeated_windows
from holdfast.monitor.rows import Task
from holdfast.monitor.seasons import Calendar
from holdfast.monitor.standing import standing, without_echoes
from holdfast.monitor.words import (
    advice_for,
    describe_concept,
    describe_data,
    describe_pair,
    describe_together,
    summarise,
)
from holdfast.stats import (
    OnsetEstimate,
    estimate_onset,
    population_stability_index,
    total_variation,
)

_CLEAREST: Final = 8
"""Windows in which a fault is looked for: their quartiles together tell a factor of 2.54 from one of 2."""
_MOSTLY: Final = 0.5
ROWS: Final = "rows"
TIME: Final = "time"
"""What a finding is called that is of no column: rows that came twice, rows that a wrong clock dated."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the verdict is held to."""

    run_length: float
    """Mean number of quiet windows between false alarms of everything together."""
    tolerance_sd: float
    show_time: Callable[[int], str]
    """A window's bound as text."""
    mature: Callable[[WindowProfile], bool]
    """Whether a window's labels count."""
    model_version: str | None = None
    unaccounted: int | None = None
    notes: tuple[str, ...] = ()
    clock_fault: str = ""
    """Rows dated by a wrong clock, which no window holds, in words."""
    tested: Callable[[Sequence[Tests], Sequence[Tests], Sequence[int]], None] | None = None
    """Told of all tests of P(x) and of P(y|x), and of the windows that the latter were made on."""


def judge(reference: ReferenceModel, windows: Sequence[WindowProfile], settings: Settings) -> Diagnosis:
    """The verdict on windows in order of time."""
    held, again = windows, repeated_windows(reference, windows)
    # Rows that came twice would look like drift: those windows are named and count for nothing else.
    windows = [emptied(window) if number in again else window for number, window in enumerate(held)]
    with_labels = [
        number
        for number, window in enumerate(windows)
        if reference.concept is not None and window.labelled and settings.mature(window)
    ]
    labelled = [windows[number] for number in with_labels]
    # Without labels the families about x may spend the whole budget.
    factor = 1.0 if labelled else 1.0 / sum(SHARES[family] for family in DATA_FAMILIES)
    budget = Budget(settings.run_length, settings.tolerance_sd)
    calendar = Calendar.of(reference.windows, windows, timed=reference.timed)
    all_data = data_tests(reference, windows, replace(budget, factor=factor), calendar) if windows else []
    all_concept = concept_tests(reference, labelled, budget, calendar.at(with_labels))
    if settings.tested is not None:
        settings.tested(all_data, all_concept, with_labels)
    evidence = _window_evidence(
        held, with_labels, again, data=all_data, concept=all_concept, settings=settings, task=reference.task
    )
    data, concept = without_echoes(standing(all_data)), standing(all_concept)
    kinds, faults, hidden = _kinds(reference, windows, with_labels, data, concept)
    if hidden:
        concept = ()
    if concept and reference.concept is not None:
        concept = without_echoes_of_all(reference.concept, labelled, concept)
    found = locate(data, concept, with_labels, len(windows))
    if again:
        kinds = kinds if "data fault" in kinds else ("data fault", *kinds)
        if found is None:
            end = max(again) + 1
            found = OnsetEstimate(min(again), min(again), min(again), end if end < len(windows) else None)
    since = None if found is None else _as_onset(found, windows, settings)
    until = len(windows) if found is None or found.end is None else found.end
    course = find_course(
        reference, windows, with_labels, data=data, concept=concept, show_time=settings.show_time
    )
    recurring = course.shape == "recurring"
    # What a change does shows while it stands, not in its pauses.
    starts = [settings.show_time(window.start) for window in windows]
    within = list(chain(*stretches_of(course.periods, starts))) or list(range(until))
    stood = [number for number in within if found is not None and number >= found.estimate]
    findings = [
        _dated(
            one, onset_of_column(column, data, concept, with_labels, recurring=recurring), windows, settings
        )
        for column, one in _findings(reference, windows, within, data=data, concept=concept, faults=faults)
    ]
    if again:
        findings.append(_repeats(again, settings.show_time(held[min(again)].start)))
    if settings.clock_fault:
        kinds = kinds if "data fault" in kinds else ("data fault", *kinds)
        findings.append(_of_rows(TIME, settings.clock_fault, None))
    quality = _quality(
        reference, windows, with_labels, len(windows) if found is None else found.estimate, stood
    )
    coverage = _coverage(reference, held, settings)
    verdict = " and ".join(kinds) or "healthy"
    alarm = bool(kinds)
    blind = reference.concept is None or not labelled
    notes = list(settings.notes)
    if hidden:
        notes.append(
            "The model was given broken inputs, so its answers say nothing of a change of the mapping from x "
            "to y (concept drift): fix the pipe first."
        )
    if blind:
        notes.append(
            "Without mature labels a change of the mapping from x to y (concept drift) cannot be seen."
        )
    notes += too_short(reference.windows, windows, all_data, timed=reference.timed)
    notes += already_moving(reference, windows, data)
    if known_by_heart(reference, concept, quality):
        notes.append(
            "The model has been worse than on the reference ever since the first labelled window. If the "
            "reference was used for training, that is no drift: compare with rows held out."
        )
    return Diagnosis(
        verdict=verdict,
        kinds=kinds,
        alarm=alarm,
        shape=course.shape,
        shape_probability=course.probability,
        ramp=course.ramp,
        periods=course.periods,
        since=since,
        features=tuple(findings),
        measures=measure_columns(reference, windows if found is None else [windows[one] for one in stood]),
        quality=quality,
        coverage=coverage,
        advice=tuple(advice_for(kinds, course, since, blind=blind)),
        summary=summarise(kinds, course, since, findings=findings, quality=quality, coverage=coverage),
        notes=tuple(notes),
        windows=tuple(evidence),
        model_version=settings.model_version,
    )


def _kinds(
    reference: ReferenceModel,
    windows: Sequence[WindowProfile],
    with_labels: Sequence[int],
    data: Sequence[Tests],
    concept: Sequence[Tests],
) -> tuple[tuple[DriftKind, ...], dict[str, str], bool]:
    """Kinds, faults by column, and whether faults hide what the mapping does."""
    faults: dict[str, str] = {}
    moved: list[str] = []
    strongest: dict[str, tuple[float, list[int]]] = {}
    for tests in data:
        for test in tests.in_alarm:
            name, strength = tests.names[test][0], float(tests.strength[:, test].max())
            if name not in moved:
                moved.append(name)
            if tests.family != "pairs" and strength > strongest.get(name, (0.0,))[0]:
                strongest[name] = strength, _clearest(tests, int(test))
    shown = {name: [windows[number] for number in some] for name, (_, some) in strongest.items()}
    faults |= find_swaps(reference, shown)
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
    changed = any(tests.alarm.any() for tests in concept)
    kinds: list[DriftKind] = []
    if faults:
        kinds.append("data fault")
    if any(name not in faults and name not in echoes for name in moved):
        kinds.append("data drift")
    # What stands in for a model is shown the broken columns, and has no name under which its answers move.
    misled = (
        not reference.outputs and began is not None and _mostly_broken(reference, broken, windows[began:])
    )
    if changed and (echoes or misled) and began is not None:
        first = with_labels[estimate_onset(strongest_tests(concept)).estimate]
        if first >= began - 1:
            return tuple(kinds), faults, True
    if changed:
        labelled = [windows[number] for number in with_labels]
        if is_label_shift(reference, labelled, concept):
            # Other shares of the classes explain moved columns, and no broken pipe.
            return ("data fault", "label shift") if faults else ("label shift",), faults, False
        kinds.append("concept drift")
    return tuple(kinds), faults, False


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


def _repeats(again: Mapping[int, str], since: str) -> FeatureFinding:
    first = again[min(again)]
    others = f" in {len(again)} windows" if len(again) > 1 else ""
    return _of_rows(ROWS, f"{ROWS}{others}: {first}", since)


def _of_rows(name: str, description: str, since: str | None) -> FeatureFinding:
    return FeatureFinding(
        name=name,
        kinds=("data fault",),
        log_e=0.0,
        shift_sd=None,
        psi=None,
        description=description,
        since=since,
        of_column=False,
    )


def _clearest(tests: Tests, test: int) -> list[int]:
    """Windows in which the change shows most, and half as much or more, in order of time."""
    alone = np.where(tests.strength[:, test] >= 1, np.abs(tests.single[:, test]), -1.0)
    least = max(float(alone.max()) / 2, 0.0)
    found = [int(number) for number in np.argsort(-alone, kind="stable")[:_CLEAREST]]
    return sorted(number for number in found if alone[number] >= least)


def _window_evidence(
    windows: Sequence[WindowProfile],
    with_labels: Sequence[int],
    again: Mapping[int, str],
    *,
    data: Sequence[Tests],
    concept: Sequence[Tests],
    settings: Settings,
    task: Task,
) -> list[WindowEvidence]:
    def strongest(families: Sequence[NDArray[np.float64]], number: int) -> float:
        return max((float(each[number]) for each in families), default=0.0)

    of_kinds = [[tests.strongest for tests in kind] for kind in (data, concept)]
    position = {number: order for order, number in enumerate(with_labels)}
    evidence = []
    for number, window in enumerate(windows):
        of_data = strongest(of_kinds[0], number) ** 2 if number not in again else 1.0
        of_concept = strongest(of_kinds[1], position[number]) ** 2 if number in position else None
        quality = quality_of(task, [window]) if window.labelled else None
        evidence.append(
            WindowEvidence(
                start=settings.show_time(window.start),
                end=settings.show_time(window.end),
                rows=window.rows,
                labelled=window.labelled,
                log_e_data=round(of_data, 4),
                log_e_concept=None if of_concept is None else round(of_concept, 4),
                alarm=of_data >= 1 or (of_concept or 0.0) >= 1,
                quality=None if quality is None else round(quality.value, 6),
            )
        )
    return evidence


def _as_onset(found: OnsetEstimate, windows: Sequence[WindowProfile], settings: Settings) -> Onset:
    return Onset(
        settings.show_time(windows[found.earliest].start),
        settings.show_time(windows[found.estimate].start),
        settings.show_time(windows[found.latest].start),
    )


def _dated(
    finding: FeatureFinding, found: OnsetEstimate, windows: Sequence[WindowProfile], settings: Settings
) -> FeatureFinding:
    onset = _as_onset(found, windows, settings)
    return msgspec.structs.replace(finding, since=onset.estimate, onset=onset)


def _findings(
    reference: ReferenceModel,
    windows: Sequence[WindowProfile],
    within: Sequence[int],
    *,
    data: Sequence[Tests],
    concept: Sequence[Tests],
    faults: dict[str, str],
) -> Iterator[tuple[str, FeatureFinding]]:
    """What tests call it ("" for all answers), and what was found there; the strongest first.

    A column is told by the windows from its first in alarm on, as far as they are `within`.
    """
    best: dict[str, float] = {}
    kinds: dict[str, list[DriftKind]] = {}
    words: dict[str, list[str]] = {}
    shift: dict[str, float | None] = {}
    psi: dict[str, float | None] = {}
    for tests in data:
        for test in tests.in_alarm:
            name = tests.names[test][0]
            strength = float(np.abs(tests.single[:, test]).max())
            best[name] = max(best.get(name, 0.0), strength**2 / 2)
            if name in words and (tests.family != "together" or name in faults):
                continue
            if tests.family == "pairs":
                kinds[name] = ["data drift"]
                words[name] = [describe_pair(name, tests, int(test))]
                continue
            raised = np.flatnonzero(tests.strength[:, test] >= 1)
            # Nothing is left where only windows after the end of a change pooled enough of it.
            after = [windows[one] for one in within if one >= raised[0]] or [windows[within[-1]]]
            counts = np.sum([window.counts[name] for window in after], axis=0)
            feature = reference.features[name]
            old, new = (np.bincount(feature.broad, some) for some in (feature.counts, counts))
            psi[name] = round(population_stability_index(old, new), 4)
            shift[name] = _location_shift(feature, counts)
            kinds[name] = ["data fault" if name in faults else "data drift"]
            if tests.family == "together" and name not in faults:
                told = describe_together(feature, counts)
                words[name] = [*words[name], told] if name in words else [f"{name}: {told}"]
                continue
            words[name] = [describe_data(feature, counts, shift[name], faults.get(name))]
    for tests in concept:
        for test in tests.in_alarm:
            name, cell = tests.names[test]
            strength = float(np.abs(tests.single[:, test]).max())
            best[name] = max(best.get(name, 0.0), strength**2 / 2)
            if "concept drift" in kinds.get(name, []):
                continue
            kinds.setdefault(name, []).append("concept drift")
            words.setdefault(name, []).append(describe_concept(reference, tests, int(test), cell))
    own_score = "score" in reference.outputs or "score" not in reference.features
    for name in sorted(best, key=lambda one: -best[one]):
        yield (
            name,
            FeatureFinding(
                name=name or "overall",
                kinds=tuple(kinds[name]),
                log_e=round(best[name], 3),
                shift_sd=shift.get(name),
                psi=psi.get(name),
                description="; ".join(words[name]),
                of_column=bool(name) and not (name == "score" and own_score),
            ),
        )


def _location_shift(feature: Feature, counts: NDArray[np.int64]) -> float | None:
    if "location" not in feature.tests:
        return None
    at = feature.tests.index("location")
    mean, variance, _ = feature.moments()
    rows = max(int(counts.sum()), 1)
    value = (float(counts @ feature.functionals[:, at]) / rows - mean[at]) / np.sqrt(max(variance[at], 1e-12))
    return round(float(value), 4)


def _quality(
    reference: ReferenceModel,
    windows: Sequence[WindowProfile],
    with_labels: Sequence[int],
    onset: int,
    stood: Collection[int],
) -> QualityChange | None:
    if reference.concept is None:
        return None
    return QualityChange(
        metric=METRICS[reference.task],
        reference=quality_of(reference.task, [reference.whole]),
        before=quality_of(reference.task, [windows[number] for number in with_labels if number < onset]),
        after=quality_of(reference.task, [windows[number] for number in with_labels if number in stood]),
    )


def _coverage(reference: ReferenceModel, windows: Sequence[WindowProfile], settings: Settings) -> Coverage:
    rows = sum(window.rows for window in windows)
    labelled = sum(window.labelled for window in windows)
    return Coverage(
        reference_rows=reference.whole.rows,
        rows=rows,
        windows=len(windows),
        labelled=labelled,
        label_coverage=round(labelled / rows, 6) if rows else 0.0,
        unaccounted=settings.unaccounted,
    )
