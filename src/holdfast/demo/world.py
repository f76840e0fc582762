"""The demonstration's world: card transactions, rare fraud, late labels, one night that changes behaviour.

A world is a function of its settings: the same seed gives the same transactions to the last digit, on every
machine. It knows the truth, which the demonstration holds against what holdfast finds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import msgspec
import numpy as np
import pyarrow as pa

from holdfast.clock import iso_utc, parse_time_us
from holdfast.demo.behaviour import DAY_S, Purchases, draw_purchases
from holdfast.demo.people import CATEGORIES, Bools, Floats, Ints, draw_cardholders
from holdfast.demo.risk import fraud_probability

Change = Literal["none", "data", "concept", "both"]

START: Final = "2026-01-05T00:00:00Z"
"""A Monday: midnight of day 0."""
WEEKDAYS: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
COUNTRIES: Final = ("home", "neighbour", "overseas")
ENTRIES: Final = ("chip", "contactless", "browser", "app")
INPUTS: Final = (
    "amount", "amount_to_usual", "hour", "weekday", "seconds_since_last", "distance_km", "online",
    "new_merchant", "category", "country", "entry",
)  # fmt: skip
LABEL: Final = "fraud"
"""Name of the label's column."""
TIME: Final = "time"
"""Name of the field that carries a transaction's own time."""
_MOVED: Final = (
    "online",
    "entry",
    "category",
    "new_merchant",
    "hour",
    "distance_km",
    "amount",
    "amount_to_usual",
    "country",
)
_DAY_US: Final = DAY_S * 1_000_000
_MEDIAN_DELAY_DAYS: Final = 1.8
_DELAY_SPREAD: Final = 0.5
_NEVER_LABELLED: Final = 0.03


class WorldSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What kind of world; days are whole days, so every phase begins at midnight; whole weeks are wise."""

    seed: int = 1
    change: Change = "both"
    training_days: int = 56
    reference_days: int = 42
    live_days: int = 28
    per_day: float = 1000.0
    """Mean number of transactions on an average day."""
    people: int = 2500

    @property
    def first_live_day(self) -> int:
        """Day on which the service goes live."""
        return self.training_days + self.reference_days

    @property
    def days(self) -> int:
        """Days of the whole world."""
        return self.first_live_day + self.live_days

    @property
    def change_day(self) -> int:
        """Day that begins with the new behaviour: the middle of the live time."""
        return self.first_live_day + self.live_days // 2


class Truth(msgspec.Struct, frozen=True, kw_only=True):
    """What really happened."""

    kinds: tuple[str, ...]
    """Names of what changed, in the words of a diagnosis; () when nothing did."""
    since: str | None
    """ISO 8601, UTC; None when nothing changed."""
    shape: str | None
    features: tuple[str, ...]
    """Inputs whose distribution moved, the strongest first."""


@dataclass(frozen=True)
class World:
    """All transactions of one world in the order of time, and the truth about them."""

    settings: WorldSettings
    purchases: Purchases
    probability: Floats
    """The true probability of fraud of each row, under the concept of its day."""
    fraud: Bools
    label_time_us: Ints
    """When each row's label becomes known; -1: never."""
    adopts: Bools
    """Whether the row's person is one whose behaviour the change touches (also before it)."""

    @property
    def start_us(self) -> int:
        """Midnight of day 0, microseconds since the epoch."""
        return parse_time_us(START)

    @property
    def time_us(self) -> Ints:
        """When each transaction happens, microseconds since the epoch."""
        return self.start_us + np.round(self.purchases.time_s * 1000).astype(np.int64) * 1000

    @property
    def truth(self) -> Truth:
        """What the monitor ought to find."""
        change = self.settings.change
        if change == "none":
            return Truth(kinds=(), since=None, shape=None, features=())
        kinds = {
            "data": ("data drift",),
            "concept": ("concept drift",),
            "both": ("data drift", "concept drift"),
        }
        return Truth(
            kinds=kinds[change],
            since=iso_utc(self.start_us + self.settings.change_day * _DAY_US),
            shape="sudden",
            features=() if change == "concept" else _MOVED,
        )

    def rows(self, first_day: int, end_day: int) -> slice:
        """Positions of the rows of days first_day <= day < end_day."""
        first, end = np.searchsorted(self.purchases.day, [first_day, end_day])
        return slice(int(first), int(end))

    def inputs(self, rows: slice) -> pa.Table:
        """What a model may see of those rows: one column per name of `INPUTS`."""
        some = self.purchases
        columns = {
            "amount": pa.array(some.amount[rows]),
            "amount_to_usual": pa.array(some.amount_to_usual[rows]),
            "hour": pa.array(some.hour[rows]),
            "weekday": _names(WEEKDAYS, some.day[rows] % 7),
            "seconds_since_last": pa.array(some.seconds_since_last[rows]),
            "distance_km": pa.array(some.distance_km[rows]),
            "online": pa.array(some.online[rows]),
            "new_merchant": pa.array(some.new_merchant[rows]),
            "category": _names(CATEGORIES, some.category[rows]),
            "country": _names(COUNTRIES, some.country[rows]),
            "entry": _names(ENTRIES, some.entry[rows]),
        }
        return pa.table({name: columns[name] for name in INPUTS})

    def chance_of_fraud(self, rows: slice, *, new_concept: bool) -> Floats:
        """The true probability for those rows' inputs and people, had they bought under either concept."""
        some = self.purchases
        adopts = self.adopts[rows]
        return fraud_probability(
            amount_to_usual=some.amount_to_usual[rows],
            hour=some.hour[rows],
            seconds_since_last=some.seconds_since_last[rows],
            online=some.online[rows],
            new_merchant=some.new_merchant[rows],
            category=some.category[rows],
            country=some.country[rows],
            normal_now=adopts if new_concept else np.zeros_like(adopts),
        )


def make_world(settings: WorldSettings) -> World:
    """Draw the world of those settings; 200 000 transactions take well under a second."""
    # One stream per purpose: the same seed gives the same people and the same days before the change,
    # whatever happens later.
    seeds = np.random.SeedSequence(settings.seed).spawn(4)
    people = draw_cardholders(np.random.default_rng(seeds[0]), settings.people)
    purchases = draw_purchases(
        np.random.default_rng(seeds[1]),
        people,
        days=settings.days,
        per_day=settings.per_day,
        change_day=settings.change_day if settings.change in ("data", "both") else None,
    )
    adopts = people.adopts[purchases.person]
    new_concept = (purchases.day >= settings.change_day) & (settings.change in ("concept", "both"))
    probability = fraud_probability(
        amount_to_usual=purchases.amount_to_usual,
        hour=purchases.hour,
        seconds_since_last=purchases.seconds_since_last,
        online=purchases.online,
        new_merchant=purchases.new_merchant,
        category=purchases.category,
        country=purchases.country,
        normal_now=adopts & new_concept,
    )
    fraud = np.random.default_rng(seeds[2]).random(len(purchases)) < probability
    world = World(settings, purchases, probability, fraud, np.empty(0, dtype=np.int64), adopts)
    delays = _label_times_us(np.random.default_rng(seeds[3]), world.time_us)
    return World(settings, purchases, probability, fraud, delays, adopts)


def _label_times_us(random: np.random.Generator, time_us: Ints) -> Ints:
    days = random.lognormal(np.log(_MEDIAN_DELAY_DAYS), _DELAY_SPREAD, len(time_us))
    never = random.random(len(time_us)) < _NEVER_LABELLED
    known: Ints = np.where(never, -1, time_us + np.round(days * _DAY_US).astype(np.int64))
    return known


def _names(words: tuple[str, ...], index: Ints) -> pa.Array:
    coded = pa.DictionaryArray.from_arrays(pa.array(index.astype(np.int32)), pa.array(words))
    return coded.cast(pa.string())
