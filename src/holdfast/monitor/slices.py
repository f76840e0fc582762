"""Drift inside parts of the rows: one for each common value of the inputs that `[monitoring] slices` names.

A slice is judged by itself, against its own part of the reference and on the windows of the whole, so
that a change which the others hide is seen. It raises no alarm: the whole does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import takewhile
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from holdfast.monitor.history import MOST_WINDOWS, Recorder
from holdfast.monitor.judge import Settings, judge
from holdfast.monitor.profile_store import ProfileStore
from holdfast.monitor.profiling import ProfileAdder, WindowProfile
from holdfast.monitor.reference import ReferenceModel, merged
from holdfast.monitor.rows import ColumnValues, Rows, Task, picked
from holdfast.monitor.slice_history import FORMAT, SliceHistory, SliceSummary, slice_key
from holdfast.monitor.windows import Stretch
from holdfast.monitor.words import shown
from holdfast.stats import Coded

_MOST_NAMED: Final = 5
RowsBetween = Callable[[int, int], Iterator[Rows]]
"""Batches of the version's rows from one time up to another, in microseconds."""


@dataclass(frozen=True, slots=True)
class Slice:
    """The rows with one value of one input, and what is known of them on the reference."""

    column: str
    value: str
    share: float
    reference: ReferenceModel = field(repr=False)

    @property
    def key(self) -> str:
        """For names of files: whatever the value holds."""
        return slice_key(self.column, self.value)


def fit_slices(
    task: Task,
    rows: Rows,
    columns: Sequence[str],
    cut_rows: Callable[[Rows], list[Stretch]],
    *,
    outputs: frozenset[str],
    most: int,
    least_rows: int,
) -> tuple[list[Slice], list[str]]:
    """The slices of the reference, and what must be said of columns that give none.

    Args:
        task: of the model.
        rows: of the reference, in order of time.
        columns: that the checklist names.
        cut_rows: gives the windows of some rows.
        outputs: columns that the model answered.
        most: values of a column, the most frequent ones.
        least_rows: of the reference, for a value to be followed.
    """
    found: list[Slice] = []
    notes: list[str] = []
    for column in columns:
        if column not in rows.columns:
            notes.append(f"[monitoring] slices: the model has no input {column} that can be sliced by value.")
            continue
        codes, words = _coded(rows.columns[column])
        counts = np.bincount(codes[codes >= 0], minlength=len(words))
        chosen = [int(code) for code in np.argsort(-counts, kind="stable")[:most]]
        kept = [code for code in chosen if counts[code] >= least_rows]
        if not kept:
            notes.append(
                f"[monitoring] slices: no value of {column} has {least_rows} rows of the reference, so none "
                "is followed."
            )
        for code in kept:
            some = picked(rows, np.flatnonzero(codes == code))
            model = ReferenceModel.fit(task, some, cut_rows(some), outputs)
            found.append(Slice(column, words[code], len(some) / len(rows), model))
    return found, notes


def _coded(values: ColumnValues) -> tuple[NDArray[np.int64], list[str]]:
    """Each row's place among the distinct values, -1 for missing, and the values as text."""
    if isinstance(values, Coded):
        return values.codes.astype(np.int64), list(values.words)
    if isinstance(values, np.ndarray):
        known = np.isfinite(values)
        distinct, places = np.unique(values[known], return_inverse=True)
        codes = np.full(len(values), -1, dtype=np.int64)
        codes[known] = places
        return codes, [f"{value:.12g}" for value in distinct]
    words = sorted({word for word in values if word is not None})
    place = {word: code for code, word in enumerate(words)}
    return np.array([-1 if word is None else place[word] for word in values], dtype=np.int64), words


def judge_slices(
    slices: Sequence[Slice],
    whole: Sequence[WindowProfile],
    settings: Settings,
    rows_between: RowsBetween,
    *,
    folder: Path | None,
    frozen: Callable[[WindowProfile], bool],
    min_rows: int,
) -> list[tuple[SliceSummary, SliceHistory]]:
    """Each slice on the windows of the whole, small ones joined; together within the budget of one whole.

    Args:
        slices: fitted on the reference.
        whole: the windows of all rows, in order.
        settings: as for the whole; the budget is shared between the slices.
        rows_between: reads the log.
        folder: where profiles of windows that change no more are kept; None: nowhere.
        frozen: whether a window changes no more.
        min_rows: of a slice's window; smaller ones are joined to the next.
    """
    stores = {one.key: ProfileStore(folder / one.key) for one in slices} if folder is not None else {}
    kept = {key: store.read() for key, store in stores.items()}
    bounds = [(window.start, window.end) for window in whole]
    known = {one.key: _usable(one.reference, kept.get(one.key, []), bounds) for one in slices}
    # All are read on from where the shortest ends: one pass over the log.
    first = min((len(found) for found in known.values()), default=0)
    fresh = _profiles(slices, bounds[first:], rows_between)
    shared = replace(
        settings,
        run_length=settings.run_length * max(len(slices), 1),
        notes=(),
        clock_fault="",
        rows=None,
    )
    result = []
    for one in slices:
        profiles = [*known[one.key][:first], *fresh[one.key]]
        for number in range(len(known[one.key]), len(profiles)):
            if one.key not in stores or not frozen(whole[number]):
                break
            stores[one.key].put(profiles[number])
        share = profiles[-1].rows / whole[-1].rows if whole and whole[-1].rows else 0.0
        result.append(_judged(one, profiles, shared, min_rows, share))
    return result


def _usable(
    reference: ReferenceModel, kept: Sequence[WindowProfile], bounds: Sequence[tuple[int, int]]
) -> list[WindowProfile]:
    """The stored profiles that are of the first windows, one after the other."""
    pairs = takewhile(
        lambda pair: (pair[0].start, pair[0].end) == pair[1] and reference.measured_alike(pair[0]),
        zip(kept, bounds, strict=False),
    )
    return [profile for profile, _ in pairs]


def _profiles(
    slices: Sequence[Slice], bounds: Sequence[tuple[int, int]], rows_between: RowsBetween
) -> dict[str, list[WindowProfile]]:
    adders = {one.key: ProfileAdder(one.reference.measures, bounds) for one in slices}
    if not bounds:
        return {key: [] for key in adders}
    starts = np.array([start for start, _ in bounds], dtype=np.int64)
    ends = np.array([end for _, end in bounds], dtype=np.int64)
    for rows in rows_between(bounds[0][0], bounds[-1][1]):
        if rows.time_us is None or not len(rows.time_us):
            continue
        window = np.searchsorted(starts, rows.time_us, side="right") - 1
        inside = (window >= 0) & (rows.time_us < ends[window])
        coded = {column: _coded(rows.columns[column]) for column in {one.column for one in slices}}
        for one in slices:
            codes, words = coded[one.column]
            if one.value not in words:
                continue
            at = np.flatnonzero(inside & (codes == words.index(one.value)))
            adders[one.key].add(picked(rows, at), window[at])
    return {key: list(adder.finish()) for key, adder in adders.items()}


def _joined(profiles: Sequence[WindowProfile], min_rows: int) -> list[WindowProfile]:
    """Small windows joined to the next, the last to the one before."""
    groups: list[list[WindowProfile]] = []
    for profile in profiles:
        if groups and sum(one.rows for one in groups[-1]) < min_rows:
            groups[-1].append(profile)
        else:
            groups.append([profile])
    if len(groups) > 1 and sum(one.rows for one in groups[-1]) < min_rows:
        groups[-2:] = [[*groups[-2], *groups[-1]]]
    return [group[0] if len(group) == 1 else merged(group) for group in groups]


def _judged(
    one: Slice, profiles: Sequence[WindowProfile], settings: Settings, min_rows: int, share: float
) -> tuple[SliceSummary, SliceHistory]:
    recorder = Recorder()
    windows = _joined(profiles, min_rows)
    diagnosis = judge(one.reference, windows, replace(settings, tested=recorder.tested))
    history = recorder.history(
        one.reference,
        windows,
        model_version=settings.model_version or "",
        show_time=settings.show_time,
        outputs=one.reference.outputs,
    )
    quality = diagnosis.quality
    strongest = diagnosis.features[0] if diagnosis.features else None
    summary = SliceSummary(
        column=one.column,
        value=one.value,
        share=one.share,
        recent_share=share,
        verdict=diagnosis.verdict,
        kinds=diagnosis.kinds,
        description="" if strongest is None else strongest.description,
        since=None if diagnosis.since is None else diagnosis.since.estimate,
        rows=diagnosis.coverage.rows,
        data=tuple(window.log_e_data for window in diagnosis.windows[-MOST_WINDOWS:]),
        concept=tuple(window.log_e_concept for window in diagnosis.windows[-MOST_WINDOWS:]),
        metric=history.metric,
        reference_quality=history.reference_quality,
        quality=None if quality is None else quality.after or quality.before,
    )
    return summary, SliceHistory(
        format=FORMAT, column=one.column, value=one.value, diagnosis=diagnosis, history=history
    )


def slices_in_drift(found: Sequence[SliceSummary]) -> str:
    """Those in which something has changed, in a sentence; empty without any."""
    moved = [
        f"{one.name} ({one.verdict}{'' if one.since is None else f', since {shown(one.since)}'})"
        for one in found
        if one.kinds
    ]
    if not moved:
        return ""
    more = f" and {len(moved) - _MOST_NAMED} more" if len(moved) > _MOST_NAMED else ""
    return f"Slices judged by themselves that have changed: {', '.join(moved[:_MOST_NAMED])}{more}."
