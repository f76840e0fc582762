"""Runs a Python callable: an explicit choice at registration, for models that no graph holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from holdfast.artifact.callables import load_callable
from holdfast.runtime.errors import RuntimeFailure
from holdfast.runtime.protocol import Feeds

OUTPUT_NAME = "output"
"""Of a callable that returns one array."""


class PythonRuntime:
    """A callable that gets a dict of columns, arrays of N values, and returns an array or a dict of arrays.

    Each row must be answered by itself; nothing here can make sure of it.
    """

    def __init__(self, target: str) -> None:
        self._target = target
        self._function: Callable[[dict[str, NDArray[Any]]], Any] = load_callable(target)

    def run(self, feeds: Feeds) -> dict[str, NDArray[Any]]:
        """See `Runtime.run`."""
        n_rows = len(next(iter(feeds.values())))
        try:
            answer = self._function(dict(feeds))
        except Exception as error:  # the user's code may raise anything
            raise RuntimeFailure(
                "the Python model failed on these rows",
                where=self._target,
                received=f"{type(error).__name__}: {error}",
            ) from error
        named = answer if isinstance(answer, Mapping) else {OUTPUT_NAME: answer}
        outputs = {str(name): _array(values) for name, values in named.items()}
        for name, values in outputs.items():
            if values.ndim == 0 or len(values) != n_rows:
                raise RuntimeFailure(
                    "the Python model returned another number of rows than it was given",
                    where=f"{self._target}, output {name!r}",
                    expected=str(n_rows),
                    received=str(list(values.shape)),
                )
        return outputs

    def close(self) -> None:
        """See `Runtime.close`."""


def _array(values: Any) -> NDArray[Any]:
    array = np.asarray(values)
    return array.astype(object) if array.dtype.kind in "US" else array
