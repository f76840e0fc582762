"""Windows of so many rows have times where rows do, and few rows of reference are enough for a flip."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from holdfast.monitor import diagnose
from holdfast.monitor.counted_windows import CountedWindows
from holdfast.spec import WindowSize

STEP_US = 300 * 1_000_000
DAY = 288
WINDOW = "50 rows"


def machine(random: np.random.Generator, first: int, rows: int) -> pa.Table:
    """A temperature every five minutes, high by day."""
    place = first + np.arange(rows)
    level = 20 + 3.0 * np.sin(2 * np.pi * place / DAY) + random.normal(size=rows)
    moment = np.datetime64("2025-03-03", "us") + place * np.timedelta64(STEP_US, "us")
    return pa.table({"moment": moment, "level": level})


def by_night(table: pa.Table, first: int) -> pa.Table:
    """From a row on, the machine works by night."""
    level = table.column("level").to_numpy().copy()
    level[first:] = 40 - level[first:]
    return table.set_column(1, "level", pa.array(level))


@pytest.mark.parametrize("seed", range(3))
def test_a_season_of_the_day_is_known_to_windows_of_so_many_rows(seed: int) -> None:
    random = np.random.default_rng(seed)
    old, new = machine(random, 0, 6 * DAY), machine(random, 6 * DAY, 6 * DAY)
    assert diagnose(old, new, time="moment", window=WINDOW).verdict == "healthy"
    found = diagnose(old, by_night(new, 3 * DAY), time="moment", window=WINDOW)
    alarms = [window.alarm for window in found.windows]
    assert found.kinds == ("data drift",)
    assert 3 * DAY // 50 <= alarms.index(True) <= 3 * DAY // 50 + 3


def test_windows_of_so_many_rows_are_shown_by_their_times() -> None:
    random = np.random.default_rng(4)
    found = diagnose(machine(random, 0, 500), machine(random, 500, 500), time="moment", window=WINDOW)
    assert found.windows[0].start.startswith("2025-03-04T17:40")
    assert found.windows[0].end <= found.windows[1].start


def test_large_files_have_the_same_times_and_seasons(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(5)
    paths = [tmp_path / "old.parquet", tmp_path / "new.parquet"]
    tables = [machine(random, 0, 6 * DAY), by_night(machine(random, 6 * DAY, 6 * DAY), 3 * DAY)]
    for path, table in zip(paths, tables, strict=True):
        parquet.write_table(table, path, row_group_size=400)
    whole = diagnose(*paths, time="moment", window=WINDOW, explain=False)
    monkeypatch.setattr("holdfast.monitor.streams.LARGE_ROWS", 1000)
    streamed = diagnose(*paths, time="moment", window=WINDOW)
    assert [window.start for window in streamed.windows] == [window.start for window in whole.windows]
    assert [window.alarm for window in streamed.windows] == [window.alarm for window in whole.windows]
    assert any(window.alarm for window in streamed.windows)


def test_large_files_out_of_order_are_cut_by_the_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(6)
    paths = [tmp_path / "old.parquet", tmp_path / "new.parquet"]
    shuffled = random.permutation(6 * DAY)
    for number, path in enumerate(paths):
        parquet.write_table(machine(random, 6 * DAY * number, 6 * DAY).take(pa.array(shuffled)), path)
    monkeypatch.setattr("holdfast.monitor.streams.LARGE_ROWS", 1000)
    found = diagnose(*paths, time="moment", window=WINDOW)
    assert found.verdict == "healthy"
    assert [window.start for window in found.windows[:2]] == ["0", "50"]


@pytest.mark.parametrize("seed", range(4))
def test_a_flip_is_seen_against_a_hundred_rows_of_reference(seed: int) -> None:
    random = np.random.default_rng(seed)

    def drawn(rows: int, flipped: int) -> pa.Table:
        x = random.normal(size=rows)
        effect = np.where(np.arange(rows) >= flipped, -2.0, 2.0)
        truth = random.random(rows) < 1 / (1 + np.exp(-effect * x))
        return pa.table({"x": x, "y": truth.astype(int), "score": 1 / (1 + np.exp(-2.0 * x))})

    found = diagnose(drawn(100, 100), drawn(600, 300), target="y", score="score", window=WINDOW)
    alarms = [window.alarm for window in found.windows]
    assert found.kinds == ("concept drift",)
    assert alarms.index(True) in (6, 7)


@given(times=st.lists(st.integers(0, 40), max_size=80), size=st.integers(1, 15), batches=st.integers(1, 6))
def test_rows_shown_batch_by_batch_fall_into_the_windows_of_all_in_order(
    times: list[int], size: int, batches: int
) -> None:
    every = np.array(times, dtype=np.int64)
    windows = CountedWindows.cut(every, WindowSize(rows=size))
    shown = [np.sort(part) for part in np.array_split(every, batches)]
    found = [windows.of(part) for part in shown]
    held = np.concatenate([np.empty(0, dtype=np.intp), *found])
    full = len(times) // size
    assert np.bincount(held[held >= 0], minlength=full).tolist() == [size] * full
    assert (held < 0).sum() == len(times) - full * size
    order = np.argsort(np.concatenate([np.empty(0, dtype=np.int64), *shown]), kind="stable")
    assert (held[order] == np.r_[np.repeat(np.arange(full), size), [-1] * (len(times) - full * size)]).all()
    rising = np.sort(every)
    for number in range(windows.apart):
        assert rising[(number + 1) * size] > rising[(number + 1) * size - 1]
