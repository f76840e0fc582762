"""P(x): what the cardholders buy, when and where, before and after the change. Pure: one seeded generator."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from holdfast.demo.people import (
    CATEGORIES,
    Bools,
    Cardholders,
    Floats,
    Ints,
    category_shares,
    typical_amounts,
)

DAY_S: Final = 86_400
LONGEST_GAP_S: Final = 14 * DAY_S
"""A gap since the last purchase is counted up to two weeks: this much history is played before day 0."""
_WEEKDAY_FACTOR: Final = np.array([0.92, 0.94, 0.97, 1.00, 1.12, 1.18, 0.87])
_ONLINE_SHARE_NOW: Final = 0.72
"""Chance that an adopter's purchase is online after the change."""
_MORE_EXPLORING: Final = 0.25
"""Adopters find their way around new shops: added chance of a new merchant for an online purchase."""
_MORE_AT_NIGHT: Final = 0.08
_SPEND_MORE: Final = 1.25

_DAY_HOURS: Final = np.array([0, 0, 0, 0, 0, 0, 1, 3, 5, 6, 6, 7, 8, 7, 6, 6, 7, 9, 9, 7, 5, 4, 3, 1], float)
_EVENING_HOURS: Final = np.array(
    [0, 0, 0, 0, 0, 0, 1, 2, 3, 3, 4, 4, 4, 4, 4, 4, 5, 6, 7, 9, 10, 10, 7, 3], float
)
_NIGHT_HOURS: Final = np.array([6, 5, 4, 3, 2, 2] + [0] * 17 + [4], float)


@dataclass(frozen=True)
class Purchases:
    """N purchases in the order of time, column by column."""

    time_s: Floats
    """Seconds since midnight of day 0; negative while the habits' history builds up."""
    person: Ints
    day: Ints
    hour: Ints
    online: Bools
    new_merchant: Bools
    category: Ints
    country: Ints
    amount: Floats
    amount_to_usual: Floats
    seconds_since_last: Floats
    distance_km: Floats
    entry: Ints
    """0 chip, 1 contactless, 2 browser, 3 app."""

    def __len__(self) -> int:
        return len(self.time_s)

    def since_day_zero(self) -> Purchases:
        """Without the history before day 0."""
        kept = self.time_s >= 0
        return Purchases(**{name: column[kept] for name, column in vars(self).items()})


def draw_purchases(
    random: np.random.Generator,
    people: Cardholders,
    *,
    days: int,
    per_day: float,
    change_day: int | None,
) -> Purchases:
    """All purchases of `days` days; from midnight of `change_day` on, adopters have their new habits.

    Args:
        random: the only source of chance.
        people: who buys.
        days: length of the world.
        per_day: mean number of purchases on an average day.
        change_day: the first day with the new habits; None: they stay.
    """
    history = LONGEST_GAP_S // DAY_S
    day, person = _who_and_which_day(random, people, days=days + history, per_day=per_day)
    day -= history
    changed = np.zeros(len(day), dtype=np.bool_)
    if change_day is not None:
        changed = (day >= change_day) & people.adopts[person]
    share = people.online_share[person]
    online = random.random(len(day)) < np.where(changed, np.maximum(share, _ONLINE_SHARE_NOW), share)
    hour = _hours(
        random, night_share=people.night_share[person] + _MORE_AT_NIGHT * (changed & online), online=online
    )
    order, time_s = _in_order_of_time(random, day, hour)
    day, person, changed, online, hour = day[order], person[order], changed[order], online[order], hour[order]

    weekend = (day % 7) >= 5
    category = _categories(random, online=online, weekend=weekend)
    explore = people.explorer[person] + _MORE_EXPLORING * (changed & online)
    new_merchant = random.random(len(day)) < explore
    country = _countries(random, travels=people.travels[person], online=online, category=category)
    usual = people.spending[person] * typical_amounts()[category]
    spend = np.where(changed & online, _SPEND_MORE, 1.0)
    amount = np.maximum(np.round(usual * spend * random.lognormal(0.0, 0.55, len(day)), 2), 0.5)
    return Purchases(
        time_s=time_s,
        person=person,
        day=day,
        hour=hour,
        online=online,
        new_merchant=new_merchant,
        category=category,
        country=country,
        amount=amount,
        amount_to_usual=np.round(amount / usual, 3),
        seconds_since_last=_since_last(person, time_s),
        distance_km=_distances(random, online=online, country=country),
        entry=_entries(random, online=online),
    ).since_day_zero()


def _who_and_which_day(
    random: np.random.Generator, people: Cardholders, *, days: int, per_day: float
) -> tuple[Ints, Ints]:
    # Day 0 is a Monday and the history is whole weeks, so index % 7 is the weekday throughout.
    per_day_counts = random.poisson(per_day * _WEEKDAY_FACTOR[np.arange(days) % 7])
    day = np.repeat(np.arange(days), per_day_counts)
    cumulative = np.cumsum(people.per_day / people.per_day.sum())
    person = np.searchsorted(cumulative, random.random(len(day))).clip(0, len(people) - 1)
    return day, person


def _hours(random: np.random.Generator, *, night_share: Floats, online: Bools) -> Ints:
    chance = random.random(len(online))
    at_night = random.random(len(online)) < night_share
    hour = np.where(online, _pick(chance, _EVENING_HOURS), _pick(chance, _DAY_HOURS))
    picked: Ints = np.where(at_night, _pick(chance, _NIGHT_HOURS), hour)
    return picked


def _pick(chance: Floats, weights: Floats) -> Ints:
    cumulative = np.cumsum(weights / weights.sum())
    return np.searchsorted(cumulative, chance, side="right").clip(0, len(weights) - 1)


def _in_order_of_time(random: np.random.Generator, day: Ints, hour: Ints) -> tuple[Ints, Floats]:
    time_s = day * float(DAY_S) + hour * 3600.0 + np.floor(random.random(len(day)) * 3600.0 * 1000) / 1000
    order = np.argsort(time_s, kind="stable")
    return order, time_s[order]


def _categories(random: np.random.Generator, *, online: Bools, weekend: Bools) -> Ints:
    chance = random.random(len(online))
    category = np.zeros(len(online), dtype=np.int64)
    for is_online in (False, True):
        for is_weekend in (False, True):
            rows = (online == is_online) & (weekend == is_weekend)
            category[rows] = _pick(chance[rows], category_shares(online=is_online, weekend=is_weekend))
    return category


def _countries(random: np.random.Generator, *, travels: Floats, online: Bools, category: Ints) -> Ints:
    abroad_share = (
        travels + np.where(online, 0.05, 0.0) + np.where(category == CATEGORIES.index("travel"), 0.12, 0.0)
    )
    abroad = random.random(len(online)) < abroad_share
    far = random.random(len(online)) < np.where(online, 0.5, 0.3)
    return np.where(abroad, np.where(far, 2, 1), 0).astype(np.int64)


def _since_last(person: Ints, time_s: Floats) -> Floats:
    """Seconds since the same person's previous purchase, at most `LONGEST_GAP_S`, in whole seconds."""
    by_person = np.lexsort((time_s, person))
    gap = np.full(len(person), float(LONGEST_GAP_S))
    same = person[by_person][1:] == person[by_person][:-1]
    gap[by_person[1:][same]] = np.diff(time_s[by_person])[same]
    floored: Floats = np.floor(np.minimum(gap, LONGEST_GAP_S))
    return floored


def _distances(random: np.random.Generator, *, online: Bools, country: Ints) -> Floats:
    """Kilometres from home of the shop, or of the device for an online purchase."""
    scale = np.choose(country, [4.0, 350.0, 4500.0]) * np.where(online & (country == 0), 0.4, 1.0)
    spread = np.choose(country, [1.0, 0.5, 0.4])
    return np.round(scale * np.exp(spread * random.standard_normal(len(online))), 1)


def _entries(random: np.random.Generator, *, online: Bools) -> Ints:
    first = random.random(len(online)) < np.where(online, 0.55, 0.35)
    return np.where(online, np.where(first, 2, 3), np.where(first, 0, 1)).astype(np.int64)
