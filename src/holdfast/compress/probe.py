"""One candidate measured in a process of its own: `python -m holdfast.compress.probe PLAN`.

The candidate is loaded and run first, for its memory; then the original is loaded beside it and the two take
turns, so that whatever else the machine does slows both.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from holdfast.artifact import Execution
from holdfast.runtime.onnx import OnnxRuntime
from holdfast.spec import Compute

_ROUNDS: Final = 7
_FEWEST_ROUNDS: Final = 3
"""After which a candidate that saves nothing and was slower in every turn is given up."""
_WARMUP: Final = 20
_WARMUP_S: Final = 0.2
"""Of each: a slow model is warm after fewer runs."""
BATCH_ROWS: Final = 32


class ProbePlan(msgspec.Struct, frozen=True, kw_only=True):
    """What to measure."""

    candidate: str
    """Path of the graph."""
    original: str
    candidate_execution: Execution
    original_execution: Execution
    feeds: str
    """Path of a `.npz` with rows to run, at least `BATCH_ROWS`."""
    compute: Compute
    cores: tuple[int, ...]
    round_s: float
    """Length of one turn."""
    saves: bool = True
    """It is smaller than the original: all turns are taken, however slow it is."""
    memory_mb: int | None = None
    """The candidate is loaded and run within so much memory of the process; None: without a limit."""


class Probed(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured."""

    memory_mb: float
    """Largest resident size beyond the process's own before the model was loaded."""
    p50_ms: float
    p99_ms: float
    """Of one row."""
    rows_per_s: float
    """In runs of `BATCH_ROWS`."""
    original_p50_ms: float
    original_rows_per_s: float
    speedup: tuple[float, float, float]
    """Original's time over the candidate's for one row: median, smallest and largest over the turns."""
    batch_speedup: tuple[float, float, float]


def main(path: str) -> None:
    """Carry a plan out; what was measured goes to standard output as JSON."""
    plan = msgspec.json.decode(Path(path).read_bytes(), type=ProbePlan)
    if plan.cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, plan.cores)
    with np.load(plan.feeds, allow_pickle=False) as stored:
        feeds = {name: _text(stored[name]) for name in stored.files}
    one = {name: values[:1] for name, values in feeds.items()}
    many = {name: values[:BATCH_ROWS] for name, values in feeds.items()}
    import onnxruntime  # noqa: F401 - its own size is not the model's

    before = _status("VmRSS")
    unlimited = _limit(plan.memory_mb)
    candidate = OnnxRuntime(
        Path(plan.candidate).read_bytes(),
        where=plan.candidate,
        execution=plan.candidate_execution,
        compute=plan.compute,
    )
    _warm(candidate, one, many)
    unlimited()
    memory_mb = max(_status("VmHWM") - before, 0) / 1e6
    original = OnnxRuntime(
        Path(plan.original).read_bytes(),
        where=plan.original,
        execution=plan.original_execution,
        compute=plan.compute,
    )
    _warm(original, one, many)
    turns: dict[str, list[float]] = {"one": [], "many": [], "original one": [], "original many": []}
    singles: list[float] = []
    for number in range(_ROUNDS):
        if number >= _FEWEST_ROUNDS and not plan.saves and _slower(turns):
            break
        for name, runtime, rows in (
            ("one", candidate, one),
            ("original one", original, one),
            ("many", candidate, many),
            ("original many", original, many),
        ):
            times = _turn(lambda runtime=runtime, rows=rows: runtime.run(rows), plan.round_s)  # type: ignore[misc]  # bound now
            turns[name].append(float(np.median(times)))
            if name == "one":
                singles += times
    probed = Probed(
        memory_mb=memory_mb,
        p50_ms=float(np.median(singles)) * 1000,
        p99_ms=float(np.quantile(singles, 0.99)) * 1000,
        rows_per_s=BATCH_ROWS / float(np.median(turns["many"])),
        original_p50_ms=float(np.median(turns["original one"])) * 1000,
        original_rows_per_s=BATCH_ROWS / float(np.median(turns["original many"])),
        speedup=_ratio(turns["original one"], turns["one"]),
        batch_speedup=_ratio(turns["original many"], turns["many"]),
    )
    sys.stdout.write(msgspec.json.encode(probed).decode())


def _warm(runtime: OnnxRuntime, one: dict[str, NDArray[Any]], many: dict[str, NDArray[Any]]) -> None:
    end = time.perf_counter() + _WARMUP_S
    for number in range(_WARMUP):
        runtime.run(one)
        runtime.run(many)
        if number >= 2 and time.perf_counter() > end:
            return


def _limit(memory_mb: int | None) -> Callable[[], None]:
    """Hold this process to a data segment of that size; gives back what lifts it again."""
    if memory_mb is None:
        return lambda: None
    try:
        import resource
    except ImportError:  # not on this system
        return lambda: None
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = memory_mb * 1_000_000
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (wanted, hard))
    return lambda: resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def _slower(turns: dict[str, list[float]]) -> bool:
    """Whether it was slower in every turn, one row at a time and in runs of many."""
    return all(
        mine >= its
        for name in ("one", "many")
        for mine, its in zip(turns[name], turns[f"original {name}"], strict=True)
    )


def _ratio(slow: list[float], fast: list[float]) -> tuple[float, float, float]:
    ratios = np.array(slow) / np.array(fast)
    return float(np.median(ratios)), float(ratios.min()), float(ratios.max())


def _turn(run: Callable[[], object], seconds: float) -> list[float]:
    times: list[float] = []
    end = time.perf_counter() + seconds
    now = time.perf_counter()
    while now < end or len(times) < 3:
        run()
        after = time.perf_counter()
        times.append(after - now)
        now = after
    return times


def _text(values: NDArray[Any]) -> NDArray[Any]:
    return values.astype(object) if values.dtype.kind == "U" else values


def _status(name: str) -> int:
    """Bytes, from `/proc/self/status`; 0 where there is none."""
    try:
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


if __name__ == "__main__":
    main(sys.argv[1])
