"""A column of many categories always shows some that the reference had not met; that alone is no change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from holdfast.monitor import diagnose
from holdfast.stats import CategoryBins


def drawn(seed: int, rows: int, law: str) -> dict[str, Any]:
    random = np.random.default_rng([seed, rows])
    numbers = (
        random.integers(0, 10_000, rows) if law == "uniform" else np.minimum(random.zipf(1.3, rows), 10**9)
    )
    return {"shop": [f"shop {number}" for number in numbers], "x": random.normal(size=rows)}


@pytest.mark.parametrize("law", ["uniform", "long tail"])
def test_categories_that_were_always_new_at_that_rate_raise_no_alarm(law: str) -> None:
    found = diagnose(drawn(1, 20_000, law), drawn(2, 30_000, law), window="1000 rows")
    assert found.verdict == "healthy"


def test_more_of_them_than_usual_are_a_fault_and_the_usual_share_is_said() -> None:
    current = drawn(2, 30_000, "long tail")
    replaced = np.random.default_rng(3).random(30_000) < 0.1 * (np.arange(30_000) >= 15_000)
    current["shop"] = np.where(replaced, "SHOP 1", current["shop"]).tolist()
    found = diagnose(drawn(1, 20_000, "long tail"), current, window="1000 rows")
    assert found.verdict == "data fault"
    assert [one.name for one in found.features] == ["shop"]
    assert "(usually 1" in found.features[0].description
    assert found.since is not None
    assert 14_000 <= int(found.since.estimate) <= 16_000


@pytest.mark.slow
def test_a_large_file_counts_its_unseen_categories_as_a_table_in_memory_does(tmp_path: Path) -> None:
    paths = []
    for seed in (1, 2):
        random = np.random.default_rng(seed)
        shops = pa.array(random.integers(0, 100_000, 250_000).astype(str))
        paths.append(tmp_path / f"{seed}.parquet")
        table = pa.table({"shop": shops, "x": random.normal(size=250_000)})
        parquet.write_table(table, paths[-1], row_group_size=50_000)
    found = diagnose(*paths, window="10000 rows")
    assert found.verdict == "healthy"
    # Half of the values are distinct: that names no rows, in a file as in memory.
    assert not any("names rows" in note for note in found.notes)


@given(st.lists(st.sampled_from([*"abcdefghijklmnopqrstuvwxyz", None]), max_size=60), st.integers(1, 5))
def test_the_reference_has_one_unseen_row_for_each_category_met_once(
    values: list[str | None], top: int
) -> None:
    bins = CategoryBins.fit(values, top=top)
    counts = bins.of_reference.count(values)
    once = [name for name in set(values) - {None} - set(bins.top) if values.count(name) == 1]
    assert counts[-2] == len(once)
    assert counts.sum() == len(values)
    assert bins.count(values)[-2] == 0


@pytest.mark.parametrize("rows", [5000, 20_000])
def test_terminals_that_were_frequent_by_luck_are_no_drift_when_they_are_not(rows: int) -> None:
    alarms = windows = 0
    for seed in range(3):
        random = np.random.default_rng([36, seed])
        old, new = ({"terminal": random.integers(0, 300, size).astype(str)} for size in (rows, 2 * rows))
        found = diagnose(old, new, window=f"{rows // 20} rows")
        alarms += sum(window.alarm for window in found.windows)
        windows += len(found.windows)
    # One hundred and more of them without the correction.
    assert alarms <= windows // 60


def test_what_the_others_gain_is_what_further_rows_give_them() -> None:
    random = np.random.default_rng(3)
    gains = []
    expected = []
    for _ in range(40):
        old, new = (random.integers(0, 300, 6000).astype(str).tolist() for _ in range(2))
        bins = CategoryBins.fit(old)
        gains.append(int(bins.count(new)[50:-1].sum() - bins.count(old)[50:-1].sum()))
        expected.append(bins.edge[0])
    noise = np.std(gains) / np.sqrt(len(gains))
    assert abs(np.mean(gains) - np.mean(expected)) < 3 * noise + 0.15 * np.mean(gains)
    assert np.mean(gains) > 10 * noise


def customers(seed: int, visits: int, customers: int) -> list[str]:
    """Each stays for three rows on average."""
    random = np.random.default_rng([70, seed])
    rows = random.geometric(1 / 3, visits)
    names = np.char.add("k", random.integers(0, customers, visits).astype(str))
    return np.repeat(names, rows).tolist()


@pytest.mark.parametrize(("number", "rows"), [(60, 50), (500, 50), (500, 200)])
def test_customers_whose_rows_come_together_are_no_drift_when_others_come(number: int, rows: int) -> None:
    visits = 20 * rows // 3
    found = diagnose(
        {"customer": customers(1, visits, number)},
        {"customer": customers(2, 2 * visits, number)},
        window=f"{rows} rows",
        explain=False,
    )
    # Each window of 500 customers and one in six of 60, where each row is taken for a visit.
    assert not any(window.alarm for window in found.windows)


def test_a_code_never_met_is_found_among_customers_whose_rows_come_together() -> None:
    old, new = customers(1, 1500, 500), np.array(customers(2, 3000, 500), dtype=object)
    rows = np.arange(len(new))
    new[(rows >= len(new) // 2) & (rows % 3 == 0)] = "other shop"
    found = diagnose({"customer": old}, {"customer": new}, window="200 rows", explain=False)
    assert found.verdict == "data fault"
    assert found.since is not None
    assert abs(int(found.since.estimate) - len(new) // 2) <= 400


def test_categories_that_only_one_visit_had_are_unseen_to_the_rest_of_the_reference() -> None:
    names = ["a", "b", "c", "d"] * 100
    for place, name in ((50, "once"), (150, "twice"), (250, "twice")):
        names[place:place] = [name] * 4
    bins = CategoryBins.fit(names)
    assert bins.once == {"once"}
    assert bins.of_reference.count(names)[-2] == 4
    assert bins.count(names)[-2] == 0
    # In any other order rows that are alike are as many visits.
    assert CategoryBins.fit(names[::3] + names[1::3] + names[2::3]).once == frozenset()
