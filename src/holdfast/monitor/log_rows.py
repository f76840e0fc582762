"""The champion's reference and the log's rows, in the monitor's terms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from holdfast.artifact import Signature
from holdfast.monitor.columns import column_values, flat_array
from holdfast.monitor.rows import ColumnValues, Rows, Task
from holdfast.prediction_log import label_text

if TYPE_CHECKING:
    import pyarrow as pa

SCORE = "score"
PREDICTION = "prediction"
OUTPUTS = frozenset({SCORE, PREDICTION})
"""Columns that the model answered."""


@dataclass(frozen=True, slots=True)
class Translation:
    """From columns of the stored reference and of the log to `Rows` of one model version."""

    signature: Signature
    accuracy: Mapping[str, float] = field(default_factory=dict)
    """Multiclass: the share of right answers in the reference, by the class that was answered."""

    @property
    def task(self) -> Task:
        """What the truth and the score are."""
        return "none" if self.signature.task == "tensor" else self.signature.task

    @property
    def answer_column(self) -> str | None:
        """The judged column that says how sure an answer is."""
        return {"binary": SCORE, "regression": PREDICTION, "multiclass": PREDICTION}.get(self.task)

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the scalar inputs."""
        return tuple(column.name for column in self.signature.columns if not column.shape)

    def reference(self, table: pa.Table) -> Rows:
        """The stored reference, in order of time where it has times."""
        import pyarrow as pa

        time_us: NDArray[np.int64] | None = None
        if "time" in table.column_names and table.column("time").null_count == 0:
            numbers = flat_array(table.column("time").cast(pa.int64()), np.int64)
            order = np.argsort(numbers, kind="stable")
            table, time_us = table.take(order), numbers[order]
        columns: dict[str, ColumnValues] = {name: column_values(table, name) for name in self.inputs}
        labels = table.column("label").to_pylist() if "label" in table.column_names else None
        return self._rows(columns, table, "probability", labels, time_us)

    def log_columns(self, present: Sequence[str]) -> list[str]:
        """What to read of the log."""
        wanted = [*(f"input_{name}" for name in self.inputs), PREDICTION, SCORE, "time", "model_version"]
        return [name for name in wanted if name in present]

    def log(self, table: pa.Table) -> Rows:
        """Joined rows of the log, in order of time."""
        import pyarrow as pa

        numbers = flat_array(table.column("time").cast(pa.int64()), np.int64)
        order = np.argsort(numbers, kind="stable")
        table = table.take(order)
        columns: dict[str, ColumnValues] = {
            name: column_values(table, f"input_{name}") for name in self.inputs
        }
        return self._rows(columns, table, SCORE, table.column("y").to_pylist(), numbers[order])

    def _rows(
        self,
        columns: dict[str, ColumnValues],
        table: pa.Table,
        score_column: str,
        labels: list[Any] | None,
        time_us: NDArray[np.int64] | None,
    ) -> Rows:
        held = table.column_names
        said = table.column(PREDICTION).to_pylist() if PREDICTION in held else [None] * table.num_rows
        texts = [None if value is None else label_text(value) for value in said]
        score: NDArray[np.float64] | None = None
        if self.task == "binary":
            if score_column in held:
                values = column_values(table, score_column)
                score = values if isinstance(values, np.ndarray) else None
            if score is None or not np.isfinite(score).any():
                positive = label_text(self.signature.positive_class)
                score = np.array([np.nan if text is None else float(text == positive) for text in texts])
            columns[SCORE] = score
        elif self.task == "regression":
            score = np.array([np.nan if value is None else float(value) for value in said])
            columns[PREDICTION] = score
        elif self.task == "multiclass":
            overall = float(np.mean(list(self.accuracy.values()))) if self.accuracy else 0.5
            score = np.array([self.accuracy.get(text or "", overall) for text in texts])
            columns[PREDICTION] = texts
        truth = None if labels is None else self._truth(labels, texts)
        return Rows(columns, time_us, score, truth)

    def _truth(self, labels: list[Any], said: list[str | None]) -> NDArray[np.float64] | None:
        texts = [None if value is None else label_text(value) for value in labels]
        if self.task == "binary":
            positive = label_text(self.signature.positive_class)
            known = {label_text(name) for name in self.signature.classes}
            truthy = {"true": "1", "false": "0"} if "1" in known else {}
            return np.array(
                [np.nan if text is None else float(truthy.get(text, text) == positive) for text in texts]
            )
        if self.task == "multiclass":
            return np.array(
                [
                    np.nan if text is None or answer is None else float(text == answer)
                    for text, answer in zip(texts, said, strict=True)
                ]
            )
        if self.task == "regression":
            return np.array([_number(text) for text in texts])
        return None


def _number(text: str | None) -> float:
    try:
        return float("nan") if text is None else float(text)
    except ValueError:
        return float("nan")


def read_reference(path: Path, signature: Signature) -> tuple[Translation, Rows]:
    """The stored reference of a version, and how to read its log."""
    from pyarrow import parquet

    table = parquet.read_table(path)
    translation = Translation(signature, _accuracy(table) if signature.task == "multiclass" else {})
    return translation, translation.reference(table)


def _accuracy(table: pa.Table) -> dict[str, float]:
    if "label" not in table.column_names:
        return {}
    right: dict[str, list[bool]] = {}
    for said, label in zip(
        table.column(PREDICTION).to_pylist(), table.column("label").to_pylist(), strict=True
    ):
        if said is not None and label is not None:
            right.setdefault(label_text(said) or "", []).append(label_text(said) == label_text(label))
    return {text: float(np.mean(values)) for text, values in right.items()}
