"""From evidence to the verdict: which kinds, since when, of what shape, in which columns."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from holdfast.monitor.causes import find_causes
from holdfast.monitor.chosen_labels import chosen_labels
from holdfast.monitor.concept_evidence import concept_tests
from holdfast.monitor.course import Course, find_course, stretches_of
from holdfast.monitor.data_evidence import data_tests
from holdfast.monitor.diagnosis import (
    Coverage,
    Diagnosis,
    DriftKind,
    Onset,
    QualityChange,
    WindowEvidence,
)
from holdfast.monitor.echoes import without_echoes_of_all
from holdfast.monitor.family import DATA_FAMILIES, SHARES, Budget, Tests
from holdfast.monitor.findings import broken_labels, find_columns, repeated_rows, wrongly_dated_rows
from holdfast.monitor.label_faults import LOOKED_AT, LabelFault
from holdfast.monitor.measuring import measure_columns
from holdfast.monitor.onset import known_by_heart, locate, of_all, onset_of_column, strongest_tests
from holdfast.monitor.plain import listed
from holdfast.monitor.profiling import WindowProfile
from holdfast.monitor.reach import already_moving, too_short
from holdfast.monitor.reference import METRICS, ReferenceModel, quality_of
from holdfast.monitor.repeats import emptied, repeated_windows
from holdfast.monitor.rows import Task
from holdfast.monitor.seasons import Calendar
from holdfast.monitor.standing import standing, without_echoes
from holdfast.monitor.words import advice_for, summarise
from holdfast.stats import OnsetEstimate, estimate_onset

_NEARLY_ALL: Final = 0.9
"""Share of a window's rows whose labels stand for all of them."""
_HIDDEN: Final = (
    "The model was given broken inputs, so its answers say nothing of a change of the mapping from x "
    "to y (concept drift): fix the pipe first."
)
_LABELS: Final = (
    "The labels seem broken, so they say nothing of the model nor of a change of the mapping from x to y "
    "(concept drift): mend them first."
)
_TURNED: Final = (
    "Each class has the scores of the other. If 0 and 1 were swapped in the labels it would look the same: "
    "look there before you retrain."
)
_BLIND: Final = "Without mature labels a change of the mapping from x to y (concept drift) cannot be seen."
_KNOWN_BY_HEART: Final = (
    "The model has been worse than on the reference ever since the first labelled window. If the "
    "reference was used for training, that is no drift: compare with rows held out."
)


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
    label_fault: Callable[[Sequence[int]], LabelFault | None] | None = None
    """What is broken about the labels of the windows of these numbers; None: nobody looks."""
    tested: Callable[[Sequence[Tests], Sequence[Tests], Sequence[int]], None] | None = None
    """Told of all tests of P(x) and of P(y|x), and of the windows that the latter were made on."""


def mature_labels(oldest_open: int | None) -> Callable[[WindowProfile], bool]:
    """Which windows' labels count: of those that have ended by then, and of others that have nearly all.

    Args:
        oldest_open: since when labels may still come; None: all are there that ever will.
    """
    return lambda window: (
        oldest_open is None or window.end <= oldest_open or window.labelled >= _NEARLY_ALL * window.rows
    )


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
    all_data, all_concept = _all_tests(reference, windows, with_labels, settings)
    evidence = _window_evidence(
        held, with_labels, again, data=all_data, concept=all_concept, settings=settings, task=reference.task
    )
    data, concept = without_echoes(standing(all_data)), standing(all_concept)
    causes = find_causes(reference, windows, with_labels, data=data, concept=concept)
    if causes.hidden:
        concept = ()
    if concept and reference.concept is not None:
        concept = without_echoes_of_all(reference.concept, labelled, concept)
    label_fault = _label_fault(concept, with_labels, settings)
    mislabelled = label_fault is not None and label_fault.sure
    kinds: tuple[DriftKind, ...] = causes.kinds
    if mislabelled:
        kinds = tuple(kind for kind in kinds if kind not in ("label shift", "concept drift"))
    if (again or settings.clock_fault or mislabelled) and "data fault" not in kinds:
        kinds = ("data fault", *kinds)
    onset = locate(data, concept, with_labels, len(windows)) or _of_repeats(again, len(windows))
    course = find_course(
        reference, windows, with_labels, data=data, concept=concept, show_time=settings.show_time
    )
    if course.began is not None and (onset is None or course.began.estimate < onset.estimate):
        onset = course.began
    since = None if onset is None else _as_onset(onset, windows, settings)
    within = _within(course, onset, [settings.show_time(window.start) for window in windows])
    stood = [number for number in within if onset is not None and number >= onset.estimate]
    findings = []
    for column, found in find_columns(
        reference, windows, within, data=data, concept=() if mislabelled else concept, faults=causes.faults
    ):
        own = onset_of_column(column, data, concept, with_labels, shape=course.shape)
        dated = _as_onset(own, windows, settings)
        findings.append(msgspec.structs.replace(found, since=dated.estimate, onset=dated))
    if label_fault is not None and mislabelled:
        labels = of_all(estimate_onset(strongest_tests(concept)), with_labels)
        dated = _as_onset(labels, windows, settings)
        findings.append(broken_labels(label_fault.words, dated))
    if again:
        findings.append(repeated_rows(again, settings.show_time(held[min(again)].start)))
    if settings.clock_fault:
        findings.append(wrongly_dated_rows(settings.clock_fault))
    before = [number for number in with_labels if onset is None or number < onset.estimate]
    # What broken labels say of the answers is no quality.
    judged = [] if mislabelled else [number for number in with_labels if number in stood]
    quality = _quality(reference, windows, before, judged)
    coverage = _coverage(reference, held, settings)
    blind = reference.concept is None or not labelled
    notes = [
        *settings.notes,
        *([_HIDDEN] if causes.hidden else []),
        *([_LABELS] if mislabelled else []),
        *([_TURNED] if label_fault is not None and not mislabelled else []),
        *([_BLIND] if blind else []),
        *chosen_labels(reference, labelled),
        *too_short(reference.windows, windows, all_data, timed=reference.timed),
        *already_moving(reference, windows, data),
        *([_KNOWN_BY_HEART] if known_by_heart(reference, concept, quality) else []),
    ]
    return Diagnosis(
        verdict=listed(kinds) or "healthy",
        kinds=kinds,
        alarm=bool(kinds),
        shape=course.shape,
        shape_probability=course.probability,
        ramp=course.ramp,
        periods=course.periods,
        since=since,
        features=tuple(findings),
        measures=measure_columns(reference, windows if onset is None else [windows[one] for one in stood]),
        quality=quality,
        coverage=coverage,
        advice=tuple(advice_for(kinds, course, since, blind=blind)),
        summary=summarise(kinds, course, since, findings=findings, quality=quality, coverage=coverage),
        notes=tuple(notes),
        windows=tuple(evidence),
        model_version=settings.model_version,
    )


def _all_tests(
    reference: ReferenceModel,
    windows: Sequence[WindowProfile],
    with_labels: Sequence[int],
    settings: Settings,
) -> tuple[Sequence[Tests], Sequence[Tests]]:
    """Of P(x), and of P(y|x) on the windows whose labels count."""
    # Without labels the families about x may spend the whole budget.
    factor = 1.0 if with_labels else 1.0 / sum(SHARES[family] for family in DATA_FAMILIES)
    budget = Budget(settings.run_length, settings.tolerance_sd)
    calendar = Calendar.of(reference.windows, windows, timed=reference.timed)
    data = data_tests(reference, windows, replace(budget, factor=factor), calendar) if windows else []
    labelled = [windows[number] for number in with_labels]
    concept = concept_tests(reference, labelled, budget, calendar.at(with_labels))
    if settings.tested is not None:
        settings.tested(data, concept, with_labels)
    return data, concept


def _label_fault(
    concept: Sequence[Tests], with_labels: Sequence[int], settings: Settings
) -> LabelFault | None:
    """Whether what the labels show is a fault of theirs."""
    if settings.label_fault is None or not any(tests.alarm.any() for tests in concept):
        return None
    onset = estimate_onset(strongest_tests(concept))
    return settings.label_fault(with_labels[onset.estimate : onset.end][:LOOKED_AT])


def _of_repeats(again: Collection[int], windows: int) -> OnsetEstimate | None:
    """Since when rows came twice, where nothing else stands."""
    if not again:
        return None
    first, end = min(again), max(again) + 1
    return OnsetEstimate(first, first, first, end if end < windows else None)


def _within(course: Course, onset: OnsetEstimate | None, starts: Sequence[str]) -> Sequence[int]:
    """Numbers of the windows before its end, or in its visits: its effects do not show in its pauses."""
    visits = list(chain(*stretches_of(course.periods, starts)))
    return visits or range(len(starts) if onset is None or onset.end is None else onset.end)


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


def _quality(
    reference: ReferenceModel,
    windows: Sequence[WindowProfile],
    before: Sequence[int],
    stood: Sequence[int],
) -> QualityChange | None:
    """By the labels of windows before a change and while it stood."""
    if reference.concept is None:
        return None
    return QualityChange(
        metric=METRICS[reference.task],
        reference=quality_of(reference.task, [reference.whole]),
        before=quality_of(reference.task, [windows[number] for number in before]),
        after=quality_of(reference.task, [windows[number] for number in stood]),
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
