"""Two tables of many rows compared batch by batch, in memory that does not grow with them."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from holdfast.clock import iso_utc
from holdfast.monitor.clocked import clock_columns
from holdfast.monitor.column_roles import (
    Notes,
    how_written,
    judged_inputs,
    only_time,
    require,
    without_clocks,
)
from holdfast.monitor.columns import column_values
from holdfast.monitor.diagnosis import Diagnosis
from holdfast.monitor.free_texts import TEXTS_LOOKED_AT
from holdfast.monitor.judge import Settings, judge
from holdfast.monitor.kinds import Kinds
from holdfast.monitor.question import Question
from holdfast.monitor.row_stream import RowStream
from holdfast.monitor.streams import SampledReference, WindowsOfRows, profile_both


def diagnose_streams(
    reference: RowStream, current: RowStream, question: Question, notes: Notes | None = None
) -> Diagnosis:
    """The verdict on inputs and answers alone.

    Args:
        reference: its rows.
        current: production's.
        question: of the inputs alone.
        notes: what was found out about the tables before.

    Raises:
        MonitorError: the tables cannot be compared.
    """
    notes = notes or Notes()
    shape, outputs = current.empty(), question.outputs
    time = question.time or only_time(reference.empty(), shape, notes)
    for role, name in (question.roles | {"time": time}).items():
        require(name, role, reference.empty(), shape)
    look = reference.look()
    every = max(2, -(-max(reference.rows, current.rows) // TEXTS_LOOKED_AT))
    if time is not None:
        columns = reference.source.column(time), current.source.column(time)
        old_way, new_way = how_written(*columns, time, notes)
        reference, current = replace(reference, written=old_way), replace(current, written=new_way)
    kinds = Kinds.fit(
        look,
        apart=outputs,
        time=time,
        every=every,
        texts_of=partial(reference.texts, every=every),
        **question.measuring,
    )
    notes.add_numbers(kinds)
    names = [] if reference.looks_at_all else reference.long_names(look, kinds)
    for name in names:
        notes.add_names_rows(name)
    reference, current = reference.measured(kinds, time), current.measured(kinds, time)
    if kinds.plain and reference.looks_at_all:
        sample = look
    else:
        sample = reference.sample([name for name in look.column_names if name not in names])
    del look
    inputs = judged_inputs(sample, current.empty(), {time, *names} - {None}, notes)
    old_times = reference.times(time)
    if old_times is not None:
        held = {name: column_values(sample, name) for name in inputs if name not in outputs}
        inputs = without_clocks(inputs, clock_columns(held, old_times[reference.sampled_rows()]), notes)
    fitted = SampledReference.fit(reference, sample, inputs, outputs)
    del sample  # of large values and many columns it is most of the memory
    times = current.times(time)
    size = question.window_size(current.rows, None if times is None else np.sort(times), notes)
    if size.duration is None and not (_rising(old_times) and _rising(times)):
        # Windows of so many rows are cut in the order of the files, so they have no times of their own.
        old_times = times = None
    old = WindowsOfRows.cut(reference, old_times, size, question.min_rows, current=False)
    new = WindowsOfRows.cut(current, times, size, question.min_rows, current=True, own_time_us=old_times)
    own, windows = profile_both(fitted, (reference, old), (current, new))
    model = fitted.counted(own, timed=old.timed)
    notes.add(new.gap)
    notes.add(new.unfinished)
    settings = Settings(
        run_length=question.run_length,
        tolerance_sd=question.tolerance_sd,
        show_time=iso_utc if new.timed else str,
        mature=lambda profile: profile.labelled > 0,
        notes=tuple(notes.lines),
        clock_fault=new.strays,
    )
    return judge(model, windows, settings)


def _rising(times: NDArray[np.int64] | None) -> bool:
    return times is not None and bool((times[1:] >= times[:-1]).all())
