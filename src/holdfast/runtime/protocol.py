"""What every adapter offers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Feeds = Mapping[str, NDArray[np.generic]]


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
