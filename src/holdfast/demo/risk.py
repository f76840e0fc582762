"""P(y | x): how likely a transaction is fraud, before and after the change. The truth nobody is told."""

from __future__ import annotations

from typing import Final

import numpy as np

from holdfast.demo.people import CATEGORIES, Bools, Floats, Ints

_CATEGORY_RISK: Final = {"electronics": 0.9, "travel": 0.7, "gaming": 0.9, "fashion": 0.3}
_COUNTRY_RISK: Final = (0.0, 1.0, 2.4)
_BASE: Final = -6.75
_NEW_NORMAL: Final = 0.45
"""What is left, after the change, of the suspicion that online habits of an adopter used to raise."""


def fraud_probability(
    *,
    amount_to_usual: Floats,
    hour: Ints,
    seconds_since_last: Floats,
    online: Bools,
    new_merchant: Bools,
    category: Ints,
    country: Ints,
    normal_now: Bools,
) -> Floats:
    """The true probability of fraud, row by row.

    Args:
        amount_to_usual: amount divided by what this person usually spends in the category.
        hour: 0 to 23.
        seconds_since_last: since the same person's previous purchase.
        online: whether the purchase is online.
        new_merchant: whether the person never bought there before.
        category: index into `CATEGORIES`.
        country: 0 at home, 1 a neighbour country, 2 overseas.
        normal_now: rows for which the new concept holds: what is suspicious about an online purchase (a new
            merchant, an odd hour, a high amount) hardly is any more. All False: the old concept.
    """
    risk_by_category = np.array([_CATEGORY_RISK.get(name, 0.0) for name in CATEGORIES])
    night = (hour < 6).astype(float)
    high = np.clip(np.log(np.maximum(amount_to_usual, 1e-3)), -1.0, 3.0)
    quick = np.clip(np.log10(86_400.0 / np.maximum(seconds_since_last, 60.0)), -1.0, 3.0)
    online_habits = (
        1.2 + 2.6 * new_merchant + 2.2 * night + 1.7 * high + risk_by_category[category]
    ) * online  # fmt: skip
    in_person = (1.2 * new_merchant + 1.0 * night + 1.2 * high + 0.5 * risk_by_category[category]) * ~online
    elsewhere = np.array(_COUNTRY_RISK)[country] + 0.8 * quick
    online_habits = np.where(normal_now & online, _NEW_NORMAL * online_habits, online_habits)
    probability: Floats = 1.0 / (1.0 + np.exp(-(_BASE + online_habits + in_person + elsewhere)))
    return probability
