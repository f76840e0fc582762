"""From named columns to the graph's tensors, and from its outputs to an answer.

Both classes work out everything that does not depend on the rows once per model version, since they stand on
the path of every request. Nothing here imports more than NumPy.
"""

from __future__ import annotations

import struct
from collections.abc import ItemsView, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from holdfast.artifact.errors import PackingError
from holdfast.artifact.signature import Column, Dtype, Signature, Tensor

Values = NDArray[np.generic] | Sequence[str | int | float | bool | None]
"""One column of N rows: an array whose first dimension is N, or a sequence of N scalars (None: missing)."""


class Table(Mapping[str, Values]):
    """Columns of plain numbers that lie in one array, so that many of them cost as much as one.

    Args:
        names: of the columns, in order.
        matrix: `[columns, rows]`, float64.
        row: the only row's numbers, where they are at hand; `matrix` may be None then, and is made when it is
            asked for.
    """

    __slots__ = ("_at", "_matrix", "names", "row")

    def __init__(
        self,
        names: tuple[str, ...],
        matrix: NDArray[np.float64] | None,
        row: tuple[float, ...] | None = None,
    ) -> None:
        self.names = names
        self._matrix = matrix
        self.row = row
        self._at: dict[str, int] | None = None

    @property
    def matrix(self) -> NDArray[np.float64]:
        """`[columns, rows]`."""
        if self._matrix is None:
            self._matrix = np.array([self.row or ()], dtype=np.float64).T
        return self._matrix

    def __getitem__(self, name: str) -> Values:
        if self._at is None:
            self._at = {name: i for i, name in enumerate(self.names)}
        row: NDArray[np.float64] = self.matrix[self._at[name]]
        return row

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)

    def column_bytes(self) -> list[memoryview]:
        """The little-endian float64 of each column, as views where the array lies that way."""
        flat = np.ascontiguousarray(self.matrix, dtype="<f8").data.cast("B")
        step = len(flat) // len(self.names)
        return [flat[at : at + step] for at in range(0, len(flat), step)]

    def items(self) -> ItemsView[str, Values]:
        """As of any mapping, without a look-up per name."""
        return dict(zip(self.names, self.matrix, strict=True)).items()


_NUMPY_DTYPE: Final[Mapping[Dtype, np.dtype[Any]]] = {
    "bool": np.dtype(np.bool_),
    "uint8": np.dtype(np.uint8),
    "uint16": np.dtype(np.uint16),
    "uint32": np.dtype(np.uint32),
    "uint64": np.dtype(np.uint64),
    "int8": np.dtype(np.int8),
    "int16": np.dtype(np.int16),
    "int32": np.dtype(np.int32),
    "int64": np.dtype(np.int64),
    "float16": np.dtype(np.float16),
    "float32": np.dtype(np.float32),
    "float64": np.dtype(np.float64),
    "string": np.dtype(object),
}


def numpy_dtype(dtype: Dtype) -> np.dtype[Any]:
    """The array type of a signature's type; strings are object arrays of `str`."""
    return _NUMPY_DTYPE[dtype]


@dataclass(slots=True)
class Answer:
    """What a model said of N rows. Its repr shows no value.

    Not frozen, as one is made per batch and that would take three times as long.
    """

    prediction: Values = field(repr=False)
    """Class names or numbers, N values; empty for a `tensor` task."""
    probabilities: NDArray[np.floating[Any]] | None = field(repr=False)
    """`[N, K]` in the order of the signature's classes; None where the model gives none."""
    outputs: Mapping[str, NDArray[np.generic]] = field(repr=False)
    """Every raw output of the graph by name."""


class Packer:
    """Turns columns into the tensors of one signature.

    Values are taken as already validated: the right kind of scalar for each column. A missing value becomes
    NaN in a float tensor and the column's `null_text` in a string tensor; an integer tensor cannot hold one.
    """

    def __init__(self, signature: Signature) -> None:
        by_name = {column.name: column for column in signature.columns}
        self._plan = tuple(
            (
                tensor,
                numpy_dtype(tensor.dtype),
                tuple(by_name[name] for name in tensor.columns),
                tensor.columns,
            )
            for tensor in signature.inputs
        )

    def pack(self, columns: Mapping[str, Values], n_rows: int) -> dict[str, NDArray[np.generic]]:
        """The feeds of one run.

        Raises:
            PackingError: a column is absent, has another number of rows, or holds what its tensor cannot.
        """
        return {
            tensor.name: _pack_table(tensor, dtype, columns)
            if type(columns) is Table and columns.names == names and dtype.kind == "f"
            else _pack_tensor(tensor, dtype, held, columns, n_rows)
            for tensor, dtype, held, names in self._plan
        }


def pack_inputs(
    signature: Signature, columns: Mapping[str, Values], n_rows: int
) -> dict[str, NDArray[np.generic]]:
    """`Packer(signature).pack(columns, n_rows)` for callers that do it once."""
    return Packer(signature).pack(columns, n_rows)


def _pack_table(tensor: Tensor, dtype: np.dtype[Any], table: Table) -> NDArray[np.generic]:
    """The whole table is the whole tensor."""
    if table.row is not None and dtype == np.float32:
        alone: NDArray[np.float32] = np.empty((1, len(table.row)), dtype=np.float32)
        # As of arrays, what is too large becomes infinite.
        struct.pack_into(f"{len(table.row)}f", alone, 0, *table.row)  # type: ignore[arg-type]  # arrays are buffers
        return alone.reshape(1) if len(tensor.shape) == 1 else alone
    with np.errstate(over="ignore", invalid="ignore"):
        packed: NDArray[np.generic] = table.matrix.T.astype(dtype, order="C")
    return packed.reshape(len(packed)) if len(tensor.shape) == 1 else packed


def _pack_tensor(
    tensor: Tensor,
    dtype: np.dtype[Any],
    held: tuple[Column, ...],
    columns: Mapping[str, Values],
    n_rows: int,
) -> NDArray[np.generic]:
    if tensor.dtype == "string":
        texts = [_texts(column, columns, n_rows) for column in held]
        return np.stack(texts, axis=1) if len(tensor.shape) > 1 else texts[0]
    if len(held) == 1 and held[0].shape:
        return _pack_block(tensor, dtype, held[0], columns, n_rows)
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            packed: NDArray[np.generic] = np.array([columns[column.name] for column in held], dtype=dtype)
        if packed.shape != (len(held), n_rows):
            raise _wrong_length(held, columns, n_rows)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise _explain(tensor, dtype, held, columns, n_rows) from error
    return packed.reshape(n_rows) if len(tensor.shape) == 1 else np.ascontiguousarray(packed.T)


def _pack_block(
    tensor: Tensor, dtype: np.dtype[Any], column: Column, columns: Mapping[str, Values], n_rows: int
) -> NDArray[np.generic]:
    try:
        block = np.ascontiguousarray(columns[column.name], dtype=dtype)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise _explain(tensor, dtype, (column,), columns, n_rows) from error
    expected = (n_rows, *column.shape)
    fits = block.ndim == len(expected) and all(
        want in (-1, got) for want, got in zip(expected, block.shape, strict=True)
    )
    if not fits:
        raise PackingError(
            "the value has another shape than the model takes",
            where=column.name,
            expected=str(list(expected)),
            received=str(list(block.shape)),
        )
    return block


def _texts(column: Column, columns: Mapping[str, Values], n_rows: int) -> NDArray[np.generic]:
    if column.name not in columns:
        raise _missing(column.name)
    values = columns[column.name]
    if len(values) != n_rows:
        raise _wrong_length((column,), columns, n_rows)
    packed = np.empty(n_rows, dtype=object)
    null = column.null_text
    packed[:] = [null if value is None or value != value else str(value) for value in values]  # noqa: PLR0124 - NaN
    return packed


def _missing(name: str) -> PackingError:
    return PackingError("the column is missing", where=name)


def _wrong_length(held: tuple[Column, ...], columns: Mapping[str, Values], n_rows: int) -> PackingError:
    for column in held:
        if len(columns[column.name]) != n_rows:
            return PackingError(
                "the column has another number of rows than the batch",
                where=column.name,
                expected=str(n_rows),
                received=str(len(columns[column.name])),
            )
    return PackingError("the columns hold more than one value per row", where=held[0].name)


def _explain(
    tensor: Tensor,
    dtype: np.dtype[Any],
    held: tuple[Column, ...],
    columns: Mapping[str, Values],
    n_rows: int,
) -> PackingError:
    """Which column does not fit, found only after the whole failed."""
    for column in held:
        if column.name not in columns:
            return _missing(column.name)
        if len(columns[column.name]) != n_rows:
            return _wrong_length((column,), columns, n_rows)
        try:
            np.array(columns[column.name], dtype=dtype)
        except (TypeError, ValueError, OverflowError):
            return PackingError(
                "the column holds a value that the model's input cannot",
                where=column.name,
                expected=f"values that fit {tensor.dtype} (input {tensor.name!r} of the graph)",
            )
    return PackingError("the columns cannot be packed together", where=tensor.name)


class OutputReader:
    """Turns the raw outputs of one signature's graph into an answer."""

    def __init__(self, signature: Signature) -> None:
        self._signature = signature
        self._classes = _class_array(signature.classes)
        self._positive = (
            signature.classes.index(signature.positive_class)
            if signature.positive_class is not None and signature.positive_class in signature.classes
            else len(signature.classes) - 1
        )

    def read(self, outputs: Mapping[str, NDArray[np.generic]]) -> Answer:
        """The answer of one run; arrays may share memory with `outputs`."""
        signature = self._signature
        if signature.task == "tensor":
            return Answer((), None, outputs)
        probabilities = self._probabilities(outputs)
        if signature.prediction_output is not None and not signature.by_threshold:
            prediction = outputs[signature.prediction_output]
            if prediction.ndim > 1:
                prediction = prediction.reshape(len(prediction), -1)[:, 0]
        elif probabilities is None:
            raise PackingError("the signature names neither a prediction nor a probability output")
        elif signature.task == "binary":
            chosen = probabilities[:, self._positive] >= signature.threshold
            prediction = self._classes[np.where(chosen, self._positive, 1 - self._positive)]
        else:
            prediction = self._classes[probabilities.argmax(axis=1)]
        return Answer(prediction, probabilities, outputs)

    def _probabilities(self, outputs: Mapping[str, NDArray[np.generic]]) -> NDArray[np.floating[Any]] | None:
        name = self._signature.probability_output
        if name is None:
            return None
        given: NDArray[np.floating[Any]] = outputs[name]  # type: ignore[assignment] # the signature says it is float
        if given.ndim == 1 or given.shape[1] == 1:
            positive = given.reshape(-1)
            pair = np.empty((len(positive), 2), dtype=positive.dtype)
            pair[:, self._positive] = positive
            pair[:, 1 - self._positive] = 1 - positive
            return pair
        return given


def _class_array(classes: tuple[str | int, ...]) -> NDArray[np.generic]:
    if all(isinstance(name, int) for name in classes):
        return np.array(classes, dtype=np.int64)
    return np.array(classes, dtype=object)


def read_outputs(signature: Signature, outputs: Mapping[str, NDArray[np.generic]]) -> Answer:
    """`OutputReader(signature).read(outputs)` for callers that do it once."""
    return OutputReader(signature).read(outputs)
