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
from wrk import Round

BATCHES = (64, 128, 256, 512)
"""Rows of a run."""


class Ceiling:
    """What ONNX Runtime itself keeps up in this moment on as many cores as there are workers.

    A process for each, all at work at the same time, as cores share caches and memory.
    """

    def __init__(self, file: Path, workers: int) -> None:
        self.rows_per_s: dict[int, list[float]] = {rows: [] for rows in BATCHES}
        self.cpu_us: dict[int, list[float]] = {rows: [] for rows in BATCHES}
        """Processor time of a row."""
        self._file = file
        self._workers = workers
        self._pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"))

    def look(self, seconds: float = 0.7) -> None:
        """Every batch once; to be done before each round and after the last, since the machine changes."""
        for rows, found in self.rows_per_s.items():
            start_at = time.time() + (3.0 if not self.rows_per_s[BATCHES[0]] else 0.2)
            each = [
                self._pool.submit(run_alone, self._file, rows, start_at, seconds)
                for _ in range(self._workers)
            ]
            rates, costs = zip(*(one.result() for one in each), strict=True)
            found.append(sum(rates))
            self.cpu_us[rows].append(statistics.mean(costs))

    def reached(self, rounds: Sequence[Round], rows: int) -> dict[str, Any]:
        """Of rounds with requests of so many rows, each between two looks: their share of the best batch.

        The load generator has its part of the cores, and ONNX Runtime in process has them all. So besides the
        share of the rate (`reached`) there is what it would be if the same client were beside both, and that
        of the processor time, of the service alone. Neither replaces the first.
        """
        looks = len(rounds) + 1
        seen = {batch: _between(found[-looks:]) for batch, found in self.rows_per_s.items()}
        best = max(seen, key=lambda batch: statistics.median(seen[batch]))
        alone_us = [rows * one for one in _between(self.cpu_us[best][-looks:])]
        pairs = list(zip(rounds, alone_us, strict=True))
        shares = {
            "reached": [
                one.requests_per_s * rows / most for one, most in zip(rounds, seen[best], strict=True)
            ],
            "with_the_client_beside_both": [
                (alone + one.client_us) / (one.cpu_us + one.client_us) for one, alone in pairs
            ],
            "of_processor_time": [alone / one.cpu_us for one, alone in pairs],
        }
        return {
            "rows_per_s": {batch: round(statistics.median(found)) for batch, found in seen.items()},
            "best_batch": best,
            "cpu_us_per_request": round(statistics.median(alone_us)),
            "client_us_per_request": round(statistics.median(one.client_us for one in rounds)),
            "shares": {
                name: [round(one, 3) for one in (statistics.median(found), min(found), max(found))]
                for name, found in shares.items()
            },
        }

    def close(self) -> None:
        self._pool.shutdown()


def _between(looks: Sequence[float]) -> list[float]:
    """What is taken to hold in the round between two looks."""
    return [statistics.mean(pair) for pair in itertools.pairwise(looks)]


def run_alone(file: Path, rows: int, start_at: float, seconds: float) -> tuple[float, float]:
    """One process, one thread, the same rows again and again from a moment on.

    Returns:
        Rows per second, and microseconds of the processor for each.
    """
    import numpy as np
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(file), options, ["CPUExecutionProvider"])
    feed = {session.get_inputs()[0].name: np.ones((rows, FEATURES), dtype=np.float32)}
    session.run(None, feed)
    time.sleep(max(start_at - time.time(), 0.0))
    runs, began, began_cpu = 0, time.perf_counter(), time.process_time()
    while (spent := time.perf_counter() - began) < seconds:
        session.run(None, feed)
        runs += 1
    return runs * rows / spent, (time.process_time() - began_cpu) / (runs * rows) * 1e6
