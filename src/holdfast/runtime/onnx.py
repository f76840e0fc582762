"""Runs an ONNX graph on onnxruntime so that a row's answer does not depend on the rows beside it.

By itself onnxruntime does not promise that. Measured with 1.32 on x86-64 with AVX2, one thread: a float32
`LinearClassifier` of one row takes another kernel than one of several; in float64 a matrix product does so
for the last row of an odd batch, and `Sigmoid`, `Exp` and `Softmax` for the last of an odd number of values.
Up to half of the rows of a linear model then differ in the last bit between a batch and a row alone. With an
even number of rows none did. So graphs with such operators run on a multiple of rows
(`Execution.row_multiple`, 2 unless registration measured that more is needed): the batch is filled up with
copies of its last row, whose answers are cut off.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from holdfast.artifact.store import Execution
from holdfast.runtime.bound_row import BoundRow, bound_row
from holdfast.runtime.errors import RuntimeFailure
from holdfast.runtime.protocol import Feeds
from holdfast.spec.checklist import Compute

if TYPE_CHECKING:
    import onnxruntime


class OnnxRuntime:
    """One onnxruntime session. Several threads may call `run` at once.

    Args:
        model: the file's bytes.
        where: names the file in errors.
        execution: how rows may share a run.
        compute: threads of one operator (1, the default, keeps the order of every sum, and so the bits of
            every answer), arena and accelerator.
    """

    def __init__(
        self, model: bytes, *, where: str, execution: Execution, compute: Compute | None = None
    ) -> None:
        self._where = where
        self._session = open_session(model, where=where, compute=compute)
        self._row_multiple = execution.row_multiple
        self._fixed_rows = 1 if execution.one_by_one else _fixed_rows(self._session)
        self._output_names = [output.name for output in self._session.get_outputs()]
        self._bound: BoundRow | None = None
        self._may_bind = compute is None or compute.accelerator == "none"

    def run(self, feeds: Feeds) -> dict[str, NDArray[Any]]:
        """See `Runtime.run`."""
        n_rows = len(next(iter(feeds.values())))
        if n_rows == 1:
            return self._run_one(feeds)
        if self._fixed_rows is not None:
            return self._run_fixed(feeds, n_rows, self._fixed_rows)
        short = -n_rows % self._row_multiple
        if short:
            feeds = {name: _with_copies(array, short) for name, array in feeds.items()}
        outputs = self._run(feeds)
        if short:
            filled = n_rows + short
            for name, array in outputs.items():
                if array.ndim and len(array) == filled:
                    outputs[name] = array[:n_rows]
        return outputs

    def run_row(self, row: tuple[float, ...]) -> dict[str, NDArray[Any]] | None:
        """See `RowRuntime.run_row`."""
        bound = self._bound
        if bound is None:
            return None
        try:
            return bound.run_row(row)
        except Exception:  # noqa: BLE001 - the ordinary run that follows says why
            return None

    def _run_one(self, feeds: Feeds) -> dict[str, NDArray[Any]]:
        """One row, through bound tensors where that is possible."""
        bound = self._bound
        missed = False
        if bound is not None:
            try:
                found = bound.run(feeds)
                if found is not None:
                    return found
            except Exception:  # noqa: BLE001 - a graph that fails on this row is heard in the ordinary run
                missed = True
        copies = (self._fixed_rows or self._row_multiple) - 1
        outputs = self._run({name: _with_copies(array, copies) for name, array in feeds.items()})
        if missed:
            self._bound = None  # an output had another shape, as it may have again
        elif bound is None and self._may_bind:
            self._may_bind = False
            self._bound = bound_row(self._session, feeds, outputs)
        return {
            name: array[:1] if array.ndim and len(array) == 1 + copies else array
            for name, array in outputs.items()
        }

    def _run(self, feeds: Feeds) -> dict[str, NDArray[Any]]:
        try:
            arrays = self._session.run(self._output_names, feeds)
        except Exception as error:  # onnxruntime raises classes of its own that share no base
            raise RuntimeFailure(
                "the model failed on these rows", where=self._where, received=_first_line(error)
            ) from error
        return dict(zip(self._output_names, arrays, strict=True))

    def _run_fixed(self, feeds: Feeds, n_rows: int, size: int) -> dict[str, NDArray[Any]]:
        """A graph made for exactly `size` rows: in blocks, the last one filled up with copies."""
        blocks = []
        for start in range(0, n_rows, size):
            block = {name: array[start : start + size] for name, array in feeds.items()}
            here = min(size, n_rows - start)
            if here < size:
                block = {name: _with_copies(array, size - here) for name, array in block.items()}
            blocks.append({name: array[:here] for name, array in self._run(block).items()})
        if not blocks:
            raise RuntimeFailure("a graph with a fixed batch cannot run on no rows", where=self._where)
        return {name: np.concatenate([block[name] for block in blocks]) for name in self._output_names}

    def close(self) -> None:
        """See `Runtime.close`."""
        self._bound = None
        self._may_bind = False
        del self._session


_SMALLEST: Final = bytes.fromhex(
    "08083a310a120a017812017922084964656e746974793a001201675a0b0a017812060a0408011200620b0a017912060a040801120042040a00100d"
)
"""`g (float x) => (float y) { y = Identity(x) }`, opset 13."""
_PROVIDERS: Final = {
    "none": "CPUExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}
_INSTALL: Final = {
    "cuda": "Replace onnxruntime with: pip install onnxruntime-gpu",
    "tensorrt": "Replace onnxruntime with: pip install onnxruntime-gpu",
    "openvino": "Replace onnxruntime with: pip install onnxruntime-openvino",
}


@cache
def load_onnxruntime() -> None:
    """Load onnxruntime and what its first session makes and never gives back: some 30 MB, whatever the graph.

    With the smallest graph (an `Identity`), and once in a process.
    """
    open_session(_SMALLEST, where="a graph without a model")


def open_session(model: bytes, *, where: str, compute: Compute | None = None) -> onnxruntime.InferenceSession:
    """An onnxruntime session.

    Raises:
        RuntimeFailure: the graph cannot be loaded (carries onnxruntime's own reason), or the accelerator that
            was asked for is not there.
    """
    import onnxruntime

    compute = compute or Compute()
    threads = compute.threads
    providers = _providers(compute.accelerator, onnxruntime.get_available_providers())
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 3
    options.enable_cpu_mem_arena = compute.arena
    if threads > 1:
        # Waiting threads would spin on the cores that other workers need.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = onnxruntime.InferenceSession(model, options, providers=providers)
    except Exception as error:  # onnxruntime raises classes of its own that share no base
        raise RuntimeFailure(
            "onnxruntime cannot load the model", where=where, received=_first_line(error)
        ) from error
    if providers[0] not in session.get_providers():
        # onnxruntime falls back to the CPU with no more than a line in its own log.
        raise RuntimeFailure(
            "the accelerator is built in but cannot be used on this machine",
            where="[compute] accelerator",
            expected=providers[0],
            received=", ".join(session.get_providers()),
            next_step='Install its drivers and libraries, or set accelerator = "none".',
        )
    return session


def _providers(accelerator: str, available: Sequence[str]) -> list[str]:
    """Execution providers in order of preference; the CPU takes what the accelerator cannot."""
    wanted = _PROVIDERS[accelerator]
    if wanted not in available:
        raise RuntimeFailure(
            "this onnxruntime has no such accelerator",
            where="[compute] accelerator",
            expected=" or ".join(repr(name) for name, one in _PROVIDERS.items() if one in available),
            received=repr(accelerator),
            next_step=_INSTALL.get(accelerator, "Install an onnxruntime that was built with it."),
        )
    return list(dict.fromkeys([wanted, _PROVIDERS["none"]]))


def _fixed_rows(session: onnxruntime.InferenceSession) -> int | None:
    sizes = {tensor.shape[0] for tensor in session.get_inputs() if tensor.shape}
    fixed = {size for size in sizes if isinstance(size, int) and size > 0}
    return fixed.pop() if len(fixed) == 1 else None


def _with_copies(array: NDArray[Any], copies: int) -> NDArray[Any]:
    if len(array) == 1:
        return array.repeat(1 + copies, axis=0)
    filled = np.empty((len(array) + copies, *array.shape[1:]), dtype=array.dtype)
    filled[: len(array)] = array
    filled[len(array) :] = array[-1]
    return filled


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
