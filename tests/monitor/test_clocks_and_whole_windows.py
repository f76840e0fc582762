"""A window that holds only some hours or weekdays is no drift, nor is a column that tells the hour."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.monitor import diagnose, streams
from holdfast.monitor.clocked import clock_columns
from holdfast.monitor.holes import with_holes
from holdfast.monitor.windows import cut, first_day, whole_windows
from holdfast.spec import WindowSize

HOUR_US, DAY_US = 3_600_000_000, 86_400_000_000


def rows(seed: int, start: str, hours: int, each: int = 5) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    moment = pd.date_range(start, periods=hours * each, freq=pd.Timedelta("1h") / each)
    hour = moment.hour.to_numpy()
    return pd.DataFrame(
        {
            "moment": moment,
            "hour": hour,
            "day": moment.day_name(),
            "load": np.sin(hour / 24 * 2 * np.pi) + random.normal(size=len(moment)),
        }
    )


@pytest.mark.parametrize(
    ("window", "start", "hours"),
    [("1d", "2025-05-05", 24 * 12 + 8), ("1d", "2025-05-05 07:00", 24 * 12), ("7d", "2025-05-06", 24 * 40)],
)
def test_days_and_weeks_that_the_rows_only_begin_or_end_in_raise_no_alarm(
    window: str, start: str, hours: int
) -> None:
    found = diagnose(rows(1, "2025-03-03", 24 * 56), rows(2, start, hours), time="moment", window=window)
    assert found.verdict == "healthy"
    assert any(note.startswith("Not judged, as their window is not whole") for note in found.notes)
    assert "Not judged, as they tell the time of the row: day, hour." in found.notes


def test_day_and_night_raise_no_alarm_in_windows_of_half_a_day() -> None:
    for seed in (1, 2, 3):
        before, after = rows(2 * seed, "2025-03-03", 24 * 21, 15), rows(2 * seed + 1, "2025-03-24", 168, 15)
        found = diagnose(before, after, time="moment", window="12h")
        assert found.verdict == "healthy"
        assert not any(one.alarm for one in found.windows)


def test_columns_swapped_beside_day_and_night_are_named_in_windows_of_half_a_day() -> None:
    def two(seed: int, start: str, days: int) -> pd.DataFrame:
        made = rows(seed, start, 24 * days, 20)
        return made.assign(heat=1.0 + np.random.default_rng(seed).normal(0, 0.7, len(made)))[
            ["moment", "load", "heat"]
        ]

    before, after = two(1, "2025-03-03", 21), two(2, "2025-03-24", 14)
    late = after["moment"] >= "2025-03-31"
    after.loc[late, ["load", "heat"]] = after.loc[late, ["heat", "load"]].to_numpy()
    found = diagnose(before, after, time="moment", window="12h")
    assert found.kinds == ("data fault",)
    assert all("swapped" in one.description for one in found.features)


def test_a_level_that_shifts_by_day_is_found_beside_them() -> None:
    now = rows(2, "2025-05-05", 24 * 12 + 8)
    now.loc[now.index >= 5 * 24 * 6, "load"] += 1.0
    found = diagnose(rows(1, "2025-03-03", 24 * 56), now, time="moment", window="1d")
    assert found.kinds == ("data drift",)
    assert [one.name for one in found.features] == ["load"]
    assert found.since is not None
    assert found.since.estimate.startswith("2025-05-11")


def test_a_file_read_in_one_pass_is_cut_and_judged_alike(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tables = [rows(1, "2025-03-03", 24 * 56), rows(2, "2025-05-05 07:00", 24 * 12)]
    paths = [tmp_path / f"{number}.parquet" for number in range(2)]
    for table, path in zip(tables, paths, strict=True):
        table.to_parquet(path)
    whole = diagnose(*tables, time="moment", window="1d")
    monkeypatch.setattr(streams, "LARGE_ROWS", 100)
    passed = diagnose(*paths, time="moment", window="1d")
    assert passed.verdict == whole.verdict == "healthy"
    assert [one.start for one in passed.windows] == [one.start for one in whole.windows]
    assert [one.rows for one in passed.windows] == [one.rows for one in whole.windows]


@pytest.mark.parametrize("window", ["1d", "6h"])
@pytest.mark.parametrize("in_one_pass", [False, True])
def test_what_an_outage_leaves_of_a_window_is_no_drift(
    window: str, in_one_pass: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # From nine in the morning of the 21st to seven in the evening of the 25th.
    now = rows(2, "2025-05-05", 24 * 28, each=10).drop(index=range(16 * 240 + 90, 20 * 240 + 190))
    tables = [rows(1, "2025-03-03", 24 * 56, each=10), now]
    paths = [tmp_path / f"{number}.parquet" for number in range(2)]
    for table, path in zip(tables, paths, strict=True):
        table.to_parquet(path)
    if in_one_pass:
        monkeypatch.setattr(streams, "LARGE_ROWS", 100)
    found = diagnose(*paths, time="moment", window=window)
    assert found.verdict == "healthy"
    last, first = ("90 rows from 2025-05-21T00", "50 rows from 2025-05-25T00")
    if window == "6h":
        last, first = ("30 rows from 2025-05-21T06", "50 rows from 2025-05-25T18")
    assert f"Not judged, as their window is not whole: {last}:00 and {first}:00." in found.notes
    assert sum(one.rows for one in found.windows) == len(now) - int(last[:2]) - 50


def test_rows_that_come_by_chance_are_no_outage() -> None:
    random = np.random.default_rng(5)
    left_out = windows = 0
    for each in (8, 30, 200) * 4:
        days = np.repeat(np.arange(40), random.poisson(each * random.choice([0.3, 1, 4], size=40)))
        # None on Saturday and Sunday afternoons, and more at noon.
        share = random.beta(2, 2, size=len(days)) / (1 + (days % 7 >= 5))
        times = np.sort(((days + share) * DAY_US).astype(np.int64))
        stretches = cut(len(times), times, WindowSize.parse("1d"), min_rows=1)
        left_out += len(with_holes(stretches, times))
        windows += len(stretches)
    assert left_out <= windows / 100


@given(start=st.integers(0, 10**6), rows_per_hour=st.integers(1, 4), hours=st.integers(24, 400))
def test_windows_that_are_left_hold_every_hour(start: int, rows_per_hour: int, hours: int) -> None:
    times = start * HOUR_US + np.arange(hours * rows_per_hour) * (HOUR_US // rows_per_hour)
    stretches = cut(len(times), times, WindowSize.parse("1d"), min_rows=1)
    low, high = whole_windows(stretches, times)
    assert high - low >= min(3, len(stretches))
    if (low, high) != (0, len(stretches)):
        for begin, _, part in stretches[low:high]:
            held = {int(time - begin) // HOUR_US for time in times[part]}
            assert len(held) >= 21


@given(start=st.integers(0, 10**5))
def test_weeks_begin_with_the_first_day_of_the_rows(start: int) -> None:
    times = start * DAY_US + np.arange(21 * 24) * HOUR_US
    begin = first_day(times, 7 * DAY_US)
    stretches = cut(len(times), times, WindowSize.parse("7d"), min_rows=1, begin_us=begin)
    assert [part.stop - part.start for _, _, part in stretches] == [168] * 3
    assert stretches[0][0] == times[0]


def test_only_what_the_clock_tells_is_left_out() -> None:
    random = np.random.default_rng(0)
    times = 20_000 * DAY_US + np.arange(24 * 28) * HOUR_US
    hour, day = (times // HOUR_US) % 24, times // DAY_US
    columns = {
        "hour": hour.astype(float),
        "night": (hour < 6).astype(float),
        "weekend": (day % 7 < 2).astype(float),
        "tariff": ((day % 7 < 5) & (hour > 8)).astype(float),
        "level": (day // 14).astype(float),
        "holiday": (day % 28 == 3).astype(float),
        "mostly the hour": np.where(random.random(len(hour)) < 0.03, 5, hour).astype(float),
        "draw": random.integers(0, 5, len(hour)).astype(float),
        "constant": np.zeros(len(hour)),
    }
    assert set(clock_columns(columns, times)) == {"hour", "night", "weekend", "tariff"}
    assert set(clock_columns(columns, None)) == set()
    assert set(clock_columns({name: one[:20] for name, one in columns.items()}, times[:20])) == set()


def test_columns_swapped_beside_a_season_of_the_year_are_named_in_half_a_year() -> None:
    def sales(seed: int, start: str, weeks: int) -> pd.DataFrame:
        random = np.random.default_rng(seed)
        moment = pd.date_range(start, periods=weeks * 7 * 40, freq=pd.Timedelta("36min"))
        season = 1 + 0.3 * np.cos(moment.day_of_year.to_numpy() / 365 * 2 * np.pi)
        days = random.gamma(1.5, 30, len(moment)) * season
        return pd.DataFrame({"moment": moment, "days": days, "height": random.normal(260, 15, len(moment))})

    before, after = sales(1, "2023-01-02", 104), sales(2, "2024-12-30", 20)
    assert diagnose(before, after, time="moment", window="14d").verdict == "healthy"
    swapped = after.rename(columns={"days": "height", "height": "days"})
    assert diagnose(before, swapped, time="moment", window="14d").kinds == ("data fault",)


def test_the_rows_of_one_of_many_clocks_that_lost_the_year_are_named_and_left_out() -> None:
    before, after = rows(7, "2025-03-03", 24 * 28), rows(8, "2025-03-31", 24 * 28, 40)
    lost = after.assign(
        moment=after.moment.mask(after.index % 50 == 7, after.moment - pd.Timedelta(days=7300))
    )
    found = diagnose(before, lost, time="moment", window="1d")
    assert found.kinds == ("data fault",)
    assert "long before all others: a wrong clock?" in found.features[0].description
    # Far more of them, and neither side is known to be right.
    early = after.moment - pd.Timedelta(days=7300)
    half = after.assign(moment=after.moment.mask(after.index % 2 == 1, early))
    assert any("a wrong clock?" in note for note in diagnose(before, half, time="moment", window="1d").notes)


def test_hours_of_another_time_zone_are_a_fault_and_later_people_are_none() -> None:
    def orders(seed: int, later: float = 0.0, share: float = 1.0) -> pd.DataFrame:
        random = np.random.default_rng([4, seed])
        day = np.sort(random.integers(0, 30, 9000))
        hour = 24 * day + random.choice([13.0, 19.0], len(day)) + random.normal(0, 2, len(day))
        hour += np.where((day >= 15) & (random.random(len(day)) < share), later, 0.0)
        waited = random.integers(0, 3, len(day)) * 24
        start = pd.Timestamp("2025-01-06")
        return pd.DataFrame(
            {
                "ordered": start + pd.to_timedelta(hour - waited, "h"),
                "sent": start + pd.to_timedelta(24 * day + 23.5, "h"),
            }
        )

    found = diagnose(orders(1), orders(2, 7.0), time="sent", window="1d")
    assert found.kinds == ("data fault",)
    assert any("each hour being 7 hours later" in one.description for one in found.features)
    assert diagnose(orders(1), orders(2, 3.0, 0.5), time="sent", window="1d").kinds == ("data drift",)
