"""Sudden or gradual, and how long: how often it is said, and how often wrongly, by the evidence in a window.

    uv run python bench/shapes.py

Levels with noise of one standard error a window. Steps begin anywhere, also within a window; ramps have
lengths from 10 to 60 windows, evenly in their logarithm, and are over for some windows or still going on when
the record ends; the record has 8 to 120 windows. `--correlation` is that of the noise from window to window.
Of ramps that are called gradual, `length_held` is how often the 95 % interval of their length holds it.
"""

from __future__ import annotations

import argparse
import json

import numpy as np
from numpy.typing import NDArray

from holdfast.stats import change_shape, ramp_extent

HEIGHTS = (2.0, 3.0, 4.0, 6.0, 10.0)
"""Standard errors of one window."""
TRUTHS = {"step": "sudden", "ramp": "gradual", "ramp going on": "gradual"}


def level(
    random: np.random.Generator, truth: str, height: float, correlation: float
) -> tuple[NDArray[np.float64], float]:
    """One series, and in how many windows it climbs."""
    onset = random.uniform(3, 80)
    length = 1.0 if truth == "step" else float(np.exp(random.uniform(np.log(10), np.log(60))))
    seen = random.uniform(0.4, 1.0) * length if truth == "ramp going on" else length + random.uniform(6, 40)
    windows = int(onset + seen) + 1
    noise = random.normal(size=windows)
    for place in range(1, windows):
        noise[place] = correlation * noise[place - 1] + np.sqrt(1 - correlation**2) * noise[place]
    return height * np.clip((np.arange(windows) + 0.5 - onset) / length, 0, 1) + noise, length


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--series", type=int, default=200, help="of each kind and height")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--correlation", type=float, default=0.0)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    rows = []
    for height in HEIGHTS:
        for place, (truth, right) in enumerate(TRUTHS.items()):
            drawn = [
                level(
                    np.random.default_rng([arguments.seed, place, int(height * 10), number]),
                    truth, height, arguments.correlation,
                )
                for number in range(arguments.series)
            ]  # fmt: skip
            said = [change_shape(series) for series, _ in drawn]
            held = [
                found.length_low <= length <= found.length_high
                for (series, length), shape in zip(drawn, said, strict=True)
                if shape == "gradual" and truth != "step" and (found := ramp_extent(series))
            ]
            named = [one for one in said if one != "too early to tell"]
            rows.append(
                {
                    "standard_errors": height,
                    "truth": truth,
                    "named": round(len(named) / len(said), 3),
                    "right_where_named": round(named.count(right) / len(named), 3) if named else None,
                    "wrong": round(sum(one != right for one in named) / len(said), 3),
                    "length_held": round(sum(held) / len(held), 3) if held else None,
                }
            )
            if not arguments.json:
                print(rows[-1], flush=True)
    if arguments.json:
        print(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
