"""When the residuals alarm and the parts of the changed loss say why: inputs that the reference hardly held.

The process over the residuals asks whether the model is as right as it was. It cannot know whether a model
that errs does so because P(y|x) is another, or because it was never taught such inputs (larger houses,
another light). The decomposition of the loss can: where it finds the rise at inputs that are new or harder,
and none by a changed mapping, to call it concept drift would send people to throw the old rows away.
"""

from __future__ import annotations

from typing import Final

import msgspec

from holdfast.monitor.course import Course
from holdfast.monitor.diagnosis import ColumnMeasures, Diagnosis, DriftKind, FeatureFinding
from holdfast.monitor.explained import LossChange
from holdfast.monitor.plain import listed, plain
from holdfast.monitor.words import advice_for, summarise
from holdfast.stats import Estimate

_LARGEST_PART: Final = 0.25
"""Of the changed loss that a changed mapping may seem to have and still count as none."""
_HALF: Final = 0.5
"""Of the risen loss, more than a changed mapping may have where no test has seen the inputs change."""
_LARGE_PSI: Final = 0.25
"""Population stability index from which a column is held to be another (Siddiqi 2006)."""
NOTE: Final = (
    "The model errs more, and all of it at inputs that are new or harder: a change of the mapping "
    "from x to y (concept drift) is not seen there, and cannot be told apart where the reference has no rows."
)
_LEAST_OVERLAP: Final = 0.1
"""Below it the parts of a changed loss are guesses."""
APART: Final = (
    "The rows since the change share hardly any inputs with the reference: whether the mapping from x to y "
    "changed (concept drift) or the model meets inputs that it was never taught cannot be told apart."
)
ADVICE: Final = (
    "Have such rows labelled and retrain with the old rows and these; or undo what changed the inputs, such "
    "as a camera, a microphone or a source of customers."
)


def is_of_inputs(change: LossChange) -> bool:
    """Whether the loss changed, and by its inputs alone as far as its parts tell."""
    mapping = change.changed_mapping
    against = mapping.value * change.total.value < 0
    return (
        _differs(change.total)
        and (against or not _differs(mapping))
        and abs(mapping.value) <= _LARGEST_PART * abs(change.total.value)
    )


def of_inputs(diagnosis: Diagnosis, change: LossChange, *, unseen: bool = False) -> Diagnosis:
    """The diagnosis without concept drift, where data drift explains what the residuals show.

    Where the loss has risen so, the advice is no longer to watch. A reference of one season does not tell how
    much its inputs vary, so no test of them may see the next: what is far from it is named by its distance.

    Args:
        diagnosis: of the windows.
        change: the parts of its changed loss.
        unseen: whether most rows lie beyond the reference's range in a column that the truth depends on.
    """
    told = _of_inputs(diagnosis, change)
    if "concept drift" in told.kinds and change.overlap < _LEAST_OVERLAP:
        if unseen and "data drift" in told.kinds:
            told = _reworded(told, change, former=diagnosis)
        return msgspec.structs.replace(told, notes=(*told.notes, APART))
    return told


def _of_inputs(diagnosis: Diagnosis, change: LossChange) -> Diagnosis:
    if not is_of_inputs(change):
        return diagnosis
    if "data drift" not in diagnosis.kinds:
        new = _new_columns(diagnosis) if _is_of_new_inputs(change) else ()
        if not new or diagnosis.kinds != ("concept drift",):
            return diagnosis
        told = msgspec.structs.replace(diagnosis, kinds=("data drift",), features=new)
        return _reworded(told, change, former=diagnosis)
    return _reworded(diagnosis, change, former=diagnosis)


def _is_of_new_inputs(change: LossChange) -> bool:
    """Whether the loss rose surely at inputs never met, and surely not half of it by a changed mapping."""
    return (
        change.total.low > 0
        and change.new_inputs.low > 0
        and change.changed_mapping.high <= _HALF * change.total.value
    )


def _new_columns(diagnosis: Diagnosis) -> tuple[FeatureFinding, ...]:
    """The columns far from the reference, the farthest first; no test raised an alarm about them."""
    far = [one for one in diagnosis.measures if one.psi is not None and one.psi >= _LARGE_PSI]
    since = diagnosis.since
    return tuple(
        FeatureFinding(
            name=one.name,
            kinds=("data drift",),
            log_e=0.0,
            shift_sd=None,
            psi=one.psi,
            description=_far_words(one),
            since=None if since is None else since.estimate,
            onset=since,
        )
        for one in sorted(far, key=lambda one: -(one.psi or 0.0))
    )


def _far_words(one: ColumnMeasures) -> str:
    medians = ""
    if one.median_before is not None and one.median is not None:
        medians = f"median {plain(one.median_before)} → {plain(one.median)}, "
    return f"{one.name} is far from the reference: {medians}population stability index {one.psi:.2f}"


def _reworded(diagnosis: Diagnosis, change: LossChange, *, former: Diagnosis) -> Diagnosis:
    """With verdict, sentences and advice of inputs alone.

    Args:
        diagnosis: with data drift.
        change: the parts of its changed loss.
        former: the one whose sentences and advice they replace.
    """
    worse = change.total.low > 0
    kinds = tuple(kind for kind in diagnosis.kinds if kind != "concept drift")
    features = tuple(
        msgspec.structs.replace(one, kinds=tuple(kind for kind in one.kinds if kind != "concept drift"))
        for one in diagnosis.features
    )

    def summary(of: Diagnosis, named: tuple[DriftKind, ...]) -> str:
        return summarise(
            named,
            Course.of(diagnosis),
            diagnosis.since,
            findings=of.features,
            quality=diagnosis.quality,
            coverage=diagnosis.coverage,
        )

    def advice(named: tuple[DriftKind, ...]) -> list[str]:
        return list(advice_for(named, Course.of(diagnosis), diagnosis.since, blind=False))

    first = advice(tuple(kind for kind in kinds if kind != "data drift" or not worse))
    later = [one for one in diagnosis.advice if one not in advice(former.kinds)]
    return msgspec.structs.replace(
        diagnosis,
        kinds=kinds,
        verdict=listed(kinds),
        features=tuple(one for one in features if one.kinds),
        summary=summary(diagnosis, kinds) + former.summary.removeprefix(summary(former, former.kinds)),
        advice=(*first, *([ADVICE] if worse else []), *later),
        notes=(*diagnosis.notes, *([NOTE] if worse and is_of_inputs(change) else [])),
    )


def _differs(estimate: Estimate) -> bool:
    return estimate.low > 0 or estimate.high < 0
