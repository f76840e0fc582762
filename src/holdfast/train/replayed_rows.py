"""The log's rows as a replay reads them: a window at a time, as numbers for trees."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from holdfast.artifact import Reference, Signature
from holdfast.prediction_log import PredictionLog, label_text
from holdfast.registry.candidate import answer_all
from holdfast.runtime import Runtime
from holdfast.spec import Deployment
from holdfast.train.log_source import INPUT
from holdfast.train.recalibrating import positive_place
from holdfast.train.rows import LABEL, Plan
from holdfast.train.standing_in import Numbers, newest

if TYPE_CHECKING:
    import pyarrow as pa

MOST_TEXTS: Final = 1000
"""Different texts of a column that are told apart."""


@dataclass(frozen=True, slots=True)
class ReplayedWindow:
    """The rows of a window, and what is known of them now."""

    end_us: int
    time_us: NDArray[np.int64]
    """`[N]`, rising."""
    inputs: Numbers
    """`[N, D]`."""
    base: Numbers
    """`[N]`, the first version's score or number; NaN where it gives none."""
    truth: Numbers
    """`[N]`, 1 for the positive class, or the number; NaN without a label."""
    observed_us: NDArray[np.int64]
    """`[N]`, when the label came; 0 without one."""

    def __len__(self) -> int:
        return len(self.time_us)

    @property
    def labelled(self) -> NDArray[np.bool_]:
        """`[N]`: the truth is known, and the first version's answer."""
        known: NDArray[np.bool_] = np.isfinite(self.truth) & np.isfinite(self.base)
        return known


@dataclass(frozen=True, slots=True)
class ReplayedRows:
    """A log read once, in order of time."""

    deployment: Deployment
    signature: Signature
    version: str
    runtime: Runtime
    """Of the first version, for rows that another one answered."""
    window_us: int
    """Of the query that sorts the log."""
    texts: dict[str, dict[str, int]] = field(default_factory=dict, repr=False)
    """Of each column, the place at which a text first came."""

    def windows(self) -> Iterator[ReplayedWindow]:
        """In order; empty ones are left out."""
        for end_us, table in self._tables():
            plain = table.rename_columns([name.removeprefix(INPUT) for name in table.column_names])
            yield ReplayedWindow(
                end_us,
                table.column("time").to_numpy(),
                self._inputs(plain),
                self._base(plain),
                _truth(table.column("y").to_pylist(), self.signature),
                table.column("observed").fill_null(0).to_numpy(),
            )

    def reference(self) -> tuple[Numbers, Numbers]:
        """Inputs and truth of what the first model was judged good on: the first rows to learn from."""
        from pyarrow import parquet

        path = self.deployment.references_folder / self.version / "reference.parquet"
        nothing = np.empty((0, len(self.signature.columns))), np.empty(0)
        if not path.exists():
            return nothing
        table = parquet.read_table(path)
        if LABEL not in table.column_names:
            return nothing
        truth = _truth(table.column(LABEL).to_pylist(), self.signature)
        known = np.isfinite(truth)
        return newest(nothing, self._inputs(table)[known], truth[known])

    def _tables(self) -> Iterator[tuple[int, pa.Table]]:
        """Rows of each window with its end."""
        import pyarrow as pa

        names = ", ".join(
            'p."' + f"{INPUT}{one.name}".replace('"', '""') + '"' for one in self.signature.columns
        )
        reader = PredictionLog(self.deployment).query(
            f"SELECT epoch_us(p.time) AS time, p.model_version, p.score, p.prediction, p.y, "  # noqa: S608 - quoted
            f"epoch_us(p.observed_at) AS observed, {names} "
            "FROM joined p WHERE coalesce(p.arm, '') <> 'shadow' ORDER BY p.time, p.prediction_id",
        )
        held: list[pa.Table] = []
        number: int | None = None
        for batch in reader:
            table = pa.Table.from_batches([batch])
            places = table.column("time").to_numpy() // self.window_us
            for place in np.unique(places):
                part = table.filter(pa.array(places == place))
                if number is not None and place != number:
                    yield (number + 1) * self.window_us, pa.concat_tables(held)
                    held = []
                number = int(place)
                held.append(part)
        if held and number is not None:
            yield (number + 1) * self.window_us, pa.concat_tables(held)

    def _base(self, table: pa.Table) -> Numbers:
        """`[N]`, as the first version answered, or would have answered where another one did."""
        column = "prediction" if self.signature.task == "regression" else "score"
        base = np.asarray(table.column(column).to_pylist(), dtype=np.float64)
        others = np.array([one != self.version for one in table.column("model_version").to_pylist()])
        others |= ~np.isfinite(base)
        if others.any():
            import pyarrow as pa

            chosen = table.filter(pa.array(others)).select([one.name for one in self.signature.columns])
            answer = answer_all(self.runtime, self.signature, Reference(chosen))
            if self.signature.task == "regression" or answer.probabilities is None:
                base[others] = np.asarray(answer.prediction, dtype=np.float64)
            else:
                base[others] = answer.probabilities[:, positive_place(self.signature)]
        return base

    def _inputs(self, table: pa.Table) -> Numbers:
        """`[N, D]` numbers for trees; each text by the place at which it first came."""
        import pyarrow as pa

        columns = []
        for one in self.signature.columns:
            column = table.column(one.name)
            kind = column.type
            if pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind):
                wide = column.cast(pa.int8()) if pa.types.is_boolean(kind) else column
                columns.append(np.asarray(wide.cast(pa.float64()).to_numpy(), dtype=np.float64))
                continue
            known = self.texts.setdefault(one.name, {})
            codes = np.full(table.num_rows, np.nan)
            for row, value in enumerate(column.to_pylist()):
                if value is not None:
                    text = str(value)
                    if text not in known and len(known) < MOST_TEXTS:
                        known[text] = len(known)
                    codes[row] = known.get(text, MOST_TEXTS)
            columns.append(codes)
        return np.stack(columns, axis=1)


def _truth(values: list[Any], signature: Signature) -> Numbers:
    if signature.task == "regression":
        return np.array([np.nan if one is None else float(one) for one in values])
    labels = Plan((), "binary", signature.classes).labels(values).to_pylist()
    positive = label_text(signature.positive_class)
    return np.array([np.nan if one is None else float(label_text(one) == positive) for one in labels])
