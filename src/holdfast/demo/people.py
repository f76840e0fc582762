"""Who lives in the demonstration's world: cardholders with habits, and merchants.

Everything here is drawn once per world and stays as it is; what changes overnight is how some cardholders
behave (`behaviour.py`) and what that means for fraud (`risk.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

CATEGORIES: Final = (
    "grocery", "fuel", "restaurant", "pharmacy", "home", "fashion", "electronics", "travel", "gaming",
)  # fmt: skip
_IN_PERSON_SHARE: Final = (0.34, 0.13, 0.20, 0.09, 0.08, 0.08, 0.04, 0.03, 0.01)
_ONLINE_SHARE: Final = (0.10, 0.00, 0.08, 0.06, 0.13, 0.24, 0.17, 0.12, 0.10)
_WEEKEND_FACTOR: Final = (1.1, 0.8, 1.6, 0.7, 1.4, 1.3, 1.1, 1.2, 1.3)
_TYPICAL_AMOUNT: Final = (32.0, 48.0, 27.0, 18.0, 55.0, 46.0, 120.0, 190.0, 24.0)
"""Median amount of a purchase by an average cardholder, in currency."""


@dataclass(frozen=True)
class Cardholders:
    """N people, column by column."""

    per_day: Floats
    """Mean number of purchases a day."""
    spending: Floats
    """Factor on the typical amount of a category."""
    online_share: Floats
    """Chance that a purchase is online, before any change."""
    night_share: Floats
    """Share of purchases made at night."""
    explorer: Floats
    """Chance that a purchase is at a merchant never visited before."""
    travels: Floats
    """Chance that a purchase is abroad."""
    adopts: Bools
    """Whether this person buys mostly online after the change."""

    def __len__(self) -> int:
        return len(self.per_day)


def draw_cardholders(random: np.random.Generator, number: int) -> Cardholders:
    """People whose habits differ as habits do: skewed, with a few night owls and a few travellers."""
    return Cardholders(
        per_day=np.clip(random.lognormal(0.0, 0.6, number), 0.25, 4.0),
        spending=random.lognormal(0.0, 0.45, number),
        online_share=random.beta(1.6, 6.0, number),
        night_share=np.where(random.random(number) < 0.08, 0.30, 0.05),
        explorer=random.beta(2.0, 9.0, number),
        travels=random.beta(0.6, 16.0, number),
        adopts=random.random(number) < 0.6,
    )


def category_shares(*, online: bool, weekend: bool) -> Floats:
    """Chance of each of `CATEGORIES` for a purchase of that channel and part of the week."""
    shares = np.array(_ONLINE_SHARE if online else _IN_PERSON_SHARE)
    if weekend:
        shares = shares * np.array(_WEEKEND_FACTOR)
    share_of_each: Floats = shares / shares.sum()
    return share_of_each


def typical_amounts() -> Floats:
    """Median amount per category, in the order of `CATEGORIES`."""
    return np.array(_TYPICAL_AMOUNT)
