"""What ONNX Runtime itself reaches on the same cores: the most that any server of the model could."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from peers import FEATURES

BATCHES = (64, 128, 256, 512)
"""Rows of a run."""


class Ceiling:
    """What ONNX Runtime itself keeps up in this moment on as many cores as there are workers.

    A process for each, all at work at the same time, as cores share caches and memory.
    """

    def __init__(self, file: Path, workers: int) -> None:
        self.rows_per_s: dict[int, list[float]] = {rows: [] for rows in BATCHES}
        self._file = file
        self._workers = workers
        self._pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"))

    def look(self, seconds: float = 0.7) -> None:
        """Every batch once; to be done before each round and after the last, since the machine changes."""
        for rows, found in self.rows_per_s.items():
            start_at = time.time() + (3.0 if not self.rows_per_s[BATCHES[0]] else 0.2)
            each = [
                self._pool.submit(rows_per_s, self._file, rows, start_at, seconds)
                for _ in range(self._workers)
            ]
            found.append(sum(one.result() for one in each))

    def reached(self, rates_per_s: Sequence[float], rows: int) -> dict[str, Any]:
        """Of rounds with these requests per second, each between two looks: their share of the best batch."""
        looks = len(rates_per_s) + 1
        seen = {
            batch: [statistics.mean(pair) for pair in itertools.pairwise(found[-looks:])]
            for batch, found in self.rows_per_s.items()
        }
        best = max(seen, key=lambda batch: statistics.median(seen[batch]))
        shares = [one * rows / most for one, most in zip(rates_per_s, seen[best], strict=True)]
        return {
            "rows_per_s": {batch: round(statistics.median(found)) for batch, found in seen.items()},
            "best_batch": best,
            "reached": round(statistics.median(shares), 3),
            "spread": [round(min(shares), 3), round(max(shares), 3)],
        }

    def close(self) -> None:
        self._pool.shutdown()


def rows_per_s(file: Path, rows: int, start_at: float, seconds: float) -> float:
    """One process, one thread, the same rows again and again from a moment on."""
    import numpy as np
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(file), options, ["CPUExecutionProvider"])
    feed = {session.get_inputs()[0].name: np.ones((rows, FEATURES), dtype=np.float32)}
    session.run(None, feed)
    time.sleep(max(start_at - time.time(), 0.0))
    runs, began = 0, time.perf_counter()
    while (spent := time.perf_counter() - began) < seconds:
        session.run(None, feed)
        runs += 1
    return runs * rows / spent
