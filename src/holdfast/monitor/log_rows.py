"""The champion's reference and the log's rows, in the monitor's terms."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from holdfast.artifact import Column, Signature
from holdfast.monitor.cells import cells
from holdfast.monitor.columns import array_values, column_values, flat_array
from holdfast.monitor.free_texts import Texts
from holdfast.monitor.held_back import HeldBack
from holdfast.monitor.own_measures import OwnMeasures
from holdfast.monitor.rows import ColumnValues, Rows, Task
from holdfast.prediction_log import label_text
from holdfast.stats import RATE_HZ, Coded, feature_names, kind_features

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
    texts: Mapping[str, Texts] = field(default_factory=dict)
    """Inputs of free text."""
    audio_rate_hz: float = RATE_HZ
    own: OwnMeasures = field(default_factory=OwnMeasures)
    """Columns made by functions of the inputs."""

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
        """Names of the inputs that are judged as they are."""
        return tuple(
            column.name
            for column in self.signature.columns
            if not column.shape and column.name not in self.texts
        )

    @property
    def large(self) -> tuple[Column, ...]:
        """The inputs that are judged by features of their kind."""
        return tuple(
            column for column in self.signature.columns if column.shape and feature_names(column.kind)
        )

    def reference(self, table: pa.Table) -> Rows:
        """The stored reference, in order of time where it has times."""
        import pyarrow as pa

        time_us: NDArray[np.int64] | None = None
        if "time" in table.column_names and table.column("time").null_count == 0:
            numbers = flat_array(table.column("time").cast(pa.int64()), np.int64)
            order = np.argsort(numbers, kind="stable")
            table, time_us = table.take(order), numbers[order]
        columns: dict[str, ColumnValues] = {name: column_values(table, name) for name in self.inputs}
        columns |= self._measured(table, "", own=True)
        columns |= self._own(table, "", strict=True)
        labels = table.column("label") if "label" in table.column_names else None
        return self._rows(columns, table, "probability", labels, time_us)

    def log_columns(self, present: Sequence[str]) -> list[str]:
        """What to read of the log."""
        wanted = [f"input_{column.name}" for column in self.signature.columns if not column.shape]
        for column in self.large:
            wanted.append(f"input_{column.name}")
            wanted += [f"feature_{column.name}_{feature}" for feature in feature_names(column.kind)]
        wanted = [*wanted, PREDICTION, SCORE, "time", "model_version"]
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
        columns |= self._measured(table, "input_", own=False)
        columns |= self._own(table, "input_", strict=False)
        return self._rows(columns, table, SCORE, table.column("y"), numbers[order])

    def answers(self, table: pa.Table) -> Rows:
        """Answers and truth alone, of joined rows of the log in their order."""
        return self._rows({}, table, SCORE, table.column("y"), None)

    def _own(self, table: pa.Table, prefix: str, *, strict: bool) -> dict[str, ColumnValues]:
        if not self.own.functions:
            return {}
        held = [
            column.name for column in self.signature.columns if prefix + column.name in table.column_names
        ]
        inputs = table.select([prefix + name for name in held]).rename_columns(held)
        return self.own.columns(inputs, strict=strict)

    def _measured(self, table: pa.Table, prefix: str, *, own: bool) -> dict[str, ColumnValues]:
        """Features of texts and large inputs.

        Those of an input that the log stores beside the row were measured when it was answered.
        """
        found: dict[str, ColumnValues] = {}
        for name, texts in self.texts.items():
            if prefix + name in table.column_names:
                for what, values in texts.parts(table.column(prefix + name), own=own):
                    found[f"{name}: {what}"] = (
                        values if isinstance(values, np.ndarray) else array_values(values)
                    )
        for column in self.large:
            features = large_features(table, prefix + column.name, column, self.audio_rate_hz)
            for what in feature_names(column.kind):
                stored = column_values(table, f"feature_{column.name}_{what}")
                values = features.get(what, np.full(table.num_rows, np.nan))
                if isinstance(stored, np.ndarray):
                    values = np.where(np.isnan(stored), values, stored)
                found[f"{column.name}: {what}"] = values
        return found

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
        found = None if labels is None else _Texts.of(labels)
        truth = None if found is None else self._truth(found, said)
        if found is None or self.task != "multiclass":
            return Rows(columns, time_us, score, truth)
        number = {label_text(name): float(code) for code, name in enumerate(self.signature.classes)}
        true_class, answered = (each.numbers(lambda text: number.get(text, -1.0)) for each in (found, said))
        return Rows(columns, time_us, score, truth, true_class, answered)

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


def large_features(
    table: pa.Table, name: str, column: Column, rate_hz: float
) -> dict[str, NDArray[np.float64]]:
    """Features of a column of lists, in the type and shape that the model takes; none where it is absent.

    A list in the log is flat, so an image of free height and width has no shape there, and no features.
    """
    import pyarrow as pa

    if name not in table.column_names or pa.types.is_null(table.column(name).type):
        return {}
    values: list[NDArray[np.generic] | None] = []
    for array, _ in cells(table.column(name)):
        shaped = None
        if array is not None:
            # As it was when it was answered: the log's lists are of 64 bits.
            typed = array.astype(column.dtype) if column.dtype != "string" else array
            if array.ndim == len(column.shape):
                shaped = typed
            elif column.shape.count(-1) <= 1:
                try:
                    shaped = typed.reshape(column.shape)
                except ValueError:
                    shaped = None
        values.append(shaped)
    return kind_features(column.kind, values, rate_hz)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


def read_reference(
    path: Path,
    signature: Signature,
    audio_rate_hz: float = RATE_HZ,
    own: OwnMeasures | None = None,
    held_back: HeldBack | None = None,
) -> tuple[Translation, Rows]:
    """The stored reference of a version, and how to read its log."""
    from pyarrow import parquet

    held_back = held_back or HeldBack()
    signature = held_back.judged(signature)
    table = held_back.as_logged(parquet.read_table(path))
    free = [column.name for column in signature.columns if column.kind == "text" and not column.shape]
    texts = {name: Texts.learn(table.column(name).to_pylist()) for name in free}
    accuracy = _accuracy(table) if signature.task == "multiclass" else {}
    translation = Translation(signature, accuracy, texts, audio_rate_hz, own or OwnMeasures())
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
