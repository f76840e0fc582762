"""What a way of compressing gets and gives."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from holdfast.artifact import Signature

if TYPE_CHECKING:
    from onnx import ModelProto

Feeds = dict[str, NDArray[Any]]
_COMPARED_ROWS: Final = 512


@dataclass(frozen=True, slots=True)
class Original:
    """The version to compress, with rows to calibrate and train on; none of them judges a candidate."""

    model: bytes = field(repr=False)
    signature: Signature
    feeds: Feeds = field(repr=False)
    """Inputs of the graph for the rows to learn from."""
    outputs: Feeds = field(repr=False)
    """What the original answers there."""
    seed: int = 0

    @property
    def rows(self) -> int:
        """To learn from."""
        return len(next(iter(self.feeds.values())))

    def proto(self) -> ModelProto:
        """A fresh copy of the graph, to be changed."""
        import onnx

        return onnx.load_model_from_string(self.model)

    def run(
        self, model: bytes, names: list[str] | None = None, rows: int | None = None
    ) -> list[NDArray[Any]]:
        """Outputs of a graph over the rows to learn from.

        Args:
            model: with the same inputs.
            names: of the outputs; None: all.
            rows: the first so many; None: all.
        """
        session = open_session(model)
        feeds = {name: values[:rows] for name, values in self.feeds.items()}
        found: list[NDArray[Any]] = session.run(names, feeds)
        return found


@dataclass(frozen=True, slots=True)
class Candidate:
    """A smaller graph with the original's inputs and outputs."""

    name: str
    how: str
    """In words."""
    model: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class NotTried:
    """A way that does not apply, or failed."""

    name: str
    why: str


Way = Callable[[Original], Iterator[Candidate | NotTried]]


def open_session(model: bytes) -> Any:
    """A quiet onnxruntime session with one thread, for looking inside a graph."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def deviation(original: Original, model: bytes) -> float:
    """Mean absolute difference of the floating-point outputs from the original's, on rows to learn from."""
    total, count = 0.0, 0
    names = [tensor.name for tensor in original.signature.outputs]
    for name, given in zip(names, original.run(model, names, _COMPARED_ROWS), strict=True):
        if given.dtype.kind == "f":
            total += float(np.abs(given - original.outputs[name][:_COMPARED_ROWS]).mean())
            count += 1
    return total / max(count, 1)
