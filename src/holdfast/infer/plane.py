"""The data plane: run a batch, record it, give the answers. One, behind every transport."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from holdfast.artifact.packing import Answer
from holdfast.clock import Clock
from holdfast.infer.block import Block
from holdfast.infer.large_inputs import LargeRule, set_apart
from holdfast.infer.model import LoadedModel
from holdfast.prediction_log import LabelDoor, new_prediction_ids
from holdfast.privacy import PredictionRecord, Redactor
from holdfast.privacy.record import Values

if TYPE_CHECKING:
    from holdfast.prediction_log import Label, SpoolWriter
    from holdfast.telemetry import LogCounts

CHAMPION_ARM = "champion"
CHALLENGER_ARM = "challenger"
"""Of rows that the challenger of a rollout answered to a caller."""
SHADOW_ARM = "shadow"
"""Of copies that a challenger answered and no caller saw; their ids are those of the rows copied."""
PINNED_ARM = "pinned"
"""Of rows whose caller asked by name for a version that is not the champion; while a challenger has a share
of the traffic, for any: nobody assigned them."""


_NONE: Final[dict[str, Any]] = {}


class AnsweredBatch:
    """N answered rows, already in the log. Lists of Python values are made once, when first asked for."""

    __slots__ = (
        "_outputs", "_predictions", "_probabilities", "answer", "block", "ids", "model", "record_s", "rows",
        "run_s",
    )  # fmt: skip

    def __init__(self, model: LoadedModel, answer: Answer, ids: Sequence[str], rows: int) -> None:
        self.model = model
        self.answer = answer
        self.ids = ids
        self.rows = rows
        self.block: Block | None = None
        """What was asked."""
        self.run_s = model.last_run_s
        """What the model took."""
        self.record_s = 0.0
        """What writing the rows to the log took."""
        self._predictions: list[Any] | None = None
        self._probabilities: list[Any] | None = None
        self._outputs: dict[str, list[Any]] | None = None

    @property
    def predictions(self) -> list[Any]:
        """Class names or numbers; empty for a `tensor` task."""
        if self._predictions is None:
            self._predictions = as_list(self.answer.prediction)
        return self._predictions

    @property
    def probabilities(self) -> list[list[float]] | None:
        """Per row, in the order of the signature's classes."""
        if self._probabilities is None and self.answer.probabilities is not None:
            self._probabilities = self.answer.probabilities.tolist()
        return self._probabilities

    @property
    def outputs(self) -> dict[str, list[Any]]:
        """Raw outputs by name, rows as nested lists."""
        if self._outputs is None:
            self._outputs = {name: as_list(values) for name, values in self.answer.outputs.items()}
        return self._outputs


class DataPlane:
    """Runs blocks and records them before anyone sees the answers.

    One batch at a time; labels may come from another thread meanwhile.

    Args:
        writer: None: nothing is logged.
        redactor: decides what the log may hold; needed with a writer. Both are closed with the plane.
        clock: of arrival times and ids.
        synced: the writer's durability is "synced", so callers must `sync` before an answer leaves.
        large: which inputs of kind image, audio or embedding are stored beside the tables; None: none.
    """

    def __init__(
        self,
        writer: SpoolWriter | None,
        redactor: Redactor | None,
        clock: Clock,
        *,
        synced: bool = False,
        large: LargeRule | None = None,
    ) -> None:
        self._large = large
        self.writer = writer
        self.labels = None if writer is None else LabelDoor(writer)
        self._redactor = redactor
        self._clock = clock
        self.syncs = synced and writer is not None
        """Whether `sync` waits for the disk."""

    def answer(
        self,
        model: LoadedModel,
        block: Block,
        arrivals: Sequence[tuple[float, int]] | None = None,
        *,
        arm: str = CHAMPION_ARM,
    ) -> AnsweredBatch:
        """Run the rows, write them to the log, and only then return the answers.

        Args:
            model: answers all rows.
            block: at least one validated row.
            arrivals: (monotonic seconds of arrival, number of rows) per request, in order; None: now.
            arm: which part of a rollout these rows belong to.

        Raises:
            ModelFailedError: nothing was answered or logged.
            LogFullError: the log cannot be written and `[logging] on_full` is "refuse".
        """
        started = time.monotonic()
        answer = model.predict(block.columns, block.rows)
        rows = block.rows
        ids: Sequence[str]
        if block.ids is None:
            ids = new_prediction_ids(rows, self._clock)
        else:
            fresh = iter(new_prediction_ids(block.ids.count(None), self._clock))
            ids = [next(fresh) if one is None else one for one in block.ids]
        batch = AnsweredBatch(model, answer, ids, rows)
        batch.block = block
        if self.writer is not None and self._redactor is not None:
            now_us = self._clock.now_us()
            ended = time.monotonic()
            times: Sequence[int] | NDArray[np.int64]
            latency: Sequence[int] | NDArray[np.int64]
            if arrivals is None or len(arrivals) == 1:
                began = started if arrivals is None else arrivals[0][0]
                waited = round((ended - began) * 1_000_000)
                times, latency = [now_us - waited] * rows, [waited] * rows
            else:
                waits = [int((ended - began) * 1e6 + 0.5) for began, _ in arrivals]
                if rows == len(arrivals):
                    latency, times = waits, [now_us - waited for waited in waits]
                else:
                    latency = np.repeat(waits, [count for _, count in arrivals])
                    times = now_us - latency
            if block.times_us is not None:
                arrived = times.tolist() if isinstance(times, np.ndarray) else times
                times = [at if own is None else own for own, at in zip(block.times_us, arrived, strict=True)]
            inputs: Mapping[str, Values] = block.columns
            large: Mapping[str, NDArray[np.generic]] = _NONE
            features: Mapping[str, Mapping[str, Values]] = _NONE
            if model.large_kinds and self._large is not None:
                inputs, large, features = set_apart(inputs, model.large_kinds, self._large)
            outputs = dict(answer.outputs) if model.signature.task == "tensor" else _NONE
            record = PredictionRecord(
                model_version=model.version,
                arm=arm,
                prediction_ids=ids,
                times_us=times,
                latency_us=latency,
                inputs=inputs,
                context=block.context,
                prediction=answer.prediction,
                probabilities=answer.probabilities,
                score=model.score(answer),
                outputs=outputs,
                large=large,
                features=features,
            )
            self.writer.append(self._redactor.redact(record))
            batch.record_s = time.monotonic() - ended
        return batch

    def sync(self) -> None:
        """With durability "synced", block until all that was answered is on the disk. Else do nothing.

        Raises:
            LogFullError: the disk refuses and `[logging] on_full` is "refuse".
        """
        if self.writer is not None:
            self.writer.sync()

    def append_labels(self, labels: list[Label]) -> list[int]:
        """Write labels to the log; returns the places of those that were turned away.

        Raises:
            ErasedPredictionError: all of them are for predictions that were erased.
            LogFullError: they could not be written.
        """
        return [] if self.labels is None else self.labels.append(labels)

    def count_into(self, log: LogCounts) -> None:
        """Bring the counts of the log up to date with those of its writer."""
        writer = self.writer
        if writer is None:
            return
        log.served, log.stored = writer.served, writer.stored
        log.sampled_out, log.dropped = writer.sampled_out, writer.dropped
        log.unsynced = writer.unsynced
        large = writer.large
        log.large_stored, log.large_repeated = large.stored, large.repeated
        log.large_bytes = large.stored_bytes

    def close(self) -> None:
        """Close the log writer and the redactor; no call may follow."""
        if self.writer is not None:
            self.writer.close()
        if self._redactor is not None:
            self._redactor.close()


def as_list(values: Values) -> list[Any]:
    """Python scalars (or nested lists), one per row."""
    if isinstance(values, np.ndarray):
        listed: list[Any] = values.tolist()
        return listed
    return list(values)
