"""What every adapter offers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Feeds = Mapping[str, NDArray[np.generic]]


@runtime_checkable
class RowRuntime(Protocol):
    """A runtime that takes one row of numbers without the detour over arrays."""

    def run_row(self, row: tuple[float, ...]) -> dict[str, NDArray[Any]] | None:
        """As `Runtime.run` of that row, for a model whose only input is a float32 matrix.

        Returns:
            None: it is to be run the ordinary way, which also says why a model fails.
        """


class Runtime(Protocol):
    """A loaded model. Not safe for use by two threads at once unless its adapter says so."""

    def run(self, feeds: Feeds) -> dict[str, NDArray[Any]]:
        """All outputs for N rows: by name, first dimension N.

        A row's answer has the same bits whatever other rows share the run.

        Raises:
            RuntimeFailure: the model failed.
        """

    def close(self) -> None:
        """Give its memory back; no run may follow."""
