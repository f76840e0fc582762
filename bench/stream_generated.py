"""Streams of the kinds of `stream_episodes.py`, drawn and not measured: nobody can have tuned to them.

Concepts: Agrawal, Imielinski and Swami's loans (1993), the seven-segment display of Breiman et al. (1984), a
turning hyperplane (Hulten, Spencer and Domingos 2001). Numbers through time: noise that remembers, days,
machines that switch, spikes, counts; levels shift, spread doubles, values stand between two modes, or come in
bursts beyond all that was seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from stream_episodes import Episode, segments

CONCEPT_ROWS: Final = 5000
REFERENCE, QUIET, AFTER, WINDOW = 1200, 1000, 400, 50
DAY: Final = 288
"""Rows of a day, every five minutes."""
SEED: Final = 2026

Numbers = NDArray[np.float64]
Random = np.random.Generator


def loans(random: Random, rule: int, rows: int) -> dict[str, Numbers]:
    """Agrawal's first three rules for who gets a loan, one answer in twenty wrong."""
    salary = random.uniform(20_000, 150_000, rows)
    age, education = random.integers(20, 81, rows), random.integers(0, 5, rows)
    low, high = (
        [(0, 0, 0), (999_999, 999_999, 999_999)],
        [(50_000, 75_000, 25_000), (100_000, 125_000, 75_000)],
        [(0, 0, 0), (0, 0, 0)],
    )[rule]
    group = np.digitize(age, [40, 60])
    if rule == 0:
        granted = group != 1
    elif rule == 1:
        granted = (salary >= np.array(low)[group]) & (salary <= np.array(high)[group])
    else:
        granted = np.array([[1, 1, 0, 0, 0], [0, 1, 1, 1, 0], [0, 0, 1, 1, 1]], dtype=bool)[group, education]
    wrong = random.random(rows) < 0.05
    return {
        "salary": salary,
        "commission": np.where(salary >= 75_000, 0.0, random.uniform(10_000, 75_000, rows)),
        "age": age.astype(float),
        "education": education.astype(float),
        "car": random.integers(1, 21, rows).astype(float),
        "years": random.integers(1, 31, rows).astype(float),
        "loan": random.uniform(0, 500_000, rows),
        "truth": (granted ^ wrong).astype(float),
    }


SEGMENTS: Final = np.array(
    [
        [1, 1, 1, 0, 1, 1, 1], [0, 0, 1, 0, 0, 1, 0], [1, 0, 1, 1, 1, 0, 1], [1, 0, 1, 1, 0, 1, 1],
        [0, 1, 1, 1, 0, 1, 0], [1, 1, 0, 1, 0, 1, 1], [1, 1, 0, 1, 1, 1, 1], [1, 0, 1, 0, 0, 1, 0],
        [1, 1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 1, 1],
    ]
)  # fmt: skip


def display(random: Random, rule: int, rows: int) -> dict[str, Numbers]:
    """Is the digit greater than four? Each segment is wrong in one of ten; a change swaps some of them."""
    digit = random.integers(0, 10, rows)
    shown = np.column_stack([SEGMENTS[digit], random.integers(0, 2, (rows, 5))])
    shown = shown ^ (random.random(shown.shape) < 0.1)
    order = np.arange(12)
    for one in range(3 * rule):
        order[[one % 7, 7 + one % 5]] = order[[7 + one % 5, one % 7]]
    columns = {f"segment {number}": shown[:, place].astype(float) for number, place in enumerate(order)}
    return columns | {"truth": (digit > 4).astype(float)}


def hyperplane(random: Random, rule: int, rows: int) -> dict[str, Numbers]:
    """Ten columns; each change turns the plane by some sixty degrees."""
    x = random.random((rows, 10))
    normal = np.random.default_rng([SEED, 10 + rule]).normal(size=10)
    if rule:
        before = np.random.default_rng([SEED, 9 + rule]).normal(size=10)
        normal = before / 2 + normal * 0.87
    above = (x - 0.5) @ normal > 0
    wrong = random.random(rows) < 0.05
    return {f"x{number}": x[:, number] for number in range(10)} | {"truth": (above ^ wrong).astype(float)}


def remembering(random: Random, rows: int, memory: float) -> Numbers:
    steps = random.normal(size=rows) * np.sqrt(1 - memory**2)
    result = np.empty(rows)
    last = random.normal()
    for row, step in enumerate(steps):
        last = memory * last + step
        result[row] = last
    return result


def _day(random: Random, rows: int) -> Numbers:
    wave = np.sin(2 * np.pi * np.arange(rows) / DAY + random.uniform(0, 6))
    return random.choice([1.0, 3.0]) * wave + remembering(random, rows, 0.6)


def _switch(random: Random, rows: int) -> Numbers:
    on = (np.arange(rows) + random.integers(DAY)) % DAY < random.integers(60, 200)
    return np.where(on, 80.0, 20.0) + random.normal(size=rows) * np.where(on, 4.0, 0.5)


def _spikes(random: Random, rows: int) -> Numbers:
    result = 0.1 * random.normal(size=rows)
    for start in np.flatnonzero(random.random(rows) < 0.02):
        length = random.integers(1, 8)
        result[start : start + length] += random.lognormal(1, 0.5)
    return result


KINDS: Final[dict[str, Callable[[Random, int], Numbers]]] = {
    "noise": lambda random, rows: random.normal(size=rows),
    "heavy": lambda random, rows: random.standard_t(2, size=rows),
    "memory": lambda random, rows: remembering(random, rows, 0.8),
    "skewed memory": lambda random, rows: np.exp(remembering(random, rows, 0.6)),
    "day": _day,
    "switch": _switch,
    "spikes": _spikes,
    "counts": lambda random, rows: random.poisson(np.exp(1 + 0.5 * remembering(random, rows, 0.8))).astype(
        float
    ),
}


def _raised(_: Random, values: Numbers, seen: Numbers) -> None:
    values += 1.5 * seen.std()


def _stretched(_: Random, values: Numbers, seen: Numbers) -> None:
    middle = float(np.median(seen))
    values[:] = middle + 2 * (values - middle)


def _between(random: Random, values: Numbers, seen: Numbers) -> None:
    low, high = np.quantile(seen, [0.02, 0.98])
    values[:100] = low + (high - low) / 2 + 0.03 * seen.std() * random.normal(size=100)


def _burst(random: Random, values: Numbers, seen: Numbers) -> None:
    height = seen.max() + random.uniform(0.5, 2) * (seen.max() - np.median(seen))
    values[20:32] = height + 0.2 * seen.std() * random.normal(size=12)


CHANGES: Final = {"raised": _raised, "stretched": _stretched, "between": _between, "burst": _burst}


def concepts() -> Iterator[Episode]:
    for name, draw in (("loans", loans), ("display", display), ("hyperplane", hyperplane)):
        random = np.random.default_rng([SEED, sum(map(ord, name))])
        parts = [pa.table(draw(random, rule, CONCEPT_ROWS)) for rule in range(3)]
        bounds = list(pairwise(range(0, 3 * CONCEPT_ROWS + 1, CONCEPT_ROWS)))
        yield from segments(
            name, "generated_concepts", pa.concat_tables(parts), concepts=bounds, target="truth", window=200
        )


def numbers() -> Iterator[Episode]:
    rows = REFERENCE + QUIET + AFTER
    moments = np.datetime64("2025-01-01", "us") + np.arange(rows) * np.timedelta64(300, "s")
    for name, draw in KINDS.items():
        for number, (said, change) in enumerate({"quiet": None, **CHANGES}.items()):
            random = np.random.default_rng([SEED, sum(map(ord, name)), number])
            values = draw(random, rows)
            if change is not None:
                change(random, values[REFERENCE + QUIET :], values[:REFERENCE])
            table = pa.table({"moment": moments, "value": values})
            yield Episode(
                f"{name} {said}", "generated_numbers", table.slice(0, REFERENCE), table.slice(REFERENCE),
                None if change is None else QUIET, 0 if change is None else QUIET, WINDOW, time="moment",
            )  # fmt: skip
