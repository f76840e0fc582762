"""Every column's distance from the reference is in the diagnosis, whether it is in alarm or not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

from holdfast.monitor import Diagnosis, diagnose

ROWS = 4000


def table(seed: int, **changed: Any) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    return {
        "size": random.normal(10, 2, ROWS),
        "rooms": random.poisson(3, ROWS),
        "city": random.choice(["Oslo", "Rome"], ROWS),
        "gap": np.where(random.random(ROWS) < 0.25, np.nan, random.normal(size=ROWS)),
        "flat": np.full(ROWS, 7.0),
        **changed,
    }


@pytest.fixture(scope="module")
def found() -> Diagnosis:
    return diagnose(table(1), table(2, size=table(2)["size"] + 3))


def test_all_columns_are_measured_the_most_changed_first(found: Diagnosis) -> None:
    assert found.measures[0].name == "size"
    assert {one.name for one in found.measures} == set(table(1))
    assert [one.name for one in found.features] == ["size"]


def test_distances_are_those_of_scipy_on_the_rows(found: Diagnosis) -> None:
    old, new = table(1)["size"], table(2)["size"] + 3
    size = found.measures[0]
    assert size.kolmogorov_smirnov == pytest.approx(stats.ks_2samp(old, new).statistic, abs=0.005)
    assert size.wasserstein == pytest.approx(stats.wasserstein_distance(old, new), rel=0.03)
    assert size.mean_shift == pytest.approx(new.mean() - old.mean(), rel=0.03)
    assert size.median_before == pytest.approx(np.median(old), abs=0.05)
    assert size.median == pytest.approx(np.median(new), abs=0.05)


def test_missing_values_are_shares_of_all_rows_and_categories_have_no_order(found: Diagnosis) -> None:
    by_name = {one.name: one for one in found.measures}
    assert by_name["gap"].missing == pytest.approx(np.isnan(table(2)["gap"]).mean(), abs=1e-4)
    assert by_name["city"].missing_before == 0.0
    assert by_name["city"].median is None
    assert by_name["rooms"].median == np.median(table(2)["rooms"])
    assert (by_name["flat"].psi, by_name["flat"].median) == (0.0, 7.0)


def test_after_an_alarm_only_the_rows_since_the_onset_count() -> None:
    size = table(2)["size"] + 3.0 * (np.arange(ROWS) >= ROWS // 2)
    found = diagnose(table(1), table(2, size=size), window="200 rows")
    assert found.measures[0].median == pytest.approx(np.median(size[ROWS // 2 :]), abs=0.1)


def test_a_column_beyond_the_range_stands_at_its_end_and_one_all_missing_has_no_median() -> None:
    gone = diagnose(table(1), table(2, size=table(2)["size"] + 1000, gap=np.full(ROWS, np.nan)))
    by_name = {one.name: one for one in gone.measures}
    assert by_name["size"].median == pytest.approx(table(1)["size"].max(), rel=1e-5)
    assert by_name["size"].kolmogorov_smirnov == 1.0
    assert (by_name["gap"].missing, by_name["gap"].median) == (1.0, None)


def test_the_page_folds_them_away(found: Diagnosis) -> None:
    assert "<details><summary>All columns</summary>" in found.to_html()
    assert found.to_dict()["measures"][0]["name"] == "size"
