"""The sentence on top in plain words: what has changed, since when, where, and how sure that is."""

from __future__ import annotations

from datetime import datetime

from holdfast.monitor import Diagnosis, FeatureFinding, Onset
from holdfast.monitor.explained import Cost
from holdfast.ui import words

_OF_THE_MODEL = frozenset({"overall", "score", "prediction"})
"""What a model answers follows its inputs: those are named first."""
_LONGEST = 160


def cause(diagnosis: Diagnosis) -> str:
    """Where it shows, in a clause that follows a colon; "" where nothing can be named.

    A fault is named before all else; concept drift by where the truth has moved, once that is worked out;
    else the strongest finding.
    """
    found = diagnosis.features
    if "data fault" in diagnosis.kinds:
        found = tuple(one for one in found if "data fault" in one.kinds) or found
    elif "concept drift" in diagnosis.kinds and diagnosis.regions and diagnosis.regions[0].moved:
        region = diagnosis.regions[0]
        return f"{f'where {region.words}, ' if region.columns else ''}{region.moved}"
    strongest = _strongest(found)
    if strongest is None:
        return ""
    said = strongest.description
    if len(said) > _LONGEST:
        said = said.partition("; ")[0]
    return said


def _strongest(found: tuple[FeatureFinding, ...]) -> FeatureFinding | None:
    of_inputs = [one for one in found if one.name not in _OF_THE_MODEL and " ~ " not in one.name]
    return next(iter([*of_inputs, *found]), None)


def also_in(diagnosis: Diagnosis) -> list[str]:
    """The inputs in alarm, strongest first."""
    return [one.name for one in diagnosis.features if one.name not in _OF_THE_MODEL]


def unsure(cost: Cost) -> bool:
    """Whether the interval of a cost holds zero, so that there may be none."""
    told = cost.money_per_day or cost.per_day or cost.so_far
    return told.low <= 0 <= told.high


def none_at_all(cost: Cost) -> bool:
    """Whether the answers cost less than before the change, for sure."""
    told = cost.money_per_day or cost.per_day or cost.so_far
    return told.high < 0


def within(onset: Onset, diagnosis: Diagnosis) -> str:
    """How far the beginning may lie from its estimate: never nearer than one window.

    Example:
        >>> from holdfast.monitor import Coverage, WindowEvidence
        >>> window = WindowEvidence(start="2026-03-14T00:00:00Z", end="2026-03-14T01:00:00Z", rows=9,
        ...     labelled=0, log_e_data=0.1, log_e_concept=None, alarm=False)
        >>> found = Diagnosis(verdict="healthy", kinds=(), alarm=False, shape=None, since=None, features=(),
        ...     quality=None, coverage=Coverage(reference_rows=9, rows=9, windows=1, labelled=0,
        ...     label_coverage=0.0), advice=(), summary="", windows=(window,))
        >>> within(Onset(*["2026-03-14T02:00:00Z"] * 3), found)
        '± 1 h'
    """
    if not diagnosis.windows:
        return ""
    window = diagnosis.windows[-1]
    if onset.estimate.isdecimal():
        try:
            places = [int(one) for one in (onset.earliest, onset.estimate, onset.latest)]
            length = int(window.end) - int(window.start)
        except ValueError:
            return ""
        return f"± {max(places[1] - places[0], places[2] - places[1], length):,} rows"
    try:
        earliest, estimate, latest = map(
            datetime.fromisoformat, (onset.earliest, onset.estimate, onset.latest)
        )
        length_s = (datetime.fromisoformat(window.end) - datetime.fromisoformat(window.start)).total_seconds()
    except ValueError:
        return ""
    far_s = max((estimate - earliest).total_seconds(), (latest - estimate).total_seconds(), length_s)
    return f"± {words.duration(far_s)}"
