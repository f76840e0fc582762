"""One model version, loaded and ready to answer."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from holdfast.artifact.packing import Answer, OutputReader, Packer
from holdfast.artifact.signature import Column, Signature
from holdfast.infer.cost import RunCost
from holdfast.infer.errors import ModelFailedError
from holdfast.infer.validation import as_values, check_columns
from holdfast.privacy.record import Values

if TYPE_CHECKING:
    from holdfast.runtime import Runtime

_WARM_UP_RUNS = 3


class LoadedModel:
    """A model version with its runtime.

    Args:
        version: as in the registry.
        signature: of the artifact.
        runtime: runs the graph; closed with the model.
        platform: the kind of runtime, as protocol v2 names it.
        examples: a few reference rows by column, for warm-up and documentation.
    """

    def __init__(
        self,
        version: str,
        signature: Signature,
        runtime: Runtime,
        *,
        platform: str = "onnxruntime_onnx",
        examples: Mapping[str, Sequence[Any]] | None = None,
    ) -> None:
        self.version = version
        self.signature = signature
        self.platform = platform
        self.examples = examples or {}
        self.cost = RunCost()
        self.last_run_s = 0.0
        self._runtime = runtime
        self._positive: int | None = None
        if signature.task == "binary" and signature.positive_class in signature.classes:
            self._positive = signature.classes.index(signature.positive_class)
        self._packer = Packer(signature)
        self._reader = OutputReader(signature)

    def predict(self, columns: Mapping[str, Values], rows: int) -> Answer:
        """The answers for validated columns (see `check_columns`), in order.

        Raises:
            ModelFailedError: the model raised an error, or answered with another number of rows.
        """
        started = time.perf_counter()
        try:
            answer = self._reader.read(self._runtime.run(self._packer.pack(columns, rows)))
        except Exception as error:
            # Whatever a model raises is the model's, and must not end the worker.
            raise ModelFailedError(
                "the model failed on these rows",
                received=type(error).__name__,
                next_step="The service's own log has the details; other rows are not affected.",
            ) from error
        for name, output in answer.outputs.items():
            if len(output) != rows:
                raise ModelFailedError(
                    f"the model's output {name!r} does not have one row per input row",
                    expected=str(rows),
                    received=str(len(output)),
                )
        self.last_run_s = time.perf_counter() - started
        self.cost.observe(rows, self.last_run_s)
        return answer

    def score(self, answer: Answer) -> NDArray[np.generic] | None:
        """Binary models: the probability of the positive class."""
        if self._positive is None or answer.probabilities is None:
            return None
        score: NDArray[np.generic] = answer.probabilities[:, self._positive]
        return score

    def warm_up(self) -> None:
        """Run a few times, on one row and on many: the first caller waits for nothing, costs are known.

        Raises:
            ModelFailedError: the model cannot answer its own reference rows.
        """
        rows = len(next(iter(self.examples.values()), ()))
        columns: Mapping[str, Values]
        if rows and all(column.name in self.examples for column in self.signature.columns):
            columns = check_columns(self.signature.columns, self.examples, rows)
        else:
            rows = 8
            columns = {column.name: _made_up(column, rows) for column in self.signature.columns}
        first = {name: values[:1] for name, values in columns.items()}
        self.predict(first, 1)
        self.predict(columns, rows)
        one_s, all_s = [], []
        for _ in range(_WARM_UP_RUNS):
            self.predict(first, 1)
            one_s.append(self.last_run_s)
            self.predict(columns, rows)
            all_s.append(self.last_run_s)
        self.cost = RunCost()
        for _ in range(_WARM_UP_RUNS):
            # The fastest of each: the others were disturbed.
            self.cost.observe(1, min(one_s))
            self.cost.observe(rows, min(all_s))

    def close(self) -> None:
        """Release the runtime; no call may follow."""
        self._runtime.close()


def load_model(artifact_folder: Path, version: str, threads: int = 1) -> LoadedModel:
    """Open an artifact (its hashes are verified) and its runtime.

    Raises:
        ArtifactError: the artifact is not what was registered.
    """
    from holdfast.artifact import open_artifact
    from holdfast.runtime import open_runtime

    artifact = open_artifact(artifact_folder)
    platform = "onnxruntime_onnx" if artifact.runtime == "onnx" else artifact.runtime
    return LoadedModel(
        version,
        artifact.signature,
        open_runtime(artifact, threads=threads),
        platform=platform,
        examples=artifact.warmup_columns(),
    )


def _made_up(column: Column, rows: int) -> Values:
    shape = tuple(max(size, 1) for size in column.shape)
    if column.categories:
        return as_values(column, [column.categories[i % len(column.categories)] for i in range(rows)])
    if column.dtype == "string":
        return [""] * rows if not shape else [np.full(shape, "", dtype=object).tolist()] * rows
    low = column.minimum if column.minimum is not None else 0.0
    dtype = "float64" if not shape and column.dtype.startswith("float") else column.dtype
    return np.full((rows, *shape), low).astype(dtype)
