"""Quality estimated without labels, against the quality that the labels show afterwards.

    uv run python bench/performance.py --quick --json

The streams are those of `drift_streams.py`, but answered by boosted trees that learnt from 50 000 other rows.
For each window of 1000 rows the estimate is made from its scores alone; `error` is its mean absolute
difference from the metric of the window's labels, `noise` what is left of that difference if the estimate
knew each row's true chance: no estimate can be much nearer. Concept drift (`flip`) is shown because an
estimate cannot see it; `stretched` moves a column of a regression beyond the reference's range, where the
estimate must say that it is a guess.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
from drift_streams import ONSET, ROWS, Numbers, inputs, logit, stream
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.metrics import roc_auc_score
from threadpoolctl import threadpool_limits

from holdfast.monitor import diagnose

LEARNT_ROWS, REGRESSION_WINDOWS = 50_000, 60
LETTERS = "abcdefghij"


def design(columns: dict[str, Any]) -> Numbers:
    """Numbers as they are, letters by their place."""
    parts = [columns[f"x{number}"] for number in range(16)]
    for number in range(4):
        codes = columns[f"c{number}"]
        parts.append(np.asarray(codes.indices if isinstance(codes, pa.DictionaryArray) else codes))
    return np.stack(parts, axis=1).astype(np.float64)


@lru_cache(maxsize=1)
def classifier() -> Any:
    random = np.random.default_rng(99)
    x, c = inputs(random, LEARNT_ROWS)
    y = random.random(LEARNT_ROWS) < 1 / (1 + np.exp(-logit(x, c, 1.0, -0.3)))
    with threadpool_limits(1):
        return HistGradientBoostingClassifier(max_iter=150, learning_rate=0.06, max_leaf_nodes=15).fit(
            np.concatenate([x, c], axis=1), y
        )


def classes(kind: str, seed: int) -> dict[str, Any]:
    """Errors of the estimated area under the curve and of the estimated accuracy are on one scale."""
    reference, current = stream(kind, seed)
    chance = current["score"]
    if kind == "flip":
        # What the labels of the flipped half follow.
        x, c = np.stack([current[f"x{i}"] for i in range(16)], 1), design(current)[:, 16:].astype(np.int64)
        effect: Numbers = np.where(np.arange(len(x)) >= ONSET * ROWS, -1.0, 1.0)
        chance = 1 / (1 + np.exp(-logit(x, c, effect, -0.3)))
    with threadpool_limits(1):
        for columns in (reference, current):
            columns["score"] = classifier().predict_proba(design(columns))[:, 1]
    found = diagnose(reference, current, target="y", score="score", window=f"{ROWS} rows", explain=False)
    after = range(ONSET, len(found.windows))
    estimated, realised, best = [], [], []
    for number in after:
        window, rows = found.windows[number], slice(number * ROWS, (number + 1) * ROWS)
        if window.estimated_quality is None:
            continue
        estimated.append(window.estimated_quality.value)
        realised.append(roc_auc_score(current["y"][rows], current["score"][rows]))
        best.append(expected_area(chance[rows], current["score"][rows]))
    return _compared(np.array(estimated), np.array(realised), np.array(best))


def expected_area(chance: Numbers, score: Numbers) -> float:
    """The area under the curve to be expected where each row's true chance is known."""
    order = np.argsort(score)
    positive, negative = chance[order], 1 - chance[order]
    below = np.cumsum(negative) - negative / 2
    return float((positive * below).sum() / (positive.sum() * negative.sum()))


def _compared(estimated: Numbers, realised: Numbers, best: Numbers) -> dict[str, Any]:
    return {
        "windows": len(estimated),
        "error": float(np.abs(estimated - realised).mean()),
        "noise": float(np.abs(best - realised).mean()),
        "bias": float((estimated - best).mean()),
        "realised": float(realised.mean()),
        "estimated": float(estimated.mean()),
    }


def numbers(kind: str, seed: int) -> dict[str, Any]:
    """A price with an error that grows with its size."""
    random = np.random.default_rng([seed, len(kind)])

    def drawn(rows: int, by: Numbers | float = 0.0) -> tuple[Numbers, Numbers]:
        x = random.normal(size=(rows, 4))
        x[:, 0] += by
        noise = (0.5 + 0.5 * np.abs(x[:, 0])) * random.normal(size=rows)
        return x, 3 * x[:, 0] + 2 * x[:, 1] * x[:, 2] + noise

    with threadpool_limits(1):
        model = HistGradientBoostingRegressor(max_iter=100).fit(*drawn(LEARNT_ROWS))

    def table(rows: int, by: Numbers | float = 0.0) -> dict[str, Any]:
        x, y = drawn(rows, by)
        with threadpool_limits(1):
            said = model.predict(x)
        return {f"x{i}": x[:, i] for i in range(4)} | {"said": said, "y": y}

    reference = table(20 * ROWS)
    moved = np.arange(REGRESSION_WINDOWS * ROWS) >= REGRESSION_WINDOWS // 2 * ROWS
    current = table(REGRESSION_WINDOWS * ROWS, {"covariate": 1.0, "stretched": 4.0}.get(kind, 0.0) * moved)
    realised = np.abs(current["y"] - current["said"]).reshape(-1, ROWS).mean(axis=1)
    blind = current | {"y": np.full(len(moved), np.nan)}
    found = diagnose(reference, blind, target="y", prediction="said", window=f"{ROWS} rows", explain=False)
    some = [
        n for n in range(REGRESSION_WINDOWS // 2, REGRESSION_WINDOWS) if found.windows[n].estimated_quality
    ]
    estimated = np.array([found.windows[n].estimated_quality.value for n in some])  # type: ignore[union-attr]  # `some` have one
    return {
        "windows": len(some),
        "error": float(np.abs(estimated - realised[some]).mean()),
        "relative_error": float(np.abs(estimated / realised[some] - 1).mean()),
        "realised": float(realised[some].mean()),
        "estimated": float(estimated.mean()),
        "says_it_is_a_guess": any("beyond the reference" in note for note in found.notes),
    }


PLAN: list[tuple[str, Callable[[str, int], dict[str, Any]], str]] = [
    ("classes, no change", classes, "none"),
    ("classes, covariate shift", classes, "covariate"),
    ("classes, flipped effect", classes, "flip"),
    ("numbers, no change", numbers, "none"),
    ("numbers, covariate shift", numbers, "covariate"),
    ("numbers, beyond the range", numbers, "stretched"),
]


def main(report: Callable[[str], None] = print) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two streams of each kind instead of ten")
    parser.add_argument("--seeds", type=int, default=None)
    parser.add_argument("--first-seed", type=int, default=3000)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    started = time.perf_counter()
    seeds = arguments.seeds or (2 if arguments.quick else 10)
    some = range(arguments.first_seed, arguments.first_seed + seeds)
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        waiting = [(name, [pool.submit(run, kind, seed) for seed in some]) for name, run, kind in PLAN]
        results = {
            name: {
                key: round(float(np.mean([one.result()[key] for one in runs])), 5) for key in runs[0].result()
            }
            for name, runs in waiting
        }
    if arguments.json:
        report(json.dumps({"streams": results, "wall_s": round(time.perf_counter() - started, 1)}, indent=2))
        return
    for name, found in results.items():
        report(f"{name:26} {found}")


if __name__ == "__main__":
    main()
