"""Times, numbers and yes or no as tables of several countries and programs write them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.monitor import MonitorError, diagnose
from holdfast.monitor.moments import microseconds, written, written_moments
from holdfast.monitor.number_texts import NumberText

ROWS = 1200
MOMENTS = st.datetimes(datetime(1995, 1, 1), datetime(2095, 1, 1)).map(  # noqa: DTZ001 - meant as UTC
    lambda moment: moment.replace(microsecond=0, tzinfo=UTC)
)


def column(values: list[Any]) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(values)])


def read(values: list[Any], other: list[Any] | None = None) -> list[int]:
    held = column(values)
    way = written(held, "t", None if other is None else column(other))
    return [number // 10**6 for number in microseconds(way, held, "t").tolist()]


@pytest.mark.parametrize(
    "form",
    [
        "%Y-%m-%d %H:%M:%S",
        "%d.%m.%Y %H:%M:%S",
        "%Y/%m/%d %H:%M:%S",
        "%d.%m.%Y, %I:%M:%S %p",
        "%Y-%m-%dT%H:%M:%SZ",
        "%Y-%m-%d %H:%M:%S.000000789+00:00",
        "%d.%m.%Y %H:%M:%S,000000789",
        "%Y年%m月%d日 %H:%M:%S",
        "%d-%b-%Y %H:%M:%S",
        "%a, %d %b %Y %H:%M:%S +0000",
        "%A, %d %B %Y %H:%M:%S GMT",
        "%B %d, %Y %I:%M:%S %p",
    ],
)
@given(moments=st.lists(MOMENTS, min_size=1, max_size=5))
def test_text_of_one_order_gives_its_moments(form: str, moments: list[datetime]) -> None:
    written = [moment.strftime(form) for moment in moments]
    assert read(written) == [int(moment.timestamp()) for moment in moments]


@pytest.mark.parametrize("factor", [1, 10**3, 10**6, 10**9])
@given(moments=st.lists(MOMENTS, min_size=1, max_size=5))
def test_numbers_since_1970_tell_their_unit_themselves(factor: int, moments: list[datetime]) -> None:
    seconds = [int(moment.timestamp()) for moment in moments]
    assert read([one * factor for one in seconds]) == seconds
    assert read([str(one * factor) for one in seconds]) == seconds


def test_days_and_months_are_told_by_what_exceeds_twelve_in_either_table() -> None:
    assert read(["3/4/2025 9:05", "31/4/2025 9:05"][:1], ["31/1/2025"]) == [
        int(datetime(2025, 4, 3, 9, 5, tzinfo=UTC).timestamp())
    ]
    assert read(["3/4/2025"], ["1/31/2025"]) == [int(datetime(2025, 3, 4, tzinfo=UTC).timestamp())]
    with pytest.raises(MonitorError, match="can be read in two ways") as caught:
        read(["3/4/2025"], ["5/6/2025"])
    assert caught.value.where == "t"


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (["31.02.2025"], "no times"),
        (["31.12.25"], "no times"),
        (["31-Jan-2025", "31-Feb-2025"], "no times"),
        (["31-Jan-2025", "soon"], "'soon' among dates with the month's name"),
        (["31.12.2025", "2025-12-31"], "among day.month.year"),
        (["13/14/2025", "1/2/2025"], "no times"),
        ([0, 1, 2], "from 0 to 2"),
        ([1_700_000_000, 1_700_000_000_000], "from 1700000000 to 1700000000000"),
        (["2025-01-01T00:00:00Z", "2025-01-01T00:00:00"], "some times have a time zone"),
    ],
)
def test_what_is_no_time_or_of_two_kinds_is_refused(values: list[Any], says: str) -> None:
    with pytest.raises(MonitorError, match=says):
        read(values)


@given(
    numbers=st.lists(
        st.floats(-1e6, 1e6).map(lambda one: round(one, 2)), min_size=40, max_size=60, unique=True
    )
)
@pytest.mark.parametrize(
    "write",
    [
        lambda one: f"{one:.2f}",
        lambda one: f"{one:,.2f}",
        lambda one: f"{one:,.2f}".translate(str.maketrans(".,", ",.")),
        lambda one: f"{one:.2f} €",
        lambda one: f"{one:.2f}%",
    ],
)
def test_numbers_are_read_from_text_however_it_groups_and_marks_them(
    write: Any, numbers: list[float]
) -> None:
    held = column([*(write(one) for one in numbers), None, "n/a"])
    way = NumberText.of_reference(held)
    assert way is not None
    found = way.read(held).to_pylist()
    assert found[-2:] == [None, None]
    assert found[:-2] == pytest.approx(numbers)


@pytest.mark.parametrize(
    "values",
    [
        [f"{code:05d}" for code in range(100)],  # places
        [str(10_000 + code) for code in range(100)],  # orders
        [f"A{code}" for code in range(100)],
        [str(code % 5) for code in range(100)],  # few: categories
        [f"{code}.{code}.{code}" for code in range(100)],
        ["small", *map(str, range(9))] * 10,
    ],
)
def test_codes_names_and_categories_stay_what_they_are(values: list[str]) -> None:
    assert NumberText.of_reference(column(values)) is None


def table(seed: int, shift: float = 0.0) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    return pd.DataFrame({"a": random.normal(shift, 1, ROWS).round(3), "flag": random.random(ROWS) < 0.5})


def mixed(frame: pd.DataFrame) -> pd.DataFrame:
    values = frame["a"].astype(object)
    values.iloc[::300] = "n/a"
    return frame.assign(a=values)


@pytest.mark.parametrize(
    "write",
    [
        lambda frame: frame.assign(a=frame["a"].astype(str)),
        mixed,
        lambda frame: frame.assign(flag=np.where(frame["flag"], "yes", "no")),
    ],
)
def test_the_same_values_in_another_type_are_no_fault_and_their_shift_is_found(write: Any) -> None:
    as_text = [diagnose(table(1), write(table(2, shift)), window="60 rows") for shift in (0.0, 0.8)]
    both = [diagnose(write(table(1)), write(table(2, shift)), window="60 rows") for shift in (0.0, 0.8)]
    back = [diagnose(write(table(1)), table(2, shift), window="60 rows") for shift in (0.0, 0.8)]
    for quiet, shifted in (as_text, both, back):
        assert quiet.verdict == "healthy"
        assert shifted.features[0].name == "a"
        assert shifted.kinds == ("data drift",)
    assert any("of another type in the current data" in note for note in as_text[0].notes)


def test_whole_numbers_that_are_distinct_because_they_are_large_are_judged() -> None:
    random = np.random.default_rng(3)
    bytes_sent = [{"bytes": (random.lognormal(14, 1, ROWS) * factor).astype(int)} for factor in (1, 2)]
    assert diagnose(*bytes_sent, window="60 rows").features[0].name == "bytes"


@pytest.mark.parametrize("order", [np.arange(ROWS), np.random.default_rng(0).permutation(ROWS)])
def test_numbers_of_rows_are_not_judged_in_any_order(order: Any) -> None:
    tables = [table(seed).assign(number=order + seed * ROWS) for seed in (1, 2)]
    found = diagnose(*tables, window="60 rows")
    assert found.verdict == "healthy"
    assert any("'number' is not judged" in note for note in found.notes)


def test_a_day_written_beside_the_time_is_no_category_never_seen() -> None:
    start = [pd.Timestamp("2025-01-01"), pd.Timestamp("2025-02-20")]
    tables = [
        table(seed).assign(moment=pd.date_range(begin, periods=ROWS, freq="h"))
        for seed, begin in enumerate(start)
    ]
    for one in tables:
        one["day"] = one["moment"].dt.strftime("%d.%m.%Y")
    assert diagnose(*tables, time="moment", window="7d").verdict == "healthy"
    alone = diagnose(*(one.drop(columns="moment") for one in tables), window="60 rows")
    assert alone.verdict == "healthy"
    assert "'day' is taken as the time: its dates follow on each other." in alone.notes
    assert "'day' is read as day.month.year." in alone.notes


@pytest.mark.parametrize(
    "write",
    [
        lambda frame: frame.to_dict("records"),
        lambda frame: frame.to_records(index=False),
        lambda frame: frame["a"],
        lambda frame: frame[["a"]].to_numpy(),
        lambda frame: frame["a"].to_numpy(),
    ],
)
def test_records_arrays_and_series_are_tables(write: Any) -> None:
    quiet, shifted = (
        diagnose(write(table(1)), write(table(2, shift)), window="60 rows") for shift in (0.0, 0.8)
    )
    assert quiet.verdict == "healthy"
    assert shifted.features[0].name in {"a", "0"}


def test_columns_of_one_name_are_refused_by_that_name() -> None:
    twice = table(1).assign(c=1.0).rename(columns={"c": "a"})
    for source in (twice, pa.Table.from_arrays([pa.array([1.0]), pa.array([2.0])], ["a", "a"])):
        with pytest.raises(MonitorError, match=r"several columns are named 'a'\. Rename"):
            diagnose(source, source)


def test_a_column_that_was_never_finite_has_no_fault_in_being_so() -> None:
    endless = [table(seed).assign(e=np.inf) for seed in (1, 2)]
    assert diagnose(*endless, window="60 rows").verdict == "healthy"


def test_which_of_several_times_is_that_of_the_row_is_not_guessed_silently() -> None:
    at = pd.date_range("2026-01-01", periods=len(table(1)), freq="h", tz="UTC")
    months = at.tz_localize(None).to_period("M").start_time  # no chance at all within a window
    found = diagnose(*(table(seed).assign(at=at, sent=months) for seed in (1, 2)), window="60 rows")
    assert any("Several columns hold times (at, sent)" in note for note in found.notes)


@pytest.mark.parametrize(("between", "decimal"), [(",", "."), (";", ","), (";", "."), ("\t", ",")])
def test_a_csv_file_is_read_by_what_stands_between_its_columns(
    tmp_path: Path, between: str, decimal: str
) -> None:
    paths = [tmp_path / f"{number}.csv" for number in range(2)]
    for number, path in enumerate(paths):
        table(number, 0.8 * number).to_csv(path, sep=between, decimal=decimal, index=False)
    found = diagnose(*paths, window="60 rows")
    assert [one.name for one in found.features] == ["a"]
    assert found.kinds == ("data drift",)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (np.array(["no", "yes"]), np.array([False, True])),
        (np.array(["N", "Y"]), np.array([0, 1])),
        (np.array([0, 1]), np.array(["false", "true"])),
    ],
)
def test_answers_of_yes_and_no_are_one_target_in_both_tables(old: Any, new: Any) -> None:
    tables = [
        table(seed).assign(y=words[(table(seed)["a"] > 0).astype(int)])
        for seed, words in ((1, old), (2, new))
    ]
    found = diagnose(*tables, target="y", window="60 rows", explain=False)
    assert found.verdict == "healthy"
    assert found.coverage.label_coverage == 1.0


def test_scores_and_prices_may_be_text() -> None:
    tables = [
        table(seed).assign(
            y=table(seed)["a"] > 0, p=(1 / (1 + np.exp(-table(seed)["a"]))).map("{:.3f}".format)
        )
        for seed in (1, 2)
    ]
    assert diagnose(*tables, target="y", score="p", window="60 rows", explain=False).verdict == "healthy"
    prices = [one.assign(price=(1000 + 100 * one["a"]).map("{:,.2f} €".format)) for one in map(table, (1, 2))]
    found = diagnose(*prices, target="price", window="60 rows", explain=False)
    assert found.verdict == "healthy"
    assert found.quality is not None
    assert found.quality.metric == "mean absolute error"


def test_categories_never_met_are_named_the_most_frequent_first() -> None:
    old, new = (table(seed).assign(code=np.resize(["4548-4", "2345-7"], ROWS)) for seed in (1, 2))
    new.loc[::4, "code"] = "1558-6"
    new.loc[::50, "code"] = "rare"
    found = diagnose(old, new, window="60 rows")
    assert found.kinds == ("data fault",)
    assert "categories that the reference never had ('1558-6', 'rare')" in found.features[0].description


@pytest.mark.parametrize("share", [0.08, 0.5])
def test_a_mark_for_missing_values_is_a_fault(share: float) -> None:
    now = table(2)
    now.loc[np.random.default_rng(0).random(ROWS) < share, "a"] = -999
    found = diagnose(table(1), now, window="60 rows")
    assert found.kinds == ("data fault",)
    assert "a is at -999 in " in found.features[0].description


@pytest.mark.parametrize("view", [pa.string_view(), pa.dictionary(pa.int32(), pa.string_view())])
def test_views_of_text_are_text(view: pa.DataType) -> None:
    days = pd.date_range("2025-01-01", periods=ROWS, freq="h").strftime("%d.%m.%Y")

    def as_views(frame: pd.DataFrame) -> pa.Table:
        plain = {name: frame[name].astype(str).tolist() for name in ("a", "flag")} | {"day": days.tolist()}
        words = {name: pa.array(values, pa.string()) for name, values in plain.items()}
        if pa.types.is_dictionary(view):
            return pa.table({name: one.dictionary_encode().cast(view) for name, one in words.items()})
        return pa.table({name: one.cast(view) for name, one in words.items()})

    found = diagnose(as_views(table(1)), as_views(table(2, 0.8)), time="day", window="5d")
    assert [one.name for one in found.features] == ["a"]


def test_a_column_that_names_its_months_holds_moments_and_one_of_words_does_not() -> None:
    held = pa.table({"sent": ["12-Jun-2025", None], "word": ["12 marks", "x"], "mixed": ["1 May 2025", "x"]})
    assert list(written_moments(held)) == ["sent"]


def test_words_among_labels_that_are_numbers_count_as_none_and_are_noted() -> None:
    old, new = ({"x": np.arange(400.0), "y": np.arange(400.0)} for _ in range(2))
    new["y"] = np.where(np.arange(400) % 40 == 0, "dear", new["y"].astype(str)).astype(object)
    found = diagnose(old, new, target="y", window="80 rows", explain=False)
    assert "10 labels in 'y' cannot be read as the reference's are, and count as none." in found.notes
