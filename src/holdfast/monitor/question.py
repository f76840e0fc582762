"""What is asked about two tables, with every setting read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from holdfast.monitor.column_roles import Notes
from holdfast.monitor.costing import ErrorCosts
from holdfast.monitor.errors import MonitorError
from holdfast.monitor.kinds import OwnColumns
from holdfast.monitor.windows import propose_window
from holdfast.spec import Duration, WindowSize


@dataclass(frozen=True, slots=True)
class Question:
    """The arguments of `diagnose`, which says what they mean."""

    target: str | None
    prediction: str | None
    score: str | None
    time: str | None
    size: WindowSize | None
    """Of a window; None: about twenty windows."""
    run_length: float
    """Mean number of quiet windows between false alarms of everything together."""
    tolerance_sd: float
    delay: Duration | None
    min_rows: int
    costs: ErrorCosts
    explain: bool | None
    options: bool
    own: OwnColumns | None = field(repr=False)
    kinds: Mapping[str, str] | None
    rate_hz: float

    @property
    def of_inputs_alone(self) -> bool:
        """Whether counts of the rows are enough to answer it: one pass over them, however many."""
        return self.target is None and self.explain is not True

    @property
    def outputs(self) -> set[str]:
        """The columns of the model's answers."""
        return {name for name in (self.prediction, self.score) if name is not None}

    @property
    def roles(self) -> dict[str, str | None]:
        """Columns by what they are taken as."""
        return {
            "target": self.target,
            "prediction": self.prediction,
            "score": self.score,
            "time": self.time,
        }

    @property
    def measuring(self) -> dict[str, Any]:
        """How columns are measured that no bins fit, for `Kinds.fit`."""
        return {"own": self.own, "kinds": self.kinds, "rate_hz": self.rate_hz}

    def window_size(self, rows: int, time_us: NDArray[np.int64] | None, notes: Notes) -> WindowSize:
        """The size that was asked for, or one that suits so many rows of these times.

        Raises:
            MonitorError: windows by time are asked for, and rows have no times.
        """
        if self.size is None:
            size = propose_window(rows, time_us)
            notes.add(f"Windows of {size}, chosen to give about twenty.")
            return size
        if self.size.duration is not None and time_us is None:
            raise MonitorError(
                "windows by time need a time column",
                where="window",
                received=str(self.size),
                next_step="Name the time column, or use a number of rows",
            )
        return self.size
