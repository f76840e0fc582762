"""Two tables that are held in memory compared: read, cut into windows, judged, explained."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from holdfast.artifact.errors import ReferenceDataError
from holdfast.artifact.reference import Reference
from holdfast.clock import iso_utc
from holdfast.monitor.coded_texts import with_coded_texts
from holdfast.monitor.column_roles import (
    Notes,
    by_time,
    how_written,
    judged_inputs,
    only_time,
    require,
)
from holdfast.monitor.columns import column_values, without_views
from holdfast.monitor.coming_labels import describe as describe_coming
from holdfast.monitor.coming_labels import describe_short_delay, still_coming
from holdfast.monitor.counters import counters, new_beginnings, with_steps
from holdfast.monitor.diagnosis import Diagnosis
from holdfast.monitor.errors import MonitorError
from holdfast.monitor.explaining import Explainer
from holdfast.monitor.holes import of_whole_windows
from holdfast.monitor.judge import Settings, judge, mature_labels
from holdfast.monitor.kinds import Kinds
from holdfast.monitor.label_faults import RowsOfWindows
from holdfast.monitor.matrix_rows import MatrixRows
from holdfast.monitor.new_words import with_new_words
from holdfast.monitor.number_texts import as_the_reference_writes, numbers_of_text
from holdfast.monitor.pandas_frames import as_columns
from holdfast.monitor.parts import MOST_PARTED_ROWS
from holdfast.monitor.plain_columns import plain_columns
from holdfast.monitor.profiling import WindowProfile, profiles
from holdfast.monitor.question import Question
from holdfast.monitor.reference import ReferenceModel
from holdfast.monitor.row_sources import TableRows
from holdfast.monitor.row_stream import RowStream
from holdfast.monitor.rows import Rows
from holdfast.monitor.targets import Targets, read_targets
from holdfast.monitor.two_streams import diagnose_streams
from holdfast.monitor.windows import RightlyDated, Stretch, cut, first_day
from holdfast.spec import WindowSize

if TYPE_CHECKING:
    import pyarrow as pa

_Times = NDArray[np.int64] | None


@dataclass(frozen=True, slots=True)
class _Tables:
    """Both, their rows in order of time."""

    old: pa.Table = field(repr=False)
    old_time: _Times = field(repr=False)
    """Microseconds of each row; None without a column of times."""
    new: pa.Table = field(repr=False)
    new_time: _Times = field(repr=False)

    @classmethod
    def read(cls, reference: Any, current: Any, question: Question, notes: Notes) -> tuple[_Tables, Question]:
        """Both as Arrow holds them, of like types; and the question with its column of times."""
        old, new = _table(as_columns(reference), "reference"), _table(as_columns(current), "current")
        question = replace(question, time=question.time or only_time(old, new, notes))
        for role, name in question.roles.items():
            require(name, role, old, new)
        old, new, _ = numbers_of_text(
            old, new, [name for name in (question.prediction, question.score) if name], fractions=False
        )
        old, new, _ = numbers_of_text(old, new, [question.target] if question.target else [], fractions=True)
        time, given = question.time, new
        read = [name for name in old.column_names if name != time]
        new, of_other_types = as_the_reference_writes(old, new, read)
        for name in of_other_types:
            notes.add(f"{name!r} is of another type in the current data: read as the reference holds it.")
            lost = new.column(name).null_count - given.column(name).null_count
            if name == question.target and lost > 0:
                notes.add(
                    f"{lost} labels in {name!r} cannot be read as the reference's are, and count as none."
                )
        if time is None:
            return cls(old, None, new, None), question
        written = how_written(old.column(time), new.column(time), time, notes)
        ordered = by_time(old, time, written[0], "reference"), by_time(new, time, written[1], "current")
        return cls(*ordered[0], *ordered[1]), question

    def measured(self, question: Question, notes: Notes) -> _Tables:
        """With what counters rise by, and with numbers in the place of columns that no bins fit."""
        old, new = self.old, self.new
        rising = counters(old, new, self.old_time, set(question.roles.values()))
        for name in rising:
            notes.add(f"{name!r} only rises: what it rises by is judged.")
            notes.add_new_beginnings(name, new_beginnings(new, name))
        old, new = with_steps(old, rising), with_steps(new, rising)
        apart = question.outputs if question.target is None else {*question.outputs, question.target}
        kinds = Kinds.fit(old, apart=apart, time=question.time, time_us=self.old_time, **question.measuring)
        notes.add_numbers(kinds)
        return replace(
            self,
            old=kinds.apply(old, self.old_time, reference=True),
            new=kinds.apply(new, self.new_time, reference=False),
        )


def diagnose_tables(reference: Any, current: Any, question: Question, note: str = "") -> Diagnosis:
    """The verdict on anything that Arrow takes as a table.

    Args:
        reference: as `diagnose` says.
        current: production's.
        question: about them.
        note: what the reader of the verdict is told first.

    Raises:
        MonitorError: the tables cannot be compared.
    """
    notes = Notes()
    notes.add(note)
    if question.of_inputs_alone:
        rows = MatrixRows.of(reference, "reference"), MatrixRows.of(current, "current")
        if (
            rows[0]
            and rows[1]
            and question.time is None
            and len(reference) > MOST_PARTED_ROWS
            and len(current)
        ):
            return diagnose_streams(RowStream(rows[0]), RowStream(rows[1]), question, notes)
        plain = partial(plain_columns, coded=question.own is None)
        with ThreadPoolExecutor(2) as threads:
            reference, current = threads.map(plain, (reference, current))
    tables, question = _Tables.read(reference, current, question, notes)
    if question.of_inputs_alone and tables.old.num_rows > MOST_PARTED_ROWS:
        old, new = tables.old, tables.new
        if question.own is None:  # whose functions get text as it is
            old, new = with_coded_texts(old, new)
        streams = RowStream(TableRows(old, "reference")), RowStream(TableRows(new, "current"))
        return diagnose_streams(*streams, question, notes)
    tables = tables.measured(question, notes)
    inputs = judged_inputs(tables.old, tables.new, {question.target, question.time} - {None}, notes)
    targets = read_targets(
        tables.old,
        tables.new,
        target=question.target,
        prediction=question.prediction,
        score=question.score,
        inputs=inputs,
    )
    for line in targets.notes:
        notes.add(line)
    size = question.window_size(tables.new.num_rows, tables.new_time, notes)
    old_rows = _rows(tables.old, inputs, tables.old_time, targets, old=True)
    model = ReferenceModel.fit(
        targets.task,
        old_rows,
        _cut(old_rows, size, question.min_rows),
        outputs=question.outputs,
        second_view=bool(question.outputs),
    )
    notes.add_clocks(model.clocked)
    new_rows = _rows(tables.new, inputs, tables.new_time, targets, old=False)
    new_rows, clock_fault = _of_whole_windows(new_rows, size, question.min_rows, tables.old_time, notes)
    stretches = _cut(new_rows, size, question.min_rows)
    windows = profiles(model.measures, new_rows, stretches)
    parts = [part for _, _, part in stretches]

    coming = still_coming(windows) if question.delay is None else 0
    oldest_open = _oldest_open(question, new_rows, windows, coming)
    notes.add(describe_coming(windows, coming))
    if question.delay is not None and oldest_open is not None:
        notes.add(describe_short_delay([window for window in windows if window.end <= oldest_open]))
    settings = Settings(
        run_length=question.run_length,
        tolerance_sd=question.tolerance_sd,
        show_time=str if new_rows.time_us is None else iso_utc,
        mature=mature_labels(oldest_open),
        notes=tuple(notes.lines),
        clock_fault=clock_fault,
        rows=RowsOfWindows(old_rows, lambda numbers: [new_rows.take(parts[one]) for one in numbers]),
    )
    diagnosis = with_new_words(judge(model, windows, settings), old_rows.columns, new_rows.columns)
    column = None if question.target is None else question.score or question.prediction
    explainer = Explainer.fit(model, old_rows, column, question.costs)
    diagnosis = explainer.with_estimates(diagnosis, windows, lambda number: new_rows.take(parts[number]))
    if question.explain is False:
        return diagnosis
    return explainer.with_reasons(
        diagnosis,
        lambda first, end: new_rows.take(slice(parts[first].start, parts[end - 1].stop)),
        windows,
        timed=new_rows.time_us is not None,
        always=question.explain is True,
        options=question.options,
    )


def _of_whole_windows(
    rows: Rows, size: WindowSize, min_rows: int, own_time_us: _Times, notes: Notes
) -> tuple[Rows, str]:
    """Without rows that a wrong clock dated, which are said, and without windows that are not whole."""
    if size.duration is None or rows.time_us is None:
        return rows, ""
    length_us = size.duration.microseconds
    dated = RightlyDated.of(rows.time_us, length_us, min_rows)
    notes.add(dated.gap)
    rows = rows.take(dated.rows)
    if rows.time_us is None or not len(rows):
        return rows, dated.strays
    begin_us = first_day(rows.time_us, length_us)
    whole, unfinished = of_whole_windows(rows.time_us, size, begin_us, own_time_us)
    notes.add(unfinished)
    return rows.take(whole), dated.strays


def _oldest_open(question: Question, rows: Rows, windows: Sequence[WindowProfile], coming: int) -> int | None:
    """Since when labels may still come; None: all are there that ever will.

    Args:
        question: says how long they take, or that nobody knows.
        rows: of the current data.
        windows: of it.
        coming: windows at its end whose labels are still coming, by what nobody but the windows says.
    """
    if question.delay is None:
        return windows[-1 - coming].end if coming else None
    return None if rows.time_us is None else int(rows.time_us[-1]) - question.delay.microseconds


def _table(source: Any, role: str) -> pa.Table:
    try:
        table = Reference.read(source).table
    except ReferenceDataError as error:
        what = error.what.replace("reference", f"{role} data" if role == "current" else role)
        raise MonitorError.of(error, what=what, where=error.where or role) from error
    table = without_views(table)
    names = table.column_names
    if len(set(names)) < len(names):
        raise MonitorError(
            "several columns have the same name",
            where=role,
            expected="names that are there once",
            received=", ".join(sorted({name for name in names if names.count(name) > 1})),
            next_step="Rename them, or leave all but one out",
        )
    return table


def _cut(rows: Rows, size: WindowSize, min_rows: int) -> list[Stretch]:
    times, length = rows.time_us, size.duration
    begin = 0 if times is None or length is None else first_day(times, length.microseconds)
    return cut(len(rows), times, size, min_rows=min_rows, begin_us=begin)


def _rows(table: pa.Table, inputs: Sequence[str], time_us: _Times, targets: Targets, *, old: bool) -> Rows:
    columns = {name: column_values(table, name) for name in inputs}
    truth, score = (targets.old_truth, targets.old_score) if old else (targets.new_truth, targets.new_score)
    classes = (targets.old_classes if old else targets.new_classes) or (None, None)
    return Rows(columns, time_us, score, truth, *classes)
