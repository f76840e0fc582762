"""The public question about two tables: `diagnose`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from holdfast.monitor.costing import ErrorCosts
from holdfast.monitor.csv_streams import csv_streams
from holdfast.monitor.diagnosis import Diagnosis
from holdfast.monitor.errors import MonitorError
from holdfast.monitor.kinds import OwnColumns
from holdfast.monitor.question import Question
from holdfast.monitor.streams import open_streams
from holdfast.monitor.two_streams import diagnose_streams
from holdfast.monitor.two_tables import diagnose_tables
from holdfast.spec import Duration, FalseAlarmBudget, WindowSize
from holdfast.stats import RATE_HZ

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
            their rows are. Without it the newest that have clearly fewer labels than the oldest do not.
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
    question = Question(
        target=target,
        prediction=prediction,
        score=score,
        time=time,
        size=None if window is None else _read("window", WindowSize.parse, window),
        run_length=_read("false_alarms", FalseAlarmBudget.parse, false_alarms).average_run_length_windows,
        tolerance_sd=tolerance_sd,
        delay=None if label_delay is None else _read("label_delay", Duration.parse, label_delay),
        min_rows=min_rows,
        costs=ErrorCosts(cost_false_positive, cost_false_negative, currency, threshold),
        explain=explain,
        options=options,
        own=columns,
        kinds=kinds,
        rate_hz=audio_rate_hz,
    )
    streams = open_streams(reference, current) if question.of_inputs_alone else None
    if streams is not None:
        return diagnose_streams(*streams, question)
    why_whole = ""
    if question.of_inputs_alone:
        with csv_streams(reference, current, time=time, outputs=question.outputs) as rewritten:
            if not isinstance(rewritten, str):
                return diagnose_streams(*rewritten, question)
            why_whole = rewritten
    return diagnose_tables(reference, current, question, why_whole)


def _read(where: str, parse: Callable[[str], _Setting], setting: str | _Setting) -> _Setting:
    if not isinstance(setting, str):
        return setting
    try:
        return parse(setting)
    except ValueError as error:
        raise MonitorError("a setting cannot be read", where=where, expected=str(error)) from error
