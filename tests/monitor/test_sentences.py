"""Sentences of the verdict, as people read them."""

from __future__ import annotations

import numpy as np

from holdfast.monitor.course import Course
from holdfast.monitor.diagnosis import Coverage, QualityChange
from holdfast.monitor.explained import Cost, LossChange
from holdfast.monitor.explained_words import explained_words, price_words
from holdfast.monitor.windows import describe_gap, describe_strays
from holdfast.monitor.words import summarise
from holdfast.stats import Estimate

DAY_US = 86_400_000_000


def about(value: float, width: float) -> Estimate:
    return Estimate(value, value - width, value + width, 100)


def summary(*kinds: str, rows: int = 500, windows: int = 4) -> str:
    quality = QualityChange(
        metric="mean absolute error", reference=about(66001.762, 30.4), before=None, after=about(0.8519, 0.01)
    )
    coverage = Coverage(reference_rows=9, rows=rows, windows=windows, labelled=0, label_coverage=0.0)
    return summarise(
        kinds,  # type: ignore[arg-type]  # closed words
        Course(),
        None,
        findings=(),
        quality=quality,
        coverage=coverage,
    )


def test_three_kinds_are_a_list_and_one_window_is_one() -> None:
    assert summary("data fault", "data drift", "concept drift", rows=1, windows=1).startswith(
        "Data fault, data drift and concept drift. "
    )
    assert "Judged on 1 row in 1 window against" in summary(rows=1, windows=1)
    assert "Judged on 500 rows in 4 windows against" in summary()


def test_large_levels_and_changes_are_written_without_decimals_or_exponents() -> None:
    assert "went from 66,002 (65,971 to 66,032) to 0.852 (0.842 to 0.862)" in summary("data drift")
    change = LossChange(
        loss="absolute error",
        total=about(50580, 5000),
        changed_mapping=about(52230, 1000),
        harder_inputs=about(-635.1, 100),
        new_inputs=about(-0.017, 0.01),
        overlap=0.5,
    )
    said = explained_words(change=change)
    assert "changed by +50580 (+45580 to +55580)" in said
    assert "e+" not in said


def test_a_cost_that_may_be_none_is_not_called_one() -> None:
    def cost(loss: str, so_far: Estimate) -> Cost:
        return Cost(loss=loss, per_row=so_far, rows=1, so_far=so_far, basis="labels")

    said = price_words(cost("absolute error", about(-4_583_720, 9_000_000)))
    assert said.startswith("It may have cost nothing: so far -4,583,720 (")
    assert price_words(cost("error rate", about(20, 3))).startswith(
        "So far that is 20 (17 to 23) errors more"
    )


def test_money_that_is_saved_is_said_to_be_less() -> None:
    money = about(-18_755, 6000)
    cost = Cost(
        loss="error rate",
        per_row=money,
        rows=1,
        so_far=about(-233, 79),
        currency="EUR",
        money_so_far=money,
        money_per_day=about(12, 40),
        basis="labels",
    )
    assert price_words(cost) == (
        "So far that is 233 (154 to 312) errors fewer; in money 18,755 (12,755 to 24,755) EUR less, "
        "12 (-28 to 52) EUR a day."
    )


def test_rows_of_a_wrong_clock_are_dated_by_the_whole_of_their_windows() -> None:
    numbers, counts = np.array([10, 11, 12, 300]), np.array([80, 80, 80, 6])
    weeks = describe_strays(numbers, counts, (0, 3), 7 * DAY_US)
    assert weeks.startswith("6 rows dated 1975-10-02 to 1975-10-08, long after")
    assert "dated 1970-10-28, long after" in describe_strays(numbers, counts, (0, 3), DAY_US)


def test_a_gap_that_is_longer_than_all_windows_is_asked_about_and_an_outage_is_not() -> None:
    jumped = np.array([4000, 4001, 4002, 9000, 9001])
    said = describe_gap(jumped, (0, 5), DAY_US)
    assert said == "No row is dated between 1980-12-17 and 1994-08-23: a wrong clock?"
    assert describe_gap(jumped, (0, 3), DAY_US) == ""  # the rest is astray
    assert describe_gap(np.array([*range(40), *range(70, 110)]), (0, 80), DAY_US) == ""
    assert describe_gap(np.array([0, 8]), (0, 2), DAY_US) == ""
