"""Answers and labels of a rollout, from the prediction log.

The log counts equal rows itself, so what is read does not grow with the traffic: two answers, a label and the
slices of a classifier; losses of numbers and of scores are rounded to a hundredth of a per cent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from holdfast.prediction_log import PredictionLog, label_text
from holdfast.registry import Rollout
from holdfast.rollout.gate import Arm, Pairs
from holdfast.rollout.losses import Losses, numbers

if TYPE_CHECKING:
    import pyarrow as pa

_DIGITS: Final = 4
"""Of losses of numbers and scores, 5e-5 from the truth at most: a hundredth of the default margin."""
_LABELS_IN_TIME: Final = """
    SELECT p.prediction_id, arg_max(l.y, (l.observed_at, l.revision, l.sequence)) AS y
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
        """Rows that both versions answered since the rollout started, also those that nobody assigned."""
        slices = self._slice_columns(fields)
        also = "".join(f', p."{one}"' for one in slices.values())
        both = self._both(rollout, also, now_us)
        ours, theirs, y = "ours", "theirs", "y"
        if self._losses.task == "regression":
            # The loss itself and the difference of the answers take the place of the label and the answers.
            scale = float(self._losses.scale)
            ours = f"round(greatest(-1, least(1, (ours - theirs) / {scale})), 2)"
            theirs = "NULL"
            y = f"round({_capped('ours', 'y', scale)} - {_capped('theirs', 'y', scale)}, {_DIGITS})"
        elif self._losses.by_score:
            mine, other = self._brier("our_score", "ours", "y"), self._brier("their_score", "theirs", "y")
            y = f"round({mine} - {other}, {_DIGITS})"
        names = "".join(f', "{one}"' for one in slices.values())
        table = self._read(
            f"WITH {both} SELECT {ours} AS a, {theirs} AS b, {y} AS y, mature {names}, count(*) AS n "  # noqa: S608 - whole numbers, and names of columns that are there
            "FROM both_ GROUP BY ALL"
        )
        a, b, labels = (table[name].to_pylist() for name in ("a", "b", "y"))
        if self._losses.task == "regression":
            loss_, volume = numbers(labels), numbers(a)
            flips = np.abs(volume)
        else:
            flips, volume = self._losses.flips(a, b), self._losses.volume(a, b)
            if self._losses.by_score:
                loss_ = numbers(labels)
            else:
                loss_ = self._losses.loss(a, labels) - self._losses.loss(b, labels)
        return Pairs(
            counts=np.array(table["n"].to_pylist(), dtype=np.int64),
            flips=flips,
            volume=volume,
            volume_of=self._losses.volume_of,
            mature=np.array(table["mature"].to_pylist(), dtype=bool),
            loss=loss_,
            score=self._scores(both) if rollout.kind == "update" else None,
            slices={
                field: np.array(
                    [None if one is None else label_text(one) for one in table[column].to_pylist()],
                    dtype=object,
                )
                for field, column in slices.items()
            },
        )

    def _both(self, rollout: Rollout, also: str, now_us: int) -> str:
        """The query's first part: one row for each row that both answered, in the view `both_`."""
        answering = rollout.champion if rollout.kind == "update" else rollout.challenger
        start = f"""
            mine AS (SELECT * FROM predictions WHERE arm IN ('champion', 'pinned')
                     AND model_version = '{int(answering or 0)}'
                     AND logged_at >= make_timestamptz({rollout.started_at_us})
                     AND time <= make_timestamptz({now_us})),
            known AS ({_LABELS_IN_TIME.format(maturity=self._maturity_us)})"""  # noqa: S608 - whole numbers
        mature = f"p.time <= make_timestamptz({now_us - self._maturity_us}) AS mature"
        labelled = "LEFT JOIN known k ON p.prediction_id = k.prediction_id"
        if rollout.kind == "update":
            return f"""{start},
            copies AS (SELECT prediction_id, any_value(prediction) AS prediction, any_value(score) AS score
                       FROM predictions WHERE arm = 'shadow'
                       AND model_version = '{int(rollout.challenger)}' GROUP BY prediction_id),
            both_ AS (SELECT c.prediction AS ours, p.prediction AS theirs, c.score - p.score AS score,
                      c.score AS our_score, p.score AS their_score, k.y, {mature} {also}
                      FROM mine p JOIN copies c ON p.prediction_id = c.prediction_id {labelled})"""  # noqa: S608 - as above
        if isinstance(self._baseline, Mapping):
            rows = ", ".join(f"({_text(name)}, {_text(said)})" for name, said in self._baseline.items())
            said, joined = "today.answer", "JOIN today ON p.prediction_id = today.id"
            start += f", today AS (SELECT * FROM (VALUES {rows}) AS t(id, answer))"  # noqa: S608 - quoted texts
        else:
            said, joined = _text(self._baseline), ""
        if self._losses.task == "regression":
            said = f"TRY_CAST({said} AS DOUBLE)"
        return f"""{start},
            both_ AS (SELECT p.prediction AS ours, {said} AS theirs, NULL AS score,
                      p.score AS our_score, NULL AS their_score, k.y, {mature} {also}
                      FROM mine p {joined} {labelled})"""  # noqa: S608 - quoted texts

    def _scores(self, both: str) -> tuple[Any, Any] | None:
        table = self._read(
            f"WITH {both} SELECT round(greatest(-1, least(1, score)), 3) AS d, count(*) AS n "  # noqa: S608 - as above
            "FROM both_ WHERE score IS NOT NULL GROUP BY d"
        )
        if not table.num_rows:
            return None
        return numbers(table["d"].to_pylist()), np.array(table["n"].to_pylist(), dtype=np.int64)

    def arms(self, rollout: Rollout, since_us: int, now_us: int) -> tuple[Arm, Arm]:
        """Mature rows that callers got from champion and challenger since the challenger has a share."""
        found = []
        said, y = "p.prediction", "k.y"
        if self._losses.task == "regression":
            said = f"round({_capped('p.prediction', 'k.y', float(self._losses.scale))}, {_DIGITS})"
            y = "NULL"
        elif self._losses.by_score:
            said, y = f"round({self._brier('p.score', 'p.prediction', 'k.y')}, {_DIGITS})", "NULL"
        for arm, version in (("champion", rollout.champion), ("challenger", rollout.challenger)):
            table = self._read(
                f"""
                WITH mine AS (SELECT * FROM predictions WHERE arm = '{arm}'
                              AND model_version = '{int(version or 0)}'
                              AND logged_at >= make_timestamptz({since_us})
                              AND time <= make_timestamptz({now_us - self._maturity_us})),
                known AS ({_LABELS_IN_TIME.format(maturity=self._maturity_us)})
                SELECT {said} AS said, {y} AS y, count(*) AS n FROM mine p
                LEFT JOIN known k ON p.prediction_id = k.prediction_id GROUP BY ALL
                """  # noqa: S608 - as above
            )
            answers = table["said"].to_pylist()
            counted = self._losses.task == "regression" or self._losses.by_score
            loss = numbers(answers) if counted else self._losses.loss(answers, table["y"].to_pylist())
            found.append(Arm(loss, np.array(table["n"].to_pylist(), dtype=np.int64)))
        return found[0], found[1]

    def _brier(self, score: str, answer: str, label: str) -> str:
        """In SQL: the squared distance of the score; NULL without a label, 1 for one that is no class."""
        yes, no = (
            ", ".join(_text(text) for text in self._losses.texts_of(name))
            for name in (self._losses.positive, self._losses.negative)
        )
        said = f"CAST({answer} AS VARCHAR)"
        chance = f"coalesce({score}, CASE WHEN {said} IN ({yes}) THEN 1 WHEN {said} IS NOT NULL THEN 0 END)"
        return (
            f"(CASE WHEN {label} IS NULL THEN NULL WHEN {label} IN ({yes}) THEN pow(1 - {chance}, 2) "
            f"WHEN {label} IN ({no}) THEN pow({chance}, 2) ELSE 1 END)"
        )

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


def _text(value: Any) -> str:
    return "'" + str(value).replace("'", "''") + "'"


def _capped(answer: str, label: str, scale: float) -> str:
    """The loss of a number in SQL; NULL without a label that is one (`least` would make it 1)."""
    number = f"TRY_CAST({label} AS DOUBLE)"
    return f"(CASE WHEN {number} IS NOT NULL THEN least(1, abs({answer} - {number}) / {scale}) END)"
