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
from holdfast.monitor.diagnosis import Diagnosis, DriftKind
from holdfast.monitor.explained import LossChange
from holdfast.monitor.plain import listed
from holdfast.monitor.words import advice_for, summarise
from holdfast.stats import Estimate

_LARGEST_PART: Final = 0.25
"""Of the changed loss that a changed mapping may seem to have and still count as none."""
NOTE: Final = (
    "The model errs more, and all of it at inputs that are new or harder: a change of the mapping "
    "from x to y (concept drift) is not seen there, and cannot be told apart where the reference has no rows."
)
ADVICE: Final = (
    "Have such rows labelled and retrain with the old rows and these; or undo what changed the inputs, such "
    "as a camera, a microphone or a source of customers."
)


def is_of_inputs(change: LossChange) -> bool:
    """Whether the loss changed, and by its inputs alone as far as its parts tell."""
    mapping = change.changed_mapping
    return (
        _differs(change.total)
        and not _differs(mapping)
        and abs(mapping.value) <= _LARGEST_PART * abs(change.total.value)
    )


def of_inputs(diagnosis: Diagnosis, change: LossChange) -> Diagnosis:
    """The diagnosis without concept drift, where data drift explains what the residuals show.

    Where the loss has risen so, the advice is no longer to watch.

    Args:
        diagnosis: of the windows.
        change: the parts of its changed loss.
    """
    if "data drift" not in diagnosis.kinds or not is_of_inputs(change):
        return diagnosis
    worse = change.total.low > 0
    kinds = tuple(kind for kind in diagnosis.kinds if kind != "concept drift")
    features = tuple(
        msgspec.structs.replace(one, kinds=tuple(kind for kind in one.kinds if kind != "concept drift"))
        for one in diagnosis.features
    )

    def summary(named: tuple[DriftKind, ...]) -> str:
        return summarise(
            named,
            Course.of(diagnosis),
            diagnosis.since,
            findings=diagnosis.features,
            quality=diagnosis.quality,
            coverage=diagnosis.coverage,
        )

    def advice(named: tuple[DriftKind, ...]) -> list[str]:
        return list(advice_for(named, Course.of(diagnosis), diagnosis.since, blind=False))

    first = advice(tuple(kind for kind in kinds if kind != "data drift" or not worse))
    later = [one for one in diagnosis.advice if one not in advice(diagnosis.kinds)]
    return msgspec.structs.replace(
        diagnosis,
        kinds=kinds,
        verdict=listed(kinds),
        features=tuple(one for one in features if one.kinds),
        summary=summary(kinds) + diagnosis.summary.removeprefix(summary(diagnosis.kinds)),
        advice=(*first, *([ADVICE] if worse else []), *later),
        notes=(*diagnosis.notes, *([NOTE] if worse else [])),
    )


def _differs(estimate: Estimate) -> bool:
    return estimate.low > 0 or estimate.high < 0
