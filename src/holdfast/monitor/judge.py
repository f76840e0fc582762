"""From evidence to the verdict: which kinds, since when, of what shape, in which columns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from holdfast.monitor.chosen_labels import chosen_labels
from holdfast.monitor.concept_evidence import concept_tests
from holdfast.monitor.course import Course
from holdfast.monitor.data_evidence import data_tests
from holdfast.monitor.dating import Dates, date_of_column, date_of_labels, find_dates
from holdfast.monitor.deciding import Decision, decide
from holdfast.monitor.diagnosis import Coverage, Diagnosis, FeatureFinding, QualityChange, WindowEvidence
from holdfast.monitor.family import DATA_FAMILIES, SHARES, Budget, Tests
from holdfast.monitor.faults import NEVER_MET, RENAMED
from holdfast.monitor.findings import broken_labels, find_columns, repeated_rows, wrongly_dated_rows
from holdfast.monitor.judged_windows import JudgedWindows
from holdfast.monitor.label_faults import RowsOfWindows
from holdfast.monitor.made_labels import OWN_ANSWERS
from holdfast.monitor.measuring import measure_columns
from holdfast.monitor.onset import known_by_heart
from holdfast.monitor.plain import listed
from holdfast.monitor.profiling import WindowProfile
from holdfast.monitor.reach import already_moving, too_short
from holdfast.monitor.reference import METRICS, ReferenceModel, quality_of
from holdfast.monitor.rows import Task
from holdfast.monitor.seasons import Calendar
from holdfast.monitor.words import advice_for, summarise

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
_NEW: Final = (
    "Categories that the reference never had are no fault where they are meant, as a new site or product is: "
    "then have such rows labelled and retrain with the old rows and these."
)
_BURST: Final = (
    "The mapping from x to y was another for a time. Wrong labels in these windows would look the same."
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
    rows: RowsOfWindows | None = None
    """To look for broken labels in; None: nobody looks."""
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
    judged = JudgedWindows.of(reference, windows, settings.mature, settings.show_time)
    data, concept = _all_tests(reference, judged, settings)
    decision = decide(
        reference,
        judged,
        data=data,
        concept=concept,
        rows=settings.rows,
        wrong_clock=bool(settings.clock_fault),
    )
    dates = find_dates(reference, judged, decision)
    findings = _findings(reference, judged, decision, dates, settings.clock_fault)
    quality = _quality(reference, judged, decision, dates)
    coverage = _coverage(reference, windows, settings)
    kinds, course, since = decision.kinds, dates.course, dates.since
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
        measures=measure_columns(
            reference, judged.profiles if dates.onset is None else judged.at(dates.stood)
        ),
        quality=quality,
        coverage=coverage,
        advice=tuple(advice_for(kinds, course, since, blind=not judged.with_labels)),
        summary=summarise(kinds, course, since, findings=findings, quality=quality, coverage=coverage),
        notes=(
            *settings.notes,
            *_limits(reference, judged, decision, quality, data),
            *_meanings(decision, course),
        ),
        windows=tuple(_window_evidence(judged, data, concept, settings, reference.task)),
        model_version=settings.model_version,
    )


def _all_tests(
    reference: ReferenceModel, windows: JudgedWindows, settings: Settings
) -> tuple[Sequence[Tests], Sequence[Tests]]:
    """Of P(x), and of P(y|x) on the windows whose labels count."""
    # Without labels the families about x may spend the whole budget.
    factor = 1.0 if windows.with_labels else 1.0 / sum(SHARES[family] for family in DATA_FAMILIES)
    budget = Budget(settings.run_length, settings.tolerance_sd)
    profiles, with_labels = windows.profiles, windows.with_labels
    calendar = Calendar.of(reference.windows, profiles, timed=reference.timed)
    data = data_tests(reference, profiles, replace(budget, factor=factor), calendar) if profiles else []
    concept = concept_tests(reference, windows.labelled, budget, calendar.at(with_labels))
    if settings.tested is not None:
        settings.tested(data, concept, with_labels)
    return data, concept


def _findings(
    reference: ReferenceModel, windows: JudgedWindows, decision: Decision, dates: Dates, clock_fault: str
) -> list[FeatureFinding]:
    """In columns, the strongest first; then of rows and labels."""
    findings = []
    for column, found in find_columns(
        reference,
        windows.profiles,
        dates.within,
        data=decision.data,
        concept=decision.concept_of_columns,
        faults=decision.faults,
    ):
        onset = date_of_column(dates, column, windows, decision)
        findings.append(msgspec.structs.replace(found, since=onset.estimate, onset=onset))
    if decision.mislabelled:
        onset = date_of_labels(dates, windows, decision)
        words = OWN_ANSWERS if decision.label_fault is None else decision.label_fault.words
        findings.append(broken_labels(words, onset))
    if windows.repeated:
        findings.append(repeated_rows(windows.repeated, windows.starts[min(windows.repeated)]))
    if clock_fault:
        findings.append(wrongly_dated_rows(clock_fault))
    return findings


def _limits(
    reference: ReferenceModel,
    windows: JudgedWindows,
    decision: Decision,
    quality: QualityChange | None,
    all_data: Sequence[Tests],
) -> list[str]:
    """What limits the verdict, in words."""
    return [
        *([_HIDDEN] if decision.hidden else []),
        *([_LABELS] if decision.mislabelled else []),
        *(
            [decision.label_fault.doubt]
            if decision.label_fault is not None and decision.label_fault.doubt
            else []
        ),
        *([] if windows.with_labels else [_BLIND]),
        *chosen_labels(reference, windows.labelled),
        *too_short(reference.windows, windows.profiles, all_data, timed=reference.timed),
        *already_moving(reference, windows.profiles, decision.data),
        *([_KNOWN_BY_HEART] if known_by_heart(reference, decision.concept, quality) else []),
    ]


def _meanings(decision: Decision, course: Course) -> list[str]:
    """What else the kinds may mean, in words."""
    new = [words for words in decision.faults.values() if NEVER_MET in words and RENAMED not in words]
    burst = "concept drift" in decision.kinds and course.shape == "temporary"
    return [*([_NEW] if new else []), *([_BURST] if burst else [])]


def _window_evidence(
    windows: JudgedWindows,
    data: Sequence[Tests],
    concept: Sequence[Tests],
    settings: Settings,
    task: Task,
) -> list[WindowEvidence]:
    def strongest(families: Sequence[NDArray[np.float64]], number: int) -> float:
        return max((float(each[number]) for each in families), default=0.0)

    of_kinds = [[tests.strongest for tests in kind] for kind in (data, concept)]
    position = {number: order for order, number in enumerate(windows.with_labels)}
    evidence = []
    for number, window in enumerate(windows.given):
        of_data = strongest(of_kinds[0], number) ** 2 if number not in windows.repeated else 1.0
        of_concept = strongest(of_kinds[1], position[number]) ** 2 if number in position else None
        quality = quality_of(task, [window]) if window.labelled else None
        evidence.append(
            WindowEvidence(
                start=windows.starts[number],
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


def _quality(
    reference: ReferenceModel, windows: JudgedWindows, decision: Decision, dates: Dates
) -> QualityChange | None:
    """By the labels of windows before a change and while it stood."""
    if reference.concept is None:
        return None
    onset, stood = dates.onset, set(dates.stood)
    before = [number for number in windows.with_labels if onset is None or number < onset.estimate]
    # What broken labels say of the answers is no quality.
    after = [] if decision.mislabelled else [one for one in windows.with_labels if one in stood]
    return QualityChange(
        metric=METRICS[reference.task],
        reference=quality_of(reference.task, [reference.whole]),
        before=quality_of(reference.task, windows.at(before)),
        after=quality_of(reference.task, windows.at(after)),
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
