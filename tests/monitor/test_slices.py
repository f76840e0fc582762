"""Drift inside slices: found where it is, kept between runs, within one budget."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from small_worlds import ONSET, WINDOW, WINDOWS, Frame, current, reference, since_onset

from holdfast.clock import iso_utc
from holdfast.monitor import read_slice, read_slices
from holdfast.monitor.judge import Settings
from holdfast.monitor.profiling import WindowProfile, profiles
from holdfast.monitor.reference import ReferenceModel
from holdfast.monitor.rows import Rows
from holdfast.monitor.slice_history import slice_key, write_slices
from holdfast.monitor.slices import fit_slices, judge_slices, slices_in_drift
from holdfast.monitor.windows import Stretch, cut
from holdfast.spec import Duration, WindowSize

DAY_US = 86_400_000_000
OUTPUTS = frozenset({"score"})
SIZE = WindowSize(duration=Duration(DAY_US))


def as_rows(frame: Frame, first_day: int) -> Rows:
    count = len(frame["age"])
    time_us = first_day * DAY_US + np.arange(count) * (DAY_US // WINDOW)
    columns = {name: frame[name] for name in ("age", "dose", "score")}
    words: list[str | None] = [str(word) for word in frame["ward"]]
    return Rows({**columns, "ward": words}, time_us, frame["score"], frame["y"].astype(float))


def cut_days(rows: Rows) -> list[Stretch]:
    return cut(len(rows), rows.time_us, SIZE, min_rows=50)


def settings() -> Settings:
    return Settings(
        run_length=1000.0, tolerance_sd=0.05, show_time=iso_utc, mature=lambda _: True, model_version="1"
    )


@dataclass
class Log:
    """Rows by time, and what was asked for."""

    rows: Rows
    asked: list[tuple[int, int]] = field(default_factory=list)

    def between(self, since_us: int, until_us: int) -> Iterator[Rows]:
        self.asked.append((since_us, until_us))
        assert self.rows.time_us is not None
        low, high = np.searchsorted(self.rows.time_us, [since_us, until_us])
        for start in range(int(low), int(high), 3000):
            yield self.rows.take(slice(start, min(start + 3000, int(high))))


def east_rows(rows: Rows) -> int:
    words = rows.columns["ward"]
    assert isinstance(words, list)
    return words.count("east")


def whole_of(old: Rows, rows: Rows) -> list[WindowProfile]:
    model = ReferenceModel.fit("binary", old, cut_days(old), OUTPUTS)
    return profiles(model.measures, rows, cut_days(rows))


@pytest.fixture(scope="module")
def old() -> Rows:
    return as_rows(reference(), 100)


@pytest.fixture(scope="module")
def moved() -> Rows:
    """In the east, a fifth of the rows, doses have been three quarters of a deviation higher."""
    frame = current()
    east = since_onset() & (np.asarray(frame["ward"]) == "east")
    return as_rows(current(dose=frame["dose"] + 0.75 * east), 200)


def test_a_change_is_found_in_the_slice_that_has_it_and_in_no_other(old: Rows, moved: Rows) -> None:
    slices, notes = fit_slices("binary", old, ["ward"], cut_days, outputs=OUTPUTS, most=8, least_rows=250)
    assert notes == []
    assert [one.value for one in slices] == ["north", "south", "east", "west"]
    found = judge_slices(
        slices, whole_of(old, moved), settings(), Log(moved).between,
        folder=None, frozen=lambda _: False, min_rows=50,
    )  # fmt: skip
    by_value = {summary.value: (summary, whole) for summary, whole in found}
    assert {value: summary.kinds for value, (summary, _) in by_value.items()} == {
        "north": (), "south": (), "west": (), "east": ("data drift",),
    }  # fmt: skip
    summary, whole = by_value["east"]
    assert whole.diagnosis.features[0].name == "dose"
    assert whole.diagnosis.since is not None
    onset = iso_utc((200 + ONSET) * DAY_US)
    assert whole.diagnosis.since.earliest <= onset <= whole.diagnosis.since.latest
    assert summary.share == pytest.approx(0.2, abs=0.02)
    assert summary.recent_share == pytest.approx(0.2, abs=0.06)
    assert sum(whole.history.rows) == east_rows(moved)


def test_windows_that_change_no_more_are_read_once_and_give_the_same_result(
    old: Rows, moved: Rows, tmp_path: Path
) -> None:
    slices, _ = fit_slices("binary", old, ["ward"], cut_days, outputs=OUTPUTS, most=2, least_rows=250)
    whole, log = whole_of(old, moved), Log(moved)
    last_kept_us = whole[-3].end

    def judged() -> object:
        return judge_slices(
            slices, whole, settings(), log.between,
            folder=tmp_path, frozen=lambda one: one.end <= last_kept_us, min_rows=50,
        )  # fmt: skip

    first, second = judged(), judged()
    assert second == first
    assert log.asked == [(whole[0].start, whole[-1].end), (last_kept_us, whole[-1].end)]


def test_small_windows_of_a_slice_are_joined_and_no_row_is_lost(old: Rows, moved: Rows) -> None:
    slices, _ = fit_slices("binary", old, ["ward"], cut_days, outputs=OUTPUTS, most=8, least_rows=250)
    east = [one for one in slices if one.value == "east"]
    ((_, whole),) = judge_slices(
        east, whole_of(old, moved), settings(), Log(moved).between,
        folder=None, frozen=lambda _: False, min_rows=120,
    )  # fmt: skip
    assert min(whole.history.rows) >= 120
    assert len(whole.history.rows) < WINDOWS
    assert sum(whole.history.rows) == east_rows(moved)


def test_rare_values_and_unknown_inputs_are_told_instead_of_followed(old: Rows) -> None:
    slices, notes = fit_slices(
        "binary", old, ["ward", "age", "shoe size"], cut_days, outputs=OUTPUTS, most=8, least_rows=1000
    )
    assert "west" not in {one.value for one in slices}
    assert "no value of age has 1000 rows" in notes[0]
    assert "no input shoe size" in notes[1]


def test_numbers_are_sliced_by_value_and_missing_ones_are_in_no_slice() -> None:
    frame = reference()
    online = np.where(np.arange(len(frame["age"])) % 3 == 0, 1.0, 0.0)
    online[:600] = np.nan
    rows = as_rows(frame, 100)
    rows = Rows({**rows.columns, "online": online}, rows.time_us, rows.score, rows.truth)
    slices, _ = fit_slices("binary", rows, ["online"], cut_days, outputs=OUTPUTS, most=8, least_rows=250)
    assert [(one.value, one.reference.whole.rows) for one in slices] == [("0", 3600), ("1", 1800)]


def test_what_is_written_is_read_whatever_a_value_holds(old: Rows, moved: Rows, tmp_path: Path) -> None:
    slices, _ = fit_slices("binary", old, ["ward"], cut_days, outputs=OUTPUTS, most=1, least_rows=250)
    found = judge_slices(
        slices, whole_of(old, moved), settings(), Log(moved).between,
        folder=None, frozen=lambda _: False, min_rows=50,
    )  # fmt: skip
    write_slices(tmp_path, "1", found)
    summary, whole = found[0]
    assert read_slices(tmp_path, "1") == (summary,)
    assert read_slice(tmp_path, "1", summary.column, summary.value) == whole
    assert read_slice(tmp_path, "1", summary.column, "../../etc") is None
    assert read_slices(tmp_path, "2") == ()
    assert slice_key("a", "b") != slice_key("a\0b", "")


def test_a_value_that_comes_no_more_is_no_change_of_its_slice_and_has_no_rows(old: Rows) -> None:
    frame = current()
    frame["ward"] = np.where(np.asarray(frame["ward"]) == "east", "west", frame["ward"])
    rows = as_rows(frame, 200)
    slices, _ = fit_slices("binary", old, ["ward"], cut_days, outputs=OUTPUTS, most=8, least_rows=250)
    found = judge_slices(
        slices, whole_of(old, rows), settings(), Log(rows).between,
        folder=None, frozen=lambda _: False, min_rows=50,
    )  # fmt: skip
    (east,) = [summary for summary, _ in found if summary.value == "east"]
    assert (east.rows, east.recent_share, east.kinds) == (0, 0.0, ())


def test_slices_in_drift_are_named_in_a_sentence(old: Rows, moved: Rows) -> None:
    slices, _ = fit_slices("binary", old, ["ward"], cut_days, outputs=OUTPUTS, most=8, least_rows=250)
    found = judge_slices(
        slices, whole_of(old, moved), settings(), Log(moved).between,
        folder=None, frozen=lambda _: False, min_rows=50,
    )  # fmt: skip
    said = slices_in_drift([summary for summary, _ in found])
    assert "ward = east (data drift, since " in said
    assert "north" not in said
    assert slices_in_drift([summary for summary, _ in found if not summary.kinds]) == ""
