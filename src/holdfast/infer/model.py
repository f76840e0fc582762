"""One model version, loaded and ready to answer."""

from __future__ import annotations

import itertools
import time
from asyncio import CancelledError
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from holdfast.artifact.packing import Answer, OutputReader, Packer, Table
from holdfast.artifact.signature import Column, Kind, Signature
from holdfast.infer.budget import (
    DEFAULT_BUDGET_BYTES,
    MOST_ROWS,
    Measured,
    measure,
    resident_bytes,
    rows_in_caches,
    rows_in_memory,
    rows_that_pay,
    rows_worth_a_run,
)
from holdfast.infer.cost import RunCost
from holdfast.infer.errors import ModelFailedError
from holdfast.infer.large_inputs import LARGE_KINDS
from holdfast.infer.validation import as_values, check_columns
from holdfast.privacy.record import Values
from holdfast.runtime.protocol import Feeds, RowRuntime

if TYPE_CHECKING:
    from holdfast.runtime import Runtime
    from holdfast.spec.checklist import Compute

_RUNS_PER_POINT = 3
"""How much each measured point weighs against what comes later."""
_LONG_RUN_S = 0.001
"""From which asking what a run takes of the processor costs nothing beside it."""


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
        self.work = RunCost()
        """The same in processor time of the thread that runs it, of long runs alone: what it takes longer by
        the clock, others had the core. Not of what another device runs."""
        self.runs_here = True
        """On the processor, not on another device."""
        self.last_run_s = 0.0
        self.measured: Measured | None = None
        """Of the warm-up."""
        self.most_rows = MOST_ROWS
        """Of one run; more are run in pieces."""
        self.piece_rows = MOST_ROWS
        """Of one run of the graph at least, where a batch of twice as many and more is run in pieces."""
        self.worthwhile_rows = MOST_ROWS
        """Of requests that share a run: more gain nothing."""
        self.paying_rows = 1
        """Of requests that share a run, where so many wait: fewer waste what a run costs."""
        self.large_kinds: dict[str, Kind] = {
            column.name: column.kind
            for column in signature.columns
            if column.kind in LARGE_KINDS and column.shape and column.dtype != "string"
        }
        """Inputs that the log may store beside its tables."""
        if self.large_kinds:
            import holdfast.stats  # noqa: F401 - for their features; no caller is to wait for it
        self.memory_bytes = 0
        """By which it made the process grow: with `load_model` loading it, and whoever warms it adds that."""
        self._runtime = runtime
        self._positive: int | None = None
        if signature.task == "binary" and signature.positive_class in signature.classes:
            self._positive = signature.classes.index(signature.positive_class)
        self._packer = Packer(signature)
        self._run_row: Callable[[tuple[float, ...]], dict[str, NDArray[Any]] | None] | None = None
        """Where a row of plain numbers is the graph's only input."""
        self._row_names: tuple[str, ...] = ()
        only = signature.inputs[0]
        if len(signature.inputs) == 1 and only.dtype == "float32" and len(only.shape) == 2:
            self._row_names = tuple(only.columns)
            self._run_row = runtime.run_row if isinstance(runtime, RowRuntime) else None
        self._reader = OutputReader(signature)

    def predict(self, columns: Mapping[str, Values], rows: int) -> Answer:
        """The answers for validated columns (see `check_columns`), in order.

        Raises:
            ModelFailedError: the model raised an error, or answered with another number of rows.
        """
        if rows > self.most_rows:
            return self._predict_in_pieces(columns, rows)
        is_long = self.runs_here and self.cost.seconds(rows) > _LONG_RUN_S
        began_s = time.thread_time() if is_long else 0.0
        started = time.perf_counter()
        try:
            outputs = None
            if self._run_row is not None and type(columns) is Table and columns.row is not None:
                outputs = self._run_row(columns.row) if columns.names == self._row_names else None
            if outputs is None:
                outputs = self._run(self._packer.pack(columns, rows), rows)
            answer = self._reader.read(outputs)
        except (Exception, SystemExit, CancelledError) as error:
            # Whatever a model raises is the model's, and must end neither the worker nor the thread of runs.
            raise ModelFailedError(
                "the model failed on these rows",
                received=type(error).__name__,
                next_step="The service's own log has the details; other rows are not affected.",
            ) from error
        for name, output in outputs.items():
            if len(output) != rows:
                raise ModelFailedError(
                    f"the model's output {name!r} does not have one row per input row",
                    expected=str(rows),
                    received=str(len(output)),
                )
        self.last_run_s = time.perf_counter() - started
        self.cost.observe(rows, self.last_run_s)
        if is_long:
            self.work.observe(rows, time.thread_time() - began_s)
        return answer

    def _run(self, feeds: Feeds, rows: int) -> dict[str, NDArray[Any]]:
        """All outputs for these rows; where they are many, run one piece after another."""
        count = rows // self.piece_rows
        if count < 2:
            return self._runtime.run(feeds)
        ends = [rows * number // count for number in range(count + 1)]
        parts = [
            self._runtime.run({name: array[start:stop] for name, array in feeds.items()})
            for start, stop in itertools.pairwise(ends)
        ]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _predict_in_pieces(self, columns: Mapping[str, Values], rows: int) -> Answer:
        """The same answers: the bits of a row do not depend on the rows beside it."""
        answers = []
        spent_s = 0.0
        for start in range(0, rows, self.most_rows):
            stop = min(start + self.most_rows, rows)
            piece = {name: values[start:stop] for name, values in columns.items()}
            answers.append(self.predict(piece, stop - start))
            spent_s += self.last_run_s
        self.last_run_s = spent_s
        probabilities: Any = [one.probabilities for one in answers]
        predictions: Any = [one.prediction for one in answers]
        return Answer(
            np.concatenate(predictions),
            None if probabilities[0] is None else np.concatenate(probabilities),
            {name: np.concatenate([one.outputs[name] for one in answers]) for name in answers[0].outputs},
        )

    def score(self, answer: Answer) -> NDArray[np.generic] | None:
        """Binary models: the probability of the positive class."""
        if self._positive is None or answer.probabilities is None:
            return None
        score: NDArray[np.generic] = answer.probabilities[:, self._positive]
        return score

    def warm_up(self, memory_bytes: float | None = None) -> None:
        """Run on the model's own reference rows until the first caller waits for nothing and costs are known.

        Takes the time of a few runs of one row and about 0.1 s more.

        Args:
            memory_bytes: what runs may use beyond what the process holds now; None: not limited.

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

        def run(count: int) -> float:
            self.predict({name: _cycled(values, count) for name, values in columns.items()}, count)
            return self.last_run_s

        run(1)
        run(rows)
        budget_bytes = DEFAULT_BUDGET_BYTES if memory_bytes is None else memory_bytes
        self.measured = measured = measure(run, budget_bytes)
        self.cost = RunCost()
        self.work = RunCost()
        for _ in range(_RUNS_PER_POINT):
            for count, seconds in measured.curve:
                self.cost.observe(count, seconds)
        self.worthwhile_rows = rows_worth_a_run(measured.curve)
        self.paying_rows = rows_that_pay(measured.curve)
        if self.runs_here:
            self.piece_rows = rows_in_caches(measured.curve)
        if memory_bytes is not None:
            self.most_rows = rows_in_memory(measured.bytes_per_row, memory_bytes)

    def close(self) -> None:
        """Release the runtime; no call may follow."""
        self._runtime.close()


def load_model(artifact_folder: Path, version: str, compute: Compute | None = None) -> LoadedModel:
    """Open an artifact (its hashes are verified) and its runtime.

    Args:
        artifact_folder: of the version.
        version: as in the registry.
        compute: how it runs; None: as the defaults of `[compute]` say.

    Raises:
        ArtifactError: the artifact is not what was registered.
        RuntimeFailure: it cannot be loaded, or not with this accelerator.
    """
    from holdfast.artifact import open_artifact
    from holdfast.runtime import load_library, open_runtime

    artifact = open_artifact(artifact_folder)
    load_library(artifact.runtime)
    before_bytes = resident_bytes()
    platform = "onnxruntime_onnx" if artifact.runtime == "onnx" else artifact.runtime
    model = LoadedModel(
        version,
        artifact.signature,
        open_runtime(artifact, compute),
        platform=platform,
        examples=artifact.warmup_columns(),
    )
    model.runs_here = compute is None or compute.accelerator in {"none", "openvino"}
    model.memory_bytes = max(resident_bytes() - before_bytes, 0)
    return model


def _cycled(values: Values, rows: int) -> Values:
    """So many of the values, again from the start where they end."""
    if isinstance(values, np.ndarray):
        return np.take(values, np.arange(rows) % len(values), axis=0)
    return [values[row % len(values)] for row in range(rows)]


def _made_up(column: Column, rows: int) -> Values:
    shape = tuple(max(size, 1) for size in column.shape)
    if column.categories:
        return as_values(column, [column.categories[i % len(column.categories)] for i in range(rows)])
    if column.dtype == "string":
        return [""] * rows if not shape else [np.full(shape, "", dtype=object).tolist()] * rows
    low = column.minimum if column.minimum is not None else 0.0
    dtype = "float64" if not shape and column.dtype.startswith("float") else column.dtype
    return np.full((rows, *shape), low).astype(dtype)
