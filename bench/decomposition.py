"""The parts of a changed loss, against what they are by the known laws.

    uv run python bench/decomposition.py --seeds 10 --json

20 000 reference and 20 000 current rows of `drift_streams.py`'s columns with the model's score. The truth is
the mean over two million other rows, whose densities and chances are known. `error` is the mean absolute
error of the part that the changed mapping has in the error rate, `within_0.01` how often it is at most one
point, `covered` how often the 95 % interval of each part holds the truth. `floor` and `floor_within_0.01` are
those of the same estimator on the same rows when it is told the true densities and chances: what is left is
the labels' noise.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from drift_streams import LEVELS, Codes, Numbers, inputs, logit
from scipy.stats import norm
from threadpoolctl import threadpool_limits

from holdfast.stats import decompose

ROWS, TRUTH_ROWS, BASE = 20_000, 2_000_000, -0.3
PARTS = ("harder_inputs", "changed_mapping", "new_inputs")


@dataclass(frozen=True)
class World:
    """What happens between the reference and now."""

    name: str
    effect: float = 1.0
    """Of the first column, 1 before."""
    shift: float = 0.0
    """Of the first column."""
    wider: float = 1.0
    """The second column."""
    moved: float = 0.0
    """Share of the rows whose first category becomes the commonest."""


WORLDS = [
    World("nothing"),
    World("flip", effect=-1.0),
    World("halved", effect=0.5),
    World("covariate", shift=0.5, wider=1.3, moved=0.15),
    World("halved and covariate", effect=0.5, shift=0.5, wider=1.3, moved=0.15),
    World("flip and far away", effect=-1.0, shift=1.5),
]


def current(world: World, random: np.random.Generator, rows: int) -> tuple[Numbers, Codes]:
    x, c = inputs(random, rows)
    x[:, 0] += world.shift
    x[:, 1] *= world.wider
    c[random.random(rows) < world.moved, 0] = 0
    return x, c


def chance(x: Numbers, c: Codes, effect: float) -> Numbers:
    found: Numbers = 1 / (1 + np.exp(-logit(x, c, effect, BASE)))
    return found


def wrong(x: Numbers, c: Codes, effect: float) -> Numbers:
    """The chance that the model errs, which knows the mapping as it was."""
    real = chance(x, c, effect)
    return np.where(chance(x, c, 1.0) > 0.5, 1 - real, real)


def ratio(world: World, x: Numbers, c: Codes) -> Numbers:
    """Density of the current inputs over that of the reference's."""
    # The sixth column is made from the second before that is stretched, and hangs together with it.
    moved = norm.logpdf(x[:, 0], world.shift) - norm.logpdf(x[:, 0])
    second = x[:, 1] / world.wider
    for at, sign in ((second, 1.0), (x[:, 1], -1.0)):
        moved = moved + sign * (norm.logpdf(at) + norm.logpdf((x[:, 5] - 0.6 * at) / 0.8))
    moved = moved - np.log(world.wider)
    shares = (1 - world.moved) * LEVELS
    shares[0] += world.moved
    found: Numbers = np.exp(moved) * (shares / LEVELS)[c[:, 0]]
    return found


@lru_cache
def truth(world: World) -> dict[str, float]:
    random = np.random.default_rng(12345)
    x, c = inputs(random, TRUTH_ROWS)
    at = ratio(world, x, c)
    shared = at / (1 + at)
    old, new = wrong(x, c, 1.0), wrong(x, c, world.effect)
    means = [
        float(values.mean()) for values in (old, wrong(*current(world, random, TRUTH_ROWS), world.effect))
    ]
    under = [float((shared * values).sum() / shared.sum()) for values in (old, new)]
    return {
        "harder_inputs": under[0] - means[0],
        "changed_mapping": under[1] - under[0],
        "new_inputs": means[1] - under[1],
    }


def knowing(world: World, sides: list[tuple[Numbers, Codes, Numbers]]) -> float:
    """The changed mapping's part by one who knows densities and chances, and has the labels of these rows."""
    means = []
    for effect, (_, _, loss), own in zip((1.0, world.effect), sides, (0, 1), strict=True):
        known, weight, missed, total = 0.0, 0.0, 0.0, 0.0
        for side, (x, c, _) in enumerate(sides):
            at = ratio(world, x, c)
            now = at / (1 + at)
            shared = now**2 if side == 0 else (1 - now) ** 2
            expected = wrong(x, c, effect)
            known, weight = known + float((shared * expected).sum()), weight + float(shared.sum())
            if side == own:
                overlap = now if side == 0 else 1 - now
                missed, total = float((overlap * (loss - expected)).sum()), float(overlap.sum())
        means.append(known / weight + missed / total)
    return means[1] - means[0]


def measured(world: World, seed: int) -> dict[str, float]:
    random = np.random.default_rng([seed, len(world.name)])
    sides, drawn = [], []
    for (x, c), effect in (
        (inputs(random, ROWS), 1.0),
        (current(world, random, ROWS), world.effect),
    ):
        loss = (random.random(ROWS) < wrong(x, c, effect)).astype(np.float64)
        sides.append((np.column_stack([x, c, chance(x, c, 1.0)]), loss))
        drawn.append((x, c, loss))
    started = time.process_time()
    with threadpool_limits(1):
        found = decompose(*sides[0], *sides[1])
    spent = time.process_time() - started
    right = truth(world)
    parts = {name: getattr(found, name) for name in PARTS}
    answer = {"cpu_s": spent, "overlap": found.overlap}
    answer["floor"] = knowing(world, drawn) - right["changed_mapping"]
    for name, part in parts.items():
        answer[f"{name} error"] = part.value - right[name]
        answer[f"{name} covered"] = float(part.low <= right[name] <= part.high)
    return answer | {"sum": sum(part.value for part in parts.values()) - found.total.value}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first-seed", type=int, default=5000)
    parser.add_argument("--worlds", nargs="*", choices=[world.name for world in WORLDS])
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)
    chosen = [world for world in WORLDS if not arguments.worlds or world.name in arguments.worlds]
    results = {}
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        waiting = [(world, [pool.submit(measured, world, seed) for seed in seeds]) for world in chosen]
        for world, runs in waiting:
            found = [run.result() for run in runs]
            error = np.array([one["changed_mapping error"] for one in found])
            floor = np.array([one["floor"] for one in found])
            results[world.name] = {
                "truth": {name: round(value, 4) for name, value in truth(world).items()},
                "error": round(float(np.abs(error).mean()), 5),
                "bias": round(float(error.mean()), 5),
                "floor": round(float(np.abs(floor).mean()), 5),
                "floor_within_0.01": float((np.abs(floor) <= 0.01).mean()),
                "largest_error": round(float(np.abs(error).max()), 5),
                "within_0.01": float((np.abs(error) <= 0.01).mean()),
                "covered": {
                    name: float(np.mean([one[f"{name} covered"] for one in found])) for name in PARTS
                },
                "overlap": round(float(np.mean([one["overlap"] for one in found])), 3),
                "largest_gap_of_sum": float(max(abs(one["sum"]) for one in found)),
                "cpu_s": round(float(np.mean([one["cpu_s"] for one in found])), 2),
            }
            if not arguments.json:
                print(f"{world.name:22} {results[world.name]}", flush=True)
    if arguments.json:
        print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
