"""What is known of the labels: how many have come, how late they come, and which never came."""

from __future__ import annotations

from typing import Final

import msgspec
import numpy as np

from holdfast.clock import Clock
from holdfast.prediction_log.ledger import read_ledger
from holdfast.prediction_log.places import Log
from holdfast.prediction_log.reading import PredictionLog
from holdfast.spec import Deployment
from holdfast.stats import ArrivalCurve, arrival_curve

_SECOND_US: Final = 1_000_000
_QUANTILES: Final = (0.5, 0.9, 0.95, 0.99)
_POINTS: Final = (
    60, 300, 900, 3600, 4 * 3600, 12 * 3600, 86_400, 2 * 86_400, 4 * 86_400, 7 * 86_400, 14 * 86_400,
    30 * 86_400, 60 * 86_400, 90 * 86_400, 180 * 86_400, 365 * 86_400,
)  # fmt: skip
"""Delays, in seconds, at which the curve is read: what people plan by."""

_PER_PREDICTION: Final = """
    WITH came AS (
        SELECT prediction_id,
               min(observed_at) FILTER (y IS NOT NULL) AS first_at,
               arg_max(y IS NOT NULL, (observed_at, revision, sequence)) AS has_label
        FROM labels GROUP BY prediction_id
    ), each AS (
        SELECT coalesce(has_label, false) AS has_label,
               epoch_us(first_at) IS NOT NULL AS arrived,
               greatest(0, coalesce(epoch_us(first_at), {now_us}) - epoch_us(time)) AS delay_us,
               {now_us} - epoch_us(time) >= {maturity_us} AS mature
        FROM predictions p LEFT JOIN came ON came.prediction_id = p.prediction_id
        WHERE epoch_us(time) <= {now_us} AND arm IS DISTINCT FROM 'shadow'
    )
    SELECT delay_us // 1000000 AS delay_s, arrived, mature, delay_us <= {maturity_us} AS in_time,
           count(*) AS n, count(*) FILTER (has_label) AS labelled
    FROM each GROUP BY ALL
"""
_REVISIONS: Final = """
    SELECT coalesce(count(*) FILTER (answers > 1), 0) AS corrected,
           coalesce(count(*) FILTER (taken_back), 0) AS taken_back
    FROM (
        SELECT count(DISTINCT y) AS answers,
               NOT arg_max(y IS NOT NULL, (observed_at, revision, sequence)) AS taken_back
        FROM labels GROUP BY prediction_id
    )
"""
_NEWEST: Final = "SELECT epoch_us(greatest(max(time), max(observed_at))) AS newest FROM joined"


class ArrivalPoint(msgspec.Struct, frozen=True):
    """Share of labels that have come by a delay, with its 95 % interval; None where it cannot be told."""

    delay_s: int
    share: float
    low: float | None
    high: float | None


class LabelReport(msgspec.Struct, frozen=True, kw_only=True):
    """Labels of the predictions in the log. A delay runs from a prediction's `time` to `observed_at`."""

    predictions: int
    labelled: int
    """Have a label now."""
    label_coverage: float
    """Of all predictions; 0 without any."""
    maturity_s: float
    """Age at which a prediction counts with or without its label."""
    mature: int
    """Predictions that old."""
    labelled_in_time: int
    """Of the mature ones, those whose first label came by then."""
    late: int
    """Of the mature ones, those whose first label came after it."""
    censored: int
    """Of the mature ones, those whose label has not come at all."""
    mature_coverage: float
    """`labelled_in_time` of `mature`; what a figure of quality rests on. 0 without any."""
    waiting: int
    """Without a label and not mature yet."""
    revisions: int
    """Labels as they came."""
    corrected: int
    """Ids whose labels differ from each other."""
    taken_back: int
    """Ids whose last label is empty."""
    unknown: int
    """Labelled ids that no prediction has."""
    refused: int
    """Labels that came for an erased prediction."""
    quantiles_s: dict[str, float | None]
    """Delay by which this share of labels has come; None where the data do not reach so far."""
    curve: tuple[ArrivalPoint, ...]
    as_of_us: int


def label_report(log: Log, clock: Clock, *, maturity_s: float | None = None) -> LabelReport:
    """Coverage and delay of the labels, by the Kaplan-Meier estimate (`stats.arrival_curve`).

    Where the checklist names a time field the newest time in the log is now: the data may be a replay. Memory
    grows with the ids labelled (about 150 bytes each) and with the delays that differ by a second.

    Args:
        log: the deployment, or the log's folder.
        clock: says how old a prediction is.
        maturity_s: None: `[monitoring] label_delay`, or 14 days.
    """
    stored = PredictionLog(log)
    now_us = clock.now_us()
    if isinstance(log, Deployment):
        if maturity_s is None:
            maturity_s = log.checklist.monitoring.label_delay.seconds
        if log.checklist.predictions.time_field:
            now_us = stored.query(_NEWEST).read_all()["newest"][0].as_py() or now_us
    maturity_s = 14 * 86_400.0 if maturity_s is None else maturity_s
    numbers = {"now_us": int(now_us), "maturity_us": round(maturity_s * _SECOND_US)}
    table = stored.query(_PER_PREDICTION.format(**numbers)).read_all()
    delay_s, arrived, mature, in_time, n, labelled = (
        column.to_numpy(zero_copy_only=False) for column in table.columns
    )
    curve = arrival_curve(delay_s, np.where(arrived, n, 0), np.where(arrived, 0, n))
    counts = stored.count()
    changes = stored.query(_REVISIONS).read_all().to_pylist()[0]
    n_mature = int(n[mature].sum())
    n_in_time = int(n[mature & arrived & in_time].sum())
    return LabelReport(
        predictions=int(n.sum()),
        labelled=int(labelled.sum()),
        label_coverage=_share(int(labelled.sum()), int(n.sum())),
        maturity_s=maturity_s,
        mature=n_mature,
        labelled_in_time=n_in_time,
        late=int(n[mature & arrived & ~in_time].sum()),
        censored=int(n[mature & ~arrived].sum()),
        mature_coverage=_share(n_in_time, n_mature),
        waiting=int(n[~mature & ~arrived].sum()),
        revisions=counts.label_revisions,
        corrected=changes["corrected"],
        taken_back=changes["taken_back"],
        unknown=counts.unknown_labels,
        refused=read_ledger(stored.place).labels_refused,
        quantiles_s={f"{share:g}": curve.quantile(share) for share in _QUANTILES},
        curve=_points(curve, float(delay_s.max()) if len(delay_s) else 0.0),
        as_of_us=now_us,
    )


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def _points(curve: ArrivalCurve, longest_s: float) -> tuple[ArrivalPoint, ...]:
    """The curve at round delays, as far as anything has been watched."""
    points: list[ArrivalPoint] = []
    for delay_s in _POINTS:
        if points and delay_s > longest_s:
            break
        place = int(np.searchsorted(curve.delay, delay_s, side="right")) - 1
        interval = (curve.low[place], curve.high[place]) if place >= 0 else (np.nan, np.nan)
        low, high = (None if np.isnan(bound) else float(bound) for bound in interval)
        points.append(ArrivalPoint(delay_s, curve.at(delay_s), low, high))
    return tuple(points)
