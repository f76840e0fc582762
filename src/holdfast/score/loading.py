"""The library surface: `holdfast.load` and `holdfast.predict`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from holdfast.artifact import Answer, Signature, numpy_dtype, read_outputs
from holdfast.clock import SystemClock
from holdfast.infer import Block, InputError, LoadedModel, RecordCodec, load_model
from holdfast.privacy import Values
from holdfast.registry import Registry
from holdfast.score.answers import answer_columns, answer_fields, positive_score
from holdfast.score.columns import check_header, convert_batch
from holdfast.score.errors import BadRowError, ScoreError
from holdfast.score.frames import as_table
from holdfast.score.versions import find_version
from holdfast.spec import Deployment


@dataclass(frozen=True, slots=True)
class Prediction:
    """The answers for N rows, in the order of the rows."""

    model_version: str
    answer: Answer = field(repr=False)
    signature: Signature = field(repr=False)

    @property
    def prediction(self) -> NDArray[Any]:
        """Classes or numbers, `[N]`; empty for a `tensor` task."""
        return np.asarray(self.answer.prediction)

    @property
    def classes(self) -> tuple[str | int, ...]:
        """What the columns of `probabilities` stand for."""
        return self.signature.classes

    @property
    def probabilities(self) -> NDArray[Any] | None:
        """`[N, K]` in the order of `classes`; None where the model gives none."""
        return self.answer.probabilities

    @property
    def score(self) -> NDArray[Any] | None:
        """Binary models: the probability of the positive class, `[N]`."""
        return positive_score(self.signature, self.answer)

    @property
    def outputs(self) -> Mapping[str, NDArray[Any]]:
        """Every output of the model as it came."""
        return self.answer.outputs

    def to_arrow(self) -> pa.Table:
        """A table with the columns that `holdfast score` would add, without ids."""
        names = [name for name, _ in answer_fields(self.signature)]
        return pa.table(dict(zip(names, answer_columns(self.signature, self.answer), strict=True)))

    def __len__(self) -> int:
        return (
            len(self.prediction)
            if self.signature.task != "tensor"
            else len(next(iter(self.outputs.values())))
        )


class Model:
    """A model version of a deployment, loaded in this process. Nothing is logged.

    Usable as a context manager; answers are those of the service, bit for bit.
    """

    def __init__(self, deployment: Deployment, loaded: LoadedModel) -> None:
        self.name = deployment.name
        self._loaded = loaded
        self._closed = False
        self._codec = RecordCodec(loaded.signature, deployment.checklist)

    @property
    def version(self) -> str:
        """As in the registry."""
        return self._loaded.version

    @property
    def signature(self) -> Signature:
        """What the model takes and gives."""
        return self._loaded.signature

    def predict(self, rows: Any) -> Prediction:
        """Answers for one record, a list of records, a dict of columns, or any Arrow-speaking frame.

        Args:
            rows: columns that the model does not use are ignored in frames; in records they are errors, as
                they are for the service.

        Raises:
            InputError: a record does not fit; `where` is the path to the value.
            TableError: a frame lacks a column, or a column is of another type.
            BadRowError: a row of a frame does not fit.
            ScoreError: the model is closed.
        """
        if self._closed:
            raise ScoreError(
                "the model is closed", where=repr(self), next_step="Load it again with holdfast.load"
            )
        if isinstance(rows, Mapping) and not self._is_columns(rows):
            rows = [rows]
        block = self._from_records(rows) if _are_records(rows) else self._from_table(rows)
        if not block.rows:
            return Prediction(self.version, _no_answer(self.signature), self.signature)
        return Prediction(self.version, self._loaded.predict(block.columns, block.rows), self.signature)

    def close(self) -> None:
        """Release the runtime; no call may follow."""
        self._closed = True
        self._loaded.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Model {self.name!r} version {self.version}>"

    def _is_columns(self, rows: Mapping[str, Any]) -> bool:
        """Whether every value is a whole column: one dimension more than a single row's value has."""
        depths = [(rows[c.name], len(c.shape)) for c in self.signature.columns if c.name in rows]
        return bool(depths) and all(_depth(value) > depth for value, depth in depths)

    def _from_records(self, rows: Sequence[Any]) -> Block:
        return self._codec.block(self._codec.decode(records_body(rows))[0])

    def _from_table(self, rows: Any) -> Block:
        table = as_table(rows)
        check_header(self.signature, table.schema, text=False)
        converted = convert_batch(self.signature, table, text=False)
        if converted.faults:
            first = min(converted.faults, key=lambda fault: fault.row)
            raise BadRowError(
                first.what, where=f"row {first.row + 1}, column {first.column!r}", expected=first.expected
            )
        columns: Mapping[str, Values] = converted.columns
        return Block(table.num_rows, columns)


def load(folder: str | Path = ".", version: str | None = None) -> Model:
    """A model version of the deployment in that folder; the champion by default.

    Raises:
        ChecklistError: there is no deployment in the folder.
        ScoreError: there is no champion and no version is named.
    """
    deployment = Deployment.open(Path(folder), os.environ)
    with Registry.open(deployment.registry_url, SystemClock()) as registry:
        found = find_version(deployment, registry, version)
    return Model(deployment, load_model(found.folder, found.version, deployment.checklist.compute))


def predict(model: Model | str | Path, rows: Any) -> Prediction:
    """`load(folder).predict(rows)`, or `model.predict(rows)` with a model that is already loaded."""
    if isinstance(model, Model):
        return model.predict(rows)
    with load(model) as loaded:
        return loaded.predict(rows)


def records_body(rows: Sequence[Any]) -> bytes:
    """Records as a request holds them.

    Raises:
        InputError: a value is of no kind that JSON has.
    """
    try:
        return msgspec.json.encode(list(rows), enc_hook=_plain)
    except (NotImplementedError, TypeError, ValueError) as error:
        raise InputError(
            "a record cannot be sent as JSON",
            expected="numbers, text, true or false, None, and lists of these",
            received=str(error)[:200],
        ) from error


def _no_answer(signature: Signature) -> Answer:
    """Of no row; many graphs fail on none."""
    outputs = {}
    for tensor in signature.outputs:
        open_length = len(signature.classes) if tensor.name == signature.probability_output else 0
        shape = [open_length if size < 0 else size for size in tensor.shape[1:]]
        outputs[tensor.name] = np.empty((0, *shape), numpy_dtype(tensor.dtype))
    return read_outputs(signature, outputs)


def _are_records(rows: Any) -> bool:
    return isinstance(rows, list | tuple) and all(isinstance(row, Mapping) for row in rows)


def _depth(value: Any) -> int:
    if isinstance(value, np.ndarray):
        return value.ndim
    if isinstance(value, list | tuple):
        return 1 + (_depth(value[0]) if value else 0)
    return 1 if hasattr(value, "__len__") and not isinstance(value, str | bytes) else 0


def _plain(value: Any) -> Any:
    """NumPy's scalars and arrays in records as JSON's own."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, Mapping):
        return dict(value)
    raise NotImplementedError(type(value).__name__)
