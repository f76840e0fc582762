"""What was found in each column, in words and numbers, the strongest first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from holdfast.monitor.diagnosis import Diagnosis, DriftKind, FeatureFinding, Onset
from holdfast.monitor.family import Tests
from holdfast.monitor.features import Feature
from holdfast.monitor.label_faults import LABELS
from holdfast.monitor.profiling import WindowProfile
from holdfast.monitor.reference import ReferenceModel
from holdfast.monitor.words import describe_concept, describe_data, describe_pair, describe_together
from holdfast.stats import population_stability_index

_ROWS: Final = "rows"
_TIME: Final = "time"
"""What a finding is called that is of no column: rows that came twice, rows that a wrong clock dated."""


@dataclass(slots=True)
class _Draft:
    """A finding that further tests may add to."""

    log_e: float = 0.0
    kinds: list[DriftKind] = field(default_factory=list)
    words: list[str] = field(default_factory=list)
    shift_sd: float | None = None
    psi: float | None = None


def find_columns(
    reference: ReferenceModel,
    windows: Sequence[WindowProfile],
    within: Sequence[int],
    *,
    data: Sequence[Tests],
    concept: Sequence[Tests],
    faults: Mapping[str, str],
) -> Iterator[tuple[str, FeatureFinding]]:
    """What tests call it ("" for all answers), and what was found there; the strongest first.

    A column is told by the windows from its first in alarm on, as far as they are `within`.

    Args:
        reference: fitted.
        windows: in order of time.
        within: numbers of those in which the change stood.
        data: tests of P(x) that stand.
        concept: tests of P(y|x) that stand.
        faults: by column, in words.
    """
    drafts: dict[str, _Draft] = {}
    for tests in data:
        for test in tests.in_alarm:
            name = tests.names[test][0]
            draft = _draft_of(drafts, name, tests, int(test))
            if draft.words and (tests.family != "together" or name in faults):
                continue
            if tests.family == "pairs":
                draft.kinds, draft.words = ["data drift"], [describe_pair(name, tests, int(test))]
                continue
            raised = np.flatnonzero(tests.strength[:, test] >= 1)
            # Nothing is left where only windows after the end of a change pooled enough of it.
            after = [windows[one] for one in within if one >= raised[0]] or [windows[within[-1]]]
            counts = np.sum([window.counts[name] for window in after], axis=0)
            feature = reference.features[name]
            old, new = (np.bincount(feature.broad, some) for some in (feature.counts, counts))
            draft.psi = round(population_stability_index(old, new), 4)
            draft.shift_sd = _location_shift(feature, counts)
            draft.kinds = ["data fault" if name in faults else "data drift"]
            if tests.family == "together" and name not in faults:
                told = describe_together(feature, counts)
                draft.words.append(told if draft.words else f"{name}: {told}")
            else:
                draft.words = [describe_data(feature, counts, draft.shift_sd, faults.get(name))]
    for tests in concept:
        for test in tests.in_alarm:
            name, cell = tests.names[test]
            draft = _draft_of(drafts, name, tests, int(test))
            if "concept drift" not in draft.kinds:
                draft.kinds.append("concept drift")
                draft.words.append(describe_concept(reference, tests, int(test), cell))
    own_score = "score" in reference.outputs or "score" not in reference.features
    for name, draft in sorted(drafts.items(), key=lambda item: -item[1].log_e):
        yield (
            name,
            FeatureFinding(
                name=name or "overall",
                kinds=tuple(draft.kinds),
                log_e=round(draft.log_e, 3),
                shift_sd=draft.shift_sd,
                psi=draft.psi,
                description="; ".join(draft.words),
                of_column=bool(name) and not (name == "score" and own_score),
            ),
        )


def _draft_of(drafts: dict[str, _Draft], name: str, tests: Tests, test: int) -> _Draft:
    """The column's, as strong as its strongest test."""
    draft = drafts.setdefault(name, _Draft())
    strength = float(np.abs(tests.single[:, test]).max())
    draft.log_e = max(draft.log_e, strength**2 / 2)
    return draft


def _location_shift(feature: Feature, counts: NDArray[np.int64]) -> float | None:
    if "location" not in feature.tests:
        return None
    at = feature.tests.index("location")
    mean, variance, _ = feature.moments()
    rows = max(int(counts.sum()), 1)
    value = (float(counts @ feature.functionals[:, at]) / rows - mean[at]) / np.sqrt(max(variance[at], 1e-12))
    return round(float(value), 4)


def repeated_rows(again: Mapping[int, str], since: str) -> FeatureFinding:
    """Of rows that came twice.

    Args:
        again: by number of the window, in words.
        since: start of the first such window.
    """
    first = again[min(again)]
    others = f" in {len(again)} windows" if len(again) > 1 else ""
    return _of_rows(_ROWS, f"{_ROWS}{others}: {first}", since)


def wrongly_dated_rows(description: str) -> FeatureFinding:
    """Of rows that a wrong clock dated."""
    return _of_rows(_TIME, description, None)


def broken_labels(words: str, since: Onset) -> FeatureFinding:
    """Of labels that are broken.

    Args:
        words: what is broken about them.
        since: of the tests that they are behind.
    """
    found = _of_rows(LABELS, f"the labels are {words}", since.estimate)
    return msgspec.structs.replace(found, onset=since)


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


def has_broken_labels(diagnosis: Diagnosis) -> bool:
    """Whether nothing can be learnt from the labels since the change."""
    return any(one.name == LABELS and not one.of_column for one in diagnosis.features)
