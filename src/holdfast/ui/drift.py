"""The drift pages: every column through time, and one column in full."""

from __future__ import annotations

from datetime import datetime

import msgspec

from holdfast.monitor import (
    ColumnHistory,
    Diagnosis,
    FeatureFinding,
    History,
    Onset,
    SliceHistory,
    SliceSummary,
)
from holdfast.monitor.history import MOST_WINDOWS
from holdfast.ui.errors import PageNotFoundError
from holdfast.ui.facts import Facts, StoredDiagnosis
from holdfast.ui.sentence import within

_RECENT = 7
"""Windows over which the strongest evidence decides the order of columns that are in no alarm."""


class DriftRow(msgspec.Struct, frozen=True, kw_only=True):
    """One column of the table."""

    name: str
    role: str
    numeric: bool
    finding: FeatureFinding | None
    """Where it is in alarm."""
    evidence: tuple[float, ...]
    """By window, of data or concept drift, whichever is stronger."""
    recent_data: float
    """The strongest of the newest windows, relative to the alarm at 1."""
    recent_concept: float | None
    outside: float
    """Share of rows of the last window that are missing, unseen or out of range."""
    outside_reference: float


class Drift(msgspec.Struct, frozen=True, kw_only=True):
    """The page."""

    stored: StoredDiagnosis | None
    """Of all rows."""
    part: SliceHistory | None
    """The slice that the page is of; None: all rows."""
    diagnosis: Diagnosis | None
    """Of what the page is of."""
    history: History | None
    rows: tuple[DriftRow, ...]
    """What matters first."""
    slices: tuple[SliceSummary, ...]
    """What matters first."""
    sliced_by: tuple[str, ...]
    """Inputs that the checklist names."""


class Cell(msgspec.Struct, frozen=True):
    """One cell of a distribution."""

    name: str
    reference: float
    """Share of rows."""
    window: float
    outside: bool


class ColumnPage(msgspec.Struct, frozen=True, kw_only=True):
    """One column in one window."""

    column: ColumnHistory
    part: SliceHistory | None
    """The slice whose rows these are; None: all rows."""
    history: History
    finding: FeatureFinding | None
    window: int
    cells: tuple[Cell, ...]
    outside: tuple[float, ...]
    """Share of missing, unseen and out-of-range values by window."""
    onset: tuple[float, float, float] | None
    within: str
    """How far the beginning may lie from its estimate; "" without one."""
    earlier: str | None
    later: str | None


def make_drift(facts: Facts, column: str = "", value: str = "") -> Drift:
    """Read the table, of all rows or of one slice.

    Args:
        facts: of the deployment.
        column: of the slice; "": all rows.
        value: of the slice.

    Raises:
        PageNotFoundError: there is no such slice.
    """
    version = facts.champion()
    stored = facts.diagnosis(version)
    part = _part(facts, version, column, value)
    if part is not None:
        diagnosis: Diagnosis | None = part.diagnosis
        history: History | None = part.history
    else:
        diagnosis = None if stored is None else stored.diagnosis
        history = facts.history(version)
        if history is None and diagnosis is not None and diagnosis.windows:
            history = history_of(diagnosis, version or "")
    findings = {} if diagnosis is None else {one.name: one for one in reversed(diagnosis.features)}
    columns = () if history is None else history.columns
    rows = [drift_row(one, findings.get(one.name)) for one in columns]
    rows.sort(key=_importance)
    return Drift(
        stored=stored,
        part=part,
        diagnosis=diagnosis,
        history=history,
        rows=tuple(rows),
        slices=tuple(sorted(facts.slices(version), key=slice_strength, reverse=True)),
        sliced_by=facts.deployment.checklist.monitoring.slices,
    )


def _part(facts: Facts, version: str | None, column: str, value: str) -> SliceHistory | None:
    if not column:
        return None
    part = facts.slice(version, column, value)
    if part is None:
        raise PageNotFoundError(
            "there is no such slice",
            where=f"{column} = {value}"[:80],
            next_step="Name its input in [monitoring] slices; the next judgement follows its common values.",
        )
    return part


def slice_evidence(one: SliceSummary) -> list[float]:
    """By window, of data or concept drift, whichever is stronger."""
    return [max(data, concept or 0.0) for data, concept in zip(one.data, one.concept, strict=True)]


def slice_strength(one: SliceSummary) -> tuple[bool, float]:
    """In alarm first, then by the strongest evidence of the newest windows."""
    return bool(one.kinds), max(slice_evidence(one)[-_RECENT:], default=0.0)


def history_of(diagnosis: Diagnosis, version: str) -> History:
    """As much of a history as a diagnosis alone tells, of before columns were recorded: none of them.

    A diagnosis knows the quality of each window without its interval, so it is left out.
    """
    windows = diagnosis.windows[-MOST_WINDOWS:]
    quality = diagnosis.quality
    return History(
        format=0,
        model_version=diagnosis.model_version or version,
        metric="" if quality is None else quality.metric,
        starts=tuple(one.start for one in windows),
        ends=tuple(one.end for one in windows),
        rows=tuple(one.rows for one in windows),
        labelled=tuple(one.labelled for one in windows),
        quality=(None,) * len(windows),
        reference_quality=None if quality is None else quality.reference,
        overall=tuple(one.log_e_concept for one in windows),
        columns=(),
    )


def drift_row(column: ColumnHistory, finding: FeatureFinding | None) -> DriftRow:
    """A column in one line."""
    recent = [value for value in column.concept[-_RECENT:] if value is not None]
    if not recent:  # labels come late: the newest that there are
        recent = [value for value in column.concept if value is not None][-_RECENT:]
    last = column.counts[-1] if column.counts else ()
    return DriftRow(
        name=column.name,
        role=column.role,
        numeric=column.numeric,
        finding=finding,
        evidence=tuple(
            max(data, concept or 0.0) for data, concept in zip(column.data, column.concept, strict=True)
        ),
        recent_data=max(column.data[-_RECENT:], default=0.0),
        recent_concept=max(recent, default=None),
        outside=_share(last[-column.outside :], last),
        outside_reference=_share(column.reference[-column.outside :], column.reference),
    )


def _importance(row: DriftRow) -> tuple[bool, float, float, str]:
    """In alarm first, by strength; then by recent evidence."""
    strength = 0.0 if row.finding is None else row.finding.log_e
    return row.finding is None, -strength, -max(row.recent_data, row.recent_concept or 0.0), row.name


def _share(some: tuple[int, ...], of: tuple[int, ...]) -> float:
    total = sum(of)
    return sum(some) / total if total else 0.0


def _outside(column: ColumnHistory) -> tuple[float, ...]:
    return tuple(_share(counts[-column.outside :], counts) for counts in column.counts)


def make_column(
    facts: Facts, name: str, window: int | None, sliced: tuple[str, str] = ("", "")
) -> ColumnPage:
    """Read one column.

    Args:
        facts: of the deployment.
        name: of the column.
        window: its number in the history; None: the last.
        sliced: column and value of the slice whose rows are looked at; ("", ""): all rows.

    Raises:
        PageNotFoundError: there is no such column or slice, or nothing is judged yet.
    """
    version = facts.champion()
    part = _part(facts, version, *sliced)
    history = facts.history(version) if part is None else part.history
    if history is None or not history.starts:
        raise PageNotFoundError(
            "no window is judged yet", next_step="holdfast monitor judges the closed ones"
        )
    names = [one.name for one in history.columns]
    if name not in names:
        raise PageNotFoundError("there is no such column", where=name[:80])
    column = history.columns[names.index(name)]
    last = len(history.starts) - 1
    number = last if window is None else min(max(window, 0), last)
    diagnosis = None if part is None else part.diagnosis
    if part is None:
        stored = facts.diagnosis(version)
        diagnosis = None if stored is None else stored.diagnosis
    finding = None
    if diagnosis is not None:
        finding = next((one for one in diagnosis.features if one.name == name), None)
    counts = column.counts[number]
    inner = len(column.cells) - column.outside
    cells = tuple(
        Cell(cell, before / max(sum(column.reference), 1), now / max(sum(counts), 1), place >= inner)
        for place, (cell, before, now) in enumerate(zip(column.cells, column.reference, counts, strict=True))
    )
    place = names.index(name)
    began = None if diagnosis is None else diagnosis.since
    if finding is not None and finding.onset is not None:
        began = finding.onset
    return ColumnPage(
        column=column,
        part=part,
        history=history,
        finding=finding,
        window=number,
        cells=cells,
        outside=_outside(column),
        onset=None if began is None else places_of(began, history),
        within="" if began is None or diagnosis is None else within(began, diagnosis),
        earlier=names[place - 1] if place else None,
        later=names[place + 1] if place + 1 < len(names) else None,
    )


def onset_places(diagnosis: Diagnosis, history: History) -> tuple[float, float, float] | None:
    """Where the beginning of the change lies in a picture of all windows, 0 to 1."""
    return None if diagnosis.since is None else places_of(diagnosis.since, history)


def places_of(since: Onset, history: History) -> tuple[float, float, float] | None:
    """The same of any beginning, with the one window on each side within which nobody can tell.

    None where it lies before the picture, which shows the newest windows.
    """
    if not history.starts or _is_before(since.latest, history.starts[0]):
        return None
    places = []
    for text in (since.earliest, since.estimate, since.latest):
        found = _place(text, history)
        if found is None:
            return None
        places.append(found)
    window = 1 / len(history.starts)
    return max(places[0] - window, 0.0), places[1], min(places[2] + window, 1.0)


def _is_before(text: str, other: str) -> bool:
    try:
        return datetime.fromisoformat(text) < datetime.fromisoformat(other)
    except ValueError:
        return False


def _place(text: str, history: History) -> float | None:
    """By the number of the window: windows are drawn equally wide."""
    try:
        moment = datetime.fromisoformat(text)
        for number, start in enumerate(history.starts):
            if datetime.fromisoformat(start) >= moment:
                return number / len(history.starts)
    except ValueError:
        return None
    return 1.0
