"""Each data fault alone, in columns drawn at random: how often is it named, and nothing else?

    uv run python bench/faults.py --quick --json

Streams of 20 windows of 500 rows, of 12 columns of numbers (normal, exponential, bimodal, log-normal, of
any scale, some around zero), 4 of categories and one of counts, beside a reference of 12 windows. From
window 10 on something is broken. Exactly right: the verdict is a data fault alone, of those columns alone,
in the words for that fault. The same is done with changes that are no fault: none may be called one.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from holdfast.monitor import Diagnosis, diagnose

WINDOW, OLD_WINDOWS, WINDOWS, ONSET = 500, 12, 20, 10
NUMBERS, WORDS = 12, 4
ROWS, AFTER = WINDOW * WINDOWS, np.arange(WINDOW * WINDOWS) >= WINDOW * ONSET
HOUR_US = 3_600_000_000
Frame = dict[str, Any]


@dataclass(frozen=True)
class World:
    """One seed's columns."""

    random: np.random.Generator
    scale: Any
    level: Any

    @classmethod
    def of(cls, seed: int) -> World:
        random = np.random.default_rng([seed, 11])
        return cls(random, np.exp(random.normal(0, 2, NUMBERS)), random.choice([0.0, 5.0, 20.0], NUMBERS))

    def rows(self, number: int) -> Frame:
        random, frame = self.random, {}
        for column in range(NUMBERS):
            values, form = random.normal(size=number), column % 4
            if form == 1:
                values = random.exponential(size=number)
            elif form == 2:
                values += np.where(random.random(number) < 0.5, -2.0, 2.0) + self.level[column]
            elif form == 3:
                values = np.exp(0.8 * values)
            else:
                values += self.level[column]
            frame[f"x{column}"] = values * self.scale[column]
        shares = [0.3, 0.25, 0.2, 0.15, 0.07, 0.03]
        for column in range(WORDS):
            words = [f"word {number}" for number in range(len(shares))]
            frame[f"c{column}"] = random.choice(words, number, p=shares).astype(object)
        return frame | {"n": random.poisson(4, number).astype(float)}


Break = Callable[[Frame, str, str, str, np.random.Generator], list[str]]
"""Breaks a frame in the first column of numbers, the second, or that of words; says which are broken."""


def values(change: Callable[[Any, np.random.Generator], Any]) -> Break:
    def broken(frame: Frame, first: str, _second: str, _word: str, random: np.random.Generator) -> list[str]:
        frame[first] = np.where(AFTER, change(frame[first], random), frame[first])
        return [first]

    return broken


def words(wrong: str | None, share: float) -> Break:
    def broken(frame: Frame, _first: str, _second: str, word: str, random: np.random.Generator) -> list[str]:
        frame[word] = np.where(AFTER & (random.random(ROWS) < share), wrong, frame[word])
        return [word]

    return broken


def repeated(first: int, source: int, number: int) -> Break:
    """Some rows are those of another place, in windows from the onset."""

    def broken(
        frame: Frame, _first: str, _second: str, _word: str, _random: np.random.Generator
    ) -> list[str]:
        order = np.arange(ROWS)
        low, origin = (ONSET * WINDOW + offset for offset in (first, source))
        order[low : low + number] = order[origin : origin + number]
        frame |= {name: column[order] for name, column in frame.items()}
        return ["rows"]

    return broken


def swapped(frame: Frame, first: str, second: str, _word: str, _random: np.random.Generator) -> list[str]:
    one, other = frame[first], frame[second]
    frame[first], frame[second] = np.where(AFTER, other, one), np.where(AFTER, one, other)
    return [first, second]


def as_text(frame: Frame, first: str, _second: str, _word: str, _random: np.random.Generator) -> list[str]:
    frame[first] = np.array([f"{value:.3f} u" for value in frame[first]], dtype=object)
    return [first]


def renamed(frame: Frame, first: str, _second: str, _word: str, _random: np.random.Generator) -> list[str]:
    frame[f"{first}_v2"] = frame.pop(first)
    return [first]


def clock(frame: Frame, _first: str, _second: str, _word: str, random: np.random.Generator) -> list[str]:
    wrong = random.choice([0, 900_000 * HOUR_US])
    frame["at"][random.integers(0, ROWS, 3)] = wrong
    return ["time"]


def partly(change: Callable[[Any], Any], share: float) -> Break:
    return values(lambda old, random: np.where(random.random(len(old)) < share, change(old), old))


def unit(factor: float) -> Break:
    """A small factor, in a column whose middle tells it: about zero it is the same as more or less spread."""

    def change(frame: Frame, first: str, second: str, _word: str, _random: np.random.Generator) -> list[str]:
        numbers = [first, second, *(f"x{column}" for column in range(NUMBERS))]
        name = next(one for one in numbers if abs(np.median(frame[one])) > 0.3 * np.std(frame[one]))
        frame[name] = np.where(AFTER, factor * frame[name], frame[name])
        return [name]

    return change


FAULTS: dict[str, tuple[str, Break]] = {
    "missing in a fifth": ("missing", partly(lambda old: np.nan * old, 0.2)),
    "missing throughout": ("missing", values(lambda old, _: np.nan * old)),
    "missing category": ("missing", words(None, 0.2)),
    "renamed": ("missing", renamed),
    "of another type": ("of another type", as_text),
    "not finite": ("not finite", partly(lambda old: np.inf + np.abs(old), 0.1)),
    "stuck": ("stuck", values(lambda old, _: np.full_like(old, old[0]))),
    "stuck in two fifths": ("stuck", partly(lambda old: np.full_like(old, old[0]), 0.4)),
    "a thousand times": ("1000", values(lambda old, _: 1000 * old)),
    "a thousandth": ("1000", values(lambda old, _: old / 1000)),
    "inches for centimetres": ("2.54", unit(1 / 2.54)),
    "centimetres for inches": ("2.54", unit(2.54)),
    "square feet for square metres": ("10.764", values(lambda old, _: 10.764 * old)),
    "square metres for square feet": ("10.764", values(lambda old, _: old / 10.764)),
    "centimetres for millimetres": ("of 10 (", values(lambda old, _: old / 10)),
    "cents for euro": ("100", values(lambda old, _: old * 100)),
    "swapped": ("swapped", swapped),
    "new category": ("never had", words("n0rth", 0.1)),
    "clock": ("clock", clock),
    "twice in a window": ("twice", repeated(WINDOW // 2, 0, WINDOW // 2)),
    "twice in the next": ("twice", repeated(WINDOW, 0, WINDOW // 2)),
    "a window again": ("again", repeated(0, -3 * WINDOW, WINDOW)),
}
CHANGES: dict[str, Break] = {
    "half a deviation": values(lambda old, _: old + 0.5 * old.std()),
    "three deviations": values(lambda old, _: old + 3 * old.std()),
    "half as large again": values(lambda old, _: 1.5 * old),
    "twice as large": values(lambda old, _: 2 * old),
    "three times as large": values(lambda old, _: 3 * old),
    "six times as large": values(lambda old, _: 6 * old),
    "fifty times as large": values(lambda old, _: 50 * old),
    "twice as wide": values(lambda old, _: old + (old - np.median(old))),
    "half as wide": values(lambda old, _: (old + np.median(old)) / 2),
    "other shares": words("word 5", 0.1),
}


def judged(seed: int, change: Break, *, timed: bool) -> tuple[Diagnosis, list[str]]:
    world = World.of(seed)
    old, new = world.rows(WINDOW * OLD_WINDOWS), world.rows(ROWS)
    if timed:
        step = HOUR_US // 100
        old["at"] = 500_000 * HOUR_US + np.arange(WINDOW * OLD_WINDOWS) * step
        new["at"] = 500_200 * HOUR_US + np.arange(ROWS) * step
    first, second = (f"x{number}" for number in world.random.permutation(NUMBERS)[:2])
    broken = change(new, first, second, f"c{world.random.integers(WORDS)}", world.random)
    size: dict[str, Any] = {"window": "5h", "time": "at"} if timed else {"window": f"{WINDOW} rows"}
    return diagnose(_table(old), _table(new), **size), broken


def _table(frame: Frame) -> pa.Table:
    kinds = {"at": pa.timestamp("us", "UTC")}
    return pa.table({name: pa.array(column, kinds.get(name)) for name, column in frame.items()})


def named(seed: int, fault: str) -> bool:
    """Whether a fault is named, and nothing else."""
    expected, change = FAULTS[fault]
    found, broken = judged(seed, change, timed=fault == "clock")
    said = {one.name: one.description for one in found.features}
    return (
        found.kinds == ("data fault",)
        and said.keys() == set(broken)
        and all(expected in description for description in said.values())
    )


def drift(seed: int, change: str) -> bool:
    """Whether a change that is no fault is called drift, and not a fault."""
    return judged(seed, CHANGES[change], timed=False)[0].kinds == ("data drift",)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="five seeds instead of twenty")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    first = arguments.first_seed
    seeds = range(first, first + (5 if arguments.quick else arguments.seeds))
    result = {
        "seeds": len(seeds),
        "named": {fault: sum(named(seed, fault) for seed in seeds) for fault in FAULTS},
        "drift": {change: sum(drift(seed, change) for seed in seeds) for change in CHANGES},
    }
    print(json.dumps(result, indent=2 if arguments.json else None))


if __name__ == "__main__":
    main()
