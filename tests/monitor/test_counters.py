"""A meter that only rises is judged by what it rises by."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from holdfast.monitor import diagnose
from holdfast.monitor.counters import counters, with_steps

ROWS = 1500


def meter(seed: int, begin: float, used: float = 1.0) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    return {"kwh": begin + np.cumsum(random.gamma(4, used / 4, ROWS))}


def test_a_meter_that_goes_on_is_healthy_and_one_that_runs_faster_is_not() -> None:
    quiet = diagnose(meter(1, 0), meter(2, 1500), window="50 rows")
    faster = diagnose(meter(1, 0), meter(2, 1500, used=1.5), window="50 rows")
    assert quiet.verdict == "healthy"
    assert "'kwh' only rises: what it rises by is judged." in quiet.notes
    assert faster.features[0].name == "kwh"


def test_a_meter_that_begins_anew_loses_one_step_only() -> None:
    table = pa.table({"kwh": [1.0, 2.5, 4.0, 0.5, 1.0], "other": [1, 2, 3, 4, 5]})
    found = with_steps(table, ["kwh", "not there"])
    assert found.column("kwh").to_pylist() == [None, 1.5, 1.5, None, 0.5]
    assert found.column("other") == table.column("other")
    assert with_steps(table.slice(0, 0), ["kwh"]).num_rows == 0


def test_a_meter_set_back_to_zero_is_told_and_is_no_drift() -> None:
    anew = {"kwh": np.r_[meter(2, 1500)["kwh"][:700], meter(3, 0)["kwh"][:800]]}
    found = diagnose(meter(1, 0), anew, window="50 rows")
    assert "'kwh' began anew once, like a meter set back to zero: those steps are unknown." in found.notes
    assert found.verdict == "healthy"


@pytest.mark.parametrize(
    ("values", "counts"),
    [
        (np.cumsum(np.random.default_rng(0).random(ROWS)), True),
        (np.linspace(0, 7, ROWS), False),  # the time itself
        (np.sort(np.random.default_rng(0).integers(0, 5, ROWS)).astype(float), False),  # a level that rose
        (np.random.default_rng(0).random(ROWS), False),
        (np.r_[np.cumsum(np.random.default_rng(0).random(ROWS - 1)), 0.0], False),
        (np.arange(ROWS), False),
    ],
)
def test_only_what_rises_unevenly_and_often_is_a_counter(values: np.ndarray, counts: bool) -> None:
    table = pa.table({"x": values})
    assert counters(table, table, None, set()) == (["x"] if counts else [])
    shuffled = table.take(np.random.default_rng(1).permutation(ROWS))
    assert counters(table, shuffled, None, set()) == []
