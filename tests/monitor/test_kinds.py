"""Moments, free text and columns of one's own are judged by numbers that say what changed about them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from holdfast.monitor import Diagnosis, MonitorError, diagnose

DAY_US = 86_400_000_000
ROWS = 3000


def found_in(found: Diagnosis) -> set[str]:
    return {one.name for one in found.features}


def bookings(seed: int, *, hour: int = 0, days_ahead: float = 20.0) -> pa.Table:
    """Booked at any hour, for a day some weeks ahead."""
    random = np.random.default_rng(seed)
    at = 20_000 * DAY_US + np.arange(ROWS) * (28 * DAY_US // ROWS)
    booked = at - random.integers(0, 6, ROWS) * 3_600_000_000 - hour * 3_600_000_000
    stay = (at + random.gamma(4, days_ahead / 4, ROWS) * DAY_US) // DAY_US
    return pa.table({
        "at": pa.array(at, pa.timestamp("us", "UTC")),
        "booked": pa.array(booked, pa.timestamp("us", "UTC")),
        "stay": pa.array(stay.astype(np.int32), pa.date32()),
    })  # fmt: skip


def test_moments_that_keep_their_distance_and_hour_are_healthy() -> None:
    assert diagnose(bookings(1), bookings(2), time="at", window="1d").verdict == "healthy"


def test_dates_that_lie_farther_ahead_are_named_by_their_age() -> None:
    found = diagnose(bookings(1), bookings(2, days_ahead=40.0), time="at", window="1d")
    assert "stay: age in days" in found_in(found)
    assert not any(name.startswith("booked") for name in found_in(found))


def notes(seed: int, words: int, *, digits: bool = False) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    vocabulary = np.array([f"{'ab' * (number % 5 + 1)}{'ü' * (number % 3)}" for number in range(200)])
    texts = []
    for length in random.poisson(words, ROWS) + 3:
        text = " ".join(random.choice(vocabulary, length))
        texts.append(f"{text} {random.integers(10**6)}" if digits else text)
    return {"note": texts}


def test_free_text_is_judged_by_length_and_signs_and_not_as_a_name() -> None:
    assert diagnose(notes(1, 9), notes(2, 9)).verdict == "healthy"
    assert {"note: characters", "note: words"} <= found_in(diagnose(notes(1, 9), notes(2, 12)))
    assert "note: share of digits" in found_in(diagnose(notes(1, 9), notes(2, 9, digits=True)))


def test_a_column_of_ones_own_sees_what_the_others_do_not() -> None:
    random = np.random.default_rng(0)

    def pair(sign: float) -> dict[str, Any]:
        a = random.choice([-1.0, 1.0], ROWS)
        return {"a": a, "b": sign * a}

    own = {"product": lambda table: table.column("a").to_numpy() * table.column("b").to_numpy()}
    old, new = pair(1.0), pair(-1.0)
    assert diagnose(old, new).verdict == "healthy"
    assert found_in(diagnose(old, new, columns=own)) == {"product"}


def test_a_column_of_ones_own_that_fails_is_named() -> None:
    frame = {"a": np.arange(300.0)}
    with pytest.raises(MonitorError, match="of your own") as caught:
        diagnose(frame, frame, columns={"half": lambda table: np.zeros(table.num_rows // 2)})
    assert caught.value.where == "half"


def test_a_column_of_ones_own_with_the_name_of_another_is_refused() -> None:
    frame = {"a": np.arange(300.0)}
    with pytest.raises(MonitorError, match="the name of another column"):
        diagnose(frame, frame, columns={"a": lambda table: table.column("a").to_numpy()})
