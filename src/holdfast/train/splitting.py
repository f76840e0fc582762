"""Train, dev and test: by time with gaps, or at random where that was asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from holdfast.clock import iso_utc
from holdfast.spec import Duration
from holdfast.train.errors import DataSetError

TRAIN, DEV, TEST, NONE = 0, 1, 2, -1
_DAY_US = 86_400_000_000
RANDOM_SHARES = (0.7, 0.15, 0.15)


@dataclass(frozen=True, slots=True)
class TimeSplit:
    """Where the splits lie, microseconds since the epoch; each is `[since, until)`."""

    train_until_us: int
    dev_since_us: int
    dev_until_us: int
    test_since_us: int
    test_until_us: int

    def of(self, time_us: NDArray[np.int64]) -> NDArray[np.int8]:
        """`[N]`, the split of each row; -1 in the gaps."""
        split = np.full(len(time_us), NONE, dtype=np.int8)
        split[time_us < self.train_until_us] = TRAIN
        split[(time_us >= self.dev_since_us) & (time_us < self.dev_until_us)] = DEV
        split[(time_us >= self.test_since_us) & (time_us < self.test_until_us)] = TEST
        return split


def split_by_time(time_us: NDArray[np.int64], *, dev_us: int, test_us: int, gap_us: int) -> TimeSplit:
    """The newest rows are the test, those before them the dev, with a gap before each.

    A gap is what lies between the rows that a model learns from and the rows that it answers when labels take
    so long to come.

    Args:
        time_us: of the usable rows, not empty.
        dev_us: length of the dev split.
        test_us: of the test split.
        gap_us: left out before dev and before test.

    Raises:
        DataSetError: nothing would be left to train on.
    """
    first, end = int(time_us.min()), int(time_us.max()) + 1
    test_since = end - test_us
    dev_until = test_since - gap_us
    dev_since = dev_until - dev_us
    train_until = dev_since - gap_us
    if train_until <= first:
        span = end - first
        room = max(span - 2 * gap_us, 0)
        proposal = max(room // 6 // _DAY_US, 1)
        enough = room > 3 * _DAY_US
        raise DataSetError(
            "the rows do not reach back far enough for train, dev and test",
            where="[training] dev, test, gap",
            expected=f"more than {Duration(dev_us + test_us + 2 * gap_us)} of labelled rows",
            received=f"{span / _DAY_US:.1f} days, {iso_utc(first)[:10]} to {iso_utc(end)[:10]}",
            next_step=(
                f'Set dev = "{proposal}d" and test = "{proposal}d", or add older rows as a source'
                if enough
                else "Wait for more labels, or add older rows as a source"
            ),
        )
    return TimeSplit(train_until, dev_since, dev_until, test_since, end)


def split_at_random(subjects: list[Any], seed: int) -> NDArray[np.int8]:
    """Shares of 70, 15 and 15 %, all rows of a subject on one side.

    Args:
        subjects: of each row; None: a row by itself.
        seed: of the draw.
    """
    random = np.random.default_rng([seed, 7])
    names = sorted({one for one in subjects if one is not None})
    drawn = dict(zip(names, random.choice(3, len(names), p=RANDOM_SHARES), strict=True))
    alone = random.choice(3, len(subjects), p=RANDOM_SHARES)
    return np.array(
        [drawn[one] if one is not None else int(other) for one, other in zip(subjects, alone, strict=True)],
        dtype=np.int8,
    )
