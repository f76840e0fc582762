"""Answers of `POST /predict` as JSON, one struct per row, made once per model version."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

from holdfast.artifact.signature import Signature
from holdfast.infer import AnsweredBatch

_MOST_CLASSES_AS_STRUCT: Final = 128


class AnswerEncoder:
    """Encodes rows of answered batches of one model version.

    Args:
        signature: decides which fields an answer has.
        version: stands in each answer.
    """

    def __init__(self, signature: Signature, version: str) -> None:
        self._version = version
        self._encode = msgspec.json.Encoder().encode
        self._row: Callable[[AnsweredBatch, int], Any]
        fields: list[tuple[str, Any]] = [("prediction_id", str)]
        if signature.task == "tensor":
            fields += [("outputs", Any)]
            self._row = self._tensor_row
        else:
            fields += [("prediction", Any)]
            self._row = self._regression_row
        if signature.task in {"binary", "multiclass"} and signature.classes:
            fields += [("probabilities", Any)]
            self._row = self._class_row
        if signature.task == "binary" and signature.classes:
            fields += [("score", float | None)]
        self._scored = signature.task == "binary"
        self._answer: Any = msgspec.defstruct("Answer", [*fields, ("model_version", str)], gc=False)
        names = [str(name) for name in signature.classes]
        self._positive = len(names) - 1
        if signature.positive_class in signature.classes:
            self._positive = signature.classes.index(signature.positive_class)
        self._probabilities: Callable[[list[float]], Any]
        if len(set(names)) == len(names) <= _MOST_CLASSES_AS_STRUCT and names:
            struct: Any = msgspec.defstruct(
                "Probabilities",
                [(f"p{i}", float) for i in range(len(names))],
                rename={f"p{i}": name for i, name in enumerate(names)},
                gc=False,
            )
            self._probabilities = lambda values: struct(*values)
        else:
            self._probabilities = lambda values: dict(zip(names, values, strict=True))

    def one(self, batch: AnsweredBatch, row: int) -> bytes:
        """The JSON object of one row."""
        return self._encode(self._row(batch, row))

    def many(self, batch: AnsweredBatch, start: int, rows: int) -> bytes:
        """The JSON list of `rows` rows from `start`."""
        return self._encode([self._row(batch, row) for row in range(start, start + rows)])

    def _class_row(self, batch: AnsweredBatch, row: int) -> Any:
        probabilities = batch.probabilities
        if probabilities is None:
            empty: tuple[Any, ...] = (None, None) if self._scored else (None,)
            return self._answer(batch.ids[row], batch.predictions[row], *empty, self._version)
        values = probabilities[row]
        if self._scored:
            return self._answer(
                batch.ids[row],
                batch.predictions[row],
                self._probabilities(values),
                values[self._positive],
                self._version,
            )
        return self._answer(
            batch.ids[row], batch.predictions[row], self._probabilities(values), self._version
        )

    def _regression_row(self, batch: AnsweredBatch, row: int) -> Any:
        return self._answer(batch.ids[row], batch.predictions[row], self._version)

    def _tensor_row(self, batch: AnsweredBatch, row: int) -> Any:
        outputs = {name: values[row] for name, values in batch.outputs.items()}
        return self._answer(batch.ids[row], outputs, self._version)
