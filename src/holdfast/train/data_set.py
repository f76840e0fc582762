"""What a trainer is given: train and dev, never the test."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from holdfast.train.rows import LABEL, TIME, WEIGHT

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

PROGRESS = "@progress"
"""A line of output that begins so, then a share of 0 to 1 and words, moves the progress line."""


LOSS = "@loss"
"""A line of output that begins so, then a number, says how good the model is on dev; less is better."""


class DataSetPaths(msgspec.Struct, frozen=True, kw_only=True):
    """What a trainer's process needs to open its data set."""

    train: str
    dev: str
    features: tuple[str, ...]
    task: str
    classes: tuple[str | int, ...]
    positive_class: str | int | None
    seed: int
    cores: int
    candidate: int = 0


@dataclass(frozen=True, slots=True)
class DataSet:
    """The rows to learn from (train) and to choose by (dev: early stopping, calibration).

    The test is not here: the model is judged on it afterwards.
    """

    features: tuple[str, ...]
    """Names of the input columns, in the order of the model's inputs."""
    task: str
    """`binary`, `multiclass` or `regression`."""
    classes: tuple[str | int, ...]
    positive_class: str | int | None
    seed: int
    """Python's and NumPy's global generators are seeded with it already."""
    cores: int
    """Threads to use."""
    candidate: int
    """Which of `[training] candidates` this is, from 0: choose other settings for each."""
    paths: DataSetPaths = field(repr=False)

    @classmethod
    def open(cls, paths: DataSetPaths) -> DataSet:
        """From its files."""
        return cls(
            paths.features,
            paths.task,
            paths.classes,
            paths.positive_class,
            paths.seed,
            paths.cores,
            paths.candidate,
            paths,
        )

    @property
    def train(self) -> pa.Table:
        """Features, `label`, `time`, `row_weight` and where each row came from; oldest first."""
        return _read(self.paths.train)

    @property
    def dev(self) -> pa.Table:
        """The same of the rows after a gap."""
        return _read(self.paths.dev)

    def frame(self, table: pa.Table) -> pd.DataFrame:
        """The features alone, as pandas."""
        return table.select(list(self.features)).to_pandas()

    def labels(self, table: pa.Table) -> Any:
        """`[N]` the true answers, as NumPy."""
        return table.column(LABEL).to_numpy()

    def weights(self, table: pa.Table) -> Any:
        """`[N]` how much each row counts, 1 on average."""
        return table.column(WEIGHT).to_numpy()

    def times(self, table: pa.Table) -> Any:
        """`[N]` the time of each row, UTC."""
        return table.column(TIME).to_numpy()

    def progress(self, share: float, words: str = "") -> None:
        """Move the progress line.

        Args:
            share: of the work that is done, 0 to 1.
            words: what is being done.
        """
        sys.stdout.write(f"{PROGRESS} {share:.4f} {words.splitlines()[0] if words else ''}\n")
        sys.stdout.flush()

    def report_loss(self, loss: float) -> None:
        """Say how good this candidate is on dev, so that the best of several is taken; less is better."""
        sys.stdout.write(f"{LOSS} {float(loss)!r}\n")
        sys.stdout.flush()


def _read(path: str) -> pa.Table:
    from pyarrow import parquet

    return parquet.read_table(Path(path))
