"""How much each row of the train split counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from holdfast.spec.checklist import Training
from holdfast.stats import ArrivalCurve, StatisticsError, arrival_curve, tell_apart
from holdfast.train.errors import DataSetError
from holdfast.train.rows import TIME, WEIGHT

if TYPE_CHECKING:
    import pyarrow as pa

    from holdfast.train.manifest import Request

Numbers = NDArray[np.float64]
LARGEST_RATIO: Final = 10.0
"""Of a weight to the mean: beyond it a few rows decide."""
LARGEST_FIT: Final = 20_000
"""Rows of today that the others are told apart from, and as many of theirs."""


def weighed(
    splits: Mapping[str, pa.Table], today: pa.Table, settings: Training, request: Request
) -> dict[str, pa.Table]:
    """The train split weighed as `[training]` says, 1 on average; by age the dev split on the same scale.

    Args:
        splits: with a weight of each row already, such as the one for young labels.
        today: features of the newest rows.
        settings: `[training]`, maybe of a diagnosis.
        request: for now and the features.
    """
    train = splits["train"]
    weights = _weights(train)
    found = {}
    if settings.weights == "age":
        half_life_us = settings.half_life.microseconds
        weights = weights * by_age(_times_us(train), request.as_of_us, half_life_us)
        dev = splits["dev"]
        held = _weights(dev) * by_age(_times_us(dev), request.as_of_us, half_life_us)
        found["dev"] = _with_weights(dev, held / (float(weights.mean()) or 1.0))
    elif settings.weights == "shift":
        weights = weights * by_shift(train, today, request.features, settings.seed)
    return found | {"train": _with_weights(train, scaled(weights))}


def weighed_like(train: pa.Table, test: pa.Table, settings: Training, request: Request) -> pa.Table:
    """The test weighed as if it taught beside train and dev: by age on their scale, else as it is.

    Args:
        train: as `weighed` gave it.
        test: of the same data set.
        settings: that `train` was weighed by.
        request: for the moment of the data set.
    """
    if settings.weights != "age":
        return test
    half_life_us = settings.half_life.microseconds
    # What one row weighs that is not young, over its age: the same for all of them.
    scale = float(np.median(_weights(train) / by_age(_times_us(train), request.as_of_us, half_life_us)))
    return _with_weights(
        test, _weights(test) * by_age(_times_us(test), request.as_of_us, half_life_us) * scale
    )


def _weights(table: pa.Table) -> Numbers:
    return np.asarray(table.column(WEIGHT).to_numpy(), dtype=np.float64)


def _times_us(table: pa.Table) -> NDArray[np.int64]:
    import pyarrow as pa

    return np.asarray(table.column(TIME).cast(pa.int64()).to_numpy(), dtype=np.int64)


def _with_weights(table: pa.Table, weights: Numbers) -> pa.Table:
    import pyarrow as pa

    return table.set_column(table.column_names.index(WEIGHT), WEIGHT, pa.array(weights))


def by_age(time_us: NDArray[np.int64], now_us: int, half_life_us: int) -> Numbers:
    """`[N]`, 1 now and half of it each half-life earlier."""
    weights: Numbers = 0.5 ** ((now_us - time_us) / half_life_us)
    return weights


def by_shift(train: pa.Table, today: pa.Table, features: Sequence[str], seed: int) -> Numbers:
    """`[N]`, how many times likelier a row is among today's rows than among the train rows (a density ratio).

    From a domain classifier, between a tenth and ten times. Right under covariate shift: if P(y|x) has
    changed as well, weights do not mend it.

    Raises:
        DataSetError: too few rows to tell them apart.
    """
    known = codes(train, today, features)
    random = np.random.default_rng([seed, 13])
    split = train.num_rows
    now = known[split:]
    if len(now) > LARGEST_FIT:
        now = now[random.choice(len(now), LARGEST_FIT, replace=False)]
    try:
        shift = tell_apart(known[:split], now, attribute=False, seed=seed)
    except StatisticsError as error:
        raise DataSetError(
            "there are too few rows to weigh by",
            where='[training] weights = "shift"',
            expected=error.expected,
            received=error.received,
        ) from error
    chance = shift.chance[:split]
    ratio: Numbers = np.clip(chance / (1 - chance), 1 / LARGEST_RATIO, LARGEST_RATIO)
    return ratio


def codes(first: pa.Table, second: pa.Table, features: Sequence[str]) -> Numbers:
    """`[n + m, D]` numbers for trees: text by its place among all texts, missing as NaN."""
    import pyarrow as pa

    columns = []
    for name in features:
        both = pa.chunked_array([*first.column(name).chunks, *second.column(name).chunks])
        if pa.types.is_boolean(both.type):
            both = both.cast(pa.int8())
        if not (pa.types.is_integer(both.type) or pa.types.is_floating(both.type)):
            both = both.cast(pa.string()).combine_chunks().dictionary_encode().indices
        columns.append(np.asarray(both.cast(pa.float64()).to_numpy(zero_copy_only=False), dtype=np.float64))
    return np.stack(columns, axis=1)


def label_arrivals(time_us: NDArray[np.int64], observed_us: NDArray[np.float64], now_us: int) -> ArrivalCurve:
    """How long labels take to come, in microseconds (Kaplan and Meier), from rows with and without one.

    Args:
        time_us: of each prediction.
        observed_us: when its label became known; NaN without one.
        now_us: as of when.
    """
    arrived = np.isfinite(observed_us)
    delay = np.where(arrived, np.maximum(observed_us - time_us, 0), now_us - time_us)
    return arrival_curve(np.maximum(delay, 0), arrived.astype(float), (~arrived).astype(float))


def for_immaturity(
    time_us: NDArray[np.int64], now_us: int, label_delay_us: int, curve: ArrivalCurve
) -> Numbers:
    """`[N]`, 1 for mature rows, and for younger ones one over the share of labels that come by their age.

    The share is of those that ever come by `label_delay`. At most ten. Right if how long a label takes says
    nothing about the label: where quick labels are of another kind than slow ones, leave young rows out.
    """
    age = np.maximum(now_us - time_us, 0)
    place = np.searchsorted(curve.delay, np.minimum(age, label_delay_us), side="right")
    share = np.r_[0.0, curve.share][place]
    whole = curve.at(label_delay_us) or 1.0
    with np.errstate(divide="ignore"):
        weights: Numbers = np.clip(whole / share, 1.0, LARGEST_RATIO)
    return np.where(age >= label_delay_us, 1.0, weights)


def scaled(weights: Numbers) -> Numbers:
    """The same weights with a mean of 1."""
    mean = float(weights.mean()) if len(weights) else 1.0
    found: Numbers = weights / mean if mean > 0 else weights
    return found
