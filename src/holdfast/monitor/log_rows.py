"""The champion's reference and the log's rows, in the monitor's terms."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from holdfast.artifact import Signature
from holdfast.monitor.columns import column_values, flat_array
from holdfast.monitor.rows import ColumnValues, Rows, Task
from holdfast.prediction_log import label_text
from holdfast.stats import Coded

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
        labels = table.column("label") if "label" in table.column_names else None
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
        return self._rows(columns, table, SCORE, table.column("y"), numbers[order])

    def _rows(
        self,
        columns: dict[str, ColumnValues],
        table: pa.Table,
        score_column: str,
        labels: pa.ChunkedArray | None,
        time_us: NDArray[np.int64] | None,
    ) -> Rows:
        held = table.column_names
        score: NDArray[np.float64] | None = None
        if self.task == "regression":
            answers = column_values(table, PREDICTION)
            score = (
                answers
                if isinstance(answers, np.ndarray)
                else _Texts.of(table.column(PREDICTION)).numbers(_number)
            )
            columns[PREDICTION] = score
            truth = None if labels is None else _Texts.of(labels).numbers(_number)
            return Rows(columns, time_us, score, truth)
        said = _Texts.of(table.column(PREDICTION)) if PREDICTION in held else _Texts.none(table.num_rows)
        if self.task == "binary":
            if score_column in held:
                values = column_values(table, score_column)
                score = values if isinstance(values, np.ndarray) else None
            if score is None or not np.isfinite(score).any():
                positive = label_text(self.signature.positive_class)
                score = said.numbers(lambda text: float(text == positive))
            columns[SCORE] = score
        elif self.task == "multiclass":
            overall = float(np.mean(list(self.accuracy.values()))) if self.accuracy else 0.5
            score = said.numbers(lambda text: self.accuracy.get(text, overall), missing=overall)
            columns[PREDICTION] = Coded(said.codes, said.words)
        truth = None if labels is None else self._truth(_Texts.of(labels), said)
        return Rows(columns, time_us, score, truth)

    def _truth(self, labels: _Texts, said: _Texts) -> NDArray[np.float64] | None:
        if self.task == "binary":
            positive = label_text(self.signature.positive_class)
            known = {label_text(name) for name in self.signature.classes}
            truthy = {"true": "1", "false": "0"} if "1" in known else {}
            return labels.numbers(lambda text: float(truthy.get(text, text) == positive))
        if self.task == "multiclass":
            place = {word: float(code) for code, word in enumerate(said.words)}
            true, answered = labels.numbers(lambda text: place.get(text, -1.0)), said.codes
            return np.where(np.isnan(true) | (answered < 0), np.nan, (true == answered).astype(np.float64))
        return None


@dataclass(frozen=True, slots=True)
class _Texts:
    """A column as labels are written: each distinct value is written out once."""

    codes: NDArray[np.int32]
    words: tuple[str, ...]

    @classmethod
    def of(cls, column: pa.ChunkedArray) -> _Texts:
        import pyarrow as pa

        encoded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
        whole = encoded.unify_dictionaries().combine_chunks()
        if isinstance(whole, pa.ChunkedArray):
            if not whole.num_chunks:
                return cls.none(0)
            whole = whole.chunk(0)
        texts = [None if one is None else label_text(one) for one in whole.dictionary.to_pylist()]
        # Values that are written alike (1, 1.0) become one word; the last place is that of missing.
        words = tuple(sorted({text for text in texts if text is not None}))
        place = {text: code for code, text in enumerate(words)}
        table = np.array([*(-1 if text is None else place[text] for text in texts), -1], dtype=np.int32)
        return cls(table[flat_array(whole.indices.cast(pa.int32()), np.int32)], words)

    @classmethod
    def none(cls, rows: int) -> _Texts:
        return cls(np.full(rows, -1, dtype=np.int32), ())

    def numbers(self, of: Callable[[str], float], missing: float = float("nan")) -> NDArray[np.float64]:
        return np.array([*(of(word) for word in self.words), missing])[self.codes]


def _number(text: str) -> float:
    try:
        return float(text)
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
