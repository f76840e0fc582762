"""Raw rows of the log, for those who may see them: search, one prediction, the queue for labels.

Every call here is a view of people's data: the caller enters it in the audit first. Encrypted fields stay
encrypted; nothing of this room holds a key.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

import msgspec

from holdfast.artifact import Signature, open_artifact
from holdfast.clock import parse_time_us
from holdfast.prediction_log import ErasedIds, PredictionLog
from holdfast.ui.errors import FormError, PageNotFoundError
from holdfast.ui.facts import Facts

PAGE_ROWS: Final = 50
QUEUE_ROWS: Final = 20
QUEUE_LOOKS_AT: Final = 100_000
"""The newest unlabelled predictions among which the most informative are sought."""
NEIGHBOURS: Final = 5
_MOST_ANSWERS: Final = 10
_MEMORY_MB: Final = 256
_KEY: Final = "prediction_id, time, model_version"
_SEEN: Final = "arm IS DISTINCT FROM 'shadow'"
"""Of rows whose answer somebody got."""
_OF_THE_LOG: Final = frozenset(
    {
        "prediction_id", "time", "logged_at", "deployment", "model_version", "arm", "replica", "sequence",
        "latency_us", "sampling_fraction", "device", "subject", "consent", "score", "probabilities",
        "prediction", "y", "observed_at",
    }
)  # fmt: skip


class Search(msgspec.Struct, frozen=True, kw_only=True):
    """What to look for; empty fields match all."""

    prediction_id: str = ""
    since: str = ""
    until: str = ""
    version: str = ""
    column: str = ""
    value: str = ""
    labelled: str = ""
    """`yes`, `no` or empty."""
    before: str = ""
    """Time of the last row of the page before, ..."""
    before_id: str = ""
    """... and its prediction id, as many rows may have the same time, ..."""
    before_version: str = ""
    """... and its version, as a challenger in shadow answers the same prediction."""


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """Rows, newest first."""

    columns: tuple[str, ...]
    """Of the log, in which a slice can be sought."""
    inputs: tuple[str, ...]
    """Shown for each row."""
    rows: tuple[dict[str, Any], ...]
    more: bool


class OnePrediction(msgspec.Struct, frozen=True, kw_only=True):
    """One row in full."""

    row: dict[str, Any]
    inputs: tuple[tuple[str, Any], ...]
    sealed: tuple[str, ...]
    """Fields that are encrypted in the log."""
    labels: tuple[dict[str, Any], ...]
    """Every revision, oldest first."""
    in_shadow: tuple[dict[str, Any], ...]
    """What challengers answered to a copy of it, which nobody saw."""
    neighbours: tuple[dict[str, Any], ...]
    """The rows just before and after it, in order of time."""


class Queue(msgspec.Struct, frozen=True, kw_only=True):
    """Predictions whose labels would tell the most."""

    rows: tuple[dict[str, Any], ...]
    inputs: tuple[str, ...]
    classes: tuple[str, ...]
    """Empty for numbers."""
    rule: str
    """How they were chosen."""


def search(facts: Facts, wanted: Search) -> Found:
    """The newest rows that match.

    Raises:
        FormError: a time is no time, or there is no such column.
    """
    log = PredictionLog(facts.deployment)
    names = log.schema().names
    terms = _terms(wanted, names)
    where = " AND ".join(terms) or "true"
    # Narrow columns first: which files hold the rows is then known, and the wide ones are read of few.
    narrow = (
        f"SELECT {_KEY} FROM joined WHERE {where} "  # noqa: S608 - quoted
        f"ORDER BY time DESC, prediction_id DESC, model_version DESC LIMIT {PAGE_ROWS + 1}"
    )
    if not wanted.labelled:
        narrow = narrow.replace("FROM joined", "FROM predictions")
    keys = log.query(narrow, memory_mb=_MEMORY_MB).read_all().to_pylist()
    rows = _rows(log, keys[:PAGE_ROWS])
    return Found(
        columns=tuple(name for name in names if name not in _OF_THE_LOG),
        inputs=_inputs(names),
        rows=tuple(rows),
        more=len(keys) > PAGE_ROWS,
    )


def _terms(wanted: Search, names: list[str]) -> list[str]:
    terms = []
    if wanted.prediction_id:
        terms.append(f"prediction_id = {_quoted(wanted.prediction_id)}")
    for text, operator in ((wanted.since, ">="), (wanted.until, "<")):
        if text:
            terms.append(f"time {operator} make_timestamptz({_time_us(text)})")
    if wanted.before:
        last_us = _time_us(wanted.before)
        terms.append(f"time <= make_timestamptz({last_us})")  # files without such times need not be read
        terms.append(
            f"(time, prediction_id, model_version) < (make_timestamptz({last_us}), "
            f"{_quoted(wanted.before_id)}, {_quoted(wanted.before_version)})"
        )
    if wanted.version:
        terms.append(f"model_version = {_quoted(wanted.version)}")
    if wanted.labelled:
        terms.append(f"y IS {'NOT ' if wanted.labelled == 'yes' else ''}NULL")
    if wanted.column:
        if wanted.column not in names or wanted.column in _OF_THE_LOG:
            raise FormError("the log has no such input", where="column", received=wanted.column[:80])
        column = f'"{wanted.column.replace(chr(34), chr(34) * 2)}"'
        terms.append(
            f"CAST({column} AS VARCHAR) = {_quoted(wanted.value)}" if wanted.value else f"{column} IS NULL"
        )
    return terms


def _time_us(text: str) -> int:
    try:
        return parse_time_us(text)
    except ValueError:
        raise FormError(
            "not a time", expected="a date or time such as 2026-03-14 or 2026-03-14T02:00", received=text[:40]
        ) from None


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _rows(log: PredictionLog, keys: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The whole rows of these keys, in the same order."""
    if not keys:
        return []
    times = [_us(key["time"]) for key in keys]
    ids = ", ".join(_quoted(key["prediction_id"]) for key in keys)
    found: list[dict[str, Any]] = (
        log.query(
            f"SELECT * FROM joined WHERE time BETWEEN make_timestamptz({min(times)}) "  # noqa: S608 - quoted
            f"AND make_timestamptz({max(times)}) AND prediction_id IN ({ids})",
            memory_mb=_MEMORY_MB,
        )
        .read_all()
        .to_pylist()
    )
    by_key = {_key(row): row for row in found}
    return [by_key[_key(key)] for key in keys if _key(key) in by_key]


def _key(row: dict[str, Any]) -> tuple[str, str | None]:
    """A challenger in shadow answers the prediction of another version too, under the same id."""
    return row["prediction_id"], row["model_version"]


def _us(moment: datetime) -> int:
    return round(moment.timestamp() * 1_000_000)


def _inputs(names: list[str]) -> tuple[str, ...]:
    return tuple(name for name in names if name not in _OF_THE_LOG and not name.endswith("_sealed"))


def one(facts: Facts, prediction_id: str) -> OnePrediction:
    """A prediction with its labels and neighbours.

    Raises:
        PageNotFoundError: the log has none with this id.
    """
    log = PredictionLog(facts.deployment)
    wanted = (
        f"SELECT {_KEY}, arm FROM predictions WHERE prediction_id = {_quoted(prediction_id)} "  # noqa: S608 - quoted
        f"ORDER BY {_SEEN} DESC, model_version LIMIT {_MOST_ANSWERS}"
    )
    keys = log.query(wanted, memory_mb=_MEMORY_MB).read_all().to_pylist()
    if not keys:
        if prediction_id in ErasedIds(facts.deployment, facts.clock):
            raise PageNotFoundError(
                "this prediction was erased",
                where=prediction_id[:80],
                next_step="Nothing of it is kept, and labels for it are refused",
            )
        raise PageNotFoundError(
            "the log has no prediction with this id",
            where=prediction_id[:80],
            next_step="It may have been sampled out, or removed by retention",
        )
    row, *others = _rows(log, keys)
    here = f"(make_timestamptz({_us(row['time'])}), {_quoted(prediction_id)})"
    near = " UNION ALL ".join(
        f"(SELECT {_KEY} FROM predictions WHERE (time, prediction_id) {side} {here} "  # noqa: S608 - quoted
        f"AND {_SEEN} ORDER BY time {order}, prediction_id {order} LIMIT {NEIGHBOURS})"
        for side, order in (("<", "DESC"), (">", "ASC"))
    )
    neighbours = _rows(log, log.query(near, memory_mb=_MEMORY_MB).read_all().to_pylist())
    labels = log.query(
        "SELECT y, observed_at, revision, replica FROM labels "  # noqa: S608 - quoted
        f"WHERE prediction_id = {_quoted(prediction_id)} ORDER BY observed_at, revision, sequence",
        memory_mb=_MEMORY_MB,
    ).read_all()
    return OnePrediction(
        row=row,
        inputs=tuple((name, row[name]) for name in _inputs(list(row))),
        sealed=tuple(name for name, value in row.items() if name.endswith("_sealed") and value is not None),
        labels=tuple(labels.to_pylist()),
        in_shadow=tuple(other for other in others if other["arm"] == "shadow"),
        neighbours=tuple(sorted([*neighbours, row], key=lambda one: (one["time"], one["prediction_id"]))),
    )


def queue(facts: Facts) -> Queue:
    """The unlabelled predictions on which the champion was least sure."""
    version = facts.champion()
    if version is None:
        raise PageNotFoundError(
            "there is no champion whose predictions could be reviewed",
            next_step="holdfast register MODEL --reference FILE",
        )
    signature = signature_of(facts, version)
    log = PredictionLog(facts.deployment)
    names = log.schema().names
    if signature.task == "binary":
        threshold = facts.deployment.checklist.model.threshold
        order, rule = f"abs(score - {threshold:g})", f"probability nearest to the threshold of {threshold:g}"
    elif signature.task == "multiclass" and "probabilities" in names:
        order, rule = "list_max(probabilities)", "lowest probability of the most likely class"
    else:
        order, rule = "hash(prediction_id)", "drawn at random"
    ranked = log.query(
        f"SELECT {_KEY} FROM (SELECT * FROM joined "  # noqa: S608 - quoted
        f"WHERE y IS NULL AND {_SEEN} AND model_version = {_quoted(version)} "
        f"ORDER BY time DESC LIMIT {QUEUE_LOOKS_AT}) "
        f"ORDER BY {order}, prediction_id LIMIT {QUEUE_ROWS}",
        memory_mb=_MEMORY_MB,
    )
    return Queue(
        rows=tuple(_rows(log, ranked.read_all().to_pylist())),
        inputs=_inputs(names),
        classes=tuple(str(name) for name in signature.classes) if signature.task != "regression" else (),
        rule=rule,
    )


def signature_of(facts: Facts, version: str) -> Signature:
    """Of a version's artifact."""
    found = facts.registry.version(version)
    return open_artifact(facts.deployment.artifacts_folder / found.artifact_folder).signature
