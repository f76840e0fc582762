"""Diagnosis of two tables, without any service."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from holdfast.artifact.errors import ReferenceDataError
from holdfast.artifact.reference import Reference
from holdfast.clock import iso_utc
from holdfast.monitor.clocked import clock_columns
from holdfast.monitor.coded_texts import with_coded_texts
from holdfast.monitor.column_roles import (
    Notes,
    by_time,
    how_written,
    judged_inputs,
    only_time,
    require,
    without_clocks,
)
from holdfast.monitor.columns import column_values, without_views
from holdfast.monitor.costing import ErrorCosts
from holdfast.monitor.counters import counters, new_beginnings, with_steps
from holdfast.monitor.diagnosis import Diagnosis
from holdfast.monitor.errors import MonitorError
from holdfast.monitor.explaining import Explainer
from holdfast.monitor.holes import of_whole_windows
from holdfast.monitor.judge import Settings, judge
from holdfast.monitor.kinds import TEXTS_LOOKED_AT, Kinds, OwnColumns
from holdfast.monitor.new_words import with_new_words
from holdfast.monitor.number_texts import as_the_reference_writes, numbers_of_text
from holdfast.monitor.pandas_frames import as_columns
from holdfast.monitor.parts import MOST_PARTED_ROWS
from holdfast.monitor.plain_columns import plain_columns
from holdfast.monitor.profiling import profiles
from holdfast.monitor.reference import ReferenceModel
from holdfast.monitor.row_sources import TableRows
from holdfast.monitor.rows import Rows
from holdfast.monitor.streams import (
    RowStream,
    SampledReference,
    WindowsOfRows,
    open_streams,
    profile_both,
)
from holdfast.monitor.targets import Targets, read_targets
from holdfast.monitor.windows import (
    Stretch,
    cut,
    describe_strays,
    first_day,
    propose_window,
    without_strays,
)
from holdfast.spec import Duration, FalseAlarmBudget, WindowSize
from holdfast.stats import RATE_HZ

if TYPE_CHECKING:
    import pyarrow as pa

_Setting = TypeVar("_Setting")


def diagnose(
    reference: Any,
    current: Any,
    *,
    target: str | None = None,
    prediction: str | None = None,
    score: str | None = None,
    time: str | None = None,
    window: str | WindowSize | None = None,
    false_alarms: str | FalseAlarmBudget = "1 per 1000 windows",
    tolerance_sd: float = 0.05,
    label_delay: str | Duration | None = None,
    min_rows: int = 50,
    cost_false_positive: float = 0.0,
    cost_false_negative: float = 0.0,
    currency: str = "EUR",
    threshold: float = 0.5,
    explain: bool | None = None,
    options: bool = False,
    columns: OwnColumns | None = None,
    kinds: Mapping[str, str] | None = None,
    audio_rate_hz: float = RATE_HZ,
) -> Diagnosis:
    """Has the data drifted, has the concept, since when, and in which columns?

    Args:
        reference: what the model was judged good on: a path to Parquet or CSV, or any frame that speaks Arrow
            (pandas, polars, pyarrow, ...), or records. Best held out from training.
        current: production data of the same columns, in order of time if no time column is given.
        target: column of the true answer; rows without it are unlabelled. Without it only P(x) is judged.
        prediction: column of the model's answer: a class, a number, or the probability of the positive class.
        score: column of the probability of the positive class; with more than two classes, and beside
            `prediction`, of the class that was answered.
        time: column of the time of each row. Without it, windows are blocks of rows.
        window: such as `"1d"` or `"1000 rows"`; by default about twenty windows, as the notes say.
        false_alarms: budget for everything together, such as `"1 per 1000 windows"`.
        tolerance_sd: shifts below so many standard deviations of the reference are immaterial.
        label_delay: with a time column, windows younger than this count as labelled only when nine in ten of
            their rows are.
        min_rows: windows with fewer rows are joined to the next.
        cost_false_positive: cost of acting on a wrong positive, so that the change has a price.
        cost_false_negative: cost of missing a positive.
        currency: of the costs.
        threshold: the score from which the model answers with the positive class.
        explain: whether to work out why the loss changed, where and what it costs, from at most 20,000 rows
            of each side (a few seconds). By default when an alarm stands and there are labels; True also asks
            a classifier to tell the rows apart, without an alarm or labels too.
        options: whether to try, on the labelled rows since the change, what could be done about it: leave it,
            recalibrate, move the threshold, retrain, wait for labels (some more seconds).
        columns: further columns to be judged: by name, a function of an Arrow table of any of the rows that
            gives one value a row. Moments are judged by hour, weekday and age, free text by its length, signs
            and unseen words; images, sounds and embeddings by features with names.
        kinds: of columns where the type does not tell: `"image"`, `"audio"`, `"embedding"` or `"text"`. Found
            out otherwise: lists of lists, bytes or paths of picture and WAV files, lists of one length.
        audio_rate_hz: samples per second of sounds that do not bring their rate along.

    Returns:
        The verdict; print it, or take `.to_json()`.

    Raises:
        MonitorError: the tables cannot be compared.

    Example:
        >>> import numpy as np
        >>> rng = np.random.default_rng(1)
        >>> before, after = {"x": rng.normal(size=4000)}, {"x": rng.normal(0.5, size=4000)}
        >>> diagnose(before, after).verdict
        'data drift'
    """
    size = _parsed("window", WindowSize.parse, window) if isinstance(window, str) else window
    budget = (
        _parsed("false_alarms", FalseAlarmBudget.parse, false_alarms)
        if isinstance(false_alarms, str)
        else false_alarms
    )
    delay = (
        _parsed("label_delay", Duration.parse, label_delay) if isinstance(label_delay, str) else label_delay
    )
    notes = Notes()
    in_one_pass = target is None and explain is not True

    def of_streams(old: RowStream, new: RowStream) -> Diagnosis:
        return _diagnose_streams(
            old,
            new,
            apart=(prediction, score, time),
            size=size,
            run_length=budget.average_run_length_windows,
            tolerance_sd=tolerance_sd,
            min_rows=min_rows,
            notes=notes,
            measuring={"own": columns, "kinds": kinds, "rate_hz": audio_rate_hz},
        )

    streams = open_streams(reference, current) if in_one_pass else None
    if streams is not None:
        return of_streams(*streams)
    if in_one_pass:
        reference, current = plain_columns(reference), plain_columns(current)
    reference, current = as_columns(reference), as_columns(current)
    old, new = _table(reference, "reference"), _table(current, "current")
    time = time or only_time(old, new, notes)
    for name, role in ((target, "target"), (prediction, "prediction"), (score, "score"), (time, "time")):
        require(name, role, old, new)
    old, new, _ = numbers_of_text(old, new, [name for name in (prediction, score) if name], fractions=False)
    old, new, _ = numbers_of_text(old, new, [target] if target else [], fractions=True)
    read = [name for name in old.column_names if name != time]
    new, of_other_types = as_the_reference_writes(old, new, read)
    for name in of_other_types:
        notes.add(f"{name!r} is of another type in the current data: read as the reference holds it.")
    written = (None, None) if time is None else how_written(old.column(time), new.column(time), time, notes)
    old, old_time = by_time(old, time, written[0], "reference")
    new, new_time = by_time(new, time, written[1], "current")
    if in_one_pass and old.num_rows > MOST_PARTED_ROWS:
        if columns is None:  # whose functions get text as it is
            old, new = with_coded_texts(old, new)
        return of_streams(RowStream(TableRows(old, "reference")), RowStream(TableRows(new, "current")))
    rising = counters(old, new, old_time, {target, prediction, score, time})
    for name in rising:
        notes.add(f"{name!r} only rises: what it rises by is judged.")
        notes.add_new_beginnings(name, new_beginnings(new, name))
    old, new = with_steps(old, rising), with_steps(new, rising)
    measuring = Kinds.fit(
        old,
        apart={name for name in (target, prediction, score) if name is not None},
        time=time,
        own=columns,
        kinds=kinds,
        rate_hz=audio_rate_hz,
        time_us=old_time,
    )
    old = measuring.apply(old, old_time, reference=True)
    new = measuring.apply(new, new_time, reference=False)
    notes.add_numbers(measuring)
    inputs = judged_inputs(old, new, {target, time} - {None}, notes)
    targets = read_targets(old, new, target=target, prediction=prediction, score=score, inputs=inputs)
    for line in targets.notes:
        notes.add(line)
    if size is None:
        size = propose_window(new.num_rows, new_time)
        notes.add(f"Windows of {size}, chosen to give about twenty.")
    elif size.duration is not None and new_time is None:
        raise _no_time(size)
    old_rows, new_rows = (
        _rows(old, inputs, old_time, targets, old=True),
        _rows(new, inputs, new_time, targets, old=False),
    )
    model = ReferenceModel.fit(
        targets.task,
        old_rows,
        _cut(old_rows, old_time, size, min_rows),
        outputs={name for name in (prediction, score) if name is not None},
        second_view=prediction is not None or score is not None,
    )
    if len(model.windows) < 5:
        notes.add("The reference spans fewer than 5 windows: natural variation between windows is not known.")
    notes.add_clocks(model.clocked)
    clock_fault = ""
    if size.duration is not None and new_time is not None:
        length_us = size.duration.microseconds
        numbers, counts = np.unique(new_time // length_us, return_counts=True)
        kept = without_strays(numbers, counts, min_rows=min_rows)
        clock_fault = describe_strays(numbers, counts, kept, length_us)
        rows = slice(int(counts[: kept[0]].sum()), int(counts[: kept[1]].sum()))
        new_rows, new_time = new_rows.take(rows), new_time[rows]
        begin_us = first_day(new_time, length_us)
        whole, unfinished = of_whole_windows(new_time, size, begin_us, old_time)
        new_rows, new_time = new_rows.take(whole), new_time[whole]
        notes.add(unfinished)
    stretches = _cut(new_rows, new_time, size, min_rows)
    windows = profiles(model.measures, new_rows, stretches)
    newest = int(new_time[-1]) if new_time is not None else 0
    oldest_open = newest - delay.microseconds if delay is not None and new_time is not None else None
    settings = Settings(
        run_length=budget.average_run_length_windows,
        tolerance_sd=tolerance_sd,
        show_time=str if new_time is None else iso_utc,
        mature=lambda profile: (
            oldest_open is None or profile.end <= oldest_open or profile.labelled >= 0.9 * profile.rows
        ),
        notes=tuple(notes.lines),
        clock_fault=clock_fault,
    )
    diagnosis = with_new_words(judge(model, windows, settings), old_rows.columns, new_rows.columns)
    column = None if target is None else score or prediction
    explainer = Explainer.fit(
        model,
        old_rows,
        column,
        ErrorCosts(cost_false_positive, cost_false_negative, currency, threshold),
    )
    parts = [part for _, _, part in stretches]
    diagnosis = explainer.with_estimates(diagnosis, windows, lambda number: new_rows.take(parts[number]))
    if explain is False:
        return diagnosis
    return explainer.with_reasons(
        diagnosis,
        lambda first, end: new_rows.take(slice(parts[first].start, parts[end - 1].stop)),
        windows,
        timed=new_time is not None,
        always=explain is True,
        options=options,
    )


def _parsed(where: str, parse: Callable[[str], _Setting], text: str) -> _Setting:
    try:
        return parse(text)
    except ValueError as error:
        raise MonitorError("a setting cannot be read", where=where, expected=str(error)) from error


def _diagnose_streams(
    reference: RowStream,
    current: RowStream,
    *,
    apart: tuple[str | None, str | None, str | None],
    size: WindowSize | None,
    run_length: float,
    tolerance_sd: float,
    min_rows: int,
    notes: Notes,
    measuring: dict[str, Any],
) -> Diagnosis:
    """Many rows without labels: batch by batch, in memory that does not grow with them."""
    shape = current.empty()
    prediction, score, time = apart
    time = time or only_time(reference.empty(), shape, notes)
    for name, role in ((prediction, "prediction"), (score, "score"), (time, "time")):
        require(name, role, reference.empty(), shape)
    outputs = {name for name in (prediction, score) if name is not None}
    sample = reference.sample()
    every = max(2, -(-max(reference.rows, current.rows) // TEXTS_LOOKED_AT))
    if time is not None:
        columns = reference.source.column(time), current.source.column(time)
        old_way, new_way = how_written(*columns, time, notes)
        reference, current = replace(reference, written=old_way), replace(current, written=new_way)
    kinds = Kinds.fit(
        sample, apart=outputs, time=time, every=every, numbers=reference.sampled_rows(), **measuring
    )
    notes.add_numbers(kinds)
    reference, current = reference.measured(kinds, time), current.measured(kinds, time)
    if not kinds.plain:
        sample = reference.sample()
    inputs = judged_inputs(sample, current.empty(), {time} - {None}, notes)
    old_times = reference.times(time)
    if old_times is not None:
        held = {name: column_values(sample, name) for name in inputs if name not in outputs}
        inputs = without_clocks(inputs, clock_columns(held, old_times[reference.sampled_rows()]), notes)
    fitted = SampledReference.fit(reference, sample, inputs, outputs)
    del sample  # of large values and many columns it is most of the memory
    times = current.times(time)
    if size is None:
        size = propose_window(current.rows, None if times is None else np.sort(times))
        notes.add(f"Windows of {size}, chosen to give about twenty.")
    elif size.duration is not None and times is None:
        raise _no_time(size)
    if size.duration is None and not (_rising(old_times) and _rising(times)):
        # Windows of so many rows are cut in the order of the files, so they have no times of their own.
        old_times = times = None
    old = WindowsOfRows.cut(reference, old_times, size, min_rows, current=False)
    new = WindowsOfRows.cut(current, times, size, min_rows, current=True, own_time_us=old_times)
    own, found = profile_both(fitted, (reference, old), (current, new))
    model = fitted.counted(own, timed=old.timed)
    if len(model.windows) < 5:
        notes.add("The reference spans fewer than 5 windows: natural variation between windows is not known.")
    notes.add(new.unfinished)
    settings = Settings(
        run_length=run_length,
        tolerance_sd=tolerance_sd,
        show_time=iso_utc if new.timed else str,
        mature=lambda profile: profile.labelled > 0,
        notes=tuple(notes.lines),
        clock_fault=new.strays,
    )
    return judge(model, found, settings)


def _rising(times: NDArray[np.int64] | None) -> bool:
    return times is not None and bool((times[1:] >= times[:-1]).all())


def _no_time(size: WindowSize) -> MonitorError:
    return MonitorError(
        "windows by time need a time column",
        where="window",
        received=str(size),
        next_step="Name the time column, or use a number of rows",
    )


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


def _cut(rows: Rows, time_us: NDArray[np.int64] | None, size: WindowSize, min_rows: int) -> list[Stretch]:
    length = size.duration
    begin = 0 if time_us is None or length is None else first_day(time_us, length.microseconds)
    return cut(len(rows), time_us, size, min_rows=min_rows, begin_us=begin)


def _rows(
    table: pa.Table, inputs: Sequence[str], time_us: NDArray[np.int64] | None, targets: Targets, *, old: bool
) -> Rows:
    columns = {name: column_values(table, name) for name in inputs}
    truth, score = (targets.old_truth, targets.old_score) if old else (targets.new_truth, targets.new_score)
    classes = (targets.old_classes if old else targets.new_classes) or (None, None)
    return Rows(columns, time_us, score, truth, *classes)
