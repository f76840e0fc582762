"""How many rows one run may hold: measured before the first request, from run time and memory."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec

WARM_UP_S: Final = 0.1
"""Time that measuring may take beyond the runs of one row: a start waits for it."""
LONGEST_RUN_S: Final = 0.05
MOST_ROWS: Final = 4096
"""Of one run, whatever was measured: gains end far below."""
DEFAULT_BUDGET_BYTES: Final = 256 * 1024 * 1024
LONG_RUN_S: Final = 0.005
"""From which what a batch costs beside its run no longer counts."""
PIECE_S: Final = 0.002
"""Of each run of the graph, where a batch is run in pieces: the 10 us that each costs are little beside."""
_NEARLY: Final = 0.95
"""Of the best rows per second: more rows in a run gain next to nothing, and each waits for all of them."""
_PAYS: Final = 0.9
"""Of the best rows per second: more rows in a run may wait for the next one."""
_BEST_OF: Final = 3
_NOISE_BYTES: Final = 8 * 1024 * 1024
"""Growth of a process below it says nothing of the model."""


class Measured(msgspec.Struct, frozen=True):
    """Run time against rows, and what the runs left behind."""

    curve: tuple[tuple[int, float], ...]
    """Rows (powers of two) and the seconds of the fastest run."""
    bytes_per_row: float
    """Growth of the process over the largest run; 0 where it cannot be told."""


def measure(
    run: Callable[[int], float],
    budget_bytes: float = DEFAULT_BUDGET_BYTES,
    held_bytes: Callable[[], int] | None = None,
) -> Measured:
    """Run ever larger batches until time, memory or the length of a run says enough.

    Args:
        run: runs so many rows and returns the seconds it took.
        budget_bytes: by which the process may grow; a larger batch is not tried when it would pass it.
        held_bytes: memory of the process; None: as the system says.
    """
    held_bytes = held_bytes or resident_bytes
    curve = [(1, min(run(1) for _ in range(_BEST_OF)))]
    before_bytes = held_bytes()
    ends_s = time.monotonic() + WARM_UP_S
    rows = 2
    while rows <= MOST_ROWS:
        fastest_s = run(rows)
        for _ in range(_BEST_OF - 1):
            if time.monotonic() > ends_s:
                break
            fastest_s = min(fastest_s, run(rows))
        curve.append((rows, fastest_s))
        # The next run takes about twice the time and memory of this one.
        if fastest_s > LONGEST_RUN_S or time.monotonic() + 2 * fastest_s > ends_s:
            break
        if 2 * (held_bytes() - before_bytes) > budget_bytes:
            break
        rows *= 2
    grown_bytes = held_bytes() - before_bytes
    return Measured(tuple(curve), grown_bytes / curve[-1][0] if grown_bytes > _NOISE_BYTES else 0.0)


def rows_in_memory(bytes_per_row: float, budget_bytes: float) -> int:
    """Most rows whose run stays within a budget; at least 1."""
    if bytes_per_row <= 0.0:
        return MOST_ROWS
    return max(1, min(int(budget_bytes / bytes_per_row), MOST_ROWS))


def rows_worth_a_run(curve: Sequence[tuple[int, float]]) -> int:
    """Rows of a run beyond which throughput hardly grows, so that more would only wait longer for each other.

    A run so short that a batch's other costs count is never enough, whatever a disturbed measurement says.
    Nor are the two largest that were measured: gains may go on from there, and one slow run proves nothing.
    """
    best = max(rows / seconds for rows, seconds in curve)
    enough = [
        rows for rows, seconds in curve[:-2] if seconds >= LONG_RUN_S and rows / seconds >= _NEARLY * best
    ]
    return min(enough, default=MOST_ROWS)


def rows_in_caches(curve: Sequence[tuple[int, float]]) -> int:
    """Rows of a run that twice as many do not beat: what its layers pass on still lies in the core's caches.

    More are better run one piece after another.
    """
    best = max(rows / seconds for rows, seconds in curve)
    enough = [rows for rows, seconds in curve[:-1] if seconds >= PIECE_S and rows / seconds >= _NEARLY * best]
    return min(enough, default=MOST_ROWS)


def rows_that_pay(curve: Sequence[tuple[int, float]]) -> int:
    """Rows of a run with which throughput is not far from its best: fewer would waste what a run costs."""
    best = max(rows / seconds for rows, seconds in curve)
    return min(rows for rows, seconds in curve if rows / seconds >= _PAYS * best)


def resident_bytes() -> int:
    """Memory of this process; 0 where the system does not say."""
    try:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf(
            "SC_PAGE_SIZE"
        )
    except (OSError, ValueError):
        return 0
