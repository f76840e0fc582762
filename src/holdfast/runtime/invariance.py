"""Whether a row's answer has the same bits whatever rows share its run, measured on the machine at hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from holdfast.artifact.store import Execution
from holdfast.runtime.protocol import Feeds, Runtime

BATCH_SIZES: Final = (1, 2, 3, 5, 8, 17)
"""One row alone, odd and even sizes, and sizes on both sides of the blocks that kernels work in."""


def rows_that_differ(runtime: Runtime, feeds: Feeds) -> int:
    """How many rows get another answer in some smaller batch than in the one of all rows."""
    rows = len(next(iter(feeds.values())))
    whole = runtime.run(feeds)
    differ = np.zeros(rows, dtype=bool)
    for size in BATCH_SIZES:
        for start in range(0, rows, size):
            part = runtime.run({name: array[start : start + size] for name, array in feeds.items()})
            for name, answers in part.items():
                here = slice(start, start + len(answers))
                differ[here] |= ~_same_bits(whole[name][here], answers)
    return int(differ.sum())


def first_invariant(
    open_with: Callable[[Execution], Runtime], candidates: Sequence[Execution], feeds: Feeds
) -> Execution | None:
    """The first way of running under which every batch agrees; None if none does.

    Args:
        open_with: opens the model.
        candidates: ways to run it, cheapest first.
        feeds: rows to measure with.
    """
    for execution in candidates:
        runtime = open_with(execution)
        try:
            if rows_that_differ(runtime, feeds) == 0:
                return execution
        finally:
            runtime.close()
    return None


def _same_bits(one: NDArray[Any], other: NDArray[Any]) -> NDArray[np.bool_]:
    if one.dtype == object:
        equal = np.asarray(one == other, dtype=bool)
    else:
        equal = (
            one.view(f"u{one.itemsize}") == other.view(f"u{other.itemsize}")
            if one.itemsize <= 8
            else one == other
        )
    return np.asarray(equal.reshape(len(one), -1).all(axis=1))
