"""Answers and labels of a rollout, from the prediction log."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from holdfast.prediction_log import PredictionLog, label_text
from holdfast.registry import Rollout
from holdfast.rollout.gate import Arm, Pairs
from holdfast.rollout.losses import Losses, numbers

if TYPE_CHECKING:
    import pyarrow as pa

_LABELS_IN_TIME = """
    SELECT p.prediction_id, arg_max(l.y, l.observed_at) AS y
    FROM mine p JOIN labels l ON p.prediction_id = l.prediction_id
    WHERE l.observed_at <= p.time + to_microseconds({maturity})
    GROUP BY p.prediction_id
"""
"""What was known of a prediction at its maturity; what came later does not count, in either arm."""


class LogEvidence:
    """Reads what a rollout needs from the log.

    Args:
        log: of the deployment.
        losses: of its model.
        maturity_us: age at which a prediction counts.
        baseline: of a first deployment: answers by prediction id, or one answer for all.
    """

    def __init__(
        self,
        log: PredictionLog,
        losses: Losses,
        maturity_us: int,
        baseline: Mapping[str, Any] | str | None = None,
    ) -> None:
        self._log = log
        self._losses = losses
        self._maturity_us = maturity_us
        self._baseline = baseline

    @property
    def has_answers(self) -> bool:
        """Whether anything was ever answered with a prediction, so that there is something to compare."""
        return "prediction" in self._log.schema().names

    def pairs(self, rollout: Rollout, fields: tuple[str, ...], now_us: int) -> Pairs:
        """Rows that both versions answered since the rollout started, in order of time."""
        slices = self._slice_columns(fields)
        also = "".join(f', p."{one}"' for one in slices.values())
        known = _LABELS_IN_TIME.format(maturity=self._maturity_us)
        since = f"logged_at >= make_timestamptz({rollout.started_at_us})"
        if rollout.kind == "first":
            table = self._read(
                f"""
                WITH mine AS (SELECT * FROM predictions WHERE arm = 'champion'
                              AND model_version = '{int(rollout.challenger)}' AND {since}),
                known AS ({known})
                SELECT p.time, p.prediction_id, p.prediction AS ours, k.y {also}
                FROM mine p LEFT JOIN known k ON p.prediction_id = k.prediction_id
                ORDER BY p.time, p.prediction_id
                """  # noqa: S608 - whole numbers, and names of columns that are there
            )
            baseline = self._baseline
            said = [baseline] * table.num_rows
            if isinstance(baseline, Mapping):
                here = np.array([one in baseline for one in table["prediction_id"].to_pylist()], dtype=bool)
                table = table.filter(here)
                said = [baseline[one] for one in table["prediction_id"].to_pylist()]
            return self._pairs(table, said, slices, now_us)
        table = self._read(
            f"""
            WITH mine AS (SELECT * FROM predictions WHERE arm = 'champion'
                          AND model_version = '{int(rollout.champion or 0)}' AND {since}),
            copies AS (SELECT prediction_id, any_value(prediction) AS prediction, any_value(score) AS score
                       FROM predictions WHERE arm = 'shadow'
                       AND model_version = '{int(rollout.challenger)}' GROUP BY prediction_id),
            known AS ({known})
            SELECT p.time, p.prediction AS theirs, p.score AS their_score, c.prediction AS ours,
                   c.score AS our_score, k.y {also}
            FROM mine p JOIN copies c ON p.prediction_id = c.prediction_id
            LEFT JOIN known k ON p.prediction_id = k.prediction_id ORDER BY p.time, p.prediction_id
            """  # noqa: S608 - as above
        )
        return self._pairs(table, table["theirs"].to_pylist(), slices, now_us)

    def _pairs(self, table: pa.Table, theirs: list[Any], slices: dict[str, str], now_us: int) -> Pairs:
        ours, labels = table["ours"].to_pylist(), table["y"].to_pylist()
        score = None
        if "our_score" in table.column_names:
            score = numbers(table["our_score"].to_pylist()) - numbers(table["their_score"].to_pylist())
            score = np.clip(score, -1.0, 1.0) if np.isfinite(score).any() else None
        return Pairs(
            flips=self._losses.flips(ours, theirs),
            volume=self._losses.volume(ours, theirs),
            score=score,
            mature=_times_us(table) + self._maturity_us <= now_us,
            loss=self._losses.loss(ours, labels) - self._losses.loss(theirs, labels),
            slices={
                field: np.array(
                    [None if one is None else label_text(one) for one in table[column].to_pylist()],
                    dtype=object,
                )
                for field, column in slices.items()
            },
        )

    def arms(self, rollout: Rollout, since_us: int, now_us: int) -> tuple[Arm, Arm]:
        """Mature rows that callers got from champion and challenger since the challenger has a share."""
        found = []
        for arm, version in (("champion", rollout.champion), ("challenger", rollout.challenger)):
            table = self._read(
                f"""
                WITH mine AS (SELECT * FROM predictions WHERE arm = '{arm}'
                              AND model_version = '{int(version or 0)}'
                              AND logged_at >= make_timestamptz({since_us})
                              AND time <= make_timestamptz({now_us - self._maturity_us})),
                known AS ({_LABELS_IN_TIME.format(maturity=self._maturity_us)})
                SELECT p.prediction AS said, k.y FROM mine p
                LEFT JOIN known k ON p.prediction_id = k.prediction_id
                """  # noqa: S608 - as above
            )
            found.append(Arm(self._losses.loss(table["said"].to_pylist(), table["y"].to_pylist())))
        return found[0], found[1]

    def rows_per_s(self, since_us: int, until_us: int) -> float:
        """Rate of rows answered to callers; 0 where there is none."""
        if until_us <= since_us:
            return 0.0
        found = self._read(
            f"""SELECT count(*) AS n FROM predictions WHERE arm IN ('champion', 'challenger')
            AND logged_at >= make_timestamptz({since_us}) AND logged_at < make_timestamptz({until_us})"""  # noqa: S608 - whole numbers
        )
        return float(found["n"][0].as_py()) / (until_us - since_us) * 1e6

    def newest_us(self, since_us: int) -> int | None:
        """Time of the newest row logged since then, where rows bring their own time."""
        found = self._read(
            f"""SELECT epoch_us(max(time)) AS newest FROM predictions
            WHERE logged_at >= make_timestamptz({since_us})"""  # noqa: S608 - a whole number
        )
        newest: int | None = found["newest"][0].as_py()
        return newest

    def frequent(self, field: str, most: int) -> list[str]:
        """The most frequent values of a field, as texts; none where the log does not hold it."""
        column = self._slice_columns((field,)).get(field)
        if column is None:
            return []
        table = self._read(
            f"""SELECT "{column}" AS value, count(*) AS n FROM predictions WHERE "{column}" IS NOT NULL
            GROUP BY value ORDER BY n DESC, value LIMIT {int(most)}"""  # noqa: S608 - a column that is there
        )
        return [label_text(value) or "" for value in table["value"].to_pylist()]

    def _slice_columns(self, fields: tuple[str, ...]) -> dict[str, str]:
        present = self._log.schema().names
        found = {}
        for field in fields:
            for column in (f"input_{field}", f"context_{field}"):
                if column in present and '"' not in column:
                    found[field] = column
                    break
        return found

    def _read(self, sql: str) -> pa.Table:
        return self._log.query(sql).read_all()


def _times_us(table: pa.Table) -> Any:
    import pyarrow as pa

    return table["time"].cast(pa.int64()).to_numpy()
