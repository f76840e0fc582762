"""One row at a time through tensors that are bound to a session once.

A run of one row of a small graph takes some microseconds, and handing arrays over to onnxruntime and back
takes as long again. Bound tensors lie where they lay in the run before: a row is written into them, the graph
runs, and its answer is copied out. The bits are those of an ordinary run.
"""

from __future__ import annotations

import struct
import threading
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from holdfast.runtime.protocol import Feeds

if TYPE_CHECKING:
    import onnxruntime

_MOST_BYTES: Final = 64 * 1024
"""Of all tensors: a run on more takes long enough without."""
_NUMBERS: Final = "biuf"


class BoundRow:
    """The tensors of a graph for one row and its copies. One thread at a time gets through.

    Args:
        session: runs them on the processor.
        feeds: one row, as all that follow: of these types and shapes.
        outputs: of an ordinary run of that row and its copies, to which they are bound.
    """

    def __init__(
        self, session: onnxruntime.InferenceSession, feeds: Feeds, outputs: dict[str, NDArray[Any]]
    ) -> None:
        import onnxruntime

        rows = len(next(iter(outputs.values())))
        self._lock = threading.Lock()
        self._run = session.run_with_iobinding
        self._binding = session.io_binding()
        self._inputs: list[tuple[str, tuple[int, ...], np.dtype[Any], NDArray[Any]]] = []
        self._outputs = {name: np.zeros_like(array) for name, array in outputs.items()}
        self._answers = [(name, place[:1]) for name, place in self._outputs.items()]
        value_of = onnxruntime.OrtValue.ortvalue_from_numpy  # a view of the array
        for name, array in feeds.items():
            place = np.zeros((rows, *array.shape[1:]), dtype=array.dtype)
            self._inputs.append((name, array.shape, array.dtype, place))
            self._binding.bind_ortvalue_input(name, value_of(place))
        _, shape, dtype, place = self._inputs[0]
        self._copies = rows
        self._width = -1
        if len(self._inputs) == 1 and len(shape) == 2 and dtype == np.float32:
            self._width = shape[1]
            self._flat = place.reshape(-1).data
            self._pack = struct.Struct(f"{place.size}f").pack_into
        for name, place in self._outputs.items():
            self._binding.bind_ortvalue_output(name, value_of(place))

    def run(self, feeds: Feeds) -> dict[str, NDArray[Any]] | None:
        """The row's outputs; None: another thread is here, or the row is of another shape.

        Raises:
            Exception: whatever onnxruntime raises, also where an output has another shape than the first had.
        """
        if not self._lock.acquire(blocking=False):
            return None
        try:
            for name, shape, dtype, place in self._inputs:
                array = feeds[name]
                if array.shape != shape or array.dtype != dtype:
                    return None
                place[...] = array  # and its copies
            self._run(self._binding)
            return {name: answer.copy() for name, answer in self._answers}
        finally:
            self._lock.release()

    def run_row(self, row: tuple[float, ...]) -> dict[str, NDArray[Any]] | None:
        """The same for a row of numbers where the only input is a float32 matrix as wide as the row.

        Returns:
            None: it is not, or another thread is here.

        Raises:
            Exception: whatever onnxruntime raises.
        """
        if len(row) != self._width or not self._lock.acquire(blocking=False):
            return None
        try:
            self._pack(self._flat, 0, *row * self._copies)
            self._run(self._binding)
            return {name: answer.copy() for name, answer in self._answers}
        finally:
            self._lock.release()


def bound_row(
    session: onnxruntime.InferenceSession, feeds: Feeds, outputs: dict[str, NDArray[Any]]
) -> BoundRow | None:
    """Tensors for further rows like this one, tried on it; None: the graph is not fit for it.

    Args:
        session: runs them.
        feeds: one row.
        outputs: of an ordinary run of that row and its copies.
    """
    arrays = [*feeds.values(), *outputs.values()]
    rows = {len(array) if array.ndim else 0 for array in outputs.values()}
    size_bytes = sum(array.nbytes for array in arrays)
    if len(rows) != 1 or 0 in rows or size_bytes > _MOST_BYTES:
        return None
    if any(array.dtype.kind not in _NUMBERS or not array.dtype.isnative for array in arrays):
        return None
    try:
        bound = BoundRow(session, feeds, outputs)
        found = bound.run(feeds)
    except Exception:  # noqa: BLE001 - onnxruntime raises classes of its own that share no base
        return None
    if found is None or any(found[name].tobytes() != array[:1].tobytes() for name, array in outputs.items()):
        return None
    return bound
