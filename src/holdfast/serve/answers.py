"""Answers of `POST /predict` as JSON, one struct per row, made once per model version."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import repeat
from typing import Any, Final

import msgspec

from holdfast.artifact.signature import Signature
from holdfast.infer import AnsweredBatch
from holdfast.infer.schema import is_plain_name

_MOST_CLASSES_AS_STRUCT: Final = 128
_PIECE_ROWS: Final = 64
"""Rows that are encoded together where single ones are asked for: the callers of a turn sit side by side."""


class AnswerEncoder:
    """Encodes rows of answered batches of one model version.

    Args:
        signature: decides which fields an answer has.
        version: stands in each answer.
    """

    def __init__(self, signature: Signature, version: str) -> None:
        self._version = version
        encoder = msgspec.json.Encoder()
        self._encode = encoder.encode
        self._encode_lines = encoder.encode_lines
        self._rows: Callable[[AnsweredBatch, int, int], Iterable[Any]]
        fields: list[tuple[str, Any]] = [("prediction_id", str)]
        if signature.task == "tensor":
            fields += [("outputs", Any)]
            self._rows = self._tensor_rows
        else:
            fields += [("prediction", Any)]
            self._rows = self._regression_rows
        if signature.task in {"binary", "multiclass"} and signature.classes:
            fields += [("probabilities", Any)]
            self._rows = self._class_rows
        self._of_classes = self._rows == self._class_rows
        self._scored = signature.task == "binary" and bool(signature.classes)
        if self._scored:
            fields += [("score", float | None)]
        self._answer: Any = msgspec.defstruct("Answer", [*fields, ("model_version", str)], gc=False)
        names = [str(name) for name in signature.classes]
        self._positive = len(names) - 1
        if signature.positive_class in signature.classes:
            self._positive = signature.classes.index(signature.positive_class)
        self._probabilities: Callable[..., Any]
        few = len(set(names)) == len(names) <= _MOST_CLASSES_AS_STRUCT
        if names and few and all(map(is_plain_name, names)):
            self._probabilities = msgspec.defstruct(
                "Probabilities",
                [(f"p{i}", float) for i in range(len(names))],
                rename={f"p{i}": name for i, name in enumerate(names)},
                gc=False,
            )
        else:
            self._probabilities = lambda *values: dict(zip(names, values, strict=True))
        self._piece_of: AnsweredBatch | None = None
        self._piece_start = 0
        self._piece: list[bytes] = []

    def one(self, batch: AnsweredBatch, row: int) -> bytes:
        """The JSON object of one row."""
        if batch.rows == 1:
            return self._encode(self._alone(batch))
        start = row - row % _PIECE_ROWS
        if batch is not self._piece_of or start != self._piece_start:
            rows = self._rows(batch, start, min(start + _PIECE_ROWS, batch.rows))
            # Line ends inside text are escaped in JSON.
            self._piece = self._encode_lines(rows).split(b"\n")
            self._piece_of, self._piece_start = batch, start
        return self._piece[row - start]

    def many(self, batch: AnsweredBatch, start: int, rows: int) -> bytes:
        """The JSON list of `rows` rows from `start`."""
        return self._encode(list(self._rows(batch, start, start + rows)))

    def _alone(self, batch: AnsweredBatch) -> Any:
        """The only row of a batch."""
        given = batch.answer.probabilities
        if given is None or not self._of_classes:
            return next(iter(self._rows(batch, 0, 1)))
        chances = given[0].tolist()
        probabilities, (prediction,) = self._probabilities(*chances), batch.predictions
        if self._scored:
            score = chances[self._positive]
            return self._answer(batch.ids[0], prediction, probabilities, score, self._version)
        return self._answer(batch.ids[0], prediction, probabilities, self._version)

    def _class_rows(self, batch: AnsweredBatch, start: int, stop: int) -> Iterable[Any]:
        columns: list[Iterable[Any]] = [batch.ids[start:stop], batch.predictions[start:stop]]
        given = batch.answer.probabilities
        if given is None:
            columns += [repeat(None), repeat(None)] if self._scored else [repeat(None)]
        else:
            classes: list[list[float]] = given[start:stop].T.tolist()
            columns += [map(self._probabilities, *classes)]
            columns += [classes[self._positive]] if self._scored else []
        return map(self._answer, *columns, repeat(self._version))

    def _regression_rows(self, batch: AnsweredBatch, start: int, stop: int) -> Iterable[Any]:
        return map(self._answer, batch.ids[start:stop], batch.predictions[start:stop], repeat(self._version))

    def _tensor_rows(self, batch: AnsweredBatch, start: int, stop: int) -> Iterable[Any]:
        for row in range(start, stop):
            outputs = {name: values[row] for name, values in batch.outputs.items()}
            yield self._answer(batch.ids[row], outputs, self._version)
