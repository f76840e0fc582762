"""Which kinds of drift there are, by the tests that stand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from holdfast.monitor.causes import find_causes
from holdfast.monitor.diagnosis import DriftKind
from holdfast.monitor.echoes import without_echoes_of_all
from holdfast.monitor.family import Tests
from holdfast.monitor.judged_windows import JudgedWindows
from holdfast.monitor.label_faults import LOOKED_AT, LabelFault, RowsOfWindows, find_label_fault
from holdfast.monitor.made_labels import windows_of_own_answers
from holdfast.monitor.onset import strongest_tests
from holdfast.monitor.reference import ReferenceModel
from holdfast.monitor.standing import standing, without_echoes
from holdfast.stats import estimate_onset


@dataclass(frozen=True, slots=True)
class Decision:
    """What stands, and what it is put down to."""

    kinds: tuple[DriftKind, ...]
    data: Sequence[Tests] = field(repr=False)
    """Tests of P(x) that stand."""
    concept: Sequence[Tests] = field(repr=False)
    """Tests of P(y|x) that stand; none where broken inputs hide what the mapping does."""
    faults: Mapping[str, str]
    """What is broken about columns, in words."""
    hidden: bool
    """Whether those hide what the mapping from x to y does."""
    label_fault: LabelFault | None
    own_answers: Sequence[int] = ()
    """Windows in which the labels are the model's answers, where no test sees it."""

    @property
    def mislabelled(self) -> bool:
        """Whether the labels are broken for sure: they say nothing of the model then."""
        return bool(self.own_answers) or (self.label_fault is not None and self.label_fault.sure)

    @property
    def concept_of_columns(self) -> Sequence[Tests]:
        """Tests of P(y|x) that speak of columns, and not of broken labels."""
        return () if self.mislabelled else self.concept


def decide(
    reference: ReferenceModel,
    windows: JudgedWindows,
    *,
    data: Sequence[Tests],
    concept: Sequence[Tests],
    rows: RowsOfWindows | None,
    wrong_clock: bool,
) -> Decision:
    """The kinds that explain what stands.

    Args:
        reference: fitted.
        windows: that the tests were made on.
        data: all tests of P(x).
        concept: all tests of P(y|x).
        rows: to look for broken labels in; None: nobody looks.
        wrong_clock: whether one has dated rows.
    """
    data, concept = without_echoes(standing(data)), standing(concept)
    causes = find_causes(
        reference, windows.profiles, windows.with_labels, data=data, concept=concept, rows=rows
    )
    if causes.hidden:
        concept = ()
    if concept and reference.concept is not None:
        concept = without_echoes_of_all(reference.concept, windows.labelled, concept)
    label_fault = _label_fault(reference, concept, windows.with_labels, rows)
    own_answers = windows_of_own_answers(reference, windows) if label_fault is None else ()
    mislabelled = bool(own_answers) or (label_fault is not None and label_fault.sure)
    kinds: tuple[DriftKind, ...] = causes.kinds
    if mislabelled:
        kinds = tuple(kind for kind in kinds if kind not in ("label shift", "concept drift"))
    if (windows.repeated or wrong_clock or mislabelled) and "data fault" not in kinds:
        kinds = ("data fault", *kinds)
    return Decision(kinds, data, concept, causes.faults, causes.hidden, label_fault, own_answers)


def _label_fault(
    reference: ReferenceModel,
    concept: Sequence[Tests],
    with_labels: Sequence[int],
    rows: RowsOfWindows | None,
) -> LabelFault | None:
    """Whether what the labels show is a fault of theirs."""
    if rows is None or not any(tests.alarm.any() for tests in concept):
        return None
    onset = estimate_onset(strongest_tests(concept))
    since = with_labels[onset.estimate : onset.end][:LOOKED_AT]
    return find_label_fault(reference.task, rows.reference, rows.windows(since))
