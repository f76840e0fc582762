"""Quantities with units."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.spec import Duration, FalseAlarmBudget, WindowSize

durations = st.integers(0, 36_525 * 86_400_000_000).map(Duration)


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("14d", timedelta(days=14)),
        ("2w", timedelta(weeks=2)),
        ("12h", timedelta(hours=12)),
        ("30min", timedelta(minutes=30)),
        ("1.5 h", timedelta(hours=1.5)),
        ("250ms", timedelta(milliseconds=250)),
        ("0.001ms", timedelta(microseconds=1)),
        ("0s", timedelta(0)),
        ("36525d", timedelta(days=36_525)),
    ],
)
def test_a_duration_is_as_long_as_the_standard_library_says(text: str, same: timedelta) -> None:
    duration = Duration.parse(text)
    assert duration.microseconds == same // timedelta(microseconds=1)
    assert duration.seconds == same.total_seconds()


@pytest.mark.parametrize(
    "text",
    ["", "14", "d", "-1d", "1e3s", "1 day", "14d\n", " 14d", "1,5h", "\u0661d", "36526d", "9" * 400 + "s"],
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="a duration"):
        Duration.parse(text)


@given(durations)
def test_a_duration_reads_back_exactly_as_written(duration: Duration) -> None:
    assert Duration.parse(str(duration)) == duration


def test_a_duration_is_written_in_its_largest_whole_unit() -> None:
    written = {text: str(Duration.parse(text)) for text in ["14d", "24h", "90min", "0.5s", "0ms", "1.5ms"]}
    assert written == {
        "14d": "14d",
        "24h": "1d",
        "90min": "90min",
        "0.5s": "500ms",
        "0ms": "0s",
        "1.5ms": "1.5ms",
    }


def test_durations_are_ordered_by_length() -> None:
    assert Duration.parse("59min") < Duration.parse("1h") < Duration.parse("1d")


@given(st.one_of(durations.filter(lambda d: d.microseconds > 0), st.integers(1, 10**11)))
def test_a_window_reads_back_exactly_as_written(size: Duration | int) -> None:
    window = WindowSize(rows=size) if isinstance(size, int) else WindowSize(duration=size)
    assert WindowSize.parse(str(window)) == window


@pytest.mark.parametrize("text", ["0d", "0 rows", "1000", "rows", "1d 1000 rows", ""])
def test_an_empty_or_double_window_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="a window"):
        WindowSize.parse(text)


@given(st.integers(1, 10**6), st.integers(1, 10**6), st.sampled_from([1, 10, 1000]))
def test_a_budget_reads_back_exactly_as_written(alarms: int, windows: int, parts: int) -> None:
    budget = FalseAlarmBudget(alarms / parts, alarms + windows)
    assert FalseAlarmBudget.parse(str(budget)) == budget


def test_a_budget_of_one_in_a_thousand_runs_a_thousand_windows() -> None:
    assert FalseAlarmBudget.parse("1 per 1000 windows").average_run_length_windows == 1000
    assert FalseAlarmBudget.parse("0.5 per 100 windows").average_run_length_windows == 200


@pytest.mark.parametrize("text", ["0 per 10 windows", "10 per 10 windows", "1 per 0 windows", "1/1000", ""])
def test_a_budget_of_none_or_all_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="a budget"):
        FalseAlarmBudget.parse(text)
