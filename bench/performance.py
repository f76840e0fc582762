"""Quality estimated without labels, against the quality that the labels show afterwards.

    uv run python bench/performance.py --quick --json

Windows of 1000 rows after a change, if any, beside a reference of 20 such windows, answered by boosted trees
that learnt from other rows. For each window the estimate is made without its labels; `error` is its mean
absolute difference from the metric of the window's labels, `noise` what is left of that difference if the
estimate knew each row's true chance or expected loss: no estimate can be much nearer. `bias` is that of the
estimate beside one that knows them.

- `classes` are the streams of `drift_streams.py`: the area under the ROC curve. Concept drift (`flip`) is
  shown because an estimate cannot see it;
- `three classes`: the accuracy;
- `numbers`: the mean absolute error, in standard deviations of the reference's target. `stretched` moves a
  column beyond the reference's range, where the estimate must say that it is a guess.
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
from numpy.typing import NDArray
from scipy.stats import norm
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.metrics import roc_auc_score
from threadpoolctl import threadpool_limits

from holdfast.monitor import Diagnosis, diagnose

LEARNT_ROWS, REFERENCE_WINDOWS, JUDGED = 50_000, 20, 50
"""Rows that the models learnt from; windows of the reference, and those that are judged."""


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
    return HistGradientBoostingClassifier(max_iter=150, learning_rate=0.06, max_leaf_nodes=15).fit(
        np.concatenate([x, c], axis=1), y
    )


def classes(kind: str, seed: int) -> dict[str, Any]:
    """The estimated area under the curve, of the stream's windows after its onset."""
    reference, whole = stream(kind, seed, windows=ONSET + JUDGED)
    current = {name: values[ONSET * ROWS :] for name, values in whole.items()}
    chance = current["score"]
    if kind == "flip":
        # What the labels of the flipped half follow.
        x, c = np.stack([current[f"x{i}"] for i in range(16)], 1), design(current)[:, 16:].astype(np.int64)
        chance = 1 / (1 + np.exp(-logit(x, c, -1.0, -0.3)))
    for columns in (reference, current):
        columns["score"] = classifier().predict_proba(design(columns))[:, 1]
    estimated, _ = estimates(reference, current, score="score")
    windows = np.arange(len(chance)).reshape(-1, ROWS)
    realised = [roc_auc_score(current["y"][rows], current["score"][rows]) for rows in windows]
    best = [expected_area(chance[rows], current["score"][rows]) for rows in windows]
    return _compared(estimated, realised, best)


def estimates(
    reference: dict[str, Any], current: dict[str, Any], **answers: str
) -> tuple[list[float], Diagnosis]:
    """Of each window, without its labels."""
    blind = {name: values for name, values in current.items() if name != "y"}
    found = diagnose(reference, blind, target="y", window=f"{ROWS} rows", explain=False, **answers)
    return [one.estimated_quality.value for one in found.windows if one.estimated_quality], found


def expected_area(chance: Numbers, score: Numbers) -> float:
    """The area under the curve to be expected where each row's true chance is known."""
    order = np.argsort(score)
    positive, negative = chance[order], 1 - chance[order]
    below = np.cumsum(negative) - negative / 2
    return float((positive * below).sum() / (positive.sum() * negative.sum()))


def _compared(estimated: list[float], realised: Any, best: Any) -> dict[str, Any]:
    said, was, known = (np.asarray(values, dtype=np.float64) for values in (estimated, realised, best))
    return {
        "windows": len(said),
        "error": float(np.abs(said - was).mean()),
        "noise": float(np.abs(known - was).mean()),
        "bias": float((said - known).mean()),
        "realised": float(was.mean()),
        "estimated": float(said.mean()),
    }


def chances_of_three(
    random: np.random.Generator, rows: int, moves: bool = False
) -> tuple[Numbers, Numbers, NDArray[np.str_]]:
    """Inputs, the chance of each class, and the class drawn."""
    x, c = inputs(random, rows)
    if moves:
        x[:, 0] += 0.5
        x[:, 1] *= 1.3
        c[random.random(rows) < 0.15, 0] = 0
    first, second = 2 * logit(x, c, 1.0, -0.3), 3 * x[:, 3] + x[:, 4]
    odds = np.exp(np.clip(np.stack([np.zeros(rows), first, second], axis=1), -30, 30))
    chances = odds / odds.sum(axis=1, keepdims=True)
    codes = (random.random((rows, 1)) > chances.cumsum(axis=1)).sum(axis=1)
    return np.concatenate([x, c], axis=1), chances, np.array(["a", "b", "c"])[np.minimum(codes, 2)]


@lru_cache(maxsize=1)
def classifier_of_three() -> Any:
    x, _, y = chances_of_three(np.random.default_rng(98), LEARNT_ROWS // 2)
    return HistGradientBoostingClassifier(max_iter=60, max_leaf_nodes=15).fit(x, y)


def three_classes(kind: str, seed: int) -> dict[str, Any]:
    """The estimated accuracy, from the chance that the model gives the class that it answers."""
    random = np.random.default_rng([seed, len(kind)])
    model = classifier_of_three()

    def table(rows: int, moves: bool) -> tuple[dict[str, Any], Numbers]:
        x, chances, y = chances_of_three(random, rows, moves)
        said = model.predict_proba(x)
        columns = {f"x{column}": x[:, column] for column in range(x.shape[1])}
        answer = said.argmax(axis=1)
        columns |= {"answer": model.classes_[answer], "chance": said.max(axis=1), "y": y}
        return columns, np.take_along_axis(chances, answer[:, None], axis=1)[:, 0]

    reference, _ = table(REFERENCE_WINDOWS * ROWS, moves=False)
    current, right = table(JUDGED * ROWS, moves=kind == "covariate")
    estimated, _ = estimates(reference, current, prediction="answer", score="chance")
    realised = (current["y"] == current["answer"]).reshape(-1, ROWS).mean(axis=1)
    return _compared(estimated, realised, right.reshape(-1, ROWS).mean(axis=1))


def numbers(kind: str, seed: int) -> dict[str, Any]:
    """A price with an error that grows with its size."""
    random = np.random.default_rng([seed, len(kind)])

    def drawn(rows: int, by: float = 0.0) -> tuple[Numbers, Numbers, Numbers, Numbers]:
        x = random.normal(size=(rows, 4))
        x[:, 0] += by
        spread, mean = 0.5 + 0.5 * np.abs(x[:, 0]), 3 * x[:, 0] + 2 * x[:, 1] * x[:, 2]
        return x, mean + spread * random.normal(size=rows), mean, spread

    model = HistGradientBoostingRegressor(max_iter=100).fit(*drawn(LEARNT_ROWS)[:2])

    def table(rows: int, by: float = 0.0) -> tuple[dict[str, Any], Numbers]:
        x, y, mean, spread = drawn(rows, by)
        said = model.predict(x)
        off = (mean - said) / spread
        # Of the absolute value of a normal number.
        expected = spread * (np.sqrt(2 / np.pi) * np.exp(-(off**2) / 2) + off * (1 - 2 * norm.cdf(-off)))
        return {f"x{i}": x[:, i] for i in range(4)} | {"said": said, "y": y}, expected

    reference, _ = table(REFERENCE_WINDOWS * ROWS)
    current, expected = table(JUDGED * ROWS, {"covariate": 1.0, "stretched": 4.0}.get(kind, 0.0))
    estimated, found = estimates(reference, current, prediction="said")
    lost = np.abs(current["y"] - current["said"])
    unit = reference["y"].std()
    realised, best = (of_rows.reshape(-1, ROWS).mean(axis=1) / unit for of_rows in (lost, expected))
    return _compared([value / unit for value in estimated], realised, best) | {
        "says_it_is_a_guess": any("beyond the reference" in note for note in found.notes)
    }


PLAN: list[tuple[str, Callable[[str, int], dict[str, Any]], str]] = [
    ("classes, no change", classes, "none"),
    ("classes, covariate shift", classes, "covariate"),
    ("classes, flipped effect", classes, "flip"),
    ("three classes, no change", three_classes, "none"),
    ("three classes, covariate shift", three_classes, "covariate"),
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
    # Streams are independent: one process a core, each with one thread.
    with ProcessPoolExecutor(os.cpu_count(), initializer=threadpool_limits, initargs=(1,)) as pool:
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
        report(f"{name:30} {found}")


if __name__ == "__main__":
    main()
