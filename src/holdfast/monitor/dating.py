"""The dates of a verdict: of the whole, of a column, of broken labels; in windows and as text."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import chain

from holdfast.monitor.course import Course, find_course, stretches_of
from holdfast.monitor.deciding import Decision
from holdfast.monitor.diagnosis import Onset
from holdfast.monitor.judged_windows import JudgedWindows
from holdfast.monitor.onset import locate, of_all, onset_of_column, strongest_tests
from holdfast.monitor.reference import ReferenceModel
from holdfast.stats import OnsetEstimate, estimate_onset


@dataclass(frozen=True, slots=True)
class Dates:
    """Of a change, in numbers of windows."""

    onset: OnsetEstimate | None
    """None without a change."""
    course: Course
    within: Sequence[int]
    """The windows before its end, or in its visits: its effects do not show in its pauses."""
    starts: Sequence[str]
    """Of all windows, as text."""

    @property
    def since(self) -> Onset | None:
        """The onset as text."""
        return None if self.onset is None else self.as_text(self.onset)

    @property
    def stood(self) -> list[int]:
        """The windows in which the change stood; none without one."""
        onset = self.onset
        return [] if onset is None else [number for number in self.within if number >= onset.estimate]

    def as_text(self, onset: OnsetEstimate) -> Onset:
        """When its windows start."""
        return Onset(self.starts[onset.earliest], self.starts[onset.estimate], self.starts[onset.latest])


def find_dates(reference: ReferenceModel, windows: JudgedWindows, decision: Decision) -> Dates:
    """Of all that stands together."""
    data, concept, with_labels = decision.data, decision.concept, windows.with_labels
    onset = locate(data, concept, with_labels, len(windows.profiles))
    untested = set(windows.repeated) or set(decision.own_answers)
    if onset is None and untested:
        onset = _of_repeats(untested, len(windows.profiles))
    course = find_course(reference, windows, data=data, concept=concept)
    if course.began is not None and (onset is None or course.began.estimate < onset.estimate):
        onset = course.began
    visits = list(chain(*stretches_of(course.periods, windows.starts)))
    end = None if onset is None else onset.end
    within = visits or range(len(windows.profiles) if end is None else end)
    return Dates(onset, course, within, windows.starts)


def date_of_column(dates: Dates, column: str, windows: JudgedWindows, decision: Decision) -> Onset:
    """When one column changed, or with "" all answers."""
    own = onset_of_column(
        column, decision.data, decision.concept, windows.with_labels, shape=dates.course.shape
    )
    return dates.as_text(own)


def date_of_labels(dates: Dates, windows: JudgedWindows, decision: Decision) -> Onset:
    """When the tests of P(y|x) changed, which broken labels are behind."""
    if decision.own_answers:
        return dates.as_text(_of_repeats(decision.own_answers, len(windows.profiles)))
    return dates.as_text(of_all(estimate_onset(strongest_tests(decision.concept)), windows.with_labels))


def _of_repeats(repeated: Collection[int], windows: int) -> OnsetEstimate:
    """Since when rows came twice, or labels were the model's answers."""
    first, end = min(repeated), max(repeated) + 1
    return OnsetEstimate(first, first, first, end if end < windows else None)
